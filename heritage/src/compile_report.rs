//! What a compile child says while it works, and what its end means.
//!
//! It says news over a pipe, one JSON document a line: what it begins and what it has done, and last
//! of all its outcome. A child that crashes says so in a line of its own, if it can. Whatever else
//! comes through the pipe is what somebody printed to its standard error: its last words.
//!
//! The child ran a compiler over somebody's source, so that it is believed in nothing that costs more
//! than a sentence: lines are limited in number of bytes, and so is what is kept of them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use serde::{Deserialize, Serialize};

use crate::diagnostic::{DIAGNOSTICS_BYTES_MAX, Diagnostic, Severity};
use crate::order::CompileOutcome;

/// Bytes of the longest report: the diagnostics that a compile keeps, and many times what the other
/// lines and some last words take.
pub const REPORT_BYTES_MAX: usize = 1 << 20;
const _: () = assert!(DIAGNOSTICS_BYTES_MAX < REPORT_BYTES_MAX - REPORT_BYTES_MAX / 8, "they fit");

/// Bytes of last words that are kept.
const WORDS_BYTES_MAX: usize = 4096;

/// Scripts that one sentence names.
const NAMED_MAX: usize = 3;

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompileNews {
    /// Clang begins with this file, as the operator names it.
    Began(String),
    /// Clang is done with it.
    Done(String),
    /// All scripts together are at this step.
    Step(CompileStep),
    /// It is about to end by itself, because it has to.
    Crashed(CompileCrash),
    /// What it was doing in detail, after the line above.
    Detail(String),
    /// It has ended as it should.
    Finished(CompileOutcome),
}

/// What follows the front end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompileStep {
    /// The optimiser.
    Optimise,
    /// Machine code.
    Code,
    /// The linker, and a look at what it made.
    Link,
}

/// What the handlers of a compile child say, which may do little more than write(2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CompileCrash {
    /// The signal; 0 if it is none.
    pub signal: i32,
    /// Number of the system call, if it was stopped for making one.
    pub call: Option<i64>,
    /// Whether it gets no more memory.
    pub memory: bool,
    /// Whether it was at the end of its stack.
    pub stack: bool,
    /// The file that the crashed thread was compiling, if it was.
    pub script: Option<String>,
    /// What LLVM says that cannot be.
    pub fatal: Option<String>,
}

/// What a compile was allowed, and how the operator calls it.
#[derive(Clone, Debug)]
pub struct CompileLimits {
    /// CPU time of all threads together.
    pub cpu_time_max: Duration,
    /// Bytes that it may allocate.
    pub memory_max: u64,
    /// Bytes of the image's file.
    pub file_bytes_max: u64,
    /// The setting of time, if there is one.
    pub time_setting: Option<&'static str>,
    /// The setting of memory, if there is one.
    pub memory_setting: Option<&'static str>,
}

/// Where a compile child says its news.
#[derive(Debug)]
pub struct CompileReporter(File);

impl CompileReporter {
    /// The writing end of the pipe.
    pub fn new(pipe: OwnedFd) -> Self {
        Self(File::from(pipe))
    }

    /// Says it. Several threads may.
    pub fn say(&self, news: &CompileNews) -> io::Result<()> {
        let mut line = serde_json::to_vec(news).expect("news are strings and numbers");
        // Standard error may have ended in the middle of a line.
        line.insert(0, b'\n');
        line.push(b'\n');
        (&self.0).write_all(&line)
    }

    /// The pipe, for handlers of signals, and for standard error.
    pub fn pipe(&self) -> &File {
        &self.0
    }
}

/// The report as far as it was read.
#[derive(Debug, Default)]
pub struct CompileReport {
    bytes: usize,
    /// What was read of a line that has no end yet.
    begun: Vec<u8>,
    compiling: BTreeSet<String>,
    step: Option<CompileStep>,
    crash: Option<CompileCrash>,
    detail: Option<String>,
    outcome: Option<CompileOutcome>,
    words: String,
}

