// Is an answer that cannot be given 500 and a line in the log, and nothing worse?
// request: GET /99 HTTP/1.1
// status: 500
// log: its answer is a reply whose status is not between 200 and 599
// request: GET /600 HTTP/1.1
// status: 500
// request: GET /100 HTTP/1.1
// status: 500
// request: GET /-1 HTTP/1.1
// status: 500
// request: GET /65736 HTTP/1.1
// status: 500
// request: GET /upstream HTTP/1.1
// status: 500
// log: nowhere
// request: GET /nameless HTTP/1.1
// status: 500
// log: a forward without the name of an upstream
// request: GET /fields HTTP/1.1
// status: 500
// log: a reply with too many headers
// request: GET /forward HTTP/1.1
// status: 500
// log: kiln: only a reply has headers of its own
// request: GET /huge HTTP/1.1
// status: 500
// log: std::bad_alloc
// request: GET /next HTTP/1.1
// status: 500
// request: GET /200 HTTP/1.1
// status: 200

#include <kiln.h>

kiln::Action on_request(kiln::Request& request) {
    auto path = request.path();
    if (path == "/upstream") return kiln::forward("nowhere");
    if (path == "/nameless") return kiln::forward("");
    if (path == "/forward") return kiln::forward("web").header("x-a", "1");
    if (path == "/next") return kiln::next();  // there are two upstreams: none is the only one
    if (path == "/huge") return kiln::reply(200, std::string(70 << 20, 'x'));
    if (path == "/fields") {
        auto reply = kiln::reply(200);
        for (int i = 0; i < 5000; ++i) reply = reply.header("x-many", "1");
        return reply;
    }
    return kiln::reply(std::stoi(std::string(path.substr(1))));
}
