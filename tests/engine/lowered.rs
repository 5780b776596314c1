//! What compiling makes of names: whatever an author misses is told as it was written, with its place.

use std::fs;

use tests::{Finished, kiln_command, run};

use crate::case::some_cpu;

/// `kiln check` of a folder with a script of this text, for a processor that has nothing special.
fn checked(text: &str) -> Finished {
    let _cpu = some_cpu();
    let folder = tempfile::tempdir().expect("a folder");
    let hook = "kiln::Action on_request(kiln::Request&) { return kiln::next(); }\n";
    fs::create_dir(folder.path().join("scripts")).expect("a folder");
    fs::write(folder.path().join("scripts/10.cc"), text).expect("a script");
    fs::write(folder.path().join("scripts/20.cc"), hook).expect("a script");
    let config = "script = \"scripts\"\n[compile]\ncpu = \"x86-64\"\n";
    fs::write(folder.path().join("kiln.toml"), config).expect("a file");
    run(kiln_command().current_dir(folder.path()).arg("check"))
}

/// What linkers and code generators know, and no author.
const INTERNAL: [&str; 9] =
    ["_Z", "emutls", "vtable", "typeinfo", "thunk", "{", "}", "routine for", "guard variable"];

/// Checks that all that is said of a script is this error, with its line and a caret.
#[track_caller]
fn check(text: &str, expect: &str) {
    let got = checked(text);
    let said = &got.stdout;
    assert_eq!(got.code(), Some(2), "{got:?}");
    let errors: Vec<&str> = said.lines().filter(|line| line.contains(": error: ")).collect();
    assert_eq!(errors, [format!("scripts/10.cc:{expect}")], "{said}");
    assert!(said.contains('^'), "{said}");
    // Lines of the source are its author's own.
    for line in said.lines().filter(|line| !line.contains(" | ")) {
        for part in INTERNAL {
            assert!(!line.contains(part), "{part:?} in {line}");
        }
    }
}

/// A script whose hook does this, after these declarations.
fn hook(before: &str, inside: &str) -> String {
    format!(
        "{before}\nkiln::Action on_request(kiln::Request& request) {{\n    {inside}\n    return kiln::next();\n}}\n"
    )
}

#[test]
fn a_thread_local_variable_that_nobody_defines_is_told_by_its_name() {
    let said = "error: `depth` is not defined";
    check(&hook("extern thread_local int depth;", "depth++;"), &format!("3:5: {said}"));
    check(&hook("extern __thread int depth;", "depth++;"), &format!("3:5: {said}"));
    check(&hook("extern constinit thread_local int depth;", "depth++;"), &format!("3:5: {said}"));
    check(
        &hook(
            "namespace shop { struct Cart { int n; ~Cart(); static thread_local Cart mine; }; }",
            "shop::Cart::mine.n++;",
        ),
        "3:5: error: `shop::Cart::mine` is not defined",
    );
    check(
        &hook(
            "extern thread_local int depth;\ninline int deeper() { return ++depth; }",
            "if (deeper() > 3) return kiln::close();",
        ),
        "2:32: error: `depth` is not defined",
    );
}

#[test]
fn a_class_without_its_first_virtual_function_is_told_by_that() {
    let class = "struct Cart { virtual int total(int); virtual ~Cart() {} };";
    let said = "error: `Cart::total(int)` is not defined";
    check(
        &hook(class, "Cart cart;\n    if (cart.total(1)) return kiln::close();"),
        &format!("4:14: {said}"),
    );
    // Nothing but its table wants it.
    let made = checked(&hook(
        class,
        "static kiln::Action (*volatile keep)(Cart*); Cart* cart = new Cart; if (keep) return keep(cart);",
    ));
    assert!(made.stdout.contains(said) && !made.stdout.contains("vtable"), "{made:?}");
    let typed = checked(&hook(
        "#include <typeinfo>\nstruct Cart { virtual int total(int); };\nCart& cart();\nCart& cart() { throw 1; }",
        "if (typeid(Cart) == typeid(request)) return kiln::close();",
    ));
    assert!(typed.stdout.contains(said) && !typed.stdout.contains("typeinfo("), "{typed:?}");
}

