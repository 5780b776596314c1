// Does a failed assert() name file, line and condition, and end with SIGABRT?
// signal: SIGABRT
// stderr: assertion.cc:10: int main(int, char **): Assertion `count == 2 && "two arguments"' failed.

#include <cassert>
#include <cstdio>

int main(int count, char**) {
    static_assert(sizeof(count) == 4);
    assert(count == 2 && "two arguments");
    std::puts("never");
}
