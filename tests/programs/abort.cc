// Does abort() reach the shell as SIGABRT, running no destructor and keeping what was flushed?
// signal: SIGABRT

#include <cstdio>
#include <cstdlib>

struct Loud {
    ~Loud() { std::puts("wrong: a destructor ran"); }
} global;

int main() {
    std::puts("flushed");
    std::fflush(stdout);
    std::abort();
}
