// Is system() refused where it is called, in a helper of a helper?
// refused: refused_system.cc:11:16: error: a script may not use `system` in a worker

#include <kiln.h>

#include <cstdlib>

struct Helper {
    template <class T>
    static int run(T command) {
        return std::system(command);
    }
};

kiln::Action on_request(kiln::Request&) { return kiln::reply(Helper::run("true")); }
