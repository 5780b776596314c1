// Does nothing come out of a field that would forge another message, and does the next request work?
// request: GET /?name=x-a&value=a%0d%0ax-evil:%201 HTTP/1.1
// status: 500
// no-header: x-evil
// log: kiln: not a valid header: x-a
// request: GET /?name=x%20a&value=b HTTP/1.1
// status: 500
// request: GET /?name=&value=b HTTP/1.1
// status: 500
// request: GET /?name=content-length&value=0 HTTP/1.1
// status: 500
// request: GET /?name=Transfer-Encoding&value=chunked HTTP/1.1
// status: 500
// request: GET /?name=connection&value=close HTTP/1.1
// status: 500
// request: GET /?name=http2-settings&value=x HTTP/1.1
// status: 500
// log: kiln: not a valid header: http2-settings
// request: GET /?name=HTTP2_Settings&value=x HTTP/1.1
// status: 500
// request: GET /?name=expect&value=100-continue HTTP/1.1
// status: 500
// request: GET /?name=host&value=a%20b HTTP/1.1
// status: 500
// log: kiln: not a valid header: host
// request: GET /remove?name=http2-settings HTTP/1.1
// status: 500
// request: GET /remove?name=x-fine HTTP/1.1
// status: 200
// upstream: web
// request: GET /?name=x-nul&value=a%00b HTTP/1.1
// status: 500
// request: GET /reply?name=x-a&value=a%0d%0ax-evil:%201 HTTP/1.1
// status: 500
// no-header: x-evil
// no-header: x-a
// log: a reply with a header that is not valid
// request: GET /reply?name=x-a%0d%0ax-evil&value=1 HTTP/1.1
// status: 500
// no-header: x-evil
// request: GET /reply?name=content-length&value=100 HTTP/1.1
// status: 500
// request: GET /reply?name=http2-settings&value=x HTTP/1.1
// status: 500
// request: GET /reply?name=date&value=x HTTP/1.1
// status: 500
// request: GET /?name=x-fine&value=fine HTTP/1.1
// status: 200
// upstream: web
// upstream-saw: x-fine: fine
// request: GET /reply?name=x-fine&value=fine HTTP/1.1
// status: 200
// header: x-fine: fine

#include <kiln.h>

kiln::Action on_request(kiln::Request& request) {
    std::string name = kiln::decode(request.query("name")), value = kiln::decode(request.query("value"));
    if (request.path() == "/reply") return kiln::reply(200, "replied").header(name, value);
    if (request.path() == "/remove") request.remove_header(name);
    else request.set_header(name, value);
    return kiln::forward("web");
}
