//! What went wrong lately, for the log and for `kiln status`: scripts that failed, as workers tell it,
//! and workers that died, with what they were at.
//!
//! Both may come in floods. The last ones are kept whole; lines in the log are limited in number, and
//! those that are left out are counted.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use heritage::{Fault, Frame};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use crate::control::{DeathStatus, FaultStatus};
use crate::staffing::{Running, how};
use crate::supervisor::Supervisor;

/// Faults that are kept: what one script does wrong shows in one, and there are a few of them.
const FAULTS_MAX: usize = 32;

/// Deaths that are kept: rarer than faults, and each of less to tell.
const DEATHS_MAX: usize = 16;

/// Lines about faults that may come at once, and how long it takes until there may be one more. A
/// script that fails at each request says the same each time.
const LINES_MAX: u32 = 32;
const LINE_INTERVAL: Duration = Duration::from_millis(100);

/// Frames of a backtrace in the log, and bytes of one function's name: a line is to be one write.
const LOGGED_FRAMES_MAX: usize = 12;
const LOGGED_NAME_BYTES_MAX: usize = 120;

/// The last faults and deaths, oldest first.
#[derive(Debug)]
pub(crate) struct Faults {
    faults: VecDeque<Told>,
    deaths: VecDeque<Death>,
    /// Lines that may be logged now.
    lines: u32,
    /// Up to when lines were added to those.
    lines_since: Instant,
    /// Faults without a line since the last that had one.
    unlogged: u64,
}

/// A fault, and who told it.
#[derive(Debug)]
struct Told {
    at: Instant,
    worker: usize,
    pid: Pid,
    fault: Fault,
}

/// The end of a worker that was none of its own will.
#[derive(Clone, Debug)]
pub(crate) struct Death {
    at: Instant,
    status: DeathStatus,
}

impl Death {
    /// What its log line says.
    pub(crate) fn status(&self) -> &DeathStatus {
        &self.status
    }
}

impl Faults {
    pub(crate) fn new(now: Instant) -> Self {
        Faults {
            faults: VecDeque::new(),
            deaths: VecDeque::new(),
            lines: LINES_MAX,
            lines_since: now,
            unlogged: 0,
        }
    }

    /// For `kiln status`: the last faults, oldest first.
    pub(crate) fn faults(&self, now: Instant) -> impl Iterator<Item = FaultStatus> {
        self.faults.iter().map(move |told| FaultStatus {
            age_s: (now - told.at).as_secs(),
            worker: told.worker,
            pid: told.pid.as_raw(),
            fault: told.fault.clone(),
        })
    }

    /// For `kiln status`: the last deaths, oldest first.
    pub(crate) fn deaths(&self, now: Instant) -> impl Iterator<Item = DeathStatus> {
        let with_age = move |death: &Death| DeathStatus {
            age_s: (now - death.at).as_secs(),
            ..death.status.clone()
        };
        self.deaths.iter().map(with_age)
    }

    /// Whether there may be a line about a fault; how many had none since the last.
    fn line(&mut self, now: Instant) -> Option<u64> {
        let added = (now - self.lines_since).as_nanos() / LINE_INTERVAL.as_nanos();
        let added = u32::try_from(added).unwrap_or(u32::MAX);
        self.lines_since += LINE_INTERVAL.saturating_mul(added).min(now - self.lines_since);
        self.lines = self.lines.saturating_add(added).min(LINES_MAX);
        match self.lines.checked_sub(1) {
            Some(left) => {
                self.lines = left;
                Some(std::mem::take(&mut self.unlogged))
            }
            None => {
                self.unlogged += 1;
                None
            }
        }
    }
}

