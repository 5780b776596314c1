//! The arguments of cc1, frozen at build time: the precompiled header is made with them, and scripts
//! are compiled with them.
//!
//! Shared with the build script. A precompiled header refuses other options than its own; here it is
//! loaded unvalidated, so that these are the same is what makes it right.

/// What is being compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A script: no guards around function-local statics (an abandoned one would poison the next
    /// caller, and a worker has one thread), and the precompiled header of `kiln.h`.
    Script,
    /// A program with `main`, which may have threads.
    Program,
}

/// Where `kiln.h` is for a script.
pub(crate) const KILN_INCLUDE: &str = "/kiln/include";

/// Warnings for scripts: what clang++ -Wall -Wextra says, less what is often meant. A hook need not
/// use its request, and a bound that is an `int` is no mistake. The end of a function that should
/// return something is undefined, so that it is an error.
const SCRIPT_WARNINGS: [&str; 6] = [
    "-Wall",
    "-Wextra",
    "-Wno-unused-parameter",
    "-Wno-missing-field-initializers",
    "-Wno-sign-compare",
    "-Werror=return-type",
];

/// Most errors that Clang reports for one file.
const ERRORS_MAX: u32 = 20;

/// Arguments but for the input, its language and the action. `search` are the folders of the
/// standard headers, `resource` is Clang's resource folder.
pub(crate) fn common(unit: Unit, search: &[&str], resource: &str) -> Vec<String> {
    let fixed = "-triple x86_64-pc-linux-gnu -disable-free -disable-llvm-verifier \
        -discard-value-names -mrelocation-model pic -pic-level 2 -mframe-pointer=all -fmath-errno \
        -ffp-contract=on -fno-rounding-math -mconstructor-aliases -funwind-tables=2 \
        -target-cpu x86-64 -tune-cpu generic -dwarf-version=5 -debugger-tuning=gdb \
        -O2 -disable-llvm-passes -std=c++20 -fdeprecated-macro \
        -fgnuc-version=4.2.1 -fskip-odr-check-in-gmf -fcxx-exceptions -fexceptions -femulated-tls \
        -vectorize-loops -vectorize-slp -ftemplate-depth=900 -fconstexpr-steps=4194304 \
        -fconstexpr-depth=512 -fbracket-depth 256 -nostdsysteminc";
    let mut arguments: Vec<String> = fixed.split_whitespace().map(str::to_owned).collect();
    // An index of modules would be looked for in the working folder.
    arguments.push("-fno-modules-global-index".into());
    arguments.extend(["-ferror-limit".into(), ERRORS_MAX.to_string()]);
    arguments.extend(["-resource-dir".into(), resource.into()]);
    for folder in search {
        // The C library's headers are `extern "C"` by themselves; this is what Clang's driver does.
        let externc = !folder.contains("c++") && !folder.starts_with(resource);
        let flag = if externc { "-internal-externc-isystem" } else { "-internal-isystem" };
        arguments.extend([flag.into(), (*folder).into()]);
    }
    if unit == Unit::Script {
        arguments.extend(["-internal-isystem".into(), KILN_INCLUDE.into()]);
        arguments.push("-fno-threadsafe-statics".into());
        arguments.extend(SCRIPT_WARNINGS.map(String::from));
        // Also when the precompiled header is made, which hands its state of the warnings down.
        arguments.push("-Werror=date-time".into());
    }
    arguments
}
