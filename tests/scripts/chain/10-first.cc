// Are the scripts of a folder asked in the order of their names until one decides, files without a hook aside?
// request: GET /first HTTP/1.1
// status: 200
// body: first
// request: GET /second HTTP/1.1
// status: 200
// body: second saw what the client sent
// request: GET /third HTTP/1.1
// status: 200
// body: third with help
// request: GET /both HTTP/1.1
// status: 200
// upstream: web
// upstream-saw: x-first: 1
// upstream-saw: x-second: 2
// request: GET /throws HTTP/1.1
// status: 500
// log: it threw int

#include <kiln.h>

kiln::Action on_request(kiln::Request& request) {
    if (request.path() == "/first") return kiln::reply(200, "first");
    request.set_header("x-first", "1");
    return kiln::next();
}
