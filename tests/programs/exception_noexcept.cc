// Does an exception that meets noexcept call the handler that the program has set?
// exit: 9

#include <cstdio>
#include <cstdlib>
#include <exception>

struct Guard {
    ~Guard() { std::puts("unwound"); }
};

[[gnu::noinline]] void inner() { throw 5; }

[[gnu::noinline]] void outer() noexcept {
    inner();
}

int main() {
    std::set_terminate([] {
        try {
            std::rethrow_exception(std::current_exception());
        } catch (int value) {
            std::printf("terminate with %d\n", value);
        }
        std::fflush(stdout);
        std::_Exit(9);
    });
    try {
        outer();
    } catch (...) {
        std::puts("never");
    }
}
