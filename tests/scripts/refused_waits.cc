// Is what would wait for another thread refused, by the name that its author knows?
// refused: refused_waits.cc:16:11: error: a script may not use `std::atomic::wait` in a worker: a worker has one thread
// refused: refused_waits.cc:18:13: error: a script may not use `std::condition_variable::wait` in a worker
// refused: note: decide with what is there

#include <kiln.h>

#include <atomic>
#include <condition_variable>
#include <mutex>

std::atomic<int> count;
std::condition_variable changed;
std::mutex mutex;
kiln::Action on_request(kiln::Request&) {
    count.wait(0);
    std::unique_lock lock(mutex);
    changed.wait(lock);
    return kiln::next();
}
