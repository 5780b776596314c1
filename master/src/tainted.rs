//! Tainted workers: a script was left in the middle of something there, so that another worker takes
//! the place at once, and the tainted process finishes what it has beside it.
//!
//! It has let go of its listening sockets by itself. They stay open here, so that what waits in their
//! queues waits for the next worker, or for a neighbour that adopts them meanwhile. Until it ends, the
//! process keeps its page of the scoreboard and what it has mapped, takes no new generation, and is
//! killed if it takes too long or if too many are like it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use heritage::{PageNumber, Report, WORKERS_MAX};
use nix::unistd::Pid;

use crate::pulse::Pulse;
use crate::staffing::KILL_GRACE;
use crate::supervisor::{Phase, Supervisor};
use crate::workers::{Activity, Process};

/// Tainted workers that may drain where there are fewer workers than that.
const TAINTED_MIN: usize = 4;

/// A process that another has replaced.
#[derive(Debug)]
pub(crate) struct Tainted {
    /// Of the worker that it was.
    pub(crate) index: usize,
    pub(crate) page: PageNumber,
    pub(crate) process: Process,
    pub(crate) pulse: Pulse,
    /// When it is killed.
    deadline: Instant,
    /// Whether it was, and is not reaped yet.
    is_killed: bool,
}

impl Supervisor<'_> {
    /// The worker of this index is tainted: another is forked in its place.
    pub(crate) fn taint(&mut self, index: usize, now: Instant) {
        let free = self.free_page();
        let limits = self.backoff_limits();
        let is_running = matches!(self.phase, Phase::Running);
        let Some(worker) = self.workers.get_mut(&index) else { return };
        let Some(pid) = worker.pid() else { return };
        let is_to_be_replaced = match worker.activity {
            Activity::Starting { .. } | Activity::Serving => true,
            Activity::Leaving => false,
            // It ends in any case.
            Activity::Vacant { .. } | Activity::Draining { .. } => return,
        };
        if !is_running {
            return;
        }
        let Some(free) = free else {
            // Its death is followed by a replacement like any other.
            return self.kill_worker(pid, "it is tainted, and too many others are and still drain");
        };
        let has_served = !matches!(worker.activity, Activity::Starting { .. });
        let age = worker.age(now);
        let page = std::mem::replace(&mut worker.page, free);
        let pulse = std::mem::take(&mut worker.pulse);
        let process = worker.process.take();
        if is_to_be_replaced {
            let delay = worker.backoff.after(has_served, now, limits);
            worker.activity = Activity::Vacant { fork_at: now + delay };
            worker.restarts = worker.restarts.saturating_add(1);
            worker.died_at.get_or_insert(now);
            let (age_ms, delay_ms) = (age.as_millis(), delay.as_millis());
            let pid = pid.as_raw();
            tracing::warn!(worker = index, pid, age_ms, delay_ms, "worker tainted");
        } else {
            self.workers.remove(&index);
            tracing::warn!(worker = index, pid = pid.as_raw(), "worker tainted while it leaves");
        }
        self.make_room_for_tainted(now);
        if let Some(mut process) = process {
            process.holds.clear();
            let deadline = now + self.settings.drain_timeout;
            let one = Tainted { index, page, process, pulse, deadline, is_killed: false };
            self.tainted.push(one);
        }
        match has_served {
            true => self.load_overtaken(pid),
            false => self.load_interrupted(pid, now),
        }
    }

    /// Kills the one that drains longest, where there are as many as may.
    fn make_room_for_tainted(&mut self, now: Instant) {
        let most = self.wanted.clamp(TAINTED_MIN, WORKERS_MAX);
        let drain = self.tainted.iter().filter(|one| !one.is_killed).count();
        let oldest = self.tainted.iter_mut().find(|one| !one.is_killed);
        if let Some(oldest) = oldest.filter(|_| drain >= most) {
            oldest.kill_mark(now);
            let pid = oldest.process.pid;
            self.kill_worker(pid, "it is tainted, and too many others are that came later");
        }
    }

    /// Kills those that have not finished in time.
    pub(crate) fn end_tainted(&mut self, now: Instant) {
        let due = self.tainted.iter_mut().filter(|one| one.deadline <= now);
        let due: Vec<Pid> = due.map(|one| one.kill_mark(now)).collect();
        for pid in due {
            self.kill_worker(pid, "it is tainted and did not finish in time what it has");
        }
    }

    /// When [`Supervisor::end_tainted`] next has something to do.
    pub(crate) fn tainted_deadline(&self) -> Option<Instant> {
        self.tainted.iter().map(|one| one.deadline).min()
    }

    /// What a tainted worker says of what others do not wait for it to do any more.
    pub(crate) fn tainted_report(&mut self, pid: Pid, report: Report) {
        match report {
            Report::Loaded { generation, .. } => self.generations.mapped(generation, pid),
            Report::LoadFailed { generation, .. } => self.generations.not_mapped(generation, pid),
            // It lets go of its sockets without being told to.
            _ => {}
        }
    }

    /// A child has ended: was it a tainted worker?
    pub(crate) fn forget_tainted(&mut self, pid: Pid) -> bool {
        let before = self.tainted.len();
        self.tainted.retain(|one| one.process.pid != pid);
        self.tainted.len() < before
    }

    /// A page of the scoreboard that nobody counts on.
    pub(crate) fn free_page(&self) -> Option<PageNumber> {
        let pages = self.workers.values().map(|worker| worker.page);
        let taken: BTreeSet<PageNumber> =
            pages.chain(self.tainted.iter().map(|one| one.page)).collect();
        PageNumber::all().find(|page| !taken.contains(page))
    }
}

impl Tainted {
    /// It is about to be killed; answers whom to kill. Again if it has not been reaped a while later.
    fn kill_mark(&mut self, now: Instant) -> Pid {
        self.is_killed = true;
        self.deadline = now + KILL_GRACE;
        self.process.pid
    }

    /// Since it was forked.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now - self.process.forked
    }
}
