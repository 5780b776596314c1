//! The master's record of each worker: an index, and the process that has it now.
//!
//! The running worker is another type in another crate. This one says what the master knows about
//! it.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use heritage::{Channel, ListenerId, PageNumber, Received, Report};
use nix::unistd::Pid;

use crate::backoff::Backoff;
use crate::control::WorkerActivity;
use crate::pulse::Pulse;

/// Reports taken from one worker in one turn of the loop, so that one that floods its channel does
/// not keep the master from the others. A busy reload brings three.
const REPORTS_MAX: usize = 64;

/// What a worker does, as far as the master knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// Dead, or not yet forked; the next is forked at this time.
    Vacant {
        /// When.
        fork_at: Instant,
    },
    /// Forked, and not yet ready; killed if it is not by this time.
    Starting {
        /// What it begins with; none if that is no scripts.
        generation: Option<u64>,
        /// When.
        deadline: Instant,
    },
    /// Accepting and serving.
    Serving,
    /// New connections are steered elsewhere; it empties its sockets' queues when told to.
    Leaving,
    /// Told to drain; killed if it still lives at this time.
    Draining {
        /// When.
        deadline: Instant,
    },
}

impl Activity {
    /// Whether a worker of this activity takes a new generation.
    pub(crate) fn takes_generations(self) -> bool {
        match self {
            Activity::Starting { .. } | Activity::Serving | Activity::Leaving => true,
            Activity::Vacant { .. } | Activity::Draining { .. } => false,
        }
    }
}

/// A socket that a worker accepts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    /// It accepts.
    Held,
    /// It was told to empty the queue and close; stuck if it has not by this time.
    Releasing {
        /// When.
        deadline: Instant,
    },
}

/// The process of a worker, or of the broker, which holds no sockets.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pub(crate) channel: Channel,
    /// Whether its end of the channel is still open.
    pub(crate) connected: bool,
    pub(crate) forked: Instant,
    /// Its own sockets, and those it adopted.
    pub(crate) holds: BTreeMap<ListenerId, Holding>,
    /// The generation that it was told last to have stand by.
    pub(crate) stands_by: Option<u64>,
    /// Up to which change of [`crate::servers::Servers`] it was told.
    pub(crate) told: u64,
    /// Why it was killed, if it was.
    pub(crate) killed: Option<String>,
}

impl Process {
    /// One that was forked now.
    pub(crate) fn new(pid: Pid, channel: Channel, told: u64, now: Instant) -> Self {
        let holds = BTreeMap::new();
        Process {
            pid,
            channel,
            connected: true,
            forked: now,
            holds,
            stands_by: None,
            told,
            killed: None,
        }
    }

    /// Takes what the child has to say. Nothing but reports may come; anything else is an error.
    pub(crate) fn reports(&mut self) -> io::Result<Vec<Report>> {
        let mut reports = Vec::new();
        while self.connected && reports.len() < REPORTS_MAX {
            match self.channel.receive()? {
                Received::Message(report, _files) => reports.push(report),
                Received::Empty => break,
                Received::Closed => self.connected = false,
            }
        }
        Ok(reports)
    }
}

/// One worker index.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) activity: Activity,
    /// The page of the scoreboard that its process counts on.
    pub(crate) page: PageNumber,
    /// None while it is vacant.
    pub(crate) process: Option<Process>,
    pub(crate) backoff: Backoff,
    /// How often the process of this index was replaced.
    pub(crate) restarts: u32,
    /// Requests that the processes before this one answered.
    pub(crate) requests_before: u64,
    /// Whether it still turns its loop.
    pub(crate) pulse: Pulse,
    /// When the process before this one died, until this one is ready.
    pub(crate) died_at: Option<Instant>,
}

impl Worker {
    /// An index whose first process is to be forked now, to count on this page.
    pub(crate) fn new(page: PageNumber, now: Instant) -> Self {
        Worker {
            activity: Activity::Vacant { fork_at: now },
            page,
            process: None,
            backoff: Backoff::default(),
            restarts: 0,
            requests_before: 0,
            pulse: Pulse::default(),
            died_at: None,
        }
    }

    /// Its process's pid.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.process.as_ref().map(|process| process.pid)
    }

    /// Whether it accepts from this socket.
    pub(crate) fn accepts_from(&self, listener: ListenerId) -> bool {
        matches!(self.activity, Activity::Serving | Activity::Leaving)
            && self.holding(listener) == Some(Holding::Held)
    }

    /// How it holds this socket, if it does.
    pub(crate) fn holding(&self, listener: ListenerId) -> Option<Holding> {
        self.process.as_ref()?.holds.get(&listener).copied()
    }

    /// Seconds since its process was forked.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        self.process.as_ref().map_or(Duration::ZERO, |process| now - process.forked)
    }

    /// When it is stuck, or due to be forked.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let own = match self.activity {
            Activity::Vacant { fork_at } => Some(fork_at),
            Activity::Starting { deadline, .. } | Activity::Draining { deadline } => Some(deadline),
            Activity::Serving | Activity::Leaving => None,
        };
        own.into_iter().chain(self.release_deadline()).min()
    }

    /// Whether it has overstepped a deadline.
    pub(crate) fn stuck(&self, now: Instant) -> bool {
        !matches!(self.activity, Activity::Vacant { .. })
            && self.next_deadline().is_some_and(|deadline| deadline <= now)
    }

    fn release_deadline(&self) -> Option<Instant> {
        let holds = self.process.as_ref()?.holds.values();
        holds
            .filter_map(|holding| match holding {
                Holding::Releasing { deadline } => Some(*deadline),
                Holding::Held => None,
            })
            .min()
    }
}

impl From<Activity> for WorkerActivity {
    fn from(activity: Activity) -> Self {
        match activity {
            Activity::Vacant { .. } => WorkerActivity::Vacant,
            Activity::Starting { .. } => WorkerActivity::Starting,
            Activity::Serving => WorkerActivity::Serving,
            Activity::Leaving => WorkerActivity::Leaving,
            Activity::Draining { .. } => WorkerActivity::Draining,
        }
    }
}
