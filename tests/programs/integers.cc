// Is integer arithmetic right at every width: 128 bits, overflow checks, bit fields, shifts, _BitInt?

#include <climits>
#include <cstdint>
#include <cstdio>
#include <string>

using u128 = unsigned __int128;
using i128 = __int128;

static std::string text(u128 value) {
    std::string digits;
    do {
        digits.insert(digits.begin(), static_cast<char>('0' + static_cast<int>(value % 10)));
        value /= 10;
    } while (value != 0);
    return digits;
}

template <class T>
[[gnu::noinline]] T hide(T value) {
    asm volatile("" : "+m"(value));
    return value;
}

struct Fields {
    unsigned a : 3;
    int b : 5;
    unsigned long c : 40;
    bool d : 1;
    int : 0;
    short e : 9;
};

int main() {
    u128 big = ~static_cast<u128>(0);
    std::printf("%s\n%s\n", text(hide(big)).c_str(), text(hide(big) / hide<u128>(1000000007)).c_str());
    i128 negative = -static_cast<i128>(hide(big >> 1));
    std::printf("%s %ld\n", text(static_cast<u128>(-(negative / 12345678901234567))).c_str(),
                static_cast<long>(negative % 1000003));
    std::printf("%.17g %.17g %s\n", static_cast<double>(hide(big)), static_cast<double>(negative),
                text(static_cast<u128>(hide(1e30))).c_str());
    std::printf("%Lg %d\n", static_cast<long double>(negative), static_cast<int>(hide(negative) >> 120));
    u128 product = 1;
    for (u128 i = 2; i <= 34; ++i) product *= i;
    std::printf("34! mod 2^128 = %s, %d\n", text(product).c_str(), __builtin_popcountll(static_cast<unsigned long>(product >> 64)));
    i128 wide_result = 0;
    bool overflow = __builtin_mul_overflow(hide(static_cast<i128>(1) << 100), hide<i128>(1 << 27), &wide_result);
    bool fits = __builtin_mul_overflow(hide(static_cast<i128>(1) << 100), hide<i128>(1 << 26), &wide_result);
    std::printf("%d %d\n", overflow, fits);

    int result = 0;
    std::printf("%d %d %d\n", __builtin_add_overflow(hide(INT_MAX), 1, &result), result,
                __builtin_sub_overflow(hide(5), 7, &result));
    unsigned char small = 0;
    std::printf("%d %d\n", __builtin_mul_overflow(hide(20), 20, &small), small);
    Fields fields{};
    fields.a = 9, fields.b = -7, fields.c = 0xffffffffffff, fields.d = true, fields.e = -200;
    std::printf("%u %d %lx %d %d %zu\n", fields.a, fields.b, static_cast<unsigned long>(fields.c), fields.d, fields.e,
                sizeof(Fields));
    std::printf("%d %u %ld\n", hide(-17) / 5, hide(0xfffffff0u) >> 3, hide(-1L) >> 63);
    std::printf("%d %d %d\n", hide(-17) % 5, static_cast<signed char>(hide(200)), static_cast<short>(hide(70000)));
    std::uint64_t random = 88172645463325252ull, checks = 0;
    for (int i = 0; i < 100000; ++i) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        std::uint64_t divisor = random >> (random % 61) | 1;
        u128 dividend = (static_cast<u128>(random) << 64) | (random * 0x9e3779b97f4a7c15u);
        u128 quotient = dividend / divisor, rest = dividend % divisor;
        checks += quotient * divisor + rest == dividend && rest < divisor;
    }
    std::printf("%lu\n", static_cast<unsigned long>(checks));
    unsigned _BitInt(40) odd = 0xffffffffffu;
    odd += 2;
    std::printf("%llu\n", static_cast<unsigned long long>(odd));
    std::printf("%d %d %d %x\n", __builtin_clz(hide(1u)), __builtin_ctzll(hide(1ull << 40)), __builtin_parity(hide(7u)),
                __builtin_bswap32(hide(0x12345678u)));
    int table[3][4];
    for (int i = 0; i < 12; ++i) (&table[0][0])[i] = i * i;
    int (*row)[4] = table + 1;
    std::printf("%d %td\n", (*row)[3], &table[2][1] - &table[0][0]);
    switch (hide(123456789012345LL)) {
        case 123456789012345LL: std::puts("wide case"); break;
        case 1 ... 100: std::puts("range"); break;
        default: std::puts("default");
    }
}
