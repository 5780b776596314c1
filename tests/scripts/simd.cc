// Can a hook use vector instructions, choose by the machine's features and compute with __int128 and floats?
// request: GET / HTTP/1.1
// status: 200
// body: 2016 2016 2016 1 0x1.8p+1

#include <kiln.h>

#include <atomic>
#include <cmath>
#include <cstdio>
#include <immintrin.h>

__attribute__((target("avx2"))) static int sum_avx2(const int* numbers) {
    __m256i total = _mm256_setzero_si256();
    for (int i = 0; i < 64; i += 8)
        total = _mm256_add_epi32(total, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(numbers + i)));
    alignas(32) int parts[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(parts), total);
    int sum = 0;
    for (int part : parts) sum += part;
    return sum;
}
__attribute__((target_clones("avx2", "default"))) int sum_clones(const int* numbers) {
    int sum = 0;
    for (int i = 0; i < 64; ++i) sum += numbers[i];
    return sum;
}

struct alignas(16) Pair {
    long a, b;
};
static std::atomic<Pair> pair{Pair{1, 2}};

kiln::Action on_request(kiln::Request&) {
    int numbers[64];
    for (int i = 0; i < 64; ++i) numbers[i] = i;
    int plain = 0;
    for (int number : numbers) plain += number;
    int wide = __builtin_cpu_supports("avx2") ? sum_avx2(numbers) : plain;
    Pair seen = pair.load();
    bool exchanged = pair.compare_exchange_strong(seen, Pair{seen.a + 1, seen.b + 1});
    char text[100];
    std::snprintf(text, sizeof text, "%d %d %d %d %a", plain, wide, sum_clones(numbers), exchanged, std::fma(1.0, 2.0, 1.0));
    return kiln::reply(200, text);
}
