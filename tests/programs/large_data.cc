// Are big constant tables, 200 MB of zeroed memory and pointers between data where they should be?

#include <array>
#include <cstdint>
#include <cstdio>

constexpr auto make_table() {
    std::array<std::uint32_t, 65536> table{};
    std::uint32_t state = 1;
    for (auto& entry : table) entry = state = state * 1664525u + 1013904223u;
    return table;
}
constexpr auto table = make_table();

static char zeroes[200 << 20];
long more[1 << 20];
char* end_of_zeroes = zeroes + sizeof zeroes - 1;
const char* const words[] = {"alpha", "beta", "gamma", "delta"};
int (*const functions[])(const char*, ...) = {std::printf, std::printf};
struct Link {
    const Link* next;
    int value;
};
extern const Link links[];
const Link links[] = {{&links[2], 1}, {nullptr, 2}, {&links[1], 3}};
alignas(1 << 16) static char aligned[1 << 16] = "aligned to 64 KiB";
double initialised[4096] = {1.5, 2.5};

int main() {
    std::uint64_t sum = 0;
    for (auto entry : table) sum += entry;
    std::printf("%lu\n", static_cast<unsigned long>(sum));
    long set = 0;
    for (std::size_t i = 0; i < sizeof zeroes; i += 4096) set += zeroes[i];
    for (std::size_t i = 0; i < sizeof zeroes; i += 65536) zeroes[i] = 1;
    *end_of_zeroes = 5;
    for (std::size_t i = 0; i < sizeof zeroes; i += 4096) set += zeroes[i];
    std::printf("%ld %d %ld\n", set, zeroes[sizeof zeroes - 1], more[12345]);
    for (const Link* link = links; link; link = link->next) std::printf("%d ", link->value);
    functions[1]("%s %s\n", words[3], aligned);
    std::printf("%d %g\n", reinterpret_cast<std::uintptr_t>(aligned) % (1 << 16) == 0,
                initialised[0] + initialised[1]);
}
