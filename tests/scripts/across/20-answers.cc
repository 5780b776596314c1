#include <kiln.h>

#include "helpers.h"

kiln::Action on_request(kiln::Request&) {
    return kiln::reply(200, std::to_string(uses()) + " " + std::to_string(mine<int>()) + " " +
                                std::to_string(where_motto_is() == &motto) + " " + motto);
}
