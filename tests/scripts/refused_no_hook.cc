// Is a script without a hook told which one it lacks?
// refused: this script has no hook: define `kiln::Action on_request(kiln::Request& request)`

#include <kiln.h>

kiln::Action on_requests(kiln::Request&) { return kiln::reply(200); }
