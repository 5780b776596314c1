// Is a hook with another return type refused at its line, with the right one beside it?
// refused: refused_return_type.cc:6:1: error: this `on_request` returns 'int': the hook is `kiln::Action on_request(kiln::Request& request)`

#include <kiln.h>

int on_request(kiln::Request&) { return 200; }
