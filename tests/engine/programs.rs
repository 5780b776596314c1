//! Programs under `kiln run`, compared with what `clang++` makes of the same source.
//!
//! Directives of `programs/*.cc`:
//!
//!     arguments: WORD...    what it is called with
//!     stdin: TEXT           what it reads; \n is a new line
//!     exit: CODE            how it ends; 0 without this
//!     signal: NAME          the signal that ends it, for instance SIGABRT
//!     stderr: TEXT          is part of what it writes to standard error
//!     link: OPTION...       what clang++ needs to link it
//!     refused: TEXT         `kiln run` refuses it, with exit code 2 and this among its words

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use tests::{Finished, Signal, kiln_command, run};

use crate::case::{Case, check_all, every_cpu, folder, unescaped};

const KEYS: [&str; 7] = ["arguments", "stdin", "exit", "signal", "stderr", "link", "refused"];

/// What the engine claims to be equal to.
const CLANG: &str = "clang++-19";
const CLANG_OPTIONS: [&str; 3] = ["-std=c++20", "-O2", "-pthread"];

/// Lines of a difference that are shown.
const DIFFERENCES_MAX: usize = 8;

#[test]
fn programs_behave_as_when_clang_builds_them() {
    let _busy = every_cpu();
    check_all("programs", &KEYS, |case| {
        let refusals = case.values("refused");
        if refusals.is_empty() { compare(case) } else { refused(case, &refusals) }
    });
}

fn refused(case: &Case, parts: &[&str]) -> Result<(), String> {
    let got = run(kiln_command().arg("run").arg(&case.path));
    if got.code() != Some(2) || !got.stdout.is_empty() {
        return Err(format!("it is not refused: {got:?}"));
    }
    all_in(parts, &got.stderr, "standard error")
}

fn compare(case: &Case) -> Result<(), String> {
    let expected = execute(case, &mut Command::new(reference(case)?));
    let got = execute(case, kiln_command().arg("run").arg(&case.path));
    let ends = ending(case);
    for (who, found) in [("clang++'s", &expected), ("Kiln's", &got)] {
        if found.status != ends {
            return Err(format!("{who} ends with {}, not {ends}\n{}", found.status, found.stderr));
        }
        all_in(&case.values("stderr"), &found.stderr, who)?;
    }
    match difference(&expected.stdout, &got.stdout) {
        Some(difference) => Err(format!("standard output differs (clang++ | Kiln):\n{difference}")),
        None => Ok(()),
    }
}

fn all_in(parts: &[&str], text: &str, which: &str) -> Result<(), String> {
    match parts.iter().find(|part| !text.contains(*part)) {
        Some(part) => Err(format!("expected {part:?} in {which}:\n{text}")),
        None => Ok(()),
    }
}

/// How the case is to end.
fn ending(case: &Case) -> ExitStatus {
    if let Some(name) = case.value("signal") {
        let signal: Signal = name.parse().unwrap_or_else(|_| panic!("{name} is no signal"));
        return ExitStatus::from_raw(signal as i32);
    }
    let code: i32 = case.value("exit").map_or(0, |code| code.parse().expect("a number"));
    ExitStatus::from_raw(code << 8)
}

fn execute(case: &Case, command: &mut Command) -> Finished {
    let input = tempfile::NamedTempFile::new().expect("a file for standard input");
    fs::write(&input, unescaped(case.value("stdin").unwrap_or(""))).expect("it is writable");
    command.stdin(File::open(&input).expect("it was just written"));
    command.args(case.value("arguments").unwrap_or("").split_whitespace());
    run(command)
}

/// The program as clang++ builds it: made once for one content, in the folder that cargo keeps for
/// tests.
fn reference(case: &Case) -> Result<PathBuf, String> {
    let link = case.value("link").unwrap_or("");
    let mut digest = DefaultHasher::new();
    (CLANG_OPTIONS, link, fs::read(&case.path).expect("it is there")).hash(&mut digest);
    for header in fs::read_dir(folder("programs/private")).expect("it is there").flatten() {
        fs::read(header.path()).expect("it is readable").hash(&mut digest);
    }
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reference");
    fs::create_dir_all(&made).expect("cargo's folder is writable");
    let program = made.join(format!("{}-{:016x}", case.name, digest.finish()));
    if !program.exists() {
        let unfinished = made.join(format!("{}-{}", case.name, std::process::id()));
        let mut clang = Command::new(CLANG);
        clang.args(CLANG_OPTIONS).arg(&case.path).arg("-o").arg(&unfinished);
        let built = clang.args(link.split_whitespace()).output().expect("clang++ is installed");
        if !built.status.success() {
            let why = String::from_utf8_lossy(&built.stderr);
            return Err(format!("{CLANG} does not build it:\n{why}"));
        }
        fs::rename(unfinished, &program).expect("it was just made");
    }
    Ok(program)
}

/// The first lines that differ, if any do.
fn difference(expected: &str, got: &str) -> Option<String> {
    if expected == got {
        return None;
    }
    let (expected, got): (Vec<&str>, Vec<&str>) =
        (expected.lines().collect(), got.lines().collect());
    let count = expected.len().max(got.len());
    let line = |lines: &[&str], at: usize| lines.get(at).copied().unwrap_or("(nothing)").to_owned();
    let pairs = (0..count).map(|at| (at + 1, line(&expected, at), line(&got, at)));
    let differing = pairs.filter(|(_, expected, got)| expected != got).take(DIFFERENCES_MAX);
    let told: String = differing
        .map(|(number, expected, got)| format!("{number}: {expected} | {got}\n"))
        .collect();
    Some(if told.is_empty() { "in how the last line ends\n".into() } else { told })
}
