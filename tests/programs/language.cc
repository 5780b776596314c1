// Are the smaller features of C++20, and the extensions that programs count on, what they should be?

#include <algorithm>
#include <array>
#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <source_location>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

using namespace std::literals;

// Literals of one's own: cooked, raw, and a template over their characters.
constexpr unsigned long long operator""_kib(unsigned long long count) { return count << 10; }
constexpr long double operator""_half(long double value) { return value / 2; }
std::string operator""_twice(const char* text, std::size_t size) {
    return std::string(text, size) + std::string(text, size);
}
template <char... digits>
constexpr int operator""_digits() {
    return sizeof...(digits);
}
constexpr int operator""_raw(const char* text) { return static_cast<int>(std::string_view(text).size()); }

// A class as a template's argument, and a string.
template <std::size_t size>
struct Fixed {
    char text[size];
    constexpr Fixed(const char (&from)[size]) { std::copy_n(from, size, text); }
    auto operator<=>(const Fixed&) const = default;
};
template <Fixed name>
constexpr std::string_view name_of() {
    return name.text;
}
template <auto value>
constexpr auto twice = value + value;

struct Point {
    int x = 1, y = 2;
    struct {
        int z, w;
    } inner;
    friend auto operator<=>(const Point& a, const Point& b) {
        return std::tie(a.x, a.y) <=> std::tie(b.x, b.y);
    }
    bool operator==(const Point& other) const { return x == other.x && y == other.y; }
};
struct Version {
    int major, minor;
    std::string tag;
    auto operator<=>(const Version&) const = default;
};
struct Imprecise {
    double value;
    std::partial_ordering operator<=>(const Imprecise&) const = default;
};

struct Empty {};
struct Compact {
    [[no_unique_address]] Empty first;
    int value;
};
enum class Colour : std::uint8_t { red = 1, green, blue };
constexpr std::string_view shown(Colour colour) {
    switch (colour) {
        using enum Colour;
        case red: return "red";
        case green: return "green";
        case blue: return "blue";
    }
    return "none";
}

// Computed while compiling, with memory that is given back.
consteval int primes_below(int limit) {
    bool* composite = new bool[limit]{};
    int found = 0;
    for (int i = 2; i < limit; ++i) {
        if (composite[i]) continue;
        ++found;
        for (int k = 2 * i; k < limit; k += i) composite[k] = true;
    }
    delete[] composite;
    return found;
}
constexpr int either(int value) {
    if (std::is_constant_evaluated()) return value;
    return -value;
}
constinit thread_local int counted = either(5);

struct Node {
    virtual ~Node() = default;
    constexpr virtual int size() const { return 1; }
};
struct Leaf final : Node {
    constexpr int size() const override { return 2; }
};

// As in C: an array whose length is not in its type, a union of bits, fields of bits.
struct Message {
    std::uint16_t length;
    char text[];
};
union Bits {
    float number;
    std::uint32_t word;
};
struct Fields {
    unsigned low : 3 = 5, : 0, high : 7 = 100;
    signed sign : 1;
};
alignas(3 * 4096 - 4096) static char pages[8192];

static int interpret(const unsigned char* program) {
    static void* const labels[] = {&&increment, &&twice_it, &&back, &&stop};
    int value = 0, rounds = 0;
    const unsigned char* at = program;
    goto* labels[*at++];
increment:
    ++value;
    goto* labels[*at++];
twice_it:
    value *= 2;
    goto* labels[*at++];
back:
    if (++rounds < 3) at = program;
    goto* labels[*at++];
stop:
    return value;
}

static std::string where(std::source_location place = std::source_location::current()) {
    return std::string(place.function_name()) + ":" + std::to_string(place.line());
}

template <class... Parts>
constexpr auto folded(Parts... parts) {
    return (parts + ... + 0) * 1000 + static_cast<int>(sizeof...(parts));
}
template <class Container>
concept Sized = requires(const Container& it) {
    { it.size() } -> std::convertible_to<std::size_t>;
};
constexpr const char* kind(auto&&) { return "anything"; }
constexpr const char* kind(Sized auto&&) { return "sized"; }

