//! Scripts see the processor that the precompiled header is made for, and run on the one that is here.

use std::fs;

use crate::case::some_cpu;
use crate::image::{image_of, told};

/// A product and a sum, which must not be fused; `std::fma`, which must be; and a loop over floats.
const SCRIPT: &str = "#include <kiln.h>
#include <cmath>
#if defined(__AVX__) || defined(__AVX2__) || defined(__FMA__)
#error the front end compiles for another processor than that of the precompiled header
#endif
[[gnu::noinline]] static double two_roundings(double a, double b, double c) { return a * b + c; }
[[gnu::noinline]] static double one_rounding(double a, double b, double c) { return std::fma(a, b, c); }
[[gnu::noinline]] static void many(float* to, const float* from, long count) {
    for (long i = 0; i < count; ++i) to[i] += from[i] * 3;
}
kiln::Action on_request(kiln::Request& request) {
    float numbers[256] = {}, others[256] = {};
    double one = 1.0 * request.path().size();
    many(numbers, others, 255);
    return kiln::reply(200, std::to_string(two_roundings(one, one, numbers[7]) + one_rounding(one, one, one)));
}
";

#[test]
fn code_is_for_the_processor_that_is_here_and_rounds_as_clang_does() {
    let flags = fs::read_to_string("/proc/cpuinfo").expect("/proc is mounted");
    let has = |flag: &str| flags.split_whitespace().any(|word| word == flag);
    let _cpu = some_cpu();
    let (_folder, image) = image_of(SCRIPT);
    let code = told("objdump", &["-d", "-C", "--no-show-raw-insn"], &image);
    let function = |name: &str| {
        let mut parts = code.split("\n\n");
        let is_it = |part: &&str| {
            let head = part.lines().next().unwrap_or_default();
            head.ends_with(">:") && head.contains(&format!(" <{name}("))
        };
        parts.find(is_it).unwrap_or_else(|| panic!("{name}:\n{code}"))
    };
    assert!(!function("two_roundings").contains("vfm"), "{}", function("two_roundings"));
    assert_eq!(
        function("one_rounding").contains("vfm"),
        has("fma"),
        "{}",
        function("one_rounding")
    );
    assert_eq!(function("many").contains("%ymm"), has("avx2"), "{}", function("many"));
}
