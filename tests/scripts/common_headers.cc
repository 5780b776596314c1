// Does every index of a common field find that field?
// request: GET / HTTP/1.1
// sends: X-Forwarded-For: 10.0.0.1
// sends: Referer: r
// sends: Content-Type: t
// sends: Authorization: auth
// sends: Accept-Language: al
// sends: Accept-Encoding: ae
// sends: Accept: a
// sends: User-Agent: ua
// sends: Cookie: c
// content: four
// status: 200
// body: test ua a ae al auth c t 4 r 10.0.0.1 
// request: GET / HTTP/1.1
// status: 200
// body: test           

#include <kiln.h>

kiln::Action on_request(kiln::Request& request) {
    using enum kiln::Field;
    std::string text;
    for (kiln::Field field : {host, user_agent, accept, accept_encoding, accept_language, authorization, cookie, content_type,
                              content_length, referer, x_forwarded_for})
        text.append(request.header(field)).append(" ");
    return kiln::reply(200, text);
}
