// Do changes to the request reach the upstream, and only the upstream?
// request: GET /set HTTP/1.1
// sends: X-User-Id: forged
// sends: x-user-id: forged twice
// status: 200
// upstream: web
// upstream-saw: X-User-Id: 42
// upstream-saw: X-Still: forged
// request: GET /add HTTP/1.1
// status: 200
// upstream: blue
// upstream-saw: X-Added: yes
// request: GET /remove HTTP/1.1
// sends: Cookie: secret
// sends: cookie: more
// sends: X-Stays: here
// status: 200
// upstream: web
// upstream-saw-no: cookie
// upstream-saw: X-Stays: here
// request: GET /sequence HTTP/1.1
// sends: X-A: 0
// status: 200
// upstream: web
// upstream-saw: X-A: 3
// upstream-saw-no: X-B
// request: GET /temporary HTTP/1.1
// status: 200
// upstream: blue
// upstream-saw: X-Long: a temporary that is gone when the hook returns
// request: GET /host HTTP/1.1
// status: 200
// upstream: web
// upstream-saw: Host: inner.example
// request: POST /content HTTP/1.1
// content: sent through
// status: 200
// body: sent through
// upstream: web

#include <kiln.h>

kiln::Action on_request(kiln::Request& request) {
    auto path = request.path();
    if (path == "/set") {
        request.set_header("x-user-id", "42");
        request.set_header("x-still", request.header("x-user-id"));  // reading shows what the client sent
    } else if (path == "/add") {
        request.add_header("x-added", "yes");
        return kiln::forward("blue");
    } else if (path == "/remove") {
        request.remove_header("COOKIE");
    } else if (path == "/sequence") {
        request.remove_header("x-a");
        request.add_header("x-a", "1");
        request.add_header("x-a", "2");
        request.set_header("x-a", "3");
        request.set_header("x-b", "1");
        request.remove_header("x-b");
    } else if (path == "/temporary") {
        request.set_header(std::string("x-") + "long", std::string("a temporary that is gone ") + "when the hook returns");
        return kiln::forward(std::string("bl") + "ue");
    } else if (path == "/host") {
        request.set_header("host", "inner.example");
    }
    return kiln::forward("web");
}
