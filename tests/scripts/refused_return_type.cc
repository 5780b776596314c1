// Is a hook with another return type refused at its line?
// refused: refused_return_type.cc:6:5: error: functions that differ only in their return type cannot be overloaded

#include <kiln.h>

int on_request(kiln::Request&) { return 200; }
