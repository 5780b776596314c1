// Can a program walk its own stack, and leave a thread by pthread_exit with destructors run?

#include <cstdio>
#include <pthread.h>
#include <unwind.h>

struct Loud {
    const char* name;
    ~Loud() { std::printf("~%s\n", name); }
};

static _Unwind_Reason_Code count_frame(_Unwind_Context* context, void* count) {
    if (_Unwind_GetIP(context) == 0) return _URC_END_OF_STACK;
    ++*static_cast<int*>(count);
    return _URC_NO_REASON;
}

[[gnu::noinline]] int frames(int depth) {
    int count = 0;
    if (depth == 0) {
        _Unwind_Backtrace(count_frame, &count);
        return count;
    }
    count = frames(depth - 1);
    asm volatile("" : "+r"(count));
    return count;
}

[[gnu::noinline]] void leave(int depth) {
    Loud loud{depth == 0 ? "innermost" : "frame"};
    if (depth == 0) pthread_exit(nullptr);
    leave(depth - 1);
}

int main() {
    std::printf("%d\n", frames(30) - frames(10));
    pthread_t thread;
    pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
            leave(3);
            return nullptr;
        },
        nullptr);
    pthread_join(thread, nullptr);
    std::puts("joined");
}
