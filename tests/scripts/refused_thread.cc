// Is std::thread refused at the line that makes one, though only the library names the symbol?
// refused: refused_thread.cc:10:18: error: a script may not use `
// refused: in a worker

#include <kiln.h>

#include <thread>

kiln::Action on_request(kiln::Request&) {
    std::jthread thread([] {});
    return kiln::reply(200);
}
