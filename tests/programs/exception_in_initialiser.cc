// Does an exception that leaves a static initialiser end the program before main?
// signal: SIGABRT
// stderr: terminate called after throwing an instance of 'std::length_error'

#include <cstdio>
#include <stdexcept>

static int fails() {
    std::puts("initialising");
    std::fflush(stdout);
    throw std::length_error("too early");
}
static int value = fails();

int main() { std::printf("never %d\n", value); }
