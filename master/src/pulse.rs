//! Whether a worker still turns its loop: each turn leaves the time in the scoreboard, two a second
//! where there is nothing to do.
//!
//! A worker whose time stands still is stopped (SIGSTOP), or in a script that does not return. The
//! master counts its own looks and not seconds: where the whole machine stands still, the looks do
//! too, and no clock that jumps counts for anything.
//!
//! Long before that, a hook that runs past its budget of time is stopped by its worker, at a signal
//! from here: a worker cannot look at the clock while a script has it. The signal is a hint. Only the
//! worker knows one call from the next: it counts from the first signal that finds a call.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::supervisor::Supervisor;
use crate::workers::Activity;

/// Looks in a row at which a worker must not have moved before it is killed.
const LOOKS_MAX: u32 = 10;

/// Looks at hooks within the time that one may take. A quarter passes until one that stands still is
/// seen, one until it is signalled first, and one until it is after its time: so late at most it ends.
const LOOKS_PER_BUDGET: u32 = 4;

/// What was seen of one worker.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// The time that it left last; 0 before its first turn.
    seen_ms: u64,
    /// How often it has been the same since.
    looks: u32,
}

impl Pulse {
    /// Takes note of a look; answers whether the worker is stuck.
    fn is_stuck(&mut self, heartbeat_ms: u64) -> bool {
        if heartbeat_ms != self.seen_ms || heartbeat_ms == 0 {
            *self = Pulse { seen_ms: heartbeat_ms, looks: 0 };
            return false;
        }
        self.looks += 1;
        self.looks >= LOOKS_MAX
    }
}

impl Supervisor<'_> {
    /// Kills workers that do not turn their loop any more. One that somebody debugs is let be.
    pub(crate) fn feel_pulses(&mut self, now: Instant) {
        if now < self.next_pulse {
            return;
        }
        self.next_pulse = now + self.pulse_interval();
        let mut stuck = Vec::new();
        let workers = self.workers.values_mut().filter_map(|worker| {
            // One that starts has a deadline of its own.
            let is_starting = matches!(worker.activity, Activity::Starting { .. });
            let pid = worker.pid().filter(|_| !is_starting)?;
            Some((pid, worker.page, &mut worker.pulse))
        });
        let tainted = self.tainted.iter_mut();
        let tainted = tainted.map(|one| (one.process.pid, one.page, &mut one.pulse));
        for (pid, page, pulse) in workers.chain(tainted) {
            let heartbeat_ms = self.scoreboard.page(page).heartbeat_ms.load(Ordering::Relaxed);
            if pulse.is_stuck(heartbeat_ms) {
                *pulse = Pulse::default();
                stuck.push(pid);
            }
        }
        for pid in stuck {
            match tracer_of(pid) {
                None => self.kill_worker(pid, "it does not turn its loop any more"),
                Some(tracer) => {
                    tracing::warn!(
                        pid = pid.as_raw(),
                        tracer,
                        "a worker stands still in a debugger"
                    );
                }
            }
        }
    }

    /// Signals workers in which a hook runs and has for long. It began after the turn that left the
    /// time.
    pub(crate) fn look_at_hooks(&mut self, now: Instant) {
        if now < self.next_look {
            return;
        }
        let interval = self.settings.hook_time_max / LOOKS_PER_BUDGET;
        self.next_look = now + interval;
        let now_ms = monotonic_ms();
        for running in self.processes() {
            let page = self.scoreboard.page(running.page);
            if !page.at_work.is_busy() {
                continue;
            }
            let since_ms = page.heartbeat_ms.load(Ordering::Relaxed);
            let stands = Duration::from_millis(now_ms.saturating_sub(since_ms));
            if stands >= interval && tracer_of(running.process.pid).is_none() {
                // It may be dead already, and not yet reaped: its pid is still ours.
                let _ = kill(running.process.pid, Signal::SIGVTALRM);
            }
        }
    }

    /// When [`Supervisor::feel_pulses`] or [`Supervisor::look_at_hooks`] next has something to do.
    pub(crate) fn pulse_deadline(&self) -> Option<Instant> {
        let lives = self.processes().next().is_some();
        lives.then_some(self.next_pulse.min(self.next_look))
    }

    fn pulse_interval(&self) -> Duration {
        self.settings.answer_timeout / LOOKS_MAX
    }
}

/// The process that traces another, which GDB and strace do (`TracerPid` of proc_pid_status(5)).
fn tracer_of(pid: Pid) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?;
    tracer.trim().parse().ok().filter(|tracer| *tracer != 0)
}

/// The clock by which workers say since when.
pub(crate) fn monotonic_ms() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has CLOCK_MONOTONIC");
    now.tv_sec() as u64 * 1000 + now.tv_nsec() as u64 / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_stuck_once_it_was_seen_standing_still_often_enough() {
        let mut pulse = Pulse::default();
        for _ in 0..2 * LOOKS_MAX {
            assert!(!pulse.is_stuck(0), "it has not begun");
        }
        for turn in 1..100 {
            assert!(!pulse.is_stuck(turn), "it moves");
        }
        for _ in 1..LOOKS_MAX {
            assert!(!pulse.is_stuck(99));
        }
        assert!(!pulse.is_stuck(100), "it moves again");
        for _ in 1..LOOKS_MAX {
            assert!(!pulse.is_stuck(100));
        }
        assert!(pulse.is_stuck(100));
    }
}
