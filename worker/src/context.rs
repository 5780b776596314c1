//! What every connection of a worker shares: time, buffers, deadlines, settings.
//!
//! Time is read once a turn of the event loop; whatever happens in that turn happens at that moment.

use std::time::{Duration, SystemTime};

use http::{Date, RequestHead, ResponseHead};
use nix::time::{ClockId, clock_gettime};

use crate::buffers::Buffers;
use crate::hooks::Returned;
use crate::settings::Settings;
use crate::timers::Timers;

/// How long a draining worker waits for another request on an idle connection. One may be on its way,
/// and closing just then would lose it: the answer to it says that the connection closes.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// Shared by all connections of one worker.
pub(crate) struct Context {
    pub(crate) settings: Settings,
    /// Milliseconds of CLOCK_MONOTONIC at the beginning of this turn.
    pub(crate) now_ms: u64,
    /// The `Date` of this second.
    pub(crate) date: Date,
    date_until_ms: u64,
    pub(crate) buffers: Buffers,
    pub(crate) timers: Timers,
    pub(crate) registry: mio::Registry,
    /// Whether connections are to close after their answers.
    pub(crate) is_draining: bool,
    /// Holds of requests that have ended.
    pub(crate) returned: Returned,
    /// Requests answered since the start.
    pub(crate) requests: u64,
    /// Parsed into again and again. Heads are needed only while they are decided on or written.
    pub(crate) request_head: RequestHead,
    pub(crate) response_head: ResponseHead,
}

impl Context {
    pub(crate) fn new(settings: Settings, registry: mio::Registry) -> Self {
        let now_ms = monotonic_ms();
        Context {
            settings,
            now_ms,
            date: Date::at(SystemTime::now()),
            date_until_ms: 0,
            buffers: Buffers::default(),
            timers: Timers::new(now_ms),
            registry,
            is_draining: false,
            returned: Returned::default(),
            requests: 0,
            request_head: RequestHead::default(),
            response_head: ResponseHead::default(),
        }
    }

    /// Reads the clock; the wall clock only once a second.
    pub(crate) fn read_time(&mut self) {
        self.now_ms = monotonic_ms();
        if self.now_ms >= self.date_until_ms {
            let now = SystemTime::now();
            self.date = Date::at(now);
            let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            self.date_until_ms = self.now_ms + 1000 - u64::from(since_epoch.subsec_millis());
        }
    }

    /// The moment that is `timeout` from now.
    pub(crate) fn after(&self, timeout: Duration) -> u64 {
        self.now_ms.saturating_add(timeout.as_millis() as u64)
    }

    /// How long idle connections stay while the worker drains: no longer than half of the drain, so
    /// that they alone never make it late.
    pub(crate) fn drain_grace(&self) -> Duration {
        DRAIN_GRACE.min(self.settings.drain_timeout / 2)
    }
}

fn monotonic_ms() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has CLOCK_MONOTONIC");
    now.tv_sec() as u64 * 1000 + now.tv_nsec() as u64 / 1_000_000
}
