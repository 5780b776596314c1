// Does a program get the stack that the system gives: 100,000 frames, and threads with their own?

#include <cstdio>
#include <pthread.h>

[[gnu::noinline]] long down(long depth) {
    volatile long here = depth;
    if (depth == 0) return 0;
    return down(depth - 1) + (here == depth);
}

int main() {
    std::printf("%ld\n", down(100000));
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 << 20);
    pthread_t thread;
    pthread_create(
        &thread, &attributes,
        [](void*) -> void* { return reinterpret_cast<void*>(down(3000000)); }, nullptr);
    void* result = nullptr;
    pthread_join(thread, &result);
    std::printf("%ld\n", reinterpret_cast<long>(result));
}