impl CompileReport {
    /// Takes what the pipe had. `false` once that is more than there is to say: no more is taken.
    pub fn take(&mut self, bytes: &[u8]) -> bool {
        self.bytes += bytes.len();
        if self.bytes > REPORT_BYTES_MAX {
            return false;
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.begun);
                self.take_line(line.trim_ascii());
            }
        }
        true
    }

    fn take_line(&mut self, line: &[u8]) {
        match serde_json::from_slice(line) {
            Ok(CompileNews::Began(script)) => _ = self.compiling.insert(script),
            Ok(CompileNews::Done(script)) => _ = self.compiling.remove(&script),
            Ok(CompileNews::Step(step)) => self.step = Some(step),
            Ok(CompileNews::Crashed(crash)) => _ = self.crash.get_or_insert(crash),
            Ok(CompileNews::Detail(detail)) => self.detail = Some(detail),
            Ok(CompileNews::Finished(outcome)) => self.outcome = Some(outcome),
            Err(_) if self.words.len() < WORDS_BYTES_MAX && !line.is_empty() => {
                let room = WORDS_BYTES_MAX - self.words.len();
                self.words += &readable(&String::from_utf8_lossy(&line[..line.len().min(room)]));
                self.words.push('\n');
            }
            Err(_) => {}
        }
    }

    /// What came of it, now that the process is over: the outcome, or why there is none. `killed`
    /// says why it was killed, if it was by whoever started it.
    pub fn conclude(
        mut self,
        ended: WaitStatus,
        killed: Option<&str>,
        limits: &CompileLimits,
    ) -> Result<CompileOutcome, Box<Diagnostic>> {
        let begun = std::mem::take(&mut self.begun);
        self.take_line(begun.trim_ascii());
        if killed.is_none()
            && self.crash.is_none()
            && matches!(ended, WaitStatus::Exited(_, 0))
            && let Some(outcome) = self.outcome.take()
        {
            return Ok(outcome);
        }
        let mut message = match killed {
            Some(reason) => format!("{reason} {}", self.during()),
            None => self.why(ended, limits),
        };
        if let Some(detail) = &self.detail {
            message += &format!(": {}", readable(detail));
        }
        let file = self.script().unwrap_or_default();
        let mut failed = Diagnostic::about(Severity::Error, &file, message);
        self.words.lines().for_each(|line| failed.remark(line));
        Err(Box::new(failed))
    }

    /// Why there is no outcome, in a sentence.
    fn why(&self, ended: WaitStatus, limits: &CompileLimits) -> String {
        let (who, during) = (self.who(), self.during());
        let crash = self.crash.clone().unwrap_or_default();
        if crash.memory {
            return format!(
                "the compile needed more memory than the {} MiB that {} {during}",
                limits.memory_max >> 20,
                allowed_by(limits.memory_setting)
            );
        }
        if let Some(fatal) = &crash.fatal {
            return format!("{who} gave up {during}: {}", readable(fatal.trim()));
        }
        let signal = Signal::try_from(crash.signal).ok();
        let signal = signal.or(match ended {
            WaitStatus::Signaled(_, signal, _) => Some(signal),
            _ => None,
        });
        match (signal, ended) {
            (Some(Signal::SIGXCPU), _) => format!(
                "the compile used more CPU time than the {} s that {} {during}",
                limits.cpu_time_max.as_secs_f32(),
                allowed_by(limits.time_setting)
            ),
            (Some(Signal::SIGXFSZ), _) => format!(
                "the compile wrote more than the {} MiB of an image with its symbols {during}",
                limits.file_bytes_max >> 20
            ),
            (Some(Signal::SIGSYS), _) => {
                let name = |call| {
                    let known = fence::call_name(call);
                    known.map_or_else(|| format!("system call {call}"), |it| format!("`{it}`"))
                };
                let call = crash.call.map_or_else(|| "a system call".to_owned(), name);
                format!("{who} made {call} {during}, which a compile may not (SIGSYS)")
            }
            (Some(Signal::SIGKILL), _) => format!(
                "the compile was killed (SIGKILL) {during}: by the kernel, if this machine or \
                 control group has run out of memory, or by hand"
            ),
            (Some(signal), _) if crash.stack => {
                format!("{who} ran out of stack ({signal}) {during}: something nests too deeply")
            }
            (Some(signal), _) => format!("{who} crashed ({signal}) {during}"),
            (None, WaitStatus::Exited(_, 0)) => format!("{who} ended without a report {during}"),
            (None, WaitStatus::Exited(_, code)) => {
                format!("{who} exited with code {code} {during}")
            }
            (None, other) => format!("{who} ended with {other:?} {during}"),
        }
    }

    /// Whose doing it is.
    fn who(&self) -> &'static str {
        match self.step {
            None => "Clang",
            Some(_) => "LLVM",
        }
    }

    /// The script that it is about, if that is known.
    fn script(&self) -> Option<String> {
        let crashed = self.crash.as_ref().and_then(|crash| crash.script.clone());
        let only = || self.compiling.first().filter(|_| self.compiling.len() == 1).cloned();
        crashed.or_else(only).map(|script| readable(&script))
    }

    /// What it was doing.
    fn during(&self) -> String {
        match self.step {
            Some(CompileStep::Optimise) => "while it optimised the scripts".to_owned(),
            Some(CompileStep::Code) => "while it made machine code of the scripts".to_owned(),
            Some(CompileStep::Link) => "while it linked the scripts".to_owned(),
            None => match self.script() {
                Some(script) => format!("while it compiled {script}"),
                None if self.compiling.is_empty() => "before it had begun".to_owned(),
                None => {
                    let named: Vec<&str> =
                        self.compiling.iter().take(NAMED_MAX).map(String::as_str).collect();
                    let more = match self.compiling.len().saturating_sub(NAMED_MAX) {
                        0 => String::new(),
                        more => format!(" and {more} more"),
                    };
                    format!("while it compiled {}{more}", readable(&named.join(", ")))
                }
            },
        }
    }
}

