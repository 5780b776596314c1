// Do scripts share inline variables and templates' statics, and throw types to one another?
// request: GET /count HTTP/1.1
// status: 200
// body: 1 2
// request: GET /count HTTP/1.1
// status: 200
// body: 2 4
// request: GET /throw HTTP/1.1
// status: 200
// body: caught 7 in another file

#include <kiln.h>

#include "common.h"

kiln::Action on_request(kiln::Request& request) {
    if (request.path() == "/count") {
        ++counter;
        ++Holder<int>::value;
        return kiln::next();
    }
    try {
        throw_it(7);
    } catch (const Problem& problem) {
        return kiln::reply(200, "caught " + std::to_string(problem.number) + " in another file");
    }
    return kiln::reply(500);
}
