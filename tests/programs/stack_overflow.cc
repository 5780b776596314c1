// Is endless recursion seen by the shell as SIGSEGV?
// signal: SIGSEGV

#include <cstdio>

[[gnu::noinline]] int forever(volatile int* place) {
    volatile int here[64] = {*place};
    return forever(here) + here[1];
}

int main() {
    std::puts("down");
    std::fflush(stdout);
    volatile int start = 0;
    return forever(&start);
}
