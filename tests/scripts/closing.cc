// Does close() end the connection without a byte, and leave others alone?
// request: GET /fine HTTP/1.1
// status: 200
// body: fine
// request: GET /close HTTP/1.1
// closed: yes
// request: POST /close HTTP/1.1
// content: content
// closed: yes
// request: GET /fine HTTP/1.1
// status: 200
// body: fine

#include <kiln.h>

kiln::Action on_request(kiln::Request& request) {
    return request.path() == "/close" ? kiln::close() : kiln::reply(200, "fine");
}