fn allowed_by(setting: Option<&str>) -> String {
    setting.map_or_else(|| "it may have".to_owned(), |setting| format!("{setting} allows"))
}

/// Text of somebody else's, without what a terminal would obey.
fn readable(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}

#[cfg(test)]
mod tests {
    use nix::unistd::Pid;

    use super::*;

    const LIMITS: CompileLimits = CompileLimits {
        cpu_time_max: Duration::from_secs(6),
        memory_max: 1 << 30,
        file_bytes_max: 64 << 20,
        time_setting: Some("timeouts.compile_ms"),
        memory_setting: None,
    };

    fn exited(code: i32) -> WaitStatus {
        WaitStatus::Exited(Pid::from_raw(1), code)
    }

    fn died(signal: Signal) -> WaitStatus {
        WaitStatus::Signaled(Pid::from_raw(1), signal, false)
    }

    /// What a report comes to; all of it is read in pieces of `piece` bytes.
    fn concluded(said: &str, ended: WaitStatus, piece: usize) -> Result<bool, String> {
        let mut report = CompileReport::default();
        for part in said.as_bytes().chunks(piece) {
            assert!(report.take(part));
        }
        let concluded = report.conclude(ended, None, &LIMITS);
        concluded.map(|outcome| outcome.compiled).map_err(|diagnostic| diagnostic.rendered)
    }

    #[track_caller]
    fn check(said: &str, ended: WaitStatus, expect: Result<bool, &str>) {
        for piece in [1, 7, 1 << 16] {
            let expect = expect.map_err(|text| format!("{text}\n"));
            assert_eq!(concluded(said, ended, piece), expect, "in pieces of {piece}");
        }
    }

    fn news(news: &[CompileNews]) -> String {
        let line = |news| format!("\n{}\n", serde_json::to_string(news).unwrap());
        news.iter().map(line).collect()
    }

    fn began(script: &str) -> CompileNews {
        CompileNews::Began(script.to_owned())
    }

