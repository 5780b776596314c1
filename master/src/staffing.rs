//! The life of a worker, and who accepts from which socket.
//!
//! Two rules hold, and every turn of the loop restores them:
//!
//! - There are as many workers as wanted. One that dies is replaced in the same turn, unless too many
//!   have died of late (`backoff.rs`). Growth and shrinkage go one worker at a time, since the
//!   kernel's groups of sockets change their order.
//! - Somebody accepts from every socket. While the worker that a socket was made for is dead, a
//!   neighbour adopts it; once the replacement is ready, the neighbour releases it. A socket that is
//!   to be closed is released by everyone who holds it first.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use heritage::{Channel, Inheritance, InheritedImage, ListenerId, Order, PageNumber, WORKERS_MAX};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use crate::backoff::Limits;
use crate::control::DeathStatus;
use crate::fork::{Child, fork};
use crate::listeners::SocketState;
use crate::loading::Beginning;
use crate::pulse::Pulse;
use crate::supervisor::{Phase, Supervisor};
use crate::workers::{Activity, Holding, Process, Worker};

/// Exit code of a child that could not narrow its scoreboard: EX_OSERR of sysexits.h.
pub(crate) const EXIT_SCOREBOARD: i32 = 71;

/// How long a kill takes to take effect, at most. Until then what is overdue must not keep the loop
/// busy.
pub(crate) const KILL_GRACE: Duration = Duration::from_secs(1);

/// A process that works, or finishes what it has.
pub(crate) struct Running<'a> {
    /// Of the worker that it is, or was before another took its place.
    pub(crate) index: usize,
    pub(crate) page: PageNumber,
    pub(crate) process: &'a Process,
}

