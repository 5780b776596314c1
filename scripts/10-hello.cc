// Answers by itself: no upstream is asked.
//
//   curl http://127.0.0.1:8080/hello
//   curl 'http://127.0.0.1:8080/hello?name=Ada'
#include <kiln.h>

kiln::Action on_request(kiln::Request& request) {
    if (request.path() != "/hello") return kiln::next();

    std::string_view name = request.query("name");
    std::string greeting = "hello " + (name.empty() ? "world" : kiln::decode(name)) + "\n";
    return kiln::reply(200, greeting).header("content-type", "text/plain");
}
