// Is a hook in a namespace not taken for one?
// refused: this script has no hook: define `kiln::Action on_request(kiln::Request& request)`

#include <kiln.h>

namespace site {
kiln::Action on_request(kiln::Request&) { return kiln::reply(200); }
}  // namespace site
