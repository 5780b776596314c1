// Does an exception that nobody catches end the program as it does everywhere, naming the type?
// signal: SIGABRT
// stderr: terminate called after throwing an instance of 'Unforeseen'
// stderr: what():  nobody waits for this

#include <cstdio>
#include <stdexcept>

struct Unforeseen : std::runtime_error {
    using std::runtime_error::runtime_error;
};

int main() {
    std::puts("before");
    std::fflush(stdout);
    throw Unforeseen("nobody waits for this");
}
