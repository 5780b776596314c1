// Are fields found without case, in order of arrival, by name, index and place?
// request: GET / HTTP/1.1
// sends: X-One: first
// sends: COOKIE: a=b; c=d
// sends: x-one: second
// sends: X-Empty:
// sends: User-Agent: tester/1.0
// sends: X-Spaces:  	 inner  space 	 
// sends: cookie: e=f
// status: 200
// body: 8\nHost=test\nX-One=first\nCOOKIE=a=b; c=d\nx-one=second\nX-Empty=\nUser-Agent=tester/1.0\nX-Spaces=inner  space\ncookie=e=f\nfirst first 1 0 1 a=b; c=d tester/1.0 [] test\nkiln: no such header
// request: GET / HTTP/1.0
// sends: Host: 1.0
// status: 200
// body: 1\nHost=1.0\n  0 0 0   [] 1.0\nkiln: no such header

#include <kiln.h>

kiln::Action on_request(kiln::Request& request) {
    std::string text = std::to_string(request.header_count()) + "\n";
    for (std::size_t i = 0; i < request.header_count(); ++i) {
        auto [name, value] = request.header_at(i);
        text.append(name).append("=").append(value).append("\n");
    }
    auto add = [&](std::string_view part) { text.append(part).append(" "); };
    add(request.header("x-one"));
    add(request.header("X-ONE"));
    add(request.has_header("x-EMPTY") ? "1" : "0");
    add(request.has_header("x-emptyy") ? "1" : "0");
    add(request.has_header("cookie") ? "1" : "0");
    add(request.header(kiln::Field::cookie));
    add(request.header(kiln::Field::user_agent));
    add("[" + std::string(request.header(kiln::Field::authorization)) + "]");
    text.append(request.header(kiln::Field::host)).append("\n");
    try {
        (void)request.header_at(request.header_count());
    } catch (const std::out_of_range& error) {
        text.append(error.what());
    }
    return kiln::reply(200, text);
}
