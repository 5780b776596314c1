// Is a file outside the folder of the script refused, and told to be outside?
// refused: refused_outside.cc:4:10: fatal error: '/etc/passwd' is outside of the folders that scripts may read; add `include = ["/etc"]` to kiln.toml

#include "/etc/passwd"

kiln::Action on_request(kiln::Request&) { return kiln::reply(200); }
