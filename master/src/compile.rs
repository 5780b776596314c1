//! The compile child as the master sees it: a process, a pipe, and a deadline.
//!
//! It may crash, run for ever or talk without end; each costs one refused reload. It is over when the
//! process is: what it said by then is all that counts. What it may use is decided here, and kept to
//! by the fence that it is put behind.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use fence::EmptyNetwork;
use heritage::{
    CompileLimits, CompileNews, CompileOutcome, CompileReport, CompileReporter, Diagnostic,
    REPORT_BYTES_MAX, Severity,
};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, dup2_stderr, pipe2};

use crate::fork::{Child, fork};
use crate::{CompileJob, Roles, Settings};

/// How the operator calls the longest time of a compile, and its memory.
const TIME_SETTING: &str = "timeouts.compile_ms";
const MEMORY_SETTING: &str = "compile.memory_bytes";

/// Exit code of a child that could not write its report: EX_IOERR of sysexits.h.
const EXIT_NO_REPORT: i32 = 74;

/// Empty memfds that a compile fills.
pub(crate) struct CompileFiles {
    pub(crate) image: OwnedFd,
    pub(crate) leavings: File,
}

/// A compile child that runs.
pub(crate) struct CompileChild {
    pid: Pid,
    pipe: Option<File>,
    report: CompileReport,
    limits: CompileLimits,
    /// What it leaves for later compiles.
    leavings: File,
    /// When it has run for too long.
    pub(crate) deadline: Instant,
    /// Why the master killed it, if it did.
    killed: Option<String>,
}

impl CompileChild {
    /// Forks the child, which puts an image for `slot` into these files.
    pub(crate) fn start(
        generation: u64,
        slot: image::Slot,
        files: CompileFiles,
        roles: &mut dyn Roles,
        settings: &Settings,
        network: Option<&EmptyNetwork>,
        now: Instant,
    ) -> io::Result<Self> {
        let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
        // Ours alone: the child may wait for the master to read.
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let CompileFiles { image, leavings } = files;
        let ours_of_leavings = leavings.try_clone()?;
        let keep = [image.as_raw_fd(), leavings.as_raw_fd(), theirs.as_raw_fd()];
        let limits = limits(settings, slot);
        let may = fence::Compiler {
            cpu_time_max: limits.cpu_time_max,
            memory_max: limits.memory_max,
            file_bytes_max: limits.file_bytes_max,
            reads: roles.compile_reads(),
            identity: settings.identity,
        };
        let report = CompileReporter::new(theirs);
        let threads = settings.compile_threads;
        let job = CompileJob { generation, slot, image, leavings, threads, report };
        let pid = fork(Child::Compiler { may: &may, network }, &keep, move || {
            // LLVM's last words, and Rust's.
            let redirected = dup2_stderr(job.report.pipe());
            let outcome = roles.compile(&job);
            let said = job.report.say(&CompileNews::Finished(outcome));
            if redirected.is_ok() && said.is_ok() { 0 } else { EXIT_NO_REPORT }
        })?;
        Ok(CompileChild {
            pid,
            pipe: Some(ours.into()),
            report: CompileReport::default(),
            limits,
            leavings: ours_of_leavings,
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
                Ok(length) if self.report.take(&part[..length]) => {}
                Ok(_) => {
                    self.pipe = None;
                    let most_kib = REPORT_BYTES_MAX >> 10;
                    self.kill(format!("the compiler said more than {most_kib} KiB"));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.pipe = None,
            }
        }
    }

    /// Ends it, as it has run for too long.
    pub(crate) fn time_out(&mut self, settings: &Settings) {
        let timeout_s = settings.compile_timeout.as_secs_f32();
        self.kill(format!("the compile took longer than {timeout_s} s ({TIME_SETTING})"));
    }

    /// Ends it; its death is reaped like any other.
    pub(crate) fn kill(&mut self, reason: String) {
        // It may be dead already, and not yet reaped: its pid is still ours.
        let _ = kill(self.pid, Signal::SIGKILL);
        self.killed.get_or_insert(reason);
    }

    /// What came of it, now that the process is over: the outcome, or why there is none.
    /// What it left is to be kept only with an outcome.
    pub(crate) fn conclude(
        mut self,
        ended: WaitStatus,
    ) -> Result<(CompileOutcome, File), Box<Diagnostic>> {
        self.read();
        let outcome = self.report.conclude(ended, self.killed.as_deref(), &self.limits)?;
        Ok((outcome, self.leavings))
    }
}

/// What a compile may use.
fn limits(settings: &Settings, slot: image::Slot) -> CompileLimits {
    let threads = u32::try_from(settings.compile_threads).unwrap_or(u32::MAX);
    CompileLimits {
        // What the deadline leaves to all threads together. The deadline comes first, as long as the
        // master is there to keep it.
        cpu_time_max: settings.compile_timeout * threads,
        memory_max: settings.compile_memory_max,
        file_bytes_max: image::file_bytes_max(slot),
        time_setting: Some(TIME_SETTING),
        memory_setting: Some(MEMORY_SETTING),
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