#[test]
fn a_virtual_function_that_only_tables_name_is_told_once() {
    let classes = "struct A { virtual int a() { return 1; } int x = 0; };\n\
        struct B { virtual int b() { return 2; } int y = 0; };\n\
        struct C : A, B { int a() override; int b() override; };\n\
        int C::a() { return 3; }";
    let got = checked(&hook(classes, "B* b = new C; if (b->b()) return kiln::close();"));
    assert_eq!(got.stdout.matches("error: `C::b()` is not defined").count(), 1, "{got:?}");
    assert!(!got.stdout.contains("thunk") && got.stdout.contains(", 1 error,"), "{got:?}");
}

#[test]
fn a_constructor_and_its_two_symbols_are_told_once() {
    check(
        &hook(
            "struct Cart { Cart(int); };\nstruct Big : Cart { Big() : Cart(2) {} };",
            "Cart one(1); Big big;",
        ),
        "4:10: error: `Cart::Cart(int)` is not defined",
    );
}

#[test]
fn versions_of_a_function_for_processors_are_told_by_its_name() {
    let function = "__attribute__((target(\"avx2\"))) int fast(int);\n__attribute__((target(\"default\"))) int fast(int);";
    let got = checked(&hook(function, "if (fast(1)) return kiln::close();"));
    assert!(
        got.stdout.contains("scripts/10.cc:2:40: error: `fast(int)` is not defined"),
        "{got:?}"
    );
    assert!(got.stdout.contains(", 1 error,"), "{got:?}");
}

/// Kiln has every routine of libgcc's; it has none for this type, and its name is made by the code
/// generator.
#[test]
fn arithmetic_that_takes_a_routine_which_is_not_there_is_told_with_type_and_line() {
    let said = "error: arithmetic of `__bf16` needs `__truncsfbf2`, which the processor that this is compiled for does not have, and neither does Kiln";
    let got = checked(&hook(
        "",
        "auto half = static_cast<__bf16>(float(request.path().size()));\n    if (half > __bf16(1)) return kiln::close();",
    ));
    assert!(got.stdout.contains(said), "{got:?}");
    assert!(got.stdout.contains("scripts/10.cc:3:"), "{got:?}");
    assert!(got.stdout.contains("    3 |     auto half"), "{got:?}");
}

/// Each of these is a call that no author has written.
#[test]
fn arithmetic_that_the_processor_does_not_have_is_compiled_to_calls() {
    let types = [
        ("__float128", "a + b - a * b / (a + 1)"),
        ("__int128", "a * b / (b + 1) % (a + 3) << 3"),
        ("unsigned __int128", "a * b / (b + 1) % (a + 3) >> 3"),
        ("_Float16", "a * b + a / (b + 1)"),
        ("long double", "a * b / (b + 1)"),
        ("_Complex double", "a * b / (b + 1)"),
        ("_Complex __float128", "a * b / (b + 1)"),
        ("_Complex _Float16", "a * b / (b + 1)"),
    ];
    let functions: String = types
        .iter()
        .enumerate()
        .map(|(number, (name, result))| {
            let convert = if name.contains("Complex") { "__real__ " } else { "" };
            format!("static int f{number}(unsigned long n) {{ {name} a = n, b = n + 2; {name} c = {result}; return static_cast<int>({convert}c); }}\n")
        })
        .collect();
    let more = "static int powers(__float128 a, _Float16 b, int n) {\n\
        __int128 wide = static_cast<__int128>(a); unsigned __int128 positive = static_cast<unsigned __int128>(b);\n\
        __int128 product; bool over = __builtin_mul_overflow(wide, wide + n, &product);\n\
        std::atomic<unsigned __int128> atomic(positive); atomic.store(3); atomic.exchange(positive);\n\
        return static_cast<int>(__builtin_powi(double(a), n) + double(static_cast<__float128>(wide)) + float(static_cast<_Float16>(a))\n\
        + static_cast<long>(atomic.load()) + over + __builtin_popcountg(positive) + __builtin_parityll(n) + static_cast<int>(a > b)); }\n";
    let calls: Vec<String> = (0..types.len()).map(|number| format!("f{number}(n)")).collect();
    let got = checked(&hook(
        &format!("#include <atomic>\n{functions}{more}"),
        &format!(
            "auto n = request.path().size();\n    return kiln::reply(200 + ({} + powers(n, n, n)) % 2);",
            calls.join(" + ")
        ),
    ));
    assert!(got.stdout.contains(", 0 errors, "), "{got:?}");
}
