//! `kiln run` as a command.

use std::fs;
use std::path::Path;

use tests::{Finished, kiln_command, run};

const PROGRAM: &str = "#include <cstdio>
#include \"beside.h\"
int main(int count, char** arguments) {
    std::printf(\"%s\", TEXT);
    for (int i = 1; i < count; ++i) std::printf(\" [%s]\", arguments[i]);
}
";

/// Runs the program, which lies with its header in a folder of its own, by this path from there.
fn run_as(path: &str, arguments: &[&str]) -> Finished {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path());
    let path = path.replace("FOLDER", &folder.path().to_string_lossy());
    run(kiln_command().current_dir(folder.path()).arg("run").arg(path).args(arguments))
}

fn write(folder: &Path) {
    let nested = folder.join("inside");
    fs::create_dir(&nested).expect("a folder");
    for folder in [folder, &nested] {
        fs::write(folder.join("program.cc"), PROGRAM).expect("a file");
        fs::write(folder.join("beside.h"), "#define TEXT \"text\"\n").expect("a file");
    }
    std::os::unix::fs::symlink("inside/program.cc", folder.join("link.cc")).expect("a link");
}

#[test]
fn a_program_is_found_by_any_form_of_path() {
    for path in [
        "program.cc",
        "./program.cc",
        "inside/../program.cc",
        "inside/program.cc",
        "FOLDER/program.cc",
    ] {
        let got = run_as(path, &[]);
        assert_eq!((got.stdout.as_str(), got.code()), ("text", Some(0)), "{path}: {got:?}");
    }
}

#[test]
fn arguments_reach_the_program_as_they_are() {
    let got = run_as("program.cc", &["--help", "-x", "", "two words", "--", "ä"]);
    assert_eq!(got.stdout, "text [--help] [-x] [] [two words] [--] [ä]", "{got:?}");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    for path in ["none.cc", "inside"] {
        let got = run_as(path, &[]);
        assert!(!got.status.success() && got.stdout.is_empty(), "{got:?}");
        assert!(got.stderr.contains(path), "{got:?}");
    }
}

#[test]
fn the_environment_reaches_the_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("environment.cc");
    let text = "#include <cstdio>
#include <cstdlib>
int main() { std::printf(\"%s %d\", std::getenv(\"KILN_GREETING\"), std::getenv(\"NOT_SET\") == nullptr); }
";
    fs::write(&program, text).expect("a file");
    let mut command = kiln_command();
    let got = run(command.env("KILN_GREETING", "good day").arg("run").arg(&program));
    assert_eq!(got.stdout, "good day 1", "{got:?}");
}

#[test]
fn folders_of_headers_and_macros_are_as_with_clang() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path());
    let headers = folder.path().join("headers");
    fs::create_dir(&headers).expect("a folder");
    fs::write(headers.join("word.h"), "#define WORD \"word\"\n").expect("a file");
    let program = folder.path().join("inside/options.cc");
    let text = "#include <cstdio>\n#include <word.h>\nint main(int count, char**) \
        { std::printf(\"%s %d %d %d\", WORD, FIRST, SECOND, count); }\n";
    fs::write(&program, text).expect("a file");
    let with = |options: &[&str]| {
        let mut command = kiln_command();
        command.current_dir(folder.path()).arg("run").args(options).arg(&program);
        run(command.args(["-I", "-D"]))
    };
    for include in [["-I", "headers"], ["--include", "inside/../headers"]] {
        let got = with(&[include[0], include[1], "-D", "FIRST", "-DSECOND=7"]);
        assert_eq!(got.stdout, "word 1 7 3", "{got:?}");
    }
    let got = with(&[]);
    assert!(got.stderr.contains("fatal error: 'word.h' file not found"), "{got:?}");
    let got = with(&["-I", "nowhere"]);
    assert!(got.stderr.contains("nowhere: no such folder"), "{got:?}");
}

