// Do setjmp and longjmp, computed goto, inline assembly and builtins about frames work?

#include <csetjmp>
#include <cstdint>
#include <cstdio>

static jmp_buf place;

[[gnu::noinline]] void jump(int depth) {
    if (depth == 0) std::longjmp(place, 42);
    jump(depth - 1);
    std::puts("never");
}

// A little interpreter with threaded code: push n, add, multiply, print, end.
static void interpret(const int* code) {
    static const void* const operations[] = {&&push, &&add, &&multiply, &&print, &&end};
    int stack[16], *top = stack;
    goto* operations[*code++];
push:
    *top++ = *code++;
    goto* operations[*code++];
add:
    --top, top[-1] += *top;
    goto* operations[*code++];
multiply:
    --top, top[-1] *= *top;
    goto* operations[*code++];
print:
    std::printf("%d\n", top[-1]);
    goto* operations[*code++];
end:
    return;
}

[[gnu::noinline]] bool called_from(void* low, void* high) {
    void* back = __builtin_return_address(0);
    return low < back && back < high;
}

asm(R"(
    .text
    .globl in_assembly
    .type in_assembly, @function
in_assembly:
    leaq 7(%rdi,%rsi,4), %rax
    ret
    .size in_assembly, .-in_assembly
)");
extern "C" long in_assembly(long a, long b);

int main() {
    volatile int rounds = 0;
    int value = setjmp(place);
    if (value == 0 || rounds < 3) {
        rounds = rounds + 1;
        jump(10);
    }
    std::printf("%d %d\n", value, rounds);
    const int code[] = {0, 6, 0, 7, 2, 3, 0, 8, 1, 3, 4};
    interpret(code);

    std::uint64_t low = 0, high = 0;
    asm("mulq %3" : "=a"(low), "=d"(high) : "a"(~0ull), "r"(16ull) : "cc");
    unsigned a = 0, b = 0, c = 0, d = 0;
    asm("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0), "c"(0));
    bool carry = false;
    asm("addb %1, %0" : "+r"(*reinterpret_cast<unsigned char*>(&a)), "=@ccc"(carry) : "1"(carry));
    std::printf("%lx %lx %d %ld\n", static_cast<unsigned long>(low), static_cast<unsigned long>(high), b != 0,
                in_assembly(3, 5));
    char text[] = "assembly", copy[sizeof text];
    const char* from = text;
    char* to = copy;
    std::size_t count = sizeof text;
    asm volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
    std::puts(copy);
    asm goto("jmp %l0" : : : : over);
    std::puts("never");
over:
    auto* self = reinterpret_cast<char*>(&main);
    std::printf("%d %d\n", called_from(self, self + 4096), __builtin_frame_address(0) != nullptr);
}
