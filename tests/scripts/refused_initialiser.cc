// Is a script refused whose static initialiser throws?
// refused: a static initialiser failed: it threw std::runtime_error: the table is empty

#include <kiln.h>

static int table = [] { return throw std::runtime_error("the table is empty"), 1; }();

kiln::Action on_request(kiln::Request&) { return kiln::reply(200, std::to_string(table)); }
