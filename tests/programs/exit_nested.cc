// Does exit() from deep inside destroy statics and this thread's thread-locals, but no automatic object?
// exit: 77

#include <cstdio>
#include <cstdlib>

struct Loud {
    const char* name;
    ~Loud() { std::printf("~%s\n", name); }
};

Loud global{"global"};
thread_local Loud local{"thread_local"};

[[gnu::noinline]] int go(int depth) {
    Loud automatic{"automatic"};
    static Loud function_local{"function local"};
    if (depth == 0) std::exit(77);
    return go(depth - 1) + 1;
}

int main() {
    std::printf("%s\n", local.name);
    std::atexit([] { std::puts("atexit"); });
    return go(20);
}
