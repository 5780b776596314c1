// Is a static initialiser refused that wants what only a request has?
// refused: a static initialiser failed: it threw std::logic_error: kiln: there is no request while static objects are initialised

#include <kiln.h>

static auto seed = kiln::random();

kiln::Action on_request(kiln::Request&) { return kiln::reply(200, std::to_string(seed)); }