int main() {
    std::printf("%llu %Lg %s %d %d\n", 4_kib, 3.0_half, "ab"_twice.c_str(), 12345_digits, 0x1f_raw);
    std::printf("%s %d\n", name_of<"a name">().data(), twice<21>);
    Point point{.y = 7, .inner = {.z = 3}};
    std::printf("%d %d %d %d\n", point.x, point.y, point.inner.z, point.inner.w);
    std::printf("%d %d %d\n", Point{} < point, Version{1, 2, "b"} > Version{1, 2, "a"},
                (Imprecise{0.0 / 1} <=> Imprecise{__builtin_nan("")}) == std::partial_ordering::unordered);
    std::printf("%zu %s %d %d %d\n", sizeof(Compact), shown(Colour::blue).data(), primes_below(1000),
                either(std::rand() >= 0 ? 4 : 5), counted);
    static_assert(Leaf{}.size() == 2 && std::bit_cast<std::uint32_t>(1.0f) == 0x3f800000);
    std::printf("%d %d %d %d\n", std::popcount(0xffu), std::countl_zero(1u), std::rotl(0x80000001u, 4),
                std::endian::native == std::endian::little);
    auto* message = static_cast<Message*>(std::malloc(sizeof(Message) + 6));
    std::strcpy(message->text, "tail!");
    message->length = 5;
    std::printf("%s %zu %u\n", message->text, sizeof(Message), message->length);
    std::free(message);
    Fields fields{.sign = -1};
    Bits bits{.number = -2.5f};
    std::printf("%u %u %d %08x %zu\n", fields.low, fields.high, fields.sign, bits.word, sizeof fields);
    std::printf("%d\n", reinterpret_cast<std::uintptr_t>(pages) % 8192 == 0);
    const unsigned char program[] = {0, 1, 0, 2, 1, 3};
    std::printf("%d %s\n", interpret(program), where().c_str());
    std::printf("%d %s %s\n", folded(1, 2, 3), kind(5), kind("text"s));

    // Lambdas: templates, packs, members that were moved in, recursion, no state.
    auto sum = []<class T, std::size_t n>(const std::array<T, n>& all, auto... more) {
        T total{};
        for (T one : all) total += one;
        return (total + ... + more);
    };
    auto keep = [text = "kept"s, count = 0]() mutable { return text + std::to_string(++count); };
    keep();
    auto other = keep;
    auto pack = [](auto... parts) {
        return [... parts = std::move(parts)] { return (std::string(parts) + ...); };
    };
    using Comparison = decltype([](int a, int b) { return a % 10 < b % 10; });
    std::map<int, const char*, Comparison> by_digit{{19, "nine"}, {21, "one"}, {30, "none"}};
    std::printf("%d %s %s %s %s\n", sum(std::array{1, 2, 3}, 4, 5), keep().c_str(), other().c_str(),
                pack("x", "y", "z")().c_str(), by_digit.begin()->second);

    for (auto table = std::map<std::string, int>{{"one", 1}, {"two", 2}}; auto& [word, number] : table)
        std::printf("%s=%d ", word.c_str(), number *= 10);
    auto [a, b, c] = std::tuple(1, 'c', "three"s);
    if (auto at = c.find("ee"); at != c.npos) [[likely]]
        std::printf("%d %c %zu\n", a, b, at);

    // Characters of every width; the escape is one character of three bytes, or one unit.
    const char8_t* narrow = u8"h\u00e9 \u20ac";
    std::printf("%zu %zu %zu %zu %d\n", std::u8string(narrow).size(), std::u16string(u"\U0001f600").size(),
                std::u32string(U"\U0001f600").size(), std::wstring(L"\u20ac").size(), u8"a"[0] == u8'a');

    // Extensions: half floats, vectors of any size, arrays of a length, expressions of statements.
    volatile _Float16 half = static_cast<_Float16>(0.1f);
    _Float16 thousand = half * static_cast<_Float16>(10000);
    int length = 3 + (std::rand() < 0);
    int variable[length];
    variable[2] = ({ int inside = 6; inside * 7; });
    std::printf("%.6f %.1f %d %d\n", static_cast<double>(half), static_cast<double>(thousand), variable[2],
                __builtin_choose_expr(1, 5, "no"));
    unsigned before = 0x12345678, after;
    asm("bswap %0" : "=r"(after) : "0"(before));
    std::printf("%x %d\n", after, not false and (1 bitor 2) == 3);
}
