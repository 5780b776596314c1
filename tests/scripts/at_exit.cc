// May a script register functions for its end, and does it serve meanwhile?
// request: GET / HTTP/1.1
// status: 200
// body: registered 2
// request: GET / HTTP/1.1
// status: 200
// body: registered 2

#include <kiln.h>

#include <cstdlib>

static int registered = 0;
static int first = std::atexit([] { --registered; }) == 0 ? ++registered : 0;
__attribute__((constructor)) static void by_attribute() {
    if (std::atexit([] { --registered; }) == 0) ++registered;
}
__attribute__((destructor)) static void down() { registered = 0; }

kiln::Action on_request(kiln::Request&) { return kiln::reply(200, "registered " + std::to_string(registered)); }
