//! The master's loop: wait for events, handle each, then put in order what is not.
//!
//! Events only change what the master knows and wants. What follows from that (a fork, an adoption,
//! a kill, the next step of a reload) is done in one place, `maintain`, which compares what is with
//! what should be. So an order that is overtaken by a death needs no case of its own: the next turn
//! sees what is missing.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use fence::EmptyNetwork;
use heritage::{
    Order, PageNumber, REASONS_MAX, ReasonCounts, Report, Scoreboard, ServerNews, WORKERS_MAX,
};
use image::{Arena, Invalid, Slot};
use nix::sys::signal::Signal;
use nix::sys::stat::fstat;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use crate::broker::Broker;
use crate::claim::{ControlSocket, PidFile};
use crate::clients::{ClientId, Clients};
use crate::control::{ControlReply, ControlRequest};
use crate::faults::Faults;
use crate::generations::{Generations, SealedImage};
use crate::keeper::Keeper;
use crate::listeners::Listeners;
use crate::probation::Probation;
use crate::reload::{LastRefusal, Reload, Waiting};
use crate::rollback::LastRollback;
use crate::servers::Servers;
use crate::signals::{Request, Signals};
use crate::staffing::Running;
use crate::tainted::Tainted;
use crate::workers::Worker;
use crate::{Configured, Roles, Settings, StartError, Stopped};

/// How long workers have to leave by themselves after the order to stop.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// What can happen to the master.
#[derive(Debug)]
pub(crate) enum Event {
    /// A worker says something.
    Report(Pid, Report),
    /// The broker says something.
    BrokerReport(Report),
    /// A client of the control socket asks for something.
    Control(ClientId, ControlRequest),
    /// A signal asks for something.
    Signal(Request),
    /// Somebody has stopped a child (SIGSTOP).
    ChildStopped(Pid, Signal),
    /// It may go on.
    ChildContinued(Pid),
    /// A child is dead, and this is how it died.
    ChildExited(Pid, WaitStatus),
}

/// Whether the master runs or ends.
#[derive(Debug)]
pub(crate) enum Phase {
    /// It keeps everything in order.
    Running,
    /// The workers finish what they have.
    Draining {
        /// When what is left is cut off.
        deadline: Instant,
    },
    /// The workers were told to leave at once.
    Stopping {
        /// When those that have not are killed.
        kill_at: Instant,
        /// What `run` returns.
        outcome: Result<Stopped, StartError>,
    },
}

/// The master.
pub(crate) struct Supervisor<'a> {
    pub(crate) settings: Settings,
    pub(crate) arena: Arena,
    /// Checks and seals an image: `image::seal`, but in tests, which have no compiler to make one.
    pub(crate) seal: fn(&OwnedFd, Slot) -> Result<SealedImage, Invalid>,
    /// Fences a broker: `fence::broker`, but in tests, whose broker reads from a file what it is to
    /// say.
    pub(crate) fence_broker: fn(&fence::Broker) -> io::Result<()>,
    pub(crate) roles: &'a mut dyn Roles,
    pub(crate) started: Instant,
    pub(crate) phase: Phase,
    pub(crate) signals: Signals,
    pub(crate) clients: Clients,
    pub(crate) listeners: Listeners,
    pub(crate) scoreboard: Scoreboard,
    pub(crate) generations: Generations,
    pub(crate) reload: Reload,
    pub(crate) waiting: Waiting,
    /// What came of the last reload, if it was refused.
    pub(crate) last_refusal: Option<LastRefusal>,
    /// The rollback since which no reload has succeeded, if there was one.
    pub(crate) last_rollback: Option<LastRollback>,
    /// What the reload that runs, or the last one, began with; none before the first has got so far.
    pub(crate) configured: Option<Configured>,
    /// What workers serve with while there is no generation to serve; none while there is, and before
    /// the first reload is over.
    pub(crate) without_scripts: Option<Configured>,
    /// The active generation, while it is new.
    pub(crate) probation: Option<Probation>,
    /// When the reload or rollback that runs began.
    pub(crate) began: Instant,
    pub(crate) workers: BTreeMap<usize, Worker>,
    /// Processes that drain while others are in their places already, oldest first.
    pub(crate) tainted: Vec<Tainted>,
    /// What went wrong lately.
    pub(crate) faults: Faults,
    /// What workers that are gone have answered or cut off by themselves.
    pub(crate) reasons_before: ReasonCounts,
    /// When it is looked next whether they all turn their loops.
    pub(crate) next_pulse: Instant,
    /// When it is looked next whether a hook runs for too long.
    pub(crate) next_look: Instant,
    /// How many workers there should be.
    pub(crate) wanted: usize,
    pub(crate) broker: Broker,
    /// Where children are that need no network; none if the master may not make one.
    pub(crate) network: Option<EmptyNetwork>,
    /// Puts into the cache what a compile left; none if there is nothing to keep.
    pub(crate) keeper: Option<Keeper>,
    /// What broker and workers found out.
    pub(crate) servers: Servers,
    /// Given back when the master ends.
    _pid_file: Option<PidFile>,
}

