// Chooses an upstream by path and by header; the last script, so it decides about everything.
//
//   curl http://127.0.0.1:8080/api/orders
//   curl http://127.0.0.1:8080/logo.png
//   curl -H 'X-Beta: yes' http://127.0.0.1:8080/
#include <kiln.h>

namespace {

bool is_static(std::string_view path) {
    for (std::string_view ending : {".css", ".js", ".png", ".svg"})
        if (path.ends_with(ending)) return true;
    return false;
}

}  // namespace

kiln::Action on_request(kiln::Request& request) {
    if (request.header("x-blocked") == "yes") return kiln::close();
    if (request.header("x-beta") == "yes") return kiln::forward("api");
    if (request.path().starts_with("/api/")) return kiln::forward("api");
    if (is_static(request.path())) return kiln::forward("static");
    return kiln::forward("web");
}
