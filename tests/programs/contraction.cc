// Does a product and a sum have the digits of the processor that Clang compiles for, whatever the host is?

#include <cfenv>
#include <cmath>
#include <complex>
#include <cstdio>
#include <numeric>

#if defined(__AVX__) || defined(__FMA__)
#error the front end compiles for plain x86-64
#endif

typedef double Vector __attribute__((vector_size(32)));

[[gnu::noinline]] double plain(double a, double b, double c) { return a * b + c; }
[[gnu::noinline]] float narrow(float a, float b, float c) { return a * b - c; }
[[gnu::noinline]] Vector wide(Vector a, Vector b, Vector c) { return a * b + c; }
[[gnu::noinline]] double negated(double a, double b, double c) { return c - a * b; }
[[gnu::noinline]] double dot(const double* a, const double* b, int count) {
    double sum = 0;
    for (int i = 0; i < count; ++i) sum += a[i] * b[i];
    return sum;
}
[[gnu::noinline]] double horner(double x) { return ((x * x + 0.1) * x + 0.3) * x - 0.7; }
[[gnu::noinline]] double fused(double a, double b, double c) { return std::fma(a, b, c); }
__attribute__((noinline, target("fma"))) double asked(double a, double b, double c) { return a * b + c; }

#pragma STDC FENV_ACCESS ON
[[gnu::noinline]] double watched(double a, double b, double c) { return a * b + c; }
[[gnu::noinline]] float watched_narrow(float a, float b, float c) { return a * b + c; }

int main() {
    volatile double one = 1, small = std::ldexp(1, -30);
    double a = one + small, b = one - small, c = -one;
    std::printf("%a %a %a\n", plain(a, b, c), negated(a, b, -c), fused(a, b, c));
    std::printf("%a\n", narrow(1 + 0x1p-14f * one, 1 - 0x1p-14f * one, one));
    Vector all = wide(Vector{a, a, b, b}, Vector{b, a, b, a}, Vector{c, c, c, c});
    std::printf("%a %a %a %a\n", all[0], all[1], all[2], all[3]);
    double left[37], right[37];
    for (int i = 0; i < 37; ++i) left[i] = a / (i + 1), right[i] = b * i + small;
    std::printf("%a %a\n", dot(left, right, 37), std::inner_product(left, left + 37, right, 0.0));
    std::printf("%a %a\n", horner(a), horner(one / 3));
    std::complex<double> z(a, b);
    z = z * z + z / std::complex<double>(c, a);
    std::printf("%a %a\n", z.real(), z.imag());
    if (__builtin_cpu_supports("fma")) std::printf("%a\n", asked(a, b, c));
    for (int mode : {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
        std::fesetround(mode);
        std::feclearexcept(FE_ALL_EXCEPT);
        double seen = watched(a, b, c);
        std::printf("%a %a %d\n", seen, watched_narrow(a, b * one, c / 3), std::fetestexcept(FE_INEXACT) != 0);
    }
}
