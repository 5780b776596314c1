//! Trials behind a fence, each in a process of its own: whoever is behind one does not come back.
//!
//! A test starts its own program anew, with the name of one test in it and of what that is to try.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

/// Names what the process tries; absent in one that was not started for a trial.
const TRIAL: &str = "FENCE_TRIAL";
const FOLDER: &str = "FENCE_FOLDER";
const REFUSED: i32 = 10;
const DONE: i32 = 11;

/// What came of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Refused,
    Killed(i32),
}

/// What this process is to try, if it was started for that.
pub(crate) fn asked() -> Option<String> {
    std::env::var(TRIAL).ok()
}

/// The folder that the test gave it.
pub(crate) fn folder() -> std::path::PathBuf {
    std::env::var(FOLDER).expect("the test said it").into()
}

/// Ends the process and says what came of it. At once: what is registered for its exit would run while
/// the threads of the test's runner still use what it takes down.
#[allow(unsafe_code)]
pub(crate) fn end<T>(tried: std::io::Result<T>) -> ! {
    if let Err(error) = &tried {
        eprintln!("{error}");
    }
    // SAFETY: it ends the process, and nothing of it is left to be unsound.
    unsafe { libc::_exit(if tried.is_ok() { DONE } else { REFUSED }) }
}

/// Runs `test`, by its whole name, in a process of its own that tries this.
pub(crate) fn try_in_process(test: &str, trial: &str, folder: &Path) -> Outcome {
    let program = std::env::current_exe().expect("it runs");
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture"]).env(TRIAL, trial).env(FOLDER, folder);
    let output = command.output().expect("it runs");
    let ended: ExitStatus = output.status;
    match (ended.code(), ended.signal()) {
        (Some(DONE), _) => Outcome::Done,
        (Some(REFUSED), _) => Outcome::Refused,
        (_, Some(signal)) => Outcome::Killed(signal),
        _ => panic!("{trial}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// Checks what comes of each of these trials.
#[track_caller]
pub(crate) fn check(test: &str, folder: &Path, trials: &[&str], expect: Outcome) {
    for trial in trials {
        assert_eq!(try_in_process(test, trial, folder), expect, "{trial}");
    }
}

/// Nanoseconds that `of` takes: the best of many short runs, since other processes want the CPU too.
pub(crate) fn best_ns(of: impl Fn()) -> f64 {
    const TIMES: u32 = 2000;
    let runs = (0..2000).map(|_| {
        let began = std::time::Instant::now();
        (0..TIMES).for_each(|_| of());
        began.elapsed().as_nanos() as f64 / f64::from(TIMES)
    });
    runs.fold(f64::INFINITY, f64::min)
}
