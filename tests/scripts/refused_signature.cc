// Is a hook with other parameters told the right ones?
// refused: `kiln::Action on_request(kiln::Request& request)`

#include <kiln.h>

kiln::Action on_request(const kiln::Request&) { return kiln::reply(200); }
