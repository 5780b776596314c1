// Do replies come out with their status, fields in order, and content from anywhere in memory?
// request: GET /plain HTTP/1.1
// status: 200
// body: plain
// header: content-length: 5
// request: GET /fields HTTP/1.1
// status: 418
// header: x-one: 1
// header: x-one: 2
// header: set-cookie: a=b; Path=/
// header: content-type: text/html
// body: <p>teapot</p>
// request: GET /empty HTTP/1.1
// status: 404
// header: content-length: 0
// body:
// request: GET /none HTTP/1.1
// status: 204
// no-header: content-length
// request: GET /large HTTP/1.1
// status: 200
// body-length: 1048576
// request: GET /larger HTTP/1.1
// status: 200
// body-length: 20000000
// request: GET /temporary HTTP/1.1
// status: 200
// body: from a temporary string that is gone when the hook returns
// header: x-temporary: a value that is gone as well, and longer than a short string
// request: GET /binary HTTP/1.1
// status: 200
// body-length: 4
// request: GET /status/299 HTTP/1.1
// status: 299
// request: GET /status/599 HTTP/1.1
// status: 599
// request: POST /plain HTTP/1.1
// content: content that nobody reads
// status: 200
// body: plain
// request: GET /many HTTP/1.1
// status: 200
// header: x-0: 0
// header: x-99: 99

#include <kiln.h>

static std::string text(const char* part) { return std::string("a value that is gone ") + part; }

kiln::Action on_request(kiln::Request& request) {
    auto path = request.path();
    if (path == "/plain") return kiln::reply(200, "plain");
    if (path == "/fields")
        return kiln::reply(418, "<p>teapot</p>")
            .header("x-one", "1")
            .header("content-type", "text/html")
            .header("x-one", "2")
            .header("set-cookie", "a=b; Path=/");
    if (path == "/empty") return kiln::reply(404);
    if (path == "/none") return kiln::reply(204);
    if (path == "/large") return kiln::reply(200, std::string(1 << 20, 'x'));
    if (path == "/larger") return kiln::reply(200, std::string(20000000, 'y'));
    if (path == "/temporary")
        return kiln::reply(200, std::string("from a temporary string ") + "that is gone when the hook returns")
            .header(std::string("x-tempo") + "rary", text("as well, and longer than a short string"));
    if (path == "/binary") return kiln::reply(200, std::string_view("\0\r\n\xff", 4));
    if (path.starts_with("/status/")) return kiln::reply(std::stoi(std::string(path.substr(8))));
    auto many = kiln::reply(200);
    for (int i = 0; i < 100; ++i) many = many.header("x-" + std::to_string(i), std::to_string(i));
    return many;
}
