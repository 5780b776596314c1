//! The broker's loop: look up and check what is due, report what changed, wait.
//!
//! It waits in one place, for the channel, the resolver's threads and the sockets of checks; the
//! end of the channel is its end.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use heritage::{Channel, NAMES_MAX, Order, Received};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::checks::{CheckId, RUNNING_MAX};
use crate::probe::{Failure, Probe};
use crate::resolver::Resolver;
use crate::survey::Survey;

/// The channel to the master.
const CHANNEL: Token = Token(0);
/// An answer of the resolver.
const RESOLVER: Token = Token(1);
/// The first check; the others count on from there, and none is used twice.
const FIRST_PROBE: usize = 2;

/// Events of one turn: each check, the channel and the resolver.
const EVENTS_MAX: usize = RUNNING_MAX + FIRST_PROBE;

/// Reports that the master has not taken. News of everything at once are fewer; a master that takes
/// none of so many is stuck, and the next broker begins anew.
const REPORTS_MAX: usize = 8 * NAMES_MAX;

/// The broker.
pub(crate) struct EventLoop {
    poll: Poll,
    channel: Channel,
    survey: Survey,
    resolver: Resolver,
    /// The checks that run, each with what it is for.
    probes: BTreeMap<usize, (CheckId, Probe)>,
    next_probe: usize,
    started: Instant,
}

impl EventLoop {
    /// A broker for these servers, which reports to this channel.
    pub(crate) fn new(settings: &settings::Worker, channel: Channel) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut SourceFd(&channel.as_fd().as_raw_fd()), CHANNEL, interest)?;
        let resolver = Resolver::start(Waker::new(registry, RESOLVER)?)?;
        // Each process has random keys of its own.
        let seed = RandomState::new().hash_one("jitter");
        Ok(EventLoop {
            survey: Survey::new(settings, 0, seed),
            poll,
            channel,
            resolver,
            probes: BTreeMap::new(),
            next_probe: FIRST_PROBE,
            started: Instant::now(),
        })
    }

    /// Runs until the channel ends.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        // What the broker before this one found out is there already, before anything is looked up.
        if self.hear()?.is_break() {
            return Ok(());
        }
        loop {
            self.take_answers();
            let now_ms = self.now_ms();
            self.begin_due(now_ms);
            self.end_late(now_ms);
            self.send_reports()?;
            match self.poll.poll(&mut events, self.wait()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                match event.token() {
                    CHANNEL => {
                        if self.hear()?.is_break() {
                            return Ok(());
                        }
                    }
                    // Its answers are taken each turn; this begins one.
                    RESOLVER => {}
                    Token(number) => self.advance(number),
                }
            }
        }
    }

    /// Time to what is due next; none if nothing is.
    fn wait(&self) -> Option<Duration> {
        let deadlines = self.probes.values().map(|(_, probe)| probe.deadline_ms);
        let due_ms = deadlines.chain(self.survey.next_due_ms()).min()?;
        let due = self.started + Duration::from_millis(due_ms);
        Some(due.saturating_duration_since(Instant::now()))
    }

    fn begin_due(&mut self, now_ms: u64) {
        while let Some(name) = self.survey.name_due(now_ms) {
            self.resolver.ask(name);
        }
        while let Some(id) = self.survey.check_due(now_ms) {
            let number = self.next_probe;
            self.next_probe += 1;
            let deadline_ms = now_ms + self.survey.target(id).health.timeout_ms;
            match Probe::start(id.server, deadline_ms, self.poll.registry(), Token(number)) {
                Ok(probe) => drop(self.probes.insert(number, (id, probe))),
                Err(error) => self.check_ended(id, Err(error.into())),
            }
        }
    }

    fn end_late(&mut self, now_ms: u64) {
        let late = self.probes.extract_if(.., |_, (_, probe)| probe.deadline_ms <= now_ms);
        let late = late.map(|(_, (id, probe))| (id, probe.late()));
        for (id, failure) in late.collect::<Vec<_>>() {
            self.check_ended(id, Err(failure));
        }
    }

    fn advance(&mut self, number: usize) {
        // An event of this turn for a check that ended in it.
        let Some((id, probe)) = self.probes.get_mut(&number) else { return };
        let id = *id;
        if let Some(answer) = probe.advance(&self.survey.target(id).request) {
            self.probes.remove(&number);
            self.check_ended(id, answer);
        }
    }

    fn check_ended(&mut self, id: CheckId, answer: Result<u16, Failure>) {
        let now_ms = self.now_ms();
        self.survey.check_ended(id, &answer, now_ms);
    }

    fn take_answers(&mut self) {
        while let Some((name, answer)) = self.resolver.answer() {
            let now_ms = self.now_ms();
            self.survey.name_answered(&name, answer, now_ms);
        }
    }

    /// Takes what the master says; breaks if that is to end.
    fn hear(&mut self) -> io::Result<ControlFlow<()>> {
        loop {
            match self.channel.receive()? {
                Received::Message(Order::News(news), _) => {
                    let now_ms = self.now_ms();
                    news.into_iter().for_each(|news| self.survey.recall(news, now_ms));
                }
                Received::Message(Order::Drain | Order::Stop, _) | Received::Closed => {
                    return Ok(ControlFlow::Break(()));
                }
                Received::Message(order, _) => {
                    tracing::error!(?order, "an order for a worker came to the broker");
                }
                Received::Empty => return Ok(ControlFlow::Continue(())),
            }
        }
    }

    /// Reports as much as the master takes; the rest waits until it does.
    fn send_reports(&mut self) -> io::Result<()> {
        while let Some(report) = self.survey.next_report() {
            match self.channel.send(report, &[]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return match self.survey.reports() {
                        ..REPORTS_MAX => Ok(()),
                        _ => Err(io::Error::other("the master takes no reports")),
                    };
                }
                // The end of the channel is read soon.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => tracing::error!(?report, %error, "cannot report"),
            }
            self.survey.reported();
        }
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
