// Do locks, std::call_once and notifications work where there is one thread?
// request: GET / HTTP/1.1
// status: 200
// body: once mutex recursive shared timed notified released stopped
// request: GET / HTTP/1.1
// status: 200
// body: mutex recursive shared timed notified released stopped
// request: GET /throws HTTP/1.1
// status: 200
// body: tried 1, tried 2, tried 2

#include <kiln.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <latch>
#include <mutex>
#include <semaphore>
#include <shared_mutex>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>

using namespace std::chrono_literals;

std::once_flag once;
std::mutex mutex;
std::recursive_mutex recursive;
std::shared_mutex shared;
std::shared_timed_mutex timed;
std::timed_mutex timed_alone;
std::atomic<int> count;
std::condition_variable changed;

std::string throws() {
    static std::once_flag flag;
    static int tried = 0;
    std::string said;
    for (int i = 0; i < 3; i++) {
        try {
            std::call_once(flag, [] {
                if (++tried == 1) throw std::runtime_error("not yet");
            });
        } catch (const std::runtime_error&) {
        }
        said += (i ? ", tried " : "tried ") + std::to_string(tried);
    }
    return said;
}

kiln::Action on_request(kiln::Request& request) {
    if (request.path() == "/throws") return kiln::reply(200, throws());
    std::string said;
    std::call_once(once, [&said](const char* word) { said += word; }, "once ");
    {
        std::scoped_lock both(mutex, timed_alone);
        if (!timed_alone.try_lock_for(1h)) said += "mutex ";
    }
    {
        std::lock_guard outer(recursive);
        std::lock_guard inner(recursive);
        said += "recursive ";
    }
    {
        std::shared_lock one(shared);
        std::shared_lock two(shared);
        if (!shared.try_lock()) said += "shared ";
    }
    {
        std::unique_lock lock(timed);
        if (!timed.try_lock_shared_for(1h)) said += "timed ";
    }
    count.fetch_add(1);
    count.notify_all();
    count.notify_one();
    changed.notify_all();
    said += "notified ";
    std::counting_semaphore<4> semaphore(0);
    std::latch latch(1);
    semaphore.release();
    latch.count_down();
    if (latch.try_wait()) said += "released ";
    std::stop_source source;
    bool stopped = source.request_stop() && source.get_token().stop_requested();
    std::this_thread::yield();
    if (stopped && std::this_thread::get_id() != std::thread::id()) said += "stopped";
    return kiln::reply(200, said);
}
