// Do weak symbols, aliases, sections, used and hidden symbols, ifuncs and extern "C" link as usual?
// arguments: one two

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

extern "C" {
__attribute__((weak)) int not_defined_anywhere(int);
__attribute__((weak)) extern int no_such_variable;
__attribute__((weak)) int defined_weakly() { return 1; }
int original(int x) { return x + 1; }
int another_name(int) __attribute__((alias("original")));
int weak_name(int) __attribute__((weak, alias("original")));
extern int aliased_variable __attribute__((alias("the_variable")));
int the_variable = 12;

static int add_one(int x) { return x + 1; }
int (*choose())(int) { return add_one; }
int chosen(int) __attribute__((ifunc("choose")));

__attribute__((noinline)) int variadic(int count, ...) {
    va_list list, copy;
    va_start(list, count);
    va_copy(copy, list);
    int sum = 0;
    for (int i = 0; i < count; ++i) sum += i % 2 ? static_cast<int>(va_arg(list, double)) : va_arg(list, int);
    va_end(list);
    int again = va_arg(copy, int);
    va_end(copy);
    return sum * 100 + again;
}
}

struct Entry {
    const char* name;
    int value;
};
// A table that the linker gathers from wherever its parts stand.
#define ENTRY(name, value) \
    __attribute__((section("entries"), used, retain)) static const Entry entry_##name = {#name, value};
ENTRY(alpha, 1)
ENTRY(beta, 2)
ENTRY(gamma, 3)
extern "C" const Entry __start_entries[], __stop_entries[];

__attribute__((visibility("hidden"))) int hidden() { return 8; }
__attribute__((section(".text.special"), noinline)) int special(int x) { return x * 3; }
__attribute__((used)) static int unused_but_kept() { return 0; }
__attribute__((pure, cold)) static int cold_function(const char* text) { return static_cast<int>(std::strlen(text)); }

struct Large {
    int values[20];
};
__attribute__((noinline)) Large by_value(Large large, char c, double d) {
    large.values[19] += c + static_cast<int>(d);
    return large;
}
union Pun {
    double real;
    unsigned long bits;
};

int compare(const void* a, const void* b) {
    return std::strcmp(*static_cast<const char* const*>(a), *static_cast<const char* const*>(b));
}

extern char** environ;

int main(int count, char** arguments, char** environment) {
    std::printf("%d %d %d\n", not_defined_anywhere == nullptr, &no_such_variable == nullptr, defined_weakly());
    aliased_variable = 13;
    std::printf("%d %d %d %d\n", another_name(1), weak_name(2), the_variable, chosen(5));
    std::printf("%d\n", variadic(4, 1, 2.0, 3, 4.0));
    for (const Entry* entry = __start_entries; entry < __stop_entries; ++entry)
        std::printf("%s=%d ", entry->name, entry->value);
    Large large{};
    large.values[19] = 1;
    std::printf("%d %d %d %d\n", hidden(), special(4), by_value(large, 2, 3.5).values[19], cold_function("four"));
    Pun pun;
    pun.real = 1.0;
    std::printf("%lx\n", pun.bits);

    std::printf("%d %s %s %d\n", count, arguments[1], arguments[2], arguments[count] == nullptr);
    setenv("KILN_TEST", "set", 1);
    std::printf("%s %d %d\n", std::getenv("KILN_TEST"), environment != nullptr, environ != nullptr);
    const char* names[] = {"gamma", "alpha", "delta", "beta"};
    std::qsort(names, 4, sizeof *names, compare);
    const char* key = "delta";
    auto* found = static_cast<const char**>(std::bsearch(&key, names, 4, sizeof *names, compare));
    std::printf("%s %s %td\n", names[0], names[3], found - names);
    std::fprintf(stderr, "to stderr\n");
    std::fputs("to stdout\n", stdout);
}
