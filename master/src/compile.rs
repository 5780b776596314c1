//! The compile child as the master sees it: a process, a pipe, and a deadline.
//!
//! It may crash, run for ever or talk without end; each costs one refused reload. It is over when the
//! process is: what it said by then is all that counts.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Instant;

use heritage::diagnostic::DIAGNOSTICS_BYTES_MAX;
use heritage::{CompileOutcome, Diagnostic, Severity};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, pipe2};

use crate::fork::{Child, fork};
use crate::{CompileJob, Roles, Settings};

/// Bytes of the longest report: the diagnostics that a compile keeps, and some numbers.
const REPORT_MAX: usize = 1 << 20;
const _: () = assert!(DIAGNOSTICS_BYTES_MAX < REPORT_MAX - REPORT_MAX / 8, "they fit");

/// Exit code of a child that could not write its report: EX_IOERR of sysexits.h.
const EXIT_NO_REPORT: i32 = 74;

/// A compile child that runs.
pub(crate) struct CompileChild {
    pid: Pid,
    pipe: Option<File>,
    report: Vec<u8>,
    /// What it leaves for later compiles.
    leavings: File,
    /// When it has run for too long.
    pub(crate) deadline: Instant,
    /// Why the master killed it, if it did.
    killed: Option<String>,
}

impl CompileChild {
    /// Forks the child.
    pub(crate) fn start(
        job: CompileJob,
        roles: &mut dyn Roles,
        settings: &Settings,
        now: Instant,
    ) -> io::Result<Self> {
        let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
        // Ours alone: the child may wait for the master to read.
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let leavings = job.leavings.try_clone()?;
        let keep = [job.image.as_raw_fd(), job.leavings.as_raw_fd(), theirs.as_raw_fd()];
        let fences = Child::Compiler {
            cpu_time_max: settings.compile_timeout,
            memory_max: settings.compile_memory_max,
        };
        let pid = fork(fences, &keep, move || {
            let outcome = roles.compile(&job);
            let report = serde_json::to_vec(&outcome).expect("an outcome is strings and numbers");
            match File::from(theirs).write_all(&report) {
                Ok(()) => 0,
                Err(_) => EXIT_NO_REPORT,
            }
        })?;
        Ok(CompileChild {
            pid,
            pipe: Some(ours.into()),
            report: Vec::new(),
            leavings,
            deadline: now + settings.compile_timeout,
            killed: None,
        })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// The pipe to poll; none once it is at its end.
    pub(crate) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Takes what the pipe has.
    pub(crate) fn read(&mut self) {
        let mut part = [0; 16 * 1024];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut part) {
                Ok(0) => self.pipe = None,
                Ok(length) => self.report.extend_from_slice(&part[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.pipe = None,
            }
            if self.report.len() > REPORT_MAX {
                self.pipe = None;
                self.kill(format!("the compiler said more than {} KiB", REPORT_MAX >> 10));
            }
        }
    }

    /// Ends it; its death is reaped like any other.
    pub(crate) fn kill(&mut self, reason: String) {
        // It may be dead already, and not yet reaped: its pid is still ours.
        let _ = kill(self.pid, Signal::SIGKILL);
        self.killed.get_or_insert(reason);
    }

    /// What came of it, now that the process is over: the outcome, or why there is none.
    /// What it left is to be kept only with an outcome.
    pub(crate) fn conclude(mut self, ended: WaitStatus) -> Result<(CompileOutcome, File), String> {
        self.read();
        match (self.killed, ended) {
            (Some(reason), _) => Err(reason),
            (None, WaitStatus::Exited(_, 0)) => match serde_json::from_slice(&self.report) {
                Ok(outcome) => Ok((outcome, self.leavings)),
                Err(error) => Err(format!("the report of the compiler does not parse: {error}")),
            },
            (None, WaitStatus::Exited(_, code)) => {
                Err(format!("the compiler exited with code {code}"))
            }
            (None, WaitStatus::Signaled(_, Signal::SIGXCPU, _)) => {
                Err("the compiler used up its CPU time".to_owned())
            }
            (None, WaitStatus::Signaled(_, signal, _)) => {
                Err(format!("the compiler crashed with {signal}"))
            }
            (None, other) => Err(format!("the compiler ended with {other:?}")),
        }
    }
}

/// A memfd for what a compile leaves.
pub(crate) fn leavings() -> io::Result<File> {
    Ok(memfd_create(c"kiln-leavings", MFdFlags::MFD_CLOEXEC)?.into())
}

/// A diagnostic about no line of a script.
pub(crate) fn diagnostic(reason: &str) -> Diagnostic {
    Diagnostic::about(Severity::Error, "", reason)
}

/// Puts the diagnostics into the log as Clang prints them.
pub(crate) fn log_diagnostics(diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        let text = diagnostic.rendered.trim_end();
        match diagnostic.severity {
            Severity::Error => tracing::error!("{text}"),
            Severity::Warning | Severity::Note => tracing::warn!("{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(report: &str, ended: WaitStatus, expect: Result<bool, &str>) {
        let child = CompileChild {
            pid: Pid::from_raw(0),
            pipe: None,
            report: report.as_bytes().to_vec(),
            leavings: leavings().unwrap(),
            deadline: Instant::now(),
            killed: None,
        };
        let concluded = child.conclude(ended).map(|(outcome, _)| outcome.compiled);
        match expect {
            Ok(compiled) => assert_eq!(concluded, Ok(compiled)),
            Err(start) => assert!(concluded.unwrap_err().starts_with(start)),
        }
    }

    #[test]
    fn only_a_whole_report_of_a_child_that_ended_well_counts() {
        let pid = Pid::from_raw(1);
        let whole = serde_json::to_string(&CompileOutcome { compiled: true, ..Default::default() });
        let whole = whole.unwrap();
        check(&whole, WaitStatus::Exited(pid, 0), Ok(true));
        check(&whole, WaitStatus::Exited(pid, 1), Err("the compiler exited with code 1"));
        let crash = WaitStatus::Signaled(pid, Signal::SIGSEGV, false);
        check(&whole, crash, Err("the compiler crashed with SIGSEGV"));
        let exhausted = WaitStatus::Signaled(pid, Signal::SIGXCPU, false);
        check("", exhausted, Err("the compiler used up its CPU time"));
        let cut = &whole[..whole.len() - 1];
        check(cut, WaitStatus::Exited(pid, 0), Err("the report of the compiler does not parse"));
    }
}
