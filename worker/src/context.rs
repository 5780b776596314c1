//! What every connection of a worker shares: time, buffers, deadlines, settings.
//!
//! Time is read once a turn of the event loop; whatever happens in that turn happens at that moment.

use std::net::IpAddr;
use std::time::SystemTime;

use heritage::Reason;
use http::{Date, RequestHead, RequestLimits, ResponseHead, ResponseLimits, Via};
use nix::time::{ClockId, clock_gettime};

use crate::buffers::Buffers;
use crate::clients::Clients;
use crate::hooks::Returned;
use crate::notices::{About, Notices};
use crate::pipes::Pipes;
use crate::timers::Timers;

use settings::{Faults, Limits, Network, Timeouts};

/// How long a draining worker waits for another request on an idle connection. One may be on its way,
/// and closing just then would lose it: the answer to it says that the connection closes.
const DRAIN_GRACE_MS: u64 = 1000;

const _: () = assert!(settings::FIELDS_MAX == http::FIELDS_MAX as u64);

/// Shared by all connections of one worker.
pub(crate) struct Context {
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    pub(crate) faults: Faults,
    /// Clients whose word about their own clients counts.
    pub(crate) trusted: Vec<Network>,
    /// Whether the head of a `CONNECT` is taken: some upstream wants such requests.
    pub(crate) takes_connect: bool,
    /// Whether fields of requests with a `_` in their names are kept.
    pub(crate) takes_underscores: bool,
    /// How Kiln names itself to peers.
    pub(crate) via: Via,
    /// Microseconds of CLOCK_MONOTONIC at the beginning of this turn.
    pub(crate) now_us: u64,
    /// The same in milliseconds.
    pub(crate) now_ms: u64,
    /// The `Date` of this second.
    pub(crate) date: Date,
    date_until_ms: u64,
    pub(crate) buffers: Buffers,
    pub(crate) pipes: Pipes,
    pub(crate) timers: Timers,
    pub(crate) registry: mio::Registry,
    /// Whether connections are to close after their answers.
    pub(crate) is_draining: bool,
    /// Holds of requests that have ended.
    pub(crate) returned: Returned,
    pub(crate) counters: Counters,
    pub(crate) notices: Notices,
    pub(crate) clients: Clients,
    /// Parsed into again and again. Heads are needed only while they are decided on or written.
    pub(crate) request_head: RequestHead,
    pub(crate) response_head: ResponseHead,
}

impl Context {
    pub(crate) fn new(registry: mio::Registry) -> Self {
        let now_us = monotonic_us();
        let now_ms = now_us / 1000;
        Context {
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            faults: Faults::default(),
            trusted: Vec::new(),
            takes_connect: false,
            takes_underscores: false,
            via: Via::OFF,
            now_us,
            now_ms,
            date: Date::at(SystemTime::now()),
            date_until_ms: 0,
            buffers: Buffers::default(),
            pipes: Pipes::default(),
            timers: Timers::new(now_ms),
            registry,
            is_draining: false,
            returned: Returned::default(),
            counters: Counters::default(),
            notices: Notices::default(),
            clients: Clients::default(),
            request_head: RequestHead::default(),
            response_head: ResponseHead::default(),
        }
    }

    /// Reads the clock; the wall clock only once a second.
    pub(crate) fn read_time(&mut self) {
        self.now_us = monotonic_us();
        self.now_ms = self.now_us / 1000;
        if self.now_ms >= self.date_until_ms {
            let now = SystemTime::now();
            self.date = Date::at(now);
            let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            self.date_until_ms = self.now_ms + 1000 - u64::from(since_epoch.subsec_millis());
        }
    }

    /// Takes note of what Kiln does by itself.
    pub(crate) fn note(&mut self, reason: Reason, about: About<'_>) {
        self.notices.note(reason, about, self.now_ms);
    }

    /// Whether this peer's word about its clients counts.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(peer))
    }

    /// The moment that is so many milliseconds from now.
    pub(crate) fn after(&self, timeout_ms: u64) -> u64 {
        self.now_ms.saturating_add(timeout_ms)
    }

    /// How long idle connections stay while the worker drains: no longer than half of the drain, so
    /// that they alone never make it late.
    pub(crate) fn drain_grace_ms(&self) -> u64 {
        DRAIN_GRACE_MS.min(self.timeouts.drain_ms / 2)
    }

    /// Limits on request heads.
    pub(crate) fn request_limits(&self) -> RequestLimits {
        RequestLimits {
            head_bytes_max: self.limits.head_bytes as usize,
            line_bytes_max: self.limits.line_bytes as usize,
            fields_max: self.limits.fields as usize,
            takes_connect: self.takes_connect,
            takes_underscores: self.takes_underscores,
        }
    }

    /// Limits on response heads.
    pub(crate) fn response_limits(&self) -> ResponseLimits {
        ResponseLimits {
            head_bytes_max: self.limits.response_head_bytes as usize,
            fields_max: self.limits.response_fields as usize,
        }
    }

    /// Bytes that the larger buffers may have with one for a head that is arriving: it is anybody's, and
    /// may arrive slowly, so that requests which have arrived and their responses find room all the same.
    pub(crate) fn arriving_large_max(&self) -> u64 {
        self.limits.large_heads_bytes / 2
    }
}

/// What a worker counts since its start, for the scoreboard.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Requests answered.
    pub(crate) requests: u64,
    /// Requests sent to origins, each time that one was sent.
    pub(crate) forwarded: u64,
    /// Connections to origins opened.
    pub(crate) origin_connections: u64,
    /// Requests sent again.
    pub(crate) retries: u64,
    /// Requests and connections answered 503 for want of a server, of room or of a place.
    pub(crate) turned_away: u64,
}

fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has CLOCK_MONOTONIC");
    now.tv_sec() as u64 * 1_000_000 + now.tv_nsec() as u64 / 1000
}
