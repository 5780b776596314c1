//! What both engines make of one program.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tests::kiln_command;

use crate::packages::Program;
use crate::process::{Ended, read, run};

const CLANG: &str = "clang++-19";
/// What Kiln compiles with, and the libraries that it has. No option about warnings: some of them
/// are errors unless an option says otherwise.
const CLANG_OPTIONS: [&str; 4] = ["-std=c++20", "-O2", "-stdlib=libstdc++", "-pthread"];
const CLANG_LIBRARIES: [&str; 1] = ["-latomic"];

/// The exit code of `kiln run` for what does not compile.
const REFUSED: i32 = 2;

/// Longest that a program may run: those that do not end by themselves wait for a peer or a key.
const RUN_LIMIT: Duration = Duration::from_secs(10);
/// Longest that it may take to build, on a machine that is busy.
const BUILD_LIMIT: Duration = Duration::from_secs(120);

const UNSTEADY: &str = "it says something else each time, or what was in memory before";

/// Longest part of a message or an output that is shown.
const SHOWN_BYTES_MAX: usize = 1500;

/// The outcome.
pub(crate) enum Verdict {
    /// Both build it, and it ends in the same way and prints the same.
    Same,
    /// Both refuse it.
    BothRefuse,
    /// They do not agree: how.
    Different(String),
    /// It can't be judged: the rule that says so.
    LeftOut(&'static str),
}

/// Builds and runs with both.
pub(crate) fn judge(program: &Program) -> anyhow::Result<Verdict> {
    let made = tempfile::tempdir()?;
    let (binary, errors) = (made.path().join("program"), made.path().join("errors"));
    let mut clang = Command::new(CLANG);
    clang.args(CLANG_OPTIONS).args(&program.options).arg(&program.path);
    clang.args(CLANG_LIBRARIES).arg("-o").arg(&binary);
    let Some(built) = run(&mut clang, made.path(), &errors, BUILD_LIMIT)? else {
        return Ok(Verdict::LeftOut("clang++ takes too long for it"));
    };
    let mut kiln = kiln_command();
    kiln.arg("run").args(&program.options).arg(&program.path);
    if !built.status.success() {
        let complaint = shown(&read(&errors)?);
        return refused(&mut kiln, program, &errors, &complaint);
    }

    let reference = |filling: &str| {
        let mut reference = Command::new(&binary);
        // The name that the program sees is the same with both.
        reference.arg0(&program.path).env("MALLOC_PERTURB_", filling);
        let folder = working_folder(program)?;
        run(&mut reference, folder.path(), &made.path().join("ignored"), RUN_LIMIT)
    };
    let Some(expected) = reference("0")? else {
        return Ok(Verdict::LeftOut("it runs for too long: it waits for something"));
    };
    // glibc fills memory with this, which those see that read what they did not write.
    if reference("165")?.as_ref() != Some(&expected) {
        return Ok(Verdict::LeftOut(UNSTEADY));
    }
    let folder = working_folder(program)?;
    match run(&mut kiln, folder.path(), &errors, BUILD_LIMIT + RUN_LIMIT)? {
        Some(got) if got == expected => Ok(Verdict::Same),
        // Time has passed meanwhile, which some tell.
        _ if reference("0")?.as_ref() != Some(&expected) => Ok(Verdict::LeftOut(UNSTEADY)),
        None => Ok(Verdict::Different("under Kiln it does not end".into())),
        Some(got) => Ok(Verdict::Different(difference(&expected, &got, &read(&errors)?))),
    }
}

/// Kiln must refuse what clang++ refuses.
fn refused(
    kiln: &mut Command,
    program: &Program,
    errors: &Path,
    complaint: &str,
) -> anyhow::Result<Verdict> {
    let folder = working_folder(program)?;
    let got = run(kiln, folder.path(), errors, BUILD_LIMIT + RUN_LIMIT)?;
    let refuses = |got: &Ended| got.status.code() == Some(REFUSED) && got.stdout.is_empty();
    Ok(match got {
        Some(got) if refuses(&got) && !read(errors)?.is_empty() => Verdict::BothRefuse,
        _ => Verdict::Different(format!("clang++ refuses it, and Kiln does not:\n{complaint}")),
    })
}

/// A folder of its own, with the files that it may read.
fn working_folder(program: &Program) -> anyhow::Result<TempDir> {
    let folder = tempfile::tempdir()?;
    if let Some(data) = &program.data {
        for entry in fs::read_dir(data)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::copy(entry.path(), folder.path().join(entry.file_name()))?;
            }
        }
    }
    Ok(folder)
}

fn difference(expected: &Ended, got: &Ended, errors: &[u8]) -> String {
    let mut told = String::new();
    if expected.status != got.status {
        told += &format!("clang++'s ends with {}, Kiln's with {}\n", expected.status, got.status);
    }
    if expected.stdout != got.stdout {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (expected, got) = (text(&expected.stdout), text(&got.stdout));
        let mut lines = expected.lines().zip(got.lines());
        match lines.find(|(expected, got)| expected != got) {
            Some((expected, got)) => told += &format!("clang++'s: {expected}\nKiln's:    {got}\n"),
            None => told += &format!("{} bytes and {} bytes\n", expected.len(), got.len()),
        }
    }
    told + &shown(errors)
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES_MAX)]).into_owned()
}
