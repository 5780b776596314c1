// Is a file outside the folder of the script not there?
// refused: refused_outside.cc:4:10: fatal error: '/etc/passwd' file not found

#include "/etc/passwd"

kiln::Action on_request(kiln::Request&) { return kiln::reply(200); }
