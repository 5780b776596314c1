// Is a script refused that would be another one each time that it is compiled?
// refused: error: a script may not use the date or time macro
// refused: kiln::realtime_ns()

#include <kiln.h>

kiln::Action on_request(kiln::Request&) {
    return kiln::reply(200, __TIME__);
}
