// Does what a script sets about rounding, traps and exceptions end with the call that set it?
// request: GET / HTTP/1.1
// status: 200
// body: nearest, 0 traps, 0 flags, 0.3333333333333333, gradual
// request: GET /upward HTTP/1.1
// status: 200
// body: upward, 0 traps, 0 flags, 0.33333333333333337, gradual
// request: GET / HTTP/1.1
// status: 200
// body: nearest, 0 traps, 0 flags, 0.3333333333333333, gradual
// request: GET /throwing HTTP/1.1
// status: 500
// log: it threw int
// request: GET / HTTP/1.1
// status: 200
// body: nearest, 0 traps, 0 flags, 0.3333333333333333, gradual
// request: GET /traps HTTP/1.1
// status: 200
// body: nearest, 29 traps, 0 flags, 0.3333333333333333, gradual
// request: GET / HTTP/1.1
// status: 200
// body: nearest, 0 traps, 0 flags, 0.3333333333333333, gradual
// request: GET /flags HTTP/1.1
// status: 200
// body: nearest, 0 traps, 29 flags, 0.3333333333333333, gradual
// request: GET / HTTP/1.1
// status: 200
// body: nearest, 0 traps, 0 flags, 0.3333333333333333, gradual
// request: GET /pending HTTP/1.1
// status: 200
// body: pending
// request: GET / HTTP/1.1
// status: 200
// body: nearest, 0 traps, 0 flags, 0.3333333333333333, gradual
// request: GET /flushing HTTP/1.1
// status: 200
// body: nearest, 0 traps, 0 flags, 0.3333333333333333, flushed
// request: GET / HTTP/1.1
// status: 200
// body: nearest, 0 traps, 0 flags, 0.3333333333333333, gradual

#include <kiln.h>

#include <cfenv>
#include <charconv>
#include <limits>
#include <xmmintrin.h>

// An inexact result is none of what is counted: every division has one.
constexpr int COUNTED = FE_ALL_EXCEPT & ~FE_INEXACT;

// What an initialiser sets is gone before the first request.
static const int set_early = std::fesetround(FE_TOWARDZERO);

static std::string seen() {
    const int flags = std::fetestexcept(COUNTED);
    const int traps = fegetexcept();
    const int mode = std::fegetround();
    volatile double one = 1, three = 3;
    const double third = one / three;
    volatile double smallest = std::numeric_limits<double>::min(), half = 0.5;
    fedisableexcept(FE_ALL_EXCEPT);
    const bool gradual = smallest * half != 0;
    std::fesetround(FE_TONEAREST);
    char digits[32];
    const auto written = std::to_chars(digits, digits + sizeof digits, third);
    return std::string(mode == FE_TONEAREST ? "nearest" : mode == FE_UPWARD ? "upward" : "another mode") + ", " +
           std::to_string(traps) + " traps, " + std::to_string(flags) + " flags, " +
           std::string(digits, written.ptr) + (gradual ? ", gradual" : ", flushed");
}

kiln::Action on_request(kiln::Request& request) {
    const auto path = request.path();
    if (path == "/upward" || path == "/throwing") std::fesetround(FE_UPWARD);
    if (path == "/throwing") throw set_early;
    if (path == "/traps") feenableexcept(COUNTED);
    if (path == "/flags") std::feraiseexcept(COUNTED);
    if (path == "/flushing") _MM_SET_FLUSH_ZERO_MODE(_MM_FLUSH_ZERO_ON);
    if (path == "/pending") {
        // The x87 keeps what happened, and would trap at the next instruction that waits for it.
        std::feraiseexcept(FE_OVERFLOW);
        feenableexcept(FE_OVERFLOW);
        return kiln::reply(200, "pending");
    }
    return kiln::reply(200, seen());
}
