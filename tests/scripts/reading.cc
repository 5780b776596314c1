// Does a script see the request as the client sent it?
// request: GET /a/b%20c?id=7&x=a%26b&id=8&empty=&flag HTTP/1.1
// sends: Host: example.org:8080
// sends: X-Mixed-Case: value with spaces
// status: 200
// body: GET|/a/b%20c?id=7&x=a%26b&id=8&empty=&flag|/a/b%20c|id=7&x=a%26b&id=8&empty=&flag|example.org:8080|127.0.0.1|port|7|a%26b|a&b|||value with spaces\n
// request: DELETE / HTTP/1.1
// status: 200
// body: DELETE|/|/||test|127.0.0.1|port||||||\n
// request: GET http://other.example/abs?id=1 HTTP/1.1
// status: 200
// body: GET|http://other.example/abs?id=1|/abs|id=1|other.example|127.0.0.1|port|1|||||\n
// request: OPTIONS * HTTP/1.1
// status: 200
// body: OPTIONS|*|*||test|127.0.0.1|port||||||\n
// request: GET /?id=1?id=2 HTTP/1.1
// status: 200
// body: GET|/?id=1?id=2|/|id=1?id=2|test|127.0.0.1|port|1?id=2|||||\n
// request: PATCHWORK /?&&=&id=&x=1=2 HTTP/1.1
// status: 200
// body: PATCHWORK|/?&&=&id=&x=1=2|/|&&=&id=&x=1=2|test|127.0.0.1|port||1=2|1=2|||\n

#include <kiln.h>

kiln::Action on_request(kiln::Request& request) {
    std::string seen;
    for (std::string_view part : {request.method(), request.target(), request.path(), request.query(), request.host(),
                                  request.client_address()})
        seen.append(part).append("|");
    seen.append(request.client_port() > 1023 ? "port" : "no port").append("|");
    seen.append(request.query("id")).append("|").append(request.query("x")).append("|");
    seen.append(kiln::decode(request.query("x"))).append("|").append(request.query("empty")).append("|");
    seen.append(request.query("flag")).append("|").append(request.header("x-mixed-case")).append("\n");
    return kiln::reply(200, seen);
}
