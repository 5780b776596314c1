//! Scripts that harm their compiler: each costs one refused reload, which says what was wrong, and
//! the generation before serves on.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tests::{Kiln, until_true};

use crate::replying;

const HOOK: &str = "#include <kiln.h>
kiln::Action on_request(kiln::Request&) { return kiln::reply(200, \"bad\"); }
";

/// Something that no script may get to see, in a file beside the folder of scripts.
const SECRET: &str = "0xSECRET_OF_SOMEBODY_ELSE";

/// One script that is refused, and words of its refusal.
struct Case<'a> {
    script: String,
    refused: &'a [&'a str],
}

fn case<'a>(script: impl Into<String>, refused: &'a [&'a str]) -> Case<'a> {
    Case { script: script.into(), refused }
}

/// A script with a hook, and this before it.
fn before_hook<'a>(code: &str, refused: &'a [&'a str]) -> Case<'a> {
    case(format!("{code}\n{HOOK}"), refused)
}

/// A script whose hook has this in it.
fn in_hook<'a>(code: &str, refused: &'a [&'a str]) -> Case<'a> {
    let script = format!(
        "#include <kiln.h>
kiln::Action on_request(kiln::Request& request) {{
    (void)request;
    {code}
    return kiln::reply(200, \"bad\");
}}
"
    );
    case(script, refused)
}

/// A script with this before a hook that looks at the array `huge`, and lets others know where it is,
/// so that it is needed.
fn with_huge<'a>(code: &str, refused: &'a [&'a str]) -> Case<'a> {
    let hook = "#include <kiln.h>
kiln::Action on_request(kiln::Request& request) {
    auto* bytes = reinterpret_cast<const char*>(huge);
    static const char* volatile known;
    known = bytes;
    return kiln::reply(bytes[request.header_count()]);
}
";
    case(format!("{code}\n{hook}"), refused)
}

/// A Kiln with a folder of scripts, in which `10-first.cc` is fine, and a secret beside it.
fn start(config: &str) -> Kiln {
    let builder = Kiln::builder()
        .scripts(&[("10-first.cc", "#include <kiln.h>\n"), ("20-bad.cc", &replying("good"))])
        .workers(1)
        .config(config);
    fs::write(builder.folder().join("secret"), SECRET).expect("a file");
    builder.start()
}

/// Each script in turn is refused with its words and within `longest`, and nothing else happens.
#[track_caller]
fn check(kiln: &Kiln, longest: Duration, cases: &[Case<'_>]) {
    let workers = kiln.worker_pids();
    for Case { script, refused } in cases {
        let shown = &script[..script.floor_char_boundary(300)];
        kiln.write_script("20-bad.cc", script);
        let began = Instant::now();
        let reloaded = kiln.reload();
        assert_eq!(reloaded.code, Some(1), "{shown}\n{:#}", reloaded.json);
        let said = format!("{}{}", reloaded.expect_refused(), reloaded.json["reason"]);
        for part in *refused {
            assert!(said.contains(part), "expected {part:?} in:\n{said}\nof\n{shown}");
        }
        assert!(!said.contains(SECRET), "{said}");
        let took = began.elapsed();
        assert!(took < longest, "{took:?}, of {longest:?} at most:\n{said}\nof\n{shown}");
        kiln.get("/").expect(200, "good");
    }
    assert!(!kiln.log().contains(SECRET));
    assert_eq!(kiln.worker_pids(), workers);
    kiln.write_script("20-bad.cc", &replying("good"));
    kiln.reload().expect_taken();
}

/// Generous to a machine that is busy: what is wrong here runs for ever, or into a wall.
const SOON: Duration = Duration::from_secs(55);

#[test]
fn clang_counts_what_a_script_makes_it_do() {
    let kiln = start("");
    let nested = |count| format!("int x = {}1{};", "(".repeat(count), ")".repeat(count));
    check(
        &kiln,
        SOON,
        &[
            before_hook(
                "template <int N> struct A { static constexpr int v = A<N + 1>::v; };\nint x = A<0>::v;",
                &["20-bad.cc:1:", "recursive template instantiation exceeded maximum depth of 900"],
            ),
            before_hook(
                "constexpr int f() { for (;;) {} return 1; }\nstatic_assert(f());",
                &["20-bad.cc:2:15: error", "constexpr evaluation hit maximum step limit"],
            ),
            before_hook(
                &nested(100_000),
                &["20-bad.cc", "bracket nesting level exceeded maximum of 256"],
            ),
            before_hook("#include __FILE__", &["#include nested too deeply"]),
        ],
    );
}

#[test]
fn a_crash_of_clang_is_told_with_its_signal_and_what_it_was_doing() {
    let kiln = start("timeouts.compile_ms = 8000");
    let chain = "if (request.header_count() == 77) return kiln::reply(201); else ".repeat(100_000);
    let sum = format!("int a = 1; int b = {}a; (void)b;", "a + ".repeat(100_000));
    check(
        &kiln,
        SOON,
        &[
            before_hook(
                "\n\n#pragma clang __debug crash",
                &[
                    "20-bad.cc: error: Clang crashed (SIG",
                    ") while it compiled ",
                    "20-bad.cc",
                    ":3:",
                ],
            ),
            before_hook(
                "#pragma clang __debug parser_crash",
                &["Clang crashed (SIG", ") while it compiled ", "20-bad.cc"],
            ),
            before_hook(
                "#pragma clang __debug llvm_fatal_error",
                &[
                    "Clang gave up while it compiled ",
                    "20-bad.cc",
                    "#pragma clang __debug llvm_fatal_error",
                ],
            ),
            in_hook(&format!("{chain};"), &["20-bad.cc"]),
            in_hook(&sum, &["20-bad.cc"]),
        ],
    );
}

#[test]
fn a_compile_that_takes_too_long_names_its_setting_and_the_script() {
    let kiln = start("timeouts.compile_ms = 5000");
    let slow = "#include <map>
template <int N> struct T { std::map<T*, std::map<int, T>> m; void f() { m[this][N]; m.clear(); } };
template <int... N> void all(std::integer_sequence<int, N...>) { int all[] = {(T<N>().f(), 0)...}; (void)all; }
void run() { all(std::make_integer_sequence<int, 10000>()); }";
    check(
        &kiln,
        SOON,
        &[case(
            format!("#include <kiln.h>\n{slow}\n{HOOK}"),
            &[
                "20-bad.cc: error: the compile took longer than 5 s (timeouts.compile_ms) while it compiled ",
            ],
        )],
    );
}

#[test]
fn what_does_not_fit_a_slot_or_the_memory_is_refused_with_the_limit() {
    let kiln = start("");
    check(
        &kiln,
        SOON,
        &[
            with_huge(
                "char huge[8ull << 30];",
                &[
                    "20-bad.cc:1: error: `huge` has 8589934592 bytes, and all large variables of the scripts together may have 1024 MiB",
                ],
            ),
            with_huge(
                "\nchar huge[3u << 30] = {1};",
                &[
                    "20-bad.cc:2: error: `huge` takes 3072 MiB, and all code and data together may have 96 MiB",
                ],
            ),
            with_huge(
                "constexpr char huge[2u << 30] = {1};",
                &["20-bad.cc:1: error: `huge` takes 2048 MiB"],
            ),
            // Clang keeps each element, with what it knows of it.
            with_huge(
                "struct S { char c = 1; };\nconstexpr S huge[2u << 30] = {};",
                &["memory than the 4096 MiB that compile.memory_bytes allows", "20-bad.cc"],
            ),
        ],
    );
}

#[test]
fn no_script_reads_a_file_of_somebody_else() {
    let kiln = start("");
    let folder = kiln.folder().join("scripts");
    symlink("../secret", folder.join("secret_link.h")).expect("a link");
    symlink("/etc/shadow", folder.join("shadow_link.h")).expect("a link");
    mkfifo(&folder.join("own_fifo.h"), Mode::S_IRWXU).expect("a fifo");
    let secret = kiln.folder().join("secret").display().to_string();
    let outside = &["outside of the folders that scripts may read"];
    let including = |name: &str| format!("#include \"{name}\"");
    let mut cases: Vec<Case<'_>> = [
        "/dev/zero",
        "/etc/shadow",
        "../secret",
        &secret,
        "secret_link.h",
        "shadow_link.h",
        "/proc/self/mem",
    ]
    .map(|name| before_hook(&including(name), outside))
    .into();
    cases.extend([
        before_hook(&including("../../etc/passwd"), &["file not found"]),
        before_hook(&including("own_fifo.h"), &["is no regular file"]),
        before_hook(&format!("const char x[] = {{\n#embed \"{secret}\"\n}};"), outside),
        before_hook(&format!("#import \"{secret}\""), outside),
        before_hook(
            &format!("#if __has_include(\"/etc/shadow\") || __has_include(\"{secret}\")\n#error found\n#endif\nint x = here;"),
            &["use of undeclared identifier 'here'"],
        ),
        before_hook(
            &format!("#line 1 \"{secret}\"\nint x = here;"),
            &["use of undeclared identifier 'here'"],
        ),
        // The refusal of the linker shows a line of the source, too.
        case(
            format!("#include <kiln.h>\n#include <unistd.h>\n#line 1 \"{secret}\"\nkiln::Action on_request(kiln::Request&) {{ return kiln::reply(fork()); }}"),
            &["a script may not use `fork`"],
        ),
    ]);
    check(&kiln, SOON, &cases);
}

#[test]
fn assembly_reads_no_file_however_it_is_written() {
    let kiln = start("");
    let secret = kiln.folder().join("secret").display().to_string();
    let words = ["20-bad.cc:", "assembly may not read a file: `.incbin` of "];
    let included = ["20-bad.cc:", "assembly may not read a file: `.include` of "];
    check(
        &kiln,
        SOON,
        &[
            before_hook(
                &format!("\nasm(\".incbin \\\"{secret}\\\"\");"),
                &["20-bad.cc:2: error: ", words[1]],
            ),
            before_hook(&format!("asm(\".include \\\"{secret}\\\"\");"), &included),
            in_hook(
                &format!("\n    asm volatile(\".incbin \\\"{secret}\\\"\");"),
                &["20-bad.cc:5:", words[1]],
            ),
            in_hook(&format!("asm volatile(\".include \\\"{secret}\\\"\");"), &included),
            before_hook(
                &format!(
                    "asm(\".macro m a b\\n.\\\\a\\\\b \\\"{secret}\\\"\\n.endm\\nm inc bin\");"
                ),
                &words,
            ),
            in_hook(
                "asm volatile(\"nosuch\");",
                &["20-bad.cc:4:", "invalid instruction mnemonic 'nosuch'"],
            ),
            in_hook(
                "asm volatile(\"\" : : \"i\"(request.header_count()));",
                &["20-bad.cc:4:", "constraint"],
            ),
        ],
    );
}

#[test]
fn a_file_that_is_too_large_is_told_with_the_limit() {
    let kiln = start("");
    let large = format!("{HOOK}//{}\n", "x".repeat(50 << 20));
    let limit = "51 MiB are more than the 16 MiB of a source file";
    kiln.write_script("large.h", &large);
    check(
        &kiln,
        SOON,
        &[
            case(large, &["20-bad.cc: error: ", limit]),
            before_hook("#include \"large.h\"", &["large.h: error: ", limit]),
        ],
    );
}

#[test]
fn endless_diagnostics_are_cut() {
    let kiln = start("");
    let lines = |line: &str| format!("{line}\n").repeat(100_000);
    let long = "x".repeat(2 << 20);
    check(
        &kiln,
        SOON,
        &[
            before_hook(
                &lines("#error again"),
                &["20-bad.cc:1:2: error: again", "too many errors"],
            ),
            before_hook(
                &(lines("#warning again") + "int x = here;"),
                &["again", "undeclared identifier 'here'", "more that are not shown"],
            ),
            before_hook(&format!("#error {long}"), &["20-bad.cc:1:2: error: xxx", "..."]),
        ],
    );
}

/// What the compile child is kept from shows in what the kernel says of it.
#[test]
fn the_compile_child_is_behind_its_fences() {
    let kiln = start("");
    kiln.write_script("20-bad.cc", &crate::slow_to_compile());
    kiln.signal(tests::Signal::SIGHUP);
    let log = kiln.until_logged_times(" compiling generation=", 2);
    let (_, pid) = log.rsplit_once("pid=").expect("it is logged");
    let pid: i32 = pid.lines().next().and_then(|pid| pid.trim().parse().ok()).expect("a pid");
    let status = || fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    until_true("its last fence stands", || status().contains("Seccomp:\t2"));
    assert!(status().contains("NoNewPrivs:\t1"), "{}", status());
    let network = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).expect("it lives");
    assert_ne!(network(&pid.to_string()), network("self"));
    kiln.until_logged(" generation active generation=2");
}

#[test]
fn assembly_that_makes_system_calls_is_refused_at_its_line() {
    let kiln = start("");
    let call = |what: &str| {
        format!(
            "20-bad.cc:5:5: error: a script may not make system calls: `{what}` in `kiln_on_request`"
        )
    };
    let (syscall, sysenter, interrupt) = (call("syscall"), call("sysenter"), call("int $0x80"));
    check(
        &kiln,
        SOON,
        &[
            in_hook(
                "\n    asm volatile(\"syscall\" ::: \"rcx\", \"r11\", \"memory\");",
                &[&syscall],
            ),
            in_hook("\n    asm volatile(\"sysenter\");", &[&sysenter]),
            in_hook("\n    asm volatile(\"int $0x80\");", &[&interrupt]),
            in_hook("\n    asm volatile(\".byte 0x0f,0x05\");", &[&syscall]),
            // A jump, and on AMD's processors one that is shorter by these two.
            in_hook("\n    asm volatile(\".byte 0x66,0x0f,0x84,0,0,0x0f,0x05\");", &[&syscall]),
            in_hook("\n    asm volatile(\"rep; .byte 0x48,0x0f\\n.byte 0x05\");", &[&syscall]),
            before_hook(
                "\nasm(\".globl f\\nf: mov $39, %eax\\nsyscall\\nret\");\nextern \"C\" int f();\nint (*volatile use)() = f;",
                &["20-bad.cc:2: error: a script may not make system calls: `syscall` in `f`"],
            ),
            before_hook(
                "[[gnu::naked, gnu::used]] int f() {\n    asm(\"syscall; ret\");\n}\nint (*volatile use)() = f;",
                &["20-bad.cc:2:5: error: a script may not make system calls: `syscall` in `f()`"],
            ),
            before_hook(
                "[[gnu::target(\"avx2\"), gnu::used]] int f() {\n    asm volatile(\"syscall\");\n    return 1;\n}\nint (*volatile use)() = f;",
                &["20-bad.cc:2:5: error: a script may not make system calls: `syscall` in `f()`"],
            ),
        ],
    );
}

#[test]
fn a_constant_that_looks_like_a_system_call_is_honest() {
    let kiln = start("");
    kiln.write_script(
        "20-bad.cc",
        "#include <kiln.h>
asm(\".section .rodata\\ndata: .byte 0x0f,0x05\\n.text\");
static volatile unsigned a = 0x050f, b = 0x80cd, c = 0x340f;
[[gnu::noinline]] unsigned pick(unsigned which) {
    if (which == a) return 0x0000050f;
    if (which == b) return 0x80cd80cd;
    asm volatile(\"mov $0x050f340f, %%eax; pause; nop\" ::: \"eax\");
    return which == c ? 0x0f050f05 : 0xcd800f34;
}
kiln::Action on_request(kiln::Request& request) {
    return kiln::reply(200, std::to_string(pick(request.header_count() + 0x050e)));
}
",
    );
    kiln.reload().expect_taken();
    kiln.get("/").expect(200, &0x0000050f.to_string());
}