impl<'a> Supervisor<'a> {
    /// Claims everything that may be refused, before any script is compiled or process forked.
    pub(crate) fn start(
        settings: Settings,
        arena: Arena,
        roles: &'a mut dyn Roles,
    ) -> Result<Self, StartError> {
        if !(1..=WORKERS_MAX).contains(&settings.workers) {
            return Err(StartError::WorkerCount(settings.workers));
        }
        let control = claim_control(&settings)?;
        let pid_file = settings.pid_file.as_deref().map(PidFile::claim).transpose()?;
        let listeners = Listeners::bind(&settings.listen, settings.workers)?;
        let scoreboard = Scoreboard::create()
            .map_err(|error| StartError::System { what: "the scoreboard", error })?;
        let signals = Signals::block()
            .map_err(|error| StartError::System { what: "the signalfd", error: error.into() })?;
        let now = Instant::now();
        Ok(Supervisor {
            arena,
            seal,
            fence_broker: fence::broker,
            broker: Broker::default(),
            network: EmptyNetwork::make(),
            keeper: None,
            servers: Servers::default(),
            roles,
            started: now,
            phase: Phase::Running,
            signals,
            clients: Clients::new(control),
            listeners,
            scoreboard,
            generations: Generations::default(),
            reload: Reload::Idle,
            waiting: Waiting::default(),
            last_refusal: None,
            reasons_before: [0; REASONS_MAX],
            last_rollback: None,
            configured: None,
            without_scripts: None,
            probation: None,
            began: now,
            workers: first_workers(settings.workers, now),
            tainted: Vec::new(),
            faults: Faults::new(now),
            next_pulse: now,
            next_look: now,
            wanted: settings.workers,
            settings,
            _pid_file: pid_file,
        })
    }

    /// Runs until the master is told to stop, or there is no configuration to begin with.
    pub(crate) fn run(mut self) -> Result<Stopped, StartError> {
        self.request_reload(None);
        loop {
            self.maintain(Instant::now());
            if self.is_over() {
                return self.outcome();
            }
            for event in self.wait() {
                match event {
                    Event::Report(pid, report) => self.report(pid, report),
                    Event::BrokerReport(report) => self.broker_report(report),
                    Event::Control(client, ControlRequest::Reload) => self.reload_for(Some(client)),
                    Event::Control(client, ControlRequest::Status) => self.tell_status(client),
                    Event::Control(client, ControlRequest::Rollback { generation }) => {
                        self.request_rollback(client, generation);
                    }
                    Event::Control(client, ControlRequest::Probation { generation }) => {
                        self.await_probation(client, generation);
                    }
                    Event::Signal(Request::Reload) => self.reload_for(None),
                    Event::Signal(Request::MoreWorkers) => self.scale(self.wanted + 1),
                    Event::Signal(Request::FewerWorkers) => self.scale(self.wanted - 1),
                    Event::Signal(Request::Drain) => self.drain(),
                    Event::Signal(Request::Stop) => self.stop(Ok(Stopped::Fast)),
                    // The dead were collected with it, and follow as events.
                    Event::Signal(Request::Reap) => {}
                    Event::ChildStopped(pid, signal) => self.child_stopped(pid, signal),
                    Event::ChildContinued(pid) => self.child_continued(pid),
                    Event::ChildExited(pid, ended) => self.child_exited(pid, ended),
                }
            }
        }
    }