    #[test]
    fn only_an_outcome_of_a_child_that_ended_well_counts() {
        let outcome = CompileOutcome { compiled: true, ..Default::default() };
        let link = CompileNews::Step(CompileStep::Link);
        let whole = news(&[began("a.cc"), CompileNews::Done("a.cc".into()), link]);
        let whole = whole + &news(&[CompileNews::Finished(outcome)]);
        check(&whole, exited(0), Ok(true));
        check(&whole, exited(1), Err("error: LLVM exited with code 1 while it linked the scripts"));
        check(
            &whole,
            died(Signal::SIGSEGV),
            Err("error: LLVM crashed (SIGSEGV) while it linked the scripts"),
        );
        check("", exited(0), Err("error: Clang ended without a report before it had begun"));
    }

    #[test]
    fn a_death_is_told_with_what_was_being_compiled() {
        let two = news(&[began("a.cc"), began("b.cc")]);
        check(
            &two,
            died(Signal::SIGABRT),
            Err("error: Clang crashed (SIGABRT) while it compiled a.cc, b.cc"),
        );
        let one = two + &news(&[CompileNews::Done("a.cc".into())]);
        check(
            &one,
            died(Signal::SIGXCPU),
            Err("b.cc: error: the compile used more CPU time than the 6 s that \
                 timeouts.compile_ms allows while it compiled b.cc"),
        );
        check(
            &one,
            died(Signal::SIGKILL),
            Err("b.cc: error: the compile was killed (SIGKILL) while it compiled b.cc: by the \
                 kernel, if this machine or control group has run out of memory, or by hand"),
        );
        check(
            &one,
            died(Signal::SIGXFSZ),
            Err(
                "b.cc: error: the compile wrote more than the 64 MiB of an image with its symbols \
                 while it compiled b.cc",
            ),
        );
    }

    #[test]
    fn a_crash_that_reports_itself_is_told_with_all_that_it_says() {
        let crash = |crash| news(&[began("a.cc"), began("b.cc"), CompileNews::Crashed(crash)]);
        let script = Some("b.cc".to_owned());
        let stack = CompileCrash { signal: 11, stack: true, script, ..Default::default() };
        let detail = CompileNews::Detail("b.cc:5:1: at \"x\"\u{1b}".into());
        check(
            &(crash(stack) + &news(&[detail])),
            died(Signal::SIGALRM),
            Err("b.cc: error: Clang ran out of stack (SIGSEGV) while it compiled b.cc: something \
                 nests too deeply: b.cc:5:1: at \"x\" "),
        );
        check(
            &crash(CompileCrash { memory: true, ..Default::default() }),
            exited(1),
            Err(
                "error: the compile needed more memory than the 1024 MiB that it may have while it \
                 compiled a.cc, b.cc",
            ),
        );
        check(
            &crash(CompileCrash { call: Some(41), ..Default::default() }),
            died(Signal::SIGSYS),
            Err(
                "error: Clang made `socket` while it compiled a.cc, b.cc, which a compile may not \
                 (SIGSYS)",
            ),
        );
        check(
            &crash(CompileCrash { fatal: Some("no\nway".into()), ..Default::default() }),
            exited(1),
            Err("error: Clang gave up while it compiled a.cc, b.cc: no way"),
        );
    }

    #[test]
    fn last_words_are_kept_within_their_limit_and_a_report_too() {
        let said = format!("half a line{}", news(&[began("a.cc")])) + "\n\u{1b}[2Jlast words";
        let told = concluded(&said, died(Signal::SIGABRT), 5).unwrap_err();
        let crashed = "a.cc: error: Clang crashed (SIGABRT) while it compiled a.cc\n";
        assert_eq!(told, format!("{crashed}note: half a line\nnote:  [2Jlast words\n"));
        let long = concluded(&"words\n".repeat(100_000), exited(1), 1 << 16).unwrap_err();
        assert!(long.len() < 3 * WORDS_BYTES_MAX, "{} bytes", long.len());

        let mut report = CompileReport::default();
        let part = [b'x'; 1 << 16];
        let taken = (0..100).take_while(|_| report.take(&part)).count();
        assert_eq!(taken, REPORT_BYTES_MAX >> 16);
    }
}
