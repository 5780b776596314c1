//! The broker as the master sees it: a process that finds out about servers, and may die at any
//! time.
//!
//! Workers serve with what was found out before; a new broker is told that, and goes on from there.
//! It is employed when a reload begins, with the settings of that reload, and works while the
//! scripts compile; if the reload is refused it is replaced by one with the settings that serve on.
//! Workers get a generation only when each of its names was looked up once, so that a server that
//! is configured by name answers the first request already. A name that does not resolve, or a
//! broker that does not work, holds this up for some seconds and no longer.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use heritage::{Channel, Report, ServerNews};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use crate::backoff::Backoff;
use crate::control::BrokerStatus;
use crate::fork::{Child, fork};
use crate::staffing::{EXIT_SCOREBOARD, how};
use crate::supervisor::{Phase, Supervisor};
use crate::workers::Process;

/// How long a generation waits for its names. A resolver that answers at all does so in less: this
/// is when libc asks the next server.
const NAMES_TIMEOUT: Duration = Duration::from_secs(5);

/// A broker does not say when it is ready: one that has lived for so long was.
const STARTED_AGE: Duration = Duration::from_secs(1);

/// The master's record of the broker.
#[derive(Debug, Default)]
pub(crate) struct Broker {
    /// None while it is dead, or not needed.
    pub(crate) process: Option<Process>,
    /// When the next is forked; none if it is not needed.
    fork_at: Option<Instant>,
    /// Whether the process was told to end, so that its death is no accident.
    dismissed: bool,
    backoff: Backoff,
    restarts: u32,
    /// What it works with.
    settings: Vec<u8>,
    /// When the process is killed, since somebody has stopped it.
    stopped_until: Option<Instant>,
    /// Until when a generation waits for its names; none once it need not.
    awaited_until: Option<Instant>,
}

impl Broker {
    /// Whether a generation has to wait, since its names are not known yet.
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited_until.is_some()
    }

    /// Whether this is its process.
    fn is(&self, pid: Pid) -> bool {
        self.process.as_ref().is_some_and(|process| process.pid == pid)
    }

    /// Ends the process, if there is one. It is reaped like any other; what it still says is void.
    fn dismiss(&mut self) {
        if let Some(process) = self.process.as_mut().filter(|_| !self.dismissed) {
            // It may be dead already, and not yet reaped: its pid is still ours.
            let _ = kill(process.pid, Signal::SIGKILL);
            process.connected = false;
            self.dismissed = true;
        }
    }

    /// The process of this pid goes on.
    pub(crate) fn continued(&mut self, pid: Pid) {
        self.stopped_until = self.stopped_until.filter(|_| !self.is(pid));
    }

    /// When [`Supervisor::keep_broker`] next has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let fork_at = self.fork_at.filter(|_| self.process.is_none());
        [fork_at, self.awaited_until, self.stopped_until].into_iter().flatten().min()
    }

    /// For `kiln status`; none if it is not needed.
    pub(crate) fn status(&self) -> Option<BrokerStatus> {
        let pid = self.process.as_ref().map(|process| process.pid.as_raw());
        self.fork_at.map(|_| BrokerStatus { pid, restarts: self.restarts })
    }
}