    /// Does what has become due, and what follows from the events before it.
    fn maintain(&mut self, now: Instant) {
        self.clients.expire(now);
        self.hurry_keeper(now);
        match &mut self.phase {
            Phase::Running => {
                self.advance_reload(now);
                self.keep_probation(now);
                self.keep_standby(now);
                self.keep_broker(now);
                self.keep_staff(now);
                self.keep_listeners(now);
                self.kill_stuck(now);
                self.end_tainted(now);
                self.feel_pulses(now);
                self.look_at_hooks(now);
                self.tell_long_drains(now);
            }
            Phase::Draining { deadline } if *deadline <= now => {
                tracing::warn!("the drain timeout has passed: cutting off what is unfinished");
                let outcome = Ok(Stopped::DrainTimedOut);
                self.phase = Phase::Stopping { kill_at: now + STOP_GRACE, outcome };
                self.kill_all();
            }
            Phase::Stopping { kill_at, .. } if *kill_at <= now => {
                *kill_at = now + STOP_GRACE;
                self.kill_all();
            }
            Phase::Draining { .. } | Phase::Stopping { .. } => self.end_broker(),
        }
        self.spread_news(now);
    }

    /// When `maintain` next has something to do without an event.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let running = [
            self.reload_deadline(),
            self.probation_deadline(),
            self.staff_deadline(),
            self.tainted_deadline(),
            self.broker.next_deadline(),
            self.pulse_deadline(),
            self.generations.next_deadline(),
        ];
        let running = running.into_iter().flatten().min();
        let phase = match self.phase {
            Phase::Running => running,
            Phase::Draining { deadline } => Some(deadline),
            Phase::Stopping { kill_at, .. } => Some(kill_at),
        };
        let others = [self.clients.next_deadline(), self.keeper_deadline()];
        phase.into_iter().chain(others.into_iter().flatten()).min()
    }

    /// Says which generations are kept, and by what.
    fn tell_long_drains(&mut self, now: Instant) {
        while let Some(generation) = self.generations.next_long_drain(now) {
            let Some(known) = self.generations.find(generation) else { continue };
            let held = self.held(known);
            let oldest = held.iter().max_by_key(|held| held.oldest_ms);
            tracing::warn!(
                generation,
                workers = known.holders.len(),
                requests = held.iter().map(|held| held.requests).sum::<u64>(),
                oldest_s = oldest.and_then(|held| held.oldest_ms).map(|age_ms| age_ms / 1000),
                oldest_target = oldest.and_then(|held| held.oldest_target.as_deref()),
                "a generation still drains: its requests are not over"
            );
        }
    }

    /// Takes note of how many requests a worker has decided for each generation.
    pub(crate) fn count_decided(&mut self, pid: Pid) {
        let Some(page) = self.running(pid).map(|running| running.page) else { return };
        for held in self.scoreboard.page(page).holdings.read() {
            self.generations.decided(held.generation, pid, held.decided);
        }
    }

    fn reload_for(&mut self, client: Option<ClientId>) {
        match (&self.phase, client) {
            (Phase::Running, client) => self.request_reload(client),
            (_, Some(client)) => {
                let reason = "the master stops".to_owned();
                self.clients.reply(client, &self.refusal(reason, Vec::new()), Instant::now());
            }
            (_, None) => tracing::warn!("no reload: the master stops"),
        }
    }

    fn tell_status(&mut self, client: ClientId) {
        let now = Instant::now();
        self.pids().into_iter().for_each(|pid| self.count_decided(pid));
        self.clients.reply(client, &ControlReply::Status(Box::new(self.status(now))), now);
    }

    pub(crate) fn scale(&mut self, wanted: usize) {
        self.wanted = wanted.clamp(1, WORKERS_MAX);
        tracing::info!(workers = self.wanted, "scaling");
    }

    /// Every worker finishes what it has.
    fn drain(&mut self) {
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        tracing::info!(timeout_s = self.settings.drain_timeout.as_secs_f32(), "draining");
        let deadline = Instant::now() + self.settings.drain_timeout;
        self.phase = Phase::Draining { deadline };
        self.abandon_reload();
        // Ours first: a queue is emptied by its worker, and what came into ours later would be
        // lost.
        self.listeners.close_all();
        for pid in self.pids() {
            self.order_drain(pid, deadline);
        }
    }

    /// Every worker leaves now.
    pub(crate) fn stop(&mut self, outcome: Result<Stopped, StartError>) {
        if matches!(self.phase, Phase::Stopping { .. }) {
            return;
        }
        self.phase = Phase::Stopping { kill_at: Instant::now() + STOP_GRACE, outcome };
        self.abandon_reload();
        self.listeners.close_all();
        for pid in self.pids() {
            self.order(pid, &Order::Stop, &[]);
        }
    }

    /// Each has a deadline that ends it: a worker its pulse, compile child and keeper their timeouts,
    /// and the broker the one that begins here.
    fn child_stopped(&mut self, pid: Pid, signal: Signal) {
        tracing::warn!(pid = pid.as_raw(), %signal, "a child was stopped");
        self.broker_stopped(pid, Instant::now());
    }

    fn child_continued(&mut self, pid: Pid) {
        tracing::info!(pid = pid.as_raw(), "a child goes on");
        self.broker.continued(pid);
    }

    fn child_exited(&mut self, pid: Pid, ended: WaitStatus) {
        let now = Instant::now();
        if !self.compile_ended(pid, ended, now)
            && !self.broker_ended(pid, ended, now)
            && !self.keeper_ended(pid, ended)
        {
            self.bury(pid, ended, now);
        }
    }

    fn report(&mut self, pid: Pid, report: Report) {
        let now = Instant::now();
        let Some(Running { index, .. }) = self.running(pid) else { return };
        match report {
            Report::StandsBy { generation } => self.generations.mapped(generation, pid),
            Report::Retired { generation } => {
                self.count_decided(pid);
                self.generations.let_go(generation, pid);
            }
            Report::Fault(fault) => self.take_fault(index, pid, *fault, now),
            Report::News(news @ ServerNews::Ejected { .. }) => self.learn(news, pid, now),
            Report::News(_) | Report::NamesResolved => {
                self.kill_worker(pid, "it says what only the broker knows");
            }
            report if self.index_of(pid).is_none() => self.tainted_report(pid, report),
            Report::Ready { generation, map_us } => {
                self.worker_ready(index, now);
                self.loaded(pid, generation, map_us, now);
            }
            Report::Loaded { generation, map_us } => {
                self.count_decided(pid);
                self.loaded(pid, generation, map_us, now);
            }
            Report::LoadFailed { generation, reason } => {
                self.load_failed(index, pid, generation, &reason, now);
            }
            Report::Released { listener } => self.released(index, listener),
            Report::Tainted => self.taint(index, now),
        }
    }

    /// Reports that a worker sent before it died.
    pub(crate) fn last_reports(&mut self, pid: Pid) {
        let reports = self.process_mut(pid).and_then(|process| process.reports().ok());
        for report in reports.unwrap_or_default() {
            self.report(pid, report);
        }
    }

    fn is_over(&self) -> bool {
        !matches!(self.phase, Phase::Running)
            && !matches!(self.reload, Reload::Compiling { .. })
            && self.processes().next().is_none()
            && self.broker.process.is_none()
            && self.keeper.is_none()
    }

    fn outcome(self) -> Result<Stopped, StartError> {
        match self.phase {
            Phase::Stopping { outcome, .. } => outcome,
            Phase::Draining { .. } => Ok(Stopped::Drained),
            Phase::Running => unreachable!("a master that runs is not over"),
        }
    }
}

fn first_workers(count: usize, now: Instant) -> BTreeMap<usize, Worker> {
    (0..count).map(|index| (index, Worker::new(PageNumber::new(index), now))).collect()
}

/// Checks and seals an image, and measures it.
fn seal(file: &OwnedFd, slot: Slot) -> Result<SealedImage, Invalid> {
    let sealed = image::seal(file, slot)?;
    let digest: String = sealed.build_id().iter().map(|byte| format!("{byte:02x}")).collect();
    // Blocks and not the length: what was never written takes no memory.
    let blocks = fstat(file).map_or(0, |known| known.st_blocks);
    Ok(SealedImage {
        digest: Some(digest).filter(|digest| !digest.is_empty()),
        bytes: blocks as u64 * 512,
    })
}

/// The control socket, or none where it is not required and somebody else has it.
fn claim_control(settings: &Settings) -> Result<Option<ControlSocket>, StartError> {
    let Some(control) = &settings.control else { return Ok(None) };
    match ControlSocket::claim(&control.path, control.group) {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if control.required => Err(error),
        Err(error) => {
            tracing::warn!("{error}; running without a control socket");
            Ok(None)
        }
    }
}
