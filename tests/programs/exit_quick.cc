// Does quick_exit run what at_quick_exit registered and nothing else?
// exit: 4

#include <cstdio>
#include <cstdlib>

struct Loud {
    ~Loud() { std::puts("wrong: a destructor ran"); }
} global;

int main() {
    std::atexit([] { std::puts("wrong: atexit ran"); });
    std::at_quick_exit([] {
        std::puts("second");
        std::fflush(stdout);
    });
    std::at_quick_exit([] { std::puts("first"); });
    std::quick_exit(4);
}
