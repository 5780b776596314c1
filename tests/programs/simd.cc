// Do vector intrinsics up to AVX2, vector extensions and functions for several targets compute right?

#include <cstdint>
#include <cstdio>
#include <immintrin.h>

alignas(32) static int numbers[64];

__attribute__((target("avx2"))) int sum_avx2(const int* from, int count) {
    __m256i total = _mm256_setzero_si256();
    for (int i = 0; i < count; i += 8)
        total = _mm256_add_epi32(total, _mm256_load_si256(reinterpret_cast<const __m256i*>(from + i)));
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(total), _mm256_extracti128_si256(total, 1));
    half = _mm_hadd_epi32(half, half);
    half = _mm_hadd_epi32(half, half);
    return _mm_cvtsi128_si32(half);
}

int sum_sse2(const int* from, int count) {
    __m128i total = _mm_setzero_si128();
    for (int i = 0; i < count; i += 4)
        total = _mm_add_epi32(total, _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
    alignas(16) int parts[4];
    _mm_store_si128(reinterpret_cast<__m128i*>(parts), total);
    return parts[0] + parts[1] + parts[2] + parts[3];
}

__attribute__((target("sse4.2"))) std::uint32_t crc(const char* text) {
    std::uint32_t value = ~0u;
    for (; *text; ++text) value = _mm_crc32_u8(value, static_cast<unsigned char>(*text));
    return ~value;
}

__attribute__((target("avx2,fma"))) double fused(double a, double b, double c) {
    return _mm_cvtsd_f64(_mm_fmadd_sd(_mm_set_sd(a), _mm_set_sd(b), _mm_set_sd(c)));
}

__attribute__((target("bmi2,popcnt"))) std::uint64_t bits(std::uint64_t value) {
    return _pext_u64(value, 0xf0f0f0f0f0f0f0f0) + static_cast<std::uint64_t>(__builtin_popcountll(value));
}

__attribute__((target("ssse3"))) void reverse(char* text) {
    __m128i order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    auto* place = reinterpret_cast<__m128i*>(text);
    _mm_storeu_si128(place, _mm_shuffle_epi8(_mm_loadu_si128(place), order));
}

// One function made several times; the loader or the first call picks by the machine.
__attribute__((target_clones("avx2", "sse4.2", "default"))) long dot(const int* a, const int* b, int count) {
    long sum = 0;
    for (int i = 0; i < count; ++i) sum += static_cast<long>(a[i]) * b[i];
    return sum;
}
__attribute__((target("default"))) const char* version() { return "some version"; }
__attribute__((target("sse2"))) const char* version() { return "some version"; }

typedef float v8 __attribute__((vector_size(32)));
typedef int i8 __attribute__((vector_size(32)));
[[gnu::noinline]] v8 mix(v8 a, v8 b) {
    i8 mask = a > b;
    return mask ? a * b : a + b;
}

int main() {
    for (int i = 0; i < 64; ++i) numbers[i] = i * i - 100;
    int plain = 0;
    for (int number : numbers) plain += number;
    bool avx2 = __builtin_cpu_supports("avx2");
    std::printf("%d\n", sum_sse2(numbers, 64) == plain);
    std::printf("%d\n", avx2 ? sum_avx2(numbers, 64) == plain : 1);
    std::printf("%d\n", __builtin_cpu_supports("sse4.2") ? crc("123456789") == 0xe3069283u : 1);
    std::printf("%d\n", __builtin_cpu_supports("fma") ? fused(2, 3, 4) == 10 : 1);
    std::printf("%d\n", __builtin_cpu_supports("bmi2") ? bits(0xf0) == 19 : 1);
    char text[17] = "0123456789abcdef";
    if (__builtin_cpu_supports("ssse3")) reverse(text);
    std::puts(text);
    std::printf("%ld %s\n", dot(numbers, numbers, 64), version());
    v8 a = {1, 2, 3, 4, 5, 6, 7, 8}, b = {8, 7, 6, 5, 4, 3, 2, 1};
    v8 mixed = mix(a, b);
    for (int i = 0; i < 8; ++i) std::printf("%g ", static_cast<double>(mixed[i]));
    __m128d root = _mm_sqrt_pd(_mm_set_pd(2, 9));
    std::printf("%g\n", _mm_cvtsd_f64(root));
}