impl Supervisor<'_> {
    /// Forks the broker if it is missing, and lets workers start without it if it takes too long.
    pub(crate) fn keep_broker(&mut self, now: Instant) {
        if self.broker.awaited_until.is_some_and(|until| until <= now) {
            let waited_s = NAMES_TIMEOUT.as_secs();
            tracing::warn!(waited_s, "not every name of a server is known: serving without");
            self.broker.awaited_until = None;
        }
        if self.broker.stopped_until.is_some_and(|until| until <= now) {
            self.broker.stopped_until = None;
            self.kill_broker("it was stopped, and servers are watched by nobody");
        }
        let is_due = self.broker.fork_at.is_some_and(|fork_at| fork_at <= now);
        if is_due
            && self.broker.process.is_none()
            && let Err(error) = self.fork_broker(now)
        {
            tracing::error!(%error, "cannot fork the broker; trying again later");
            self.broker.fork_at = Some(now + self.settings.respawn_delay_max);
        }
    }

    fn fork_broker(&mut self, now: Instant) -> io::Result<()> {
        let (ours, theirs) = Channel::pair()?;
        let told = self.servers.tell_unborn(&ours, now);
        let (scoreboard, roles) = (&mut self.scoreboard, &mut *self.roles);
        let settings = &self.broker.settings;
        let keep = [theirs.as_fd().as_raw_fd()];
        let may = fence::Broker { identity: self.settings.identity };
        let child = Child::Broker { may: &may, fence: self.fence_broker };
        let pid = fork(child, &keep, move || match scoreboard.keep_none() {
            Ok(()) => roles.broker(settings, theirs),
            Err(_) => EXIT_SCOREBOARD,
        })?;
        tracing::info!(pid = pid.as_raw(), "broker forked");
        self.broker.process = Some(Process::new(pid, ours, told, now));
        self.broker.dismissed = false;
        self.broker.stopped_until = None;
        Ok(())
    }

    /// Has a broker that works with these settings: replaces the one that there is if its are
    /// others, or ends it if there is nothing to find out.
    pub(crate) fn employ_broker(&mut self, settings: &[u8], now: Instant) {
        let broker = &mut self.broker;
        if broker.settings == settings {
            return;
        }
        let is_needed = self.roles.needs_broker(settings);
        broker.settings = settings.to_vec();
        broker.dismiss();
        broker.backoff = Backoff::default();
        broker.fork_at = is_needed.then_some(now);
        broker.awaited_until = is_needed.then_some(now + NAMES_TIMEOUT);
        if !is_needed {
            self.servers.forget_broker();
        }
    }

    /// Ends the broker once no worker is left that it could do something for.
    pub(crate) fn end_broker(&mut self) {
        if self.workers.values().all(|worker| worker.process.is_none()) {
            self.broker.fork_at = None;
            self.broker.dismiss();
        }
    }

    /// A child has ended: was it the broker?
    pub(crate) fn broker_ended(&mut self, pid: Pid, ended: WaitStatus, now: Instant) -> bool {
        if !self.broker.is(pid) {
            return false;
        }
        let limits = self.backoff_limits();
        let broker = &mut self.broker;
        let process = broker.process.take().expect("it was found by its pid");
        let (pid, how) = (pid.as_raw(), how(ended));
        if broker.dismissed || !matches!(self.phase, Phase::Running) {
            tracing::info!(pid, how, "broker gone");
            return true;
        }
        let age = now - process.forked;
        let has_started = age >= STARTED_AGE;
        let delay = broker.backoff.after(has_started, now, limits);
        broker.fork_at = Some(now + delay);
        broker.restarts = broker.restarts.saturating_add(1);
        let (age_ms, delay_ms) = (age.as_millis(), delay.as_millis());
        tracing::warn!(pid, how, age_ms, delay_ms, "broker died; what it found out stays");
        true
    }

    /// What the broker says.
    pub(crate) fn broker_report(&mut self, report: Report) {
        let now = Instant::now();
        let process = self.broker.process.as_ref().filter(|process| process.connected);
        let Some(pid) = process.map(|process| process.pid) else { return };
        match report {
            Report::News(news @ (ServerNews::Resolved { .. } | ServerNews::Checked { .. })) => {
                self.learn(news, pid, now);
            }
            Report::NamesResolved => {
                self.broker.awaited_until = None;
                self.servers.keep_names_of(pid);
            }
            other => self.kill_broker(&format!("it has no business to say {other:?}")),
        }
    }

    /// Somebody has stopped a child: if it is the broker it is replaced, unless it goes on soon.
    pub(crate) fn broker_stopped(&mut self, pid: Pid, now: Instant) {
        if self.broker.is(pid) {
            self.broker.stopped_until = Some(now + self.settings.answer_timeout);
        }
    }

    /// Kills the broker, which is replaced as if it had died by itself.
    pub(crate) fn kill_broker(&mut self, reason: &str) {
        let Some(process) = &mut self.broker.process else { return };
        tracing::warn!(pid = process.pid.as_raw(), reason, "killing the broker");
        // It may be dead already, and not yet reaped: its pid is still ours.
        let _ = kill(process.pid, Signal::SIGKILL);
        process.connected = false;
    }

    /// A worker or the broker knows something of a server that others should know.
    pub(crate) fn learn(&mut self, news: ServerNews, from: Pid, now: Instant) {
        if let Err(reason) = self.servers.learn(news, from, now) {
            tracing::warn!(pid = from.as_raw(), %reason, "news of a server are not taken");
        }
    }

    /// Other settings may have servers of which this worker was told when it did not have them: it
    /// is told everything once more.
    pub(crate) fn tell_anew(&mut self, pid: Pid) {
        let workers = self.workers.values_mut().filter_map(|worker| worker.process.as_mut());
        workers.filter(|process| process.pid == pid).for_each(|process| process.told = 0);
    }

    /// Tells every child what it does not know yet of servers.
    pub(crate) fn spread_news(&mut self, now: Instant) {
        let latest = self.servers.revision();
        let (mut told_by_all, mut is_over) = (latest, true);
        let workers = self.workers.values_mut().filter_map(|worker| worker.process.as_mut());
        let tainted = self.tainted.iter_mut().map(|one| &mut one.process);
        let children = workers.chain(tainted).chain(self.broker.process.as_mut());
        for process in children.filter(|one| one.connected) {
            if process.told < latest {
                self.servers.tell(process, now);
                is_over = false;
            }
            told_by_all = told_by_all.min(process.told);
        }
        if !is_over {
            self.servers.settle(told_by_all, now);
        }
    }
}
