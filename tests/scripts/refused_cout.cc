// Is standard output refused, as a worker has none?
// refused: refused_cout.cc:9:15: error: a script may not use `std::cout` in a worker

#include <kiln.h>

#include <iostream>

kiln::Action on_request(kiln::Request&) {
    std::cout << "text\n";
    return kiln::reply(200);
}