impl Supervisor<'_> {
    /// A worker says that a script failed.
    pub(crate) fn take_fault(&mut self, worker: usize, pid: Pid, fault: Fault, now: Instant) {
        if let Some(unlogged) = self.faults.line(now) {
            log_fault(worker, pid, &fault, unlogged);
        }
        self.note_faults(fault.generation, fault.untold.saturating_add(1), now);
        keep(&mut self.faults.faults, Told { at: now, worker, pid, fault }, FAULTS_MAX);
    }

    /// How a process came to its end, and what it was at. Before its page is cleared.
    pub(crate) fn death(&self, of: &Running<'_>, ended: WaitStatus, now: Instant) -> Death {
        let page = self.scoreboard.page(of.page);
        let status = DeathStatus {
            age_s: 0,
            at_unix_ms: unix_ms(),
            worker: of.index,
            pid: of.process.pid.as_raw(),
            how: how(ended),
            core_dumped: matches!(ended, WaitStatus::Signaled(_, _, true)),
            killed_since: of.process.killed.clone(),
            generation: page.generation.load(std::sync::atomic::Ordering::Relaxed),
            target: page.at_work.target(),
        };
        Death { at: now, status }
    }

    /// Keeps it for `kiln status`, unless the worker ended as it was to.
    pub(crate) fn note_death(&mut self, death: Death, ended: WaitStatus) {
        if !matches!(ended, WaitStatus::Exited(_, 0)) {
            // A request that was lost in a script is one that the script failed at.
            if death.status.target.is_some() {
                self.note_faults(death.status.generation, 1, death.at);
            }
            keep(&mut self.faults.deaths, death, DEATHS_MAX);
        }
    }
}

fn keep<T>(list: &mut VecDeque<T>, one: T, most: usize) {
    while list.len() >= most {
        list.pop_front();
    }
    list.push_back(one);
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn log_fault(worker: usize, pid: Pid, fault: &Fault, unlogged: u64) {
    let place = fault.place().map(Frame::location);
    let request = fault.request.as_ref();
    let backtrace = backtrace_of(&fault.backtrace);
    let message = fault.printable_message();
    tracing::error!(
        worker,
        pid = pid.as_raw(),
        generation = fault.generation,
        hook = fault.hook,
        kind = fault.kind.name(),
        place,
        request = request.map(|request| format!("{} {}", request.method, request.target)),
        client = request.map(|request| request.client.as_str()),
        backtrace = (!backtrace.is_empty()).then_some(backtrace),
        follows_another = fault.follows_another.then_some(true),
        untold = some_of(fault.untold),
        unlogged = some_of(unlogged),
        "a script failed: {message}"
    );
}

fn some_of(count: u64) -> Option<u64> {
    (count > 0).then_some(count)
}

/// One line, innermost first: `find (site.cc:3) < on_request (site.cc:9)`.
fn backtrace_of(frames: &[Frame]) -> String {
    let frames = Frame::leave_out_middle(frames.to_vec(), LOGGED_FRAMES_MAX);
    let shown = frames.iter().map(|frame| {
        let before = match frame.left_out {
            0 => String::new(),
            calls => format!("... {calls} more < "),
        };
        let name: String = match frame.function.is_empty() {
            true => format!("{:#x}", frame.address),
            false => frame.function.chars().take(LOGGED_NAME_BYTES_MAX).collect(),
        };
        match frame.file {
            Some(_) => format!("{before}{name} ({})", frame.location()),
            None => format!("{before}{name}"),
        }
    });
    shown.collect::<Vec<_>>().join(" < ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, file: Option<&str>, line: u32) -> Frame {
        let file = file.map(str::to_owned);
        let function = function.to_owned();
        Frame { address: 0x10, function, file, line, ..Frame::default() }
    }

    #[test]
    fn a_backtrace_is_one_line_innermost_first() {
        let frames = [
            frame("find", Some("a.cc"), 3),
            frame("", Some("b.cc"), 0),
            frame("on_request", None, 0),
        ];
        assert_eq!(backtrace_of(&frames), "find (a.cc:3) < 0x10 (b.cc) < on_request");
        assert_eq!(backtrace_of(&[]), "");
        let long: Vec<Frame> = (0..99).map(|_| frame(&"x".repeat(999), None, 0)).collect();
        assert!(backtrace_of(&long).contains("x < ... 87 more < x"));
        assert!(backtrace_of(&long).len() < 2048);
    }

    #[test]
    fn lines_about_faults_are_limited_and_those_left_out_are_counted() {
        let begin = Instant::now();
        let mut faults = Faults::new(begin);
        let flood = |faults: &mut Faults, at| (0..1000).filter_map(|_| faults.line(at)).count();
        assert_eq!(flood(&mut faults, begin), LINES_MAX as usize);
        assert_eq!(faults.line(begin + LINE_INTERVAL), Some(1000 - u64::from(LINES_MAX)));
        assert_eq!(faults.line(begin + LINE_INTERVAL), None);
        assert_eq!(faults.line(begin + 2 * LINE_INTERVAL), Some(1));
        let much_later = begin + Duration::from_secs(3600);
        assert_eq!(flood(&mut faults, much_later), LINES_MAX as usize);
    }
}
