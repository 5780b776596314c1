// Is a script refused that would give the C++ library, which is the worker's, another heap?
// refused: a script may not replace operator new or delete

#include <kiln.h>

#include <cstdlib>

void* operator new(std::size_t size) { return std::malloc(size); }

kiln::Action on_request(kiln::Request&) {
    return kiln::reply(200, std::string(100, 'x'));
}
