// Do the log, the clocks and random numbers reach the hook?
// request: GET /log HTTP/1.1
// status: 200
// log: an ordinary line from /log
// log: WARN
// log: a warning
// log: ERROR
// log: an error with bytes
// request: GET /clocks HTTP/1.1
// status: 200
// body: forward 1 recent 1
// request: GET /random HTTP/1.1
// status: 200
// body: 1000 different

#include <kiln.h>

#include <set>

kiln::Action on_request(kiln::Request& request) {
    if (request.path() == "/log") {
        kiln::log("an ordinary line from " + std::string(request.path()));
        kiln::log("a warning", KILN_LOG_WARN);
        kiln::log("an error with bytes \xff\x01\n and a second line", KILN_LOG_ERROR);
        kiln::log("", KILN_LOG_DEBUG);
        kiln::log(std::string(100000, 'x'), KILN_LOG_DEBUG);
        return kiln::reply(200);
    }
    if (request.path() == "/clocks") {
        auto before = kiln::monotonic_ns();
        bool forward = kiln::monotonic_ns() >= before;
        bool recent = kiln::realtime_ns() > 1577836800ull * 1000000000;
        return kiln::reply(200, "forward " + std::to_string(forward) + " recent " + std::to_string(recent));
    }
    std::set<std::uint64_t> seen;
    for (int i = 0; i < 1000; ++i) seen.insert(kiln::random());
    return kiln::reply(200, std::to_string(seen.size()) + " different");
}
