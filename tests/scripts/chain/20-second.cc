#include <kiln.h>

static int helper() { return 2; }  // of its own: the third script has another of this name

kiln::Action on_request(kiln::Request& request) {
    if (request.path() == "/second")
        return kiln::reply(200, request.has_header("x-first") ? "wrong" : "second saw what the client sent");
    if (request.path() == "/throws") throw helper();
    request.set_header("x-second", std::to_string(helper()));
    return kiln::next();
}
