#include <kiln.h>

#include "common.h"

void throw_it(int number) { throw Problem{number}; }

kiln::Action on_request(kiln::Request&) {
    ++Holder<int>::value;
    return kiln::reply(200, std::to_string(counter) + " " + std::to_string(Holder<int>::value));
}
