// Is sleep_for refused at the script's line, though it is inline in a header?
// refused: refused_sleep_for.cc:9:5: error: a script may not use `

#include <kiln.h>

#include <thread>

kiln::Action on_request(kiln::Request&) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    return kiln::reply(200);
}
