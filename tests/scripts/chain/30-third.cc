#include <kiln.h>

#include "shared.h"

static const char* helper() { return "third "; }

kiln::Action on_request(kiln::Request& request) {
    if (request.path() == "/third") return kiln::reply(200, helper() + help());
    return kiln::forward("web");
}