impl Supervisor<'_> {
    /// Makes the number of workers what is wanted, forks those that are missing, and lets those go
    /// that have nothing left to accept.
    pub(crate) fn keep_staff(&mut self, now: Instant) {
        self.listeners.settle(now);
        let rotation = self.listeners.workers().len();
        if !self.listeners.removing() {
            if self.wanted < rotation {
                self.shrink(now);
            } else if self.wanted > rotation && !self.listeners.growing() {
                self.grow(now);
            }
        }
        self.fork_missing(now);
        self.drain_leaving(now);
    }

    /// When [`Supervisor::keep_staff`] or [`Supervisor::kill_stuck`] next has something to do.
    pub(crate) fn staff_deadline(&self) -> Option<Instant> {
        // Nothing is forked before it is known what with, and names are: these have deadlines of
        // their own.
        let forkable = self.beginning().is_some();
        let workers = self.workers.values().filter(|worker| forkable || worker.process.is_some());
        let deadlines = workers.filter_map(Worker::next_deadline);
        deadlines.chain(self.listeners.next_deadline()).min()
    }

    /// Takes the last worker of the groups out of them.
    fn shrink(&mut self, now: Instant) {
        match self.listeners.begin_removal(now + self.settings.steer_settle) {
            Ok(None) => {}
            Ok(Some(index)) => {
                tracing::info!(worker = index, "worker leaves");
                let Some(worker) = self.workers.get_mut(&index) else { return };
                if worker.process.is_some() {
                    worker.activity = Activity::Leaving;
                } else {
                    self.workers.remove(&index);
                }
            }
            Err(error) => {
                tracing::error!(%error, "cannot steer connections away from a worker");
                self.wanted = self.listeners.workers().len();
            }
        }
    }

    /// Adds one worker. Connections come to it once it is ready.
    fn grow(&mut self, now: Instant) {
        let rotation = self.listeners.workers().len();
        // The index of a worker that still drains is taken: it is known by it.
        let index = (0..WORKERS_MAX).find(|index| !self.workers.contains_key(index));
        let (Some(index), Some(page)) = (index, self.free_page()) else { return };
        let steered = self.listeners.steer(rotation).map_err(|error| error.to_string());
        let added = steered
            .and_then(|()| self.listeners.add_worker(index).map_err(|error| error.to_string()));
        match added {
            Ok(()) => drop(self.workers.insert(index, Worker::new(page, now))),
            Err(error) => {
                tracing::error!(error, "cannot add a worker");
                self.wanted = rotation;
            }
        }
    }

    fn fork_missing(&mut self, now: Instant) {
        let due = self.workers.iter().filter(
            |(_, worker)| matches!(worker.activity, Activity::Vacant { fork_at } if fork_at <= now),
        );
        let due: Vec<usize> = due.map(|(index, _)| *index).collect();
        for index in due {
            let Some(beginning) = self.beginning() else { return };
            if let Err(error) = self.fork_worker(index, &beginning, now) {
                let delay = self.settings.respawn_delay_max;
                tracing::error!(worker = index, %error, "cannot fork a worker; trying again later");
                if let Some(worker) = self.workers.get_mut(&index) {
                    worker.activity = Activity::Vacant { fork_at: now + delay };
                }
            }
        }
    }

    fn fork_worker(
        &mut self,
        index: usize,
        beginning: &Beginning,
        now: Instant,
    ) -> std::io::Result<()> {
        let (ours, theirs) = Channel::pair()?;
        let (image, settings) = self.inherited(beginning)?;
        let generation = image.as_ref().map(|image| image.generation);
        let mut listeners = Vec::new();
        for id in self.listeners.made_for(index) {
            let socket = self.listeners.socket(id).expect("it was found in the table");
            listeners.push((id, socket.file.try_clone()?));
        }
        let mut keep: Vec<RawFd> = listeners.iter().map(|(_, file)| file.as_raw_fd()).collect();
        keep.extend(image.iter().map(|image| image.file.as_raw_fd()));
        keep.push(theirs.as_fd().as_raw_fd());
        let holds = listeners.iter().map(|(id, _)| (*id, Holding::Held)).collect();
        // Before there is a process, so that it finds all this when it first looks.
        let told = self.servers.tell_unborn(&ours, now);
        let page = self.workers.get(&index).expect("the caller found it").page;
        let (scoreboard, roles) = (&mut self.scoreboard, &mut *self.roles);
        let may = fence::Worker {
            images: self.arena.range(),
            core_bytes_max: self.settings.core_bytes_max,
            identity: self.settings.identity,
        };
        let fences = Child::Worker { drain_timeout: self.settings.drain_timeout, may: &may };
        // What the child inherits was made here, where a failure can be reported; the parent's
        // copies go with the closure.
        let pid = fork(fences, &keep, move || match scoreboard.keep_only(page) {
            Ok(page) => {
                let channel = theirs;
                roles.work(Inheritance { index, channel, page, listeners, image, settings })
            }
            Err(_) => EXIT_SCOREBOARD,
        })?;
        tracing::info!(worker = index, pid = pid.as_raw(), generation, "worker forked");
        if let Some(generation) = generation {
            self.begins_with(pid, generation, now);
        }
        let worker = self.workers.get_mut(&index).expect("the caller found it");
        let deadline = now + self.settings.answer_timeout;
        worker.activity = Activity::Starting { generation, deadline };
        worker.process = Some(Process { holds, ..Process::new(pid, ours, told, now) });
        Ok(())
    }

    /// Image and settings for a worker that begins like this.
    fn inherited(
        &self,
        beginning: &Beginning,
    ) -> std::io::Result<(Option<InheritedImage>, Vec<u8>)> {
        let Beginning::Generation(generation) = *beginning else {
            let configured = self.without_scripts.as_ref().expect("it begins without scripts");
            return Ok((None, configured.settings.clone()));
        };
        let known = self.generations.find(generation).expect("it is served now");
        let file = known.image.as_ref().expect("it is kept while the slot is its own");
        let image = InheritedImage { generation, slot: known.slot, file: file.try_clone()? };
        Ok((Some(image), known.configured.settings.clone()))
    }

    /// Tells those to drain whose sockets are all closed.
    fn drain_leaving(&mut self, now: Instant) {
        let leaving = self.workers.iter().filter(|(index, worker)| {
            worker.activity == Activity::Leaving && self.listeners.made_for(**index).is_empty()
        });
        let leaving: Vec<Pid> = leaving.filter_map(|(_, worker)| worker.pid()).collect();
        for pid in leaving {
            self.order_drain(pid, now + self.settings.drain_timeout);
        }
    }

    /// A worker accepts: connections may come to it, and those who stood in for it can let go.
    pub(crate) fn worker_ready(&mut self, index: usize, now: Instant) {
        let Some(worker) = self.workers.get_mut(&index) else { return };
        if matches!(worker.activity, Activity::Starting { .. }) {
            worker.activity = Activity::Serving;
        }
        let pid = worker.pid().map(Pid::as_raw);
        match worker.died_at.take() {
            Some(died_at) => {
                let after_ms = (now - died_at).as_micros() as f64 / 1000.0;
                tracing::info!(worker = index, pid, after_ms, "worker replaced");
            }
            None => tracing::info!(worker = index, pid, "worker ready"),
        }
        let rotation = self.listeners.workers().len();
        if self.listeners.growing()
            && self.listeners.workers().last() == Some(&index)
            && let Err(error) = self.listeners.steer(rotation)
        {
            tracing::error!(worker = index, %error, "cannot steer connections to a worker");
        }
    }

    /// A child that is no compile child is dead.
    pub(crate) fn bury(&mut self, pid: Pid, ended: WaitStatus, now: Instant) {
        self.last_reports(pid);
        self.count_decided(pid);
        let Some(running) = self.running(pid) else { return };
        let (index, page, age) = (running.index, running.page, now - running.process.forked);
        let death = self.death(&running, ended, now);
        self.generations.forget(pid);
        let requests = self.scoreboard.page(page).requests.load(Ordering::Relaxed);
        self.reasons_before = self.reasons_with(page);
        self.scoreboard.clear(page);
        let worker = self.workers.get_mut(&index);
        worker.into_iter().for_each(|worker| worker.requests_before += requests);
        if self.forget_tainted(pid) {
            log_gone(death.status(), "tainted worker gone");
            return self.note_death(death, ended);
        }
        let limits = self.backoff_limits();
        let next = match self.beginning() {
            Some(Beginning::Generation(generation)) => Some(generation),
            Some(Beginning::NoScripts) | None => None,
        };
        let worker = self.workers.get_mut(&index).expect("it is tainted otherwise");
        worker.process = None;
        worker.pulse = Pulse::default();
        match worker.activity {
            Activity::Starting { .. } | Activity::Serving
                if matches!(self.phase, Phase::Running) =>
            {
                let delay = match worker.activity {
                    // What killed it is gone.
                    Activity::Starting { generation, .. } if generation != next => Duration::ZERO,
                    Activity::Starting { .. } => worker.backoff.after(false, now, limits),
                    _ => worker.backoff.after(true, now, limits),
                };
                worker.activity = Activity::Vacant { fork_at: now + delay };
                worker.restarts = worker.restarts.saturating_add(1);
                worker.died_at.get_or_insert(now);
                log_death(death.status(), age, delay);
            }
            _ => {
                log_gone(death.status(), "worker gone");
                self.workers.remove(&index);
            }
        }
        self.note_death(death, ended);
        self.load_interrupted(pid, now);
    }

    /// Sees to it that somebody accepts from each socket, and nobody from those that are to close.
    pub(crate) fn keep_listeners(&mut self, now: Instant) {
        for id in self.listeners.ids() {
            let Some(socket) = self.listeners.socket(id) else { continue };
            let state = socket.state;
            let owner = usize::from(id.worker);
            let held = |worker: &Worker| worker.holding(id) == Some(Holding::Held);
            let owner_accepts =
                self.workers.get(&owner).is_some_and(|worker| worker.accepts_from(id));
            // A first process that is not ready yet gets its connections soon enough by itself.
            let orphaned = self.workers.get(&owner).is_none_or(|worker| worker.died_at.is_some());
            match state {
                SocketState::Closing => {
                    self.release(id, now, |_, worker| held(worker));
                    if self.workers.values().all(|worker| worker.holding(id).is_none()) {
                        self.adopt(id);
                    }
                }
                SocketState::Open | SocketState::Steered { .. } if owner_accepts => {
                    self.release(id, now, |index, worker| index != owner && held(worker));
                }
                SocketState::Open | SocketState::Steered { .. } => {
                    let accepted = self.workers.values().any(|worker| worker.accepts_from(id));
                    if orphaned && !accepted {
                        self.adopt(id);
                    }
                }
            }
        }
    }

    /// Gives a socket to the next worker that serves and does not hold it. With none, what comes
    /// waits in its queue.
    fn adopt(&mut self, id: ListenerId) {
        let owner = usize::from(id.worker);
        let after = self.workers.range(owner + 1..).chain(self.workers.range(..owner));
        let neighbour = after
            .map(|(_, worker)| worker)
            .find(|worker| worker.activity == Activity::Serving && worker.holding(id).is_none());
        let Some(pid) = neighbour.and_then(Worker::pid) else { return };
        let socket = self.listeners.socket(id).map(|socket| socket.file.try_clone());
        match socket {
            Some(Ok(file)) => {
                self.order(pid, &Order::Adopt { listener: id }, &[file]);
                self.set_holding(pid, id, Holding::Held);
            }
            Some(Err(error)) => tracing::error!(%error, "cannot pass a socket on"),
            None => {}
        }
    }

    fn release(&mut self, id: ListenerId, now: Instant, by: impl Fn(usize, &Worker) -> bool) {
        let holders = self.workers.iter().filter(|(index, worker)| by(**index, worker));
        let holders: Vec<Pid> = holders.filter_map(|(_, worker)| worker.pid()).collect();
        let deadline = now + self.settings.answer_timeout;
        for pid in holders {
            self.order(pid, &Order::Release { listener: id }, &[]);
            self.set_holding(pid, id, Holding::Releasing { deadline });
        }
    }

    /// A worker has emptied the queue of a socket and closed it.
    pub(crate) fn released(&mut self, index: usize, id: ListenerId) {
        let process = self.workers.get_mut(&index).and_then(|worker| worker.process.as_mut());
        if process.and_then(|process| process.holds.remove(&id)).is_none() {
            return;
        }
        let closing =
            self.listeners.socket(id).is_some_and(|socket| socket.state == SocketState::Closing);
        if closing && self.workers.values().all(|worker| worker.holding(id).is_none()) {
            self.listeners.close(id);
        }
    }

    /// Kills workers that have overstepped a deadline.
    pub(crate) fn kill_stuck(&mut self, now: Instant) {
        let stuck: Vec<Pid> = self
            .workers
            .values()
            .filter(|worker| worker.stuck(now))
            .filter_map(Worker::pid)
            .collect();
        for pid in stuck {
            self.kill_worker(pid, "it did not do in time what it was told to");
            self.postpone(pid, now + KILL_GRACE);
        }
    }

    /// The kill above takes effect soon; meanwhile the deadline must not keep the loop busy.
    fn postpone(&mut self, pid: Pid, until: Instant) {
        let Some(index) = self.index_of(pid) else { return };
        let Some(worker) = self.workers.get_mut(&index) else { return };
        match &mut worker.activity {
            Activity::Starting { deadline, .. } | Activity::Draining { deadline } => {
                *deadline = until
            }
            Activity::Vacant { .. } | Activity::Serving | Activity::Leaving => {}
        }
        for holding in worker.process.iter_mut().flat_map(|process| process.holds.values_mut()) {
            if let Holding::Releasing { deadline } = holding {
                *deadline = until;
            }
        }
    }

    /// Tells a worker to finish what it has; it lets go of every socket.
    pub(crate) fn order_drain(&mut self, pid: Pid, deadline: Instant) {
        self.order(pid, &Order::Drain, &[]);
        let index = self.index_of(pid);
        if let Some(worker) = index.and_then(|index| self.workers.get_mut(&index)) {
            worker.activity = Activity::Draining { deadline };
            worker.process.iter_mut().for_each(|process| process.holds.clear());
        }
    }

    /// Sends an order. A worker whose channel is full has not read hundreds of them: it is killed.
    pub(crate) fn order(&mut self, pid: Pid, order: &Order, files: &[OwnedFd]) {
        let Some(Running { process, .. }) = self.running(pid) else { return };
        let files: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        match process.channel.send(order, &files) {
            Ok(()) => {}
            // It is dead, and will be reaped.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            Err(error) => self.kill_worker(pid, &format!("it does not take orders: {error}")),
        }
    }

    /// Kills one worker; its death is reaped like any other.
    pub(crate) fn kill_worker(&mut self, pid: Pid, reason: &str) {
        let Some(Running { index, .. }) = self.running(pid) else { return };
        if let Some(process) = self.process_mut(pid) {
            process.killed.get_or_insert_with(|| reason.to_owned());
        }
        tracing::warn!(worker = index, pid = pid.as_raw(), reason, "killing a worker");
        // It may be dead already, and not yet reaped: its pid is still ours.
        let _ = kill(pid, Signal::SIGKILL);
    }

    /// Kills every worker.
    pub(crate) fn kill_all(&mut self) {
        for pid in self.pids() {
            self.kill_worker(pid, "it did not end in time");
        }
    }

    /// Every worker that lives, and then the tainted ones.
    pub(crate) fn processes(&self) -> impl Iterator<Item = Running<'_>> {
        let workers = self.workers.iter().filter_map(|(index, worker)| {
            let process = worker.process.as_ref()?;
            Some(Running { index: *index, page: worker.page, process })
        });
        workers.chain(self.tainted.iter().map(|one| Running {
            index: one.index,
            page: one.page,
            process: &one.process,
        }))
    }

    /// The one of this pid.
    pub(crate) fn running(&self, pid: Pid) -> Option<Running<'_>> {
        self.processes().find(|running| running.process.pid == pid)
    }

    /// The process of this pid.
    pub(crate) fn process_mut(&mut self, pid: Pid) -> Option<&mut Process> {
        let workers = self.workers.values_mut().filter_map(|worker| worker.process.as_mut());
        let tainted = self.tainted.iter_mut().map(|one| &mut one.process);
        workers.chain(tainted).find(|process| process.pid == pid)
    }

    /// Pid of every worker that lives, tainted or not.
    pub(crate) fn pids(&self) -> Vec<Pid> {
        self.processes().map(|running| running.process.pid).collect()
    }

    /// What decides how soon a worker is replaced.
    pub(crate) fn backoff_limits(&self) -> Limits {
        Limits {
            delay_min: self.settings.respawn_delay_min,
            delay_max: self.settings.respawn_delay_max,
        }
    }

    /// Index of the worker that this process is; none of one in whose place another is.
    pub(crate) fn index_of(&self, pid: Pid) -> Option<usize> {
        let mut workers = self.workers.iter();
        workers.find(|(_, worker)| worker.pid() == Some(pid)).map(|(index, _)| *index)
    }

    fn set_holding(&mut self, pid: Pid, id: ListenerId, holding: Holding) {
        let index = self.index_of(pid);
        let worker = index.and_then(|index| self.workers.get_mut(&index));
        if let Some(process) = worker.and_then(|worker| worker.process.as_mut()) {
            process.holds.insert(id, holding);
        }
    }
}

fn log_death(death: &DeathStatus, age: Duration, delay: Duration) {
    let DeathStatus { worker, pid, how, killed_since, generation, target, .. } = death;
    let (age_ms, delay_ms) = (age.as_millis(), delay.as_millis());
    tracing::warn!(
        worker,
        pid,
        how,
        killed_since,
        generation,
        target,
        age_ms,
        delay_ms,
        "worker died"
    );
}

fn log_gone(death: &DeathStatus, what: &str) {
    let DeathStatus { worker, pid, how, target, .. } = death;
    tracing::info!(worker, pid, how, target, "{what}");
}

/// How a process ended, for the log.
pub(crate) fn how(ended: WaitStatus) -> String {
    match ended {
        WaitStatus::Exited(_, code) => format!("exited with code {code}"),
        WaitStatus::Signaled(_, signal, core_dumped) => {
            let core = if core_dumped { " (core dumped)" } else { "" };
            format!("killed by {signal}{core}")
        }
        other => format!("{other:?}"),
    }
}
