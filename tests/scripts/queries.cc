// Are parameters found by their whole name, in odd queries too, and decoded on demand?
// request: GET /?a=1&ab=2&b HTTP/1.1
// status: 200
// body: a[1] ab[2] b[] none[] empty-name[] decoded[1]
// request: GET /? HTTP/1.1
// status: 200
// body: a[] ab[] b[] none[] empty-name[] decoded[]
// request: GET /?=x&a HTTP/1.1
// status: 200
// body: a[] ab[] b[] none[] empty-name[x] decoded[]
// request: GET /?a=%41%zz%4&A=upper HTTP/1.1
// status: 200
// body: a[%41%zz%4] ab[] b[] none[] empty-name[] decoded[A%zz%4]
// request: GET /?&a=+x+%2B&&& HTTP/1.1
// status: 200
// body: a[+x+%2B] ab[] b[] none[] empty-name[] decoded[ x +]
// request: GET /?xa=1&a%3D=2&a==3 HTTP/1.1
// status: 200
// body: a[=3] ab[] b[] none[] empty-name[] decoded[=3]
// request: GET /?a=%e4%F6%00x HTTP/1.1
// status: 200
// body-length: 56

#include <kiln.h>

kiln::Action on_request(kiln::Request& request) {
    auto bracketed = [](std::string_view text) { return "[" + std::string(text) + "]"; };
    return kiln::reply(200, "a" + bracketed(request.query("a")) + " ab" + bracketed(request.query("ab")) + " b" +
                                bracketed(request.query("b")) + " none" + bracketed(request.query("none")) +
                                " empty-name" + bracketed(request.query("")) + " decoded" +
                                bracketed(kiln::decode(request.query("a"))));
}
