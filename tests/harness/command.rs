//! Programs that run to their end: what they print and how they exit, within bounds.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::{LOOK_EVERY, PATIENCE};

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    /// The exit code; none if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// The binary under test: `$KILN_BIN`, or what `cargo build --release` made.
pub fn binary() -> PathBuf {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/kiln");
    let binary = std::env::var_os("KILN_BIN").map_or_else(|| PathBuf::from(built), PathBuf::from);
    assert!(
        binary.exists(),
        "there is no {}: run `cargo build --release`, or name a binary with KILN_BIN",
        binary.display()
    );
    // Tests give it working folders of its own.
    fs::canonicalize(binary).expect("it exists")
}

/// `kiln`, with no argument yet and nothing on standard input.
pub fn kiln_command() -> Command {
    let mut command = Command::new(binary());
    command.stdin(Stdio::null()).env_remove("KILN_LOG");
    command
}

/// `kiln` as a careless parent starts it: with this file open as descriptor 9.
pub(crate) fn kiln_command_inheriting(file: &Path) -> Command {
    let mut command = Command::new("sh");
    // Rust closes what a child is not to have; a shell does not.
    command.args(["-c", "file=$1; binary=$2; shift 2; exec \"$binary\" \"$@\" 9<\"$file\"", "sh"]);
    command.arg(file).arg(binary()).stdin(Stdio::null()).env_remove("KILN_LOG");
    command
}

/// Runs `kiln` with these arguments to its end.
#[track_caller]
pub fn kiln<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Finished {
    run(kiln_command().args(arguments))
}

/// Runs a program to its end; kills it and panics when it takes longer than twice [`PATIENCE`].
#[track_caller]
pub fn run(command: &mut Command) -> Finished {
    let folder = tempfile::tempdir().expect("a folder for output");
    let (stdout, stderr) = (folder.path().join("stdout"), folder.path().join("stderr"));
    // Files, not pipes: a grandchild that lives on must not keep this one waiting for end-of-file.
    command.stdout(create(&stdout)).stderr(create(&stderr));
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let ended = wait(&mut child, 2 * PATIENCE);
    let (stdout, stderr) = (text(&stdout), text(&stderr));
    match ended {
        Some(status) => Finished { status, stdout, stderr },
        None => panic!("{command:?} does not end:\n{stdout}\n{stderr}"),
    }
}

/// Waits for a child; kills it and gives `None` when it takes too long.
pub(crate) fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK_EVERY),
            _ => {
                // It may have ended in this instant.
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

pub(crate) fn create(path: &Path) -> fs::File {
    fs::File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text of a file; empty when there is none.
pub(crate) fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
