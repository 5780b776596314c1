// Is a bad access seen by the shell as SIGSEGV?
// signal: SIGSEGV

#include <cstdio>

int main() {
    std::puts("flushed");
    std::fflush(stdout);
    volatile int* nowhere = reinterpret_cast<int*>(8);
    *nowhere = 1;
}