#[test]
fn compiling_opens_no_header_outside_the_folder_of_the_program() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path());
    let trace = folder.path().join("trace");
    let kiln = kiln_command();
    let mut strace = std::process::Command::new("strace");
    strace.args(["-f", "-qq", "-e", "trace=open,openat,openat2,execve", "-o"]).arg(&trace);
    strace
        .env_remove("LD_LIBRARY_PATH")
        .arg(kiln.get_program())
        .arg("run")
        .arg(folder.path().join("program.cc"));
    let got = run(&mut strace);
    assert_eq!(got.stdout, "text", "{got:?}");
    let trace = fs::read_to_string(&trace).expect("strace has written it");
    assert!(trace.contains("beside.h"), "the trace shows what is opened:\n{trace}");
    // Libraries that the loader maps and what is said about this process are no headers.
    let allowed =
        ["/lib/", "/usr/lib/x86_64-linux-gnu/lib", "/etc/ld.so.", "/proc/", "/sys/", "/dev/"];
    for line in trace.lines().filter(|line| line.contains("open")) {
        let Some(path) = line.split('"').nth(1) else { continue };
        let is_own = path.starts_with(&*folder.path().to_string_lossy());
        let is_library = allowed.iter().any(|prefix| path.starts_with(prefix));
        assert!(is_own || is_library, "{line}");
    }
    assert_eq!(trace.matches("execve(").count(), 1, "it starts no other program:\n{trace}");
}

/// As with clang++: the program is its user's, who may name any file in it.
#[test]
fn files_that_a_program_includes_by_name_are_read_wherever_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    for below in ["sub/deep", "other"] {
        fs::create_dir_all(root.join(below)).expect("a folder");
    }
    let absolute = root.join("other/absolute.h");
    let main = format!(
        "#include <cstdio>\n  #  include \"../x.h\"\n#include \"{}\"\n#include \"link.h\"\n\
         int main() {{ std::printf(\"%d%d%d%d\", X, Y, Z, L); }}\n",
        absolute.display()
    );
    for (name, text) in [
        ("sub/a.cc", main.as_str()),
        ("x.h", "#include \"other/y.h\"\n#define X 1\n"),
        ("other/y.h", "#define Y 2\n"),
        ("other/absolute.h", "#define Z 3\n"),
        ("other/linked.h", "#define L 4\n"),
    ] {
        fs::write(root.join(name), text).expect("a file");
    }
    std::os::unix::fs::symlink("../other/linked.h", root.join("sub/link.h")).expect("a link");
    std::os::unix::fs::symlink("../sub/a.cc", root.join("other/link.cc")).expect("a link");
    std::os::unix::fs::symlink("linked.h", root.join("other/link.h")).expect("a link");
    std::os::unix::fs::symlink("../../sub", root.join("sub/deep/back")).expect("a link");
    for (working, path) in [
        ("", "sub/a.cc"),
        ("sub", "a.cc"),
        ("sub/deep", "../a.cc"),
        ("sub/deep", "back/a.cc"),
        ("", "other/link.cc"),
    ] {
        let got = run(kiln_command().current_dir(root.join(working)).arg("run").arg(path));
        assert_eq!(got.stdout, "1234", "{working} {path}: {got:?}");
    }
}

#[test]
fn a_file_that_only_a_macro_names_is_told_to_be_outside() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = fs::canonicalize(folder.path()).expect("it is there");
    fs::create_dir(root.join("sub")).expect("a folder");
    fs::write(root.join("x.h"), "#define X 1\n").expect("a file");
    let text = "#define NAME \"../x.h\"\n#include NAME\nint main() { return X - 1; }\n";
    fs::write(root.join("sub/a.cc"), text).expect("a file");
    let with = |options: &[&str]| {
        run(kiln_command().current_dir(&root).arg("run").args(options).arg("sub/a.cc"))
    };
    let got = with(&[]);
    let told = format!(
        "sub/a.cc:2:10: fatal error: '../x.h' is outside of the folders that the program may read; add -I {}\n",
        root.display()
    );
    assert!(got.stderr.contains(&told), "expected {told} in {got:?}");
    assert_eq!(with(&["-I", "."]).code(), Some(0));
}
