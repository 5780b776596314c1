// Is a script that does not compile refused as Clang says it?
// refused: refused_syntax.cc:8:28: error: expected ';' after return statement
// refused:     8 |     return kiln::reply(200)

#include <kiln.h>

kiln::Action on_request(kiln::Request&) {
    return kiln::reply(200)
}
