//! A few of the programs of `make suite`, which nobody here wrote.

use std::process::Command;

/// So many take less than a minute, and every run takes the same.
const PROGRAMS: &str = "25";

#[test]
fn programs_of_others_behave_as_when_clang_builds_them() {
    let _busy = crate::case::every_cpu();
    let mut suite = Command::new(env!("CARGO_BIN_EXE_suite"));
    suite.args(["--only", "cppreference-doc-en-html", "--count", PROGRAMS]);
    let judged = suite.output().expect("cargo has built it");
    let told = String::from_utf8_lossy(&judged.stdout);
    assert!(judged.status.success(), "{told}{}", String::from_utf8_lossy(&judged.stderr));
    let counts = told.lines().find(|line| line.starts_with("cppreference")).expect("it counts");
    let same: usize =
        counts.split_whitespace().nth(1).expect("a number").parse().expect("it is one");
    assert!(same > 15, "most can be judged:\n{told}");
}
