// Do setjmp and longjmp work within one call of a hook, time and again, and through other frames?
// request: GET / HTTP/1.1
// status: 200
// body: 1 came back with 7, 2 with 3, 3 with 1
// request: GET / HTTP/1.1
// status: 200
// body: 1 came back with 7, 2 with 3, 3 with 1
// request: GET / HTTP/1.1
// status: 200
// body: 1 came back with 7, 2 with 3, 3 with 1

#include <kiln.h>

#include <csetjmp>
#include <setjmp.h>

static jmp_buf place;
static sigjmp_buf other;

[[gnu::noinline]] static void deeper(int depth, int value) {
    volatile char room[256] = {};
    room[depth] = 1;
    if (depth == 0) std::longjmp(place, value);
    deeper(depth - 1, value);
    room[0] = room[depth];
}

[[gnu::noinline]] static void leave(int value) { siglongjmp(other, value); }

kiln::Action on_request(kiln::Request&) {
    volatile int first = 0, second = 0, third = 0;
    if (const int value = setjmp(place))
        first = value;
    else
        deeper(20, 7);
    if (const int value = sigsetjmp(other, 0))
        second = value;
    else
        leave(3);
    // With the mask of signals, and zero, which comes back as one.
    if (const int value = sigsetjmp(other, 1))
        third = value;
    else
        leave(0);
    return kiln::reply(200, "1 came back with " + std::to_string(first) + ", 2 with " + std::to_string(second) +
                                ", 3 with " + std::to_string(third));
}
