// Do <cmath>, its special functions, <complex>, long double and the rounding modes give the same bits?

#include <cfenv>
#include <cmath>
#include <complex>
#include <cstdio>
#include <limits>
#include <numbers>
#include <numeric>
#include <bit>

// Kept from the optimiser, so that the library is called.
template <class T>
[[gnu::noinline]] T hide(T value) {
    asm volatile("" : "+m"(value));
    return value;
}

int main() {
    for (double x : {0.1, 0.5, 1.0, 2.75}) {
        double y = hide(x);
        std::printf("%a %a %a %a %a %a\n", std::sin(y), std::exp(y), std::log(y), std::pow(y, 1.7),
                    std::tgamma(y), std::erf(y));
        std::printf("%a %a %a %a %a\n", std::cbrt(y), std::hypot(y, 2), std::atan2(y, -1),
                    std::remainder(y, 0.3), std::fma(y, y, -y));
        std::printf("%.12g %.12g %.12g %.12g %.12g\n", std::cyl_bessel_j(1, y), std::riemann_zeta(y + 1.5),
                    std::legendre(3, y / 3), std::beta(y, 2), std::expint(y));
        std::printf("%.12g %.12g %.12g\n", std::comp_ellint_1(y / 3), std::hermite(4, y), std::laguerre(2, y));
    }
    long double third = hide(1.0L) / 3;
    std::printf("%La %.21Lg %La %La %La\n", third, third, std::sqrt(hide(2.0L)), std::sin(third),
                std::pow(third, hide(2.5L)));
    std::printf("%lld %lld %Lg\n", std::llround(hide(2.5L)), static_cast<long long>(hide(-1e18L)),
                static_cast<long double>(hide(~0ull)));
    float f = hide(16777216.0f);
    std::printf("%a %a %d\n", static_cast<double>(f + 1.0f), static_cast<double>(std::nextafter(f, 1e30f)),
                std::ilogb(f));
    std::printf("%d %d %d %d\n", std::isnan(hide(std::nan(""))), std::isinf(hide(1.0) / hide(0.0)),
                std::signbit(hide(-0.0)), std::fpclassify(hide(5e-324)) == FP_SUBNORMAL);

    std::complex<double> z(hide(1.0), hide(-2.0)), w(hide(0.5), hide(3.0));
    auto show = [](std::complex<double> c) { std::printf("%.14g%+.14gi ", c.real(), c.imag()); };
    show(z * w), show(z / w), show(std::exp(z)), show(std::pow(z, w)), show(std::sqrt(-z));
    std::complex<long double> lz(hide(1.0L), hide(2.0L));
    lz = lz * lz / std::complex<long double>(hide(3.0L), 1);
    std::printf("%.15Lg %.15Lg\n", lz.real(), lz.imag());
    std::complex<float> fz(hide(1.0f), hide(2.0f));
    fz = fz * fz / std::complex<float>(hide(3.0f), 1);
    std::printf("%.7g %.7g\n", static_cast<double>(fz.real()), static_cast<double>(fz.imag()));

    for (int mode : {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
        std::fesetround(mode);
        volatile double ten = 10, three = 3;
        volatile double quotient = ten / three;
        std::printf("%a %.0f\n", quotient, std::nearbyint(hide(2.5)));
    }
    std::fesetround(FE_TONEAREST);
    std::feclearexcept(FE_ALL_EXCEPT);
    volatile double zero = 0, infinite = 1 / zero;
    (void)infinite;
    std::printf("%d %d\n", std::fetestexcept(FE_DIVBYZERO) != 0, std::fetestexcept(FE_OVERFLOW) != 0);
    double root = std::sqrt(hide(-1.0));
    std::printf("%d %d\n", root != root, errno == EDOM);
    std::printf("%.17g %u %d %d %g\n", std::numbers::pi, std::rotl(0x80000001u, 4), std::popcount(255u),
                std::gcd(84, 36), std::lerp(1.0, 3.0, hide(0.25)));
    std::printf("%g %g\n", std::numeric_limits<double>::epsilon(),
                static_cast<double>(std::numeric_limits<float>::denorm_min()));
    // Denormal numbers stay what they are: nobody has switched them off.
    std::printf("%a\n", hide(1e-310) * hide(0.5));
}
