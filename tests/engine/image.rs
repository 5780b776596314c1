//! What an image is: an ELF file that other tools read, and code that stays in it while it reads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tests::{Kiln, descriptors, kiln_command, run};

use crate::case::some_cpu;

/// Reads everything that a request has, and calls no effect.
const READING: &str = "#include <kiln.h>
kiln::Action on_request(kiln::Request& request) {
    bool wanted = request.method() == \"GET\" && request.path().starts_with(\"/a\");
    wanted = wanted && request.query(\"id\") == \"7\" && request.query(request.header(\"x-key\")) != \"8\";
    wanted = wanted && request.header(\"x-user\") == \"me\" && request.has_header(\"x-more\");
    wanted = wanted && request.header(kiln::Field::cookie) != \"no\" && request.host() != \"\";
    wanted = wanted && request.client_address() != \"10.0.0.1\" && request.client_port() != 1;
    for (std::size_t i = 0; i < request.header_count(); ++i) wanted = wanted && !request.target().empty();
    return wanted ? kiln::close() : kiln::next();
}
";

/// Throws, allocates, and has data of every kind.
const VARIED: &str = "#include <kiln.h>
static int counter = 5;
static char zeroes[100000];
static const char* const words[] = {\"alpha\", \"beta\"};
thread_local int local = 3;
struct Visitor {
    virtual ~Visitor() = default;
    virtual int visit(int x) { return x; }
};
[[gnu::noinline]] static int helper(std::string_view text, Visitor& visitor) {
    if (text.size() > 100) throw std::length_error(\"long\");
    return visitor.visit(++counter) + zeroes[text.size()] + local;
}
kiln::Action on_request(kiln::Request& request) {
    Visitor visitor;
    return kiln::reply(200, std::string(words[0]) + std::to_string(helper(request.path(), visitor)));
}
";

/// Matches a regular expression, which libstdc++ makes of templates with hundreds of parts.
const MATCHING: &str = "#include <kiln.h>
#include <regex>
static const std::regex pattern(\"^/user/([0-9]+)$\");
kiln::Action on_request(kiln::Request& request) {
    std::string path(request.path());
    std::smatch parts;
    return kiln::reply(200, std::regex_match(path, parts, pattern) ? parts[1].str() : path);
}
";

/// The image that the workers of a Kiln with this script map, as a file in a folder of its own.
pub(crate) fn image_of(script: &str) -> (TempDir, PathBuf) {
    let _cpu = some_cpu();
    let kiln = Kiln::builder().script(script).workers(1).start();
    let held = descriptors(kiln.pid());
    let images: Vec<_> =
        held.iter().filter(|(_, what)| what.contains("memfd:kiln-image")).collect();
    let [(descriptor, _)] = images[..] else { panic!("one image in {held:?}") };
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("image");
    fs::copy(format!("/proc/{}/fd/{descriptor}", kiln.pid()), &image).expect("a memfd is readable");
    (folder, image)
}

/// What a tool says about a file; it must have nothing to complain about.
pub(crate) fn told(tool: &str, options: &[&str], image: &Path) -> String {
    let finished = run(Command::new(tool).args(options).arg(image));
    assert!(finished.status.success(), "{tool}: {finished:?}");
    assert_eq!(finished.stderr, "", "{tool} {options:?}");
    for complaint in ["Warning:", "Error:", "warning:", "error:"] {
        assert!(!finished.stdout.contains(complaint), "{tool} {options:?}:\n{}", finished.stdout);
    }
    finished.stdout
}

#[test]
fn reading_a_request_calls_nothing_outside_the_image() {
    let (_folder, image) = image_of(READING);
    let code = told("objdump", &["-d", "-j", ".text", "--no-show-raw-insn", "-C"], &image);
    let instructions: Vec<(u64, &str)> = code.lines().filter_map(instruction).collect();
    let own = instructions.iter().map(|(address, _)| *address);
    let own = own.clone().min().expect("there is code")..=own.max().expect("there is code");
    assert!(instructions.len() > 100, "so much cannot be read in so little:\n{code}");
    assert!(instructions.iter().any(|(_, text)| text.starts_with("ret")), "{code}");
    for (_, text) in &instructions {
        assert!(!text.starts_with("syscall"), "{text} in:\n{code}");
        let Some((mnemonic, target)) = text.split_once(char::is_whitespace) else { continue };
        if mnemonic.starts_with('j') || mnemonic.starts_with("call") {
            // What has no address as its target goes through a pointer: out, for all that is known.
            let target = target.split_whitespace().next().unwrap_or_default();
            let target = u64::from_str_radix(target, 16).ok();
            assert!(target.is_some_and(|target| own.contains(&target)), "{text} in:\n{code}");
        }
    }
}

/// Address and text of a line of a disassembly.
fn instruction(line: &str) -> Option<(u64, &str)> {
    let (address, text) = line.split_once(":\t")?;
    Some((u64::from_str_radix(address.trim(), 16).ok()?, text.trim()))
}

#[test]
fn what_kilns_build_has_made_of_the_librarys_templates_is_not_made_again() {
    let (_folder, image) = image_of(MATCHING);
    let symbols = told("nm", &["-C"], &image);
    assert!(symbols.contains("kiln_on_request"), "{symbols}");
    assert!(!symbols.contains("std::__detail::"), "{symbols}");
}

#[test]
fn an_image_is_an_elf_file_that_binutils_and_gdb_read_without_a_complaint() {
    let (_folder, image) = image_of(VARIED);
    let all = told("readelf", &["-aW"], &image);
    assert!(all.contains("Build ID: "), "{all}");
    let symbols = told("nm", &["-C"], &image);
    assert!(symbols.contains(" helper("), "{symbols}");
    assert!(symbols.contains("kiln_on_request"), "{symbols}");
    let lines = told("objdump", &["-dl"], &image);
    assert!(lines.contains("site.cc:12"), "the last line of helper is there:\n{lines}");
    let decoded = told("readelf", &["--debug-dump=decodedline"], &image);
    assert!(decoded.contains("site.cc"), "{decoded}");
    let gdb = ["-nx", "-batch", "-ex", "info line helper", "-ex", "info scope helper"];
    let scope = told("gdb", &gdb, &image);
    assert!(scope.contains("site.cc"), "{scope}");
    assert!(!scope.contains("No function contains") && !scope.contains("No symbol"), "{scope}");
}

#[test]
fn segments_of_an_image_are_never_writable_and_executable() {
    let (_folder, image) = image_of(VARIED);
    let headers = told("readelf", &["-lW"], &image);
    let loads: Vec<&str> = headers.lines().filter(|line| line.trim().starts_with("LOAD")).collect();
    let flags: Vec<String> = loads
        .iter()
        .map(|line| {
            line.split_whitespace().filter(|word| word.chars().all(|c| "RWE".contains(c))).collect()
        })
        .collect();
    for wanted in ["R", "RW", "RE"] {
        assert!(flags.iter().any(|found| found == wanted), "{wanted} in {flags:?}:\n{headers}");
    }
    assert!(flags.iter().all(|found| ["R", "RW", "RE"].contains(&found.as_str())), "{headers}");
}

#[test]
fn other_scripts_have_another_build_id() {
    let build_id = |script: &str| {
        let (_folder, image) = image_of(script);
        let notes = told("readelf", &["-nW"], &image);
        let line = notes.lines().find(|line| line.contains("Build ID: "));
        line.unwrap_or_else(|| panic!("{notes}")).trim().to_owned()
    };
    assert_ne!(build_id(READING), build_id(VARIED));
}

#[test]
fn the_binary_brings_llvm_clang_and_libstdcxx_with_it() {
    let kiln = kiln_command();
    let libraries = run(Command::new("ldd").arg(kiln.get_program())).stdout;
    assert!(libraries.contains("libc.so.6"), "{libraries}");
    for brought in ["LLVM", "clang", "libstdc++", "libc++"] {
        assert!(!libraries.contains(brought), "{libraries}");
    }
}
