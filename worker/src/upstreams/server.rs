//! One server: its connections, and whether and how much it should be asked.

use std::net::SocketAddr;

use heritage::Ejection;

use super::UpstreamId;
use crate::ids::OriginId;

/// Time constant of the moving average of latency: what is older counts for little.
const LATENCY_MEMORY_MS: f64 = 10_000.0;

/// What the average before counts for at most: each answer makes up a tenth, so that a busy server's
/// average follows within some answers and not only within seconds.
const LATENCY_KEPT_MAX: f64 = 0.9;

/// Up to this age it counts for that much: exp(-0.1) is just above 0.9.
const LATENCY_KEPT_MS: f64 = LATENCY_MEMORY_MS * 0.1;

/// Longest ejection, as a multiple of the first: a server that never comes well is tried now and then.
const EJECTIONS_MAX: u64 = 10;

/// Full weight in the units that weights are compared in, so that a slow start has steps.
const SCALE: u64 = 100;

/// What a slow start begins with: less would be nothing for too long, since who gets no request can't
/// show that it is well.
const SHARE_MIN: u64 = SCALE / 10;

/// What an error weighs while nobody knows how long a good answer takes. Long enough for a server that
/// fails at once not to get all requests of a burst before another has answered one.
const UNKNOWN_LATENCY_MS: f64 = 1000.0;

/// Below this weight an error is forgotten.
const ERRORS_MIN: f64 = 0.01;

/// A moving average of the time to the head of a good answer. Peaks count at once, and are forgotten
/// slowly: a server that stalls is avoided from its first slow answer on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Latency {
    /// 0 until there is an answer.
    average_us: f64,
    at_ms: u64,
}

impl Latency {
    pub(super) fn add(&mut self, sample_us: u64, now_ms: u64) {
        let sample_us = sample_us as f64;
        let age_ms = now_ms.saturating_sub(self.at_ms) as f64;
        self.at_ms = now_ms;
        self.average_us = match sample_us > self.average_us {
            true => sample_us,
            false => {
                // Of a busy server each answer makes up its tenth, which takes no exponential to find out.
                let old = match age_ms < LATENCY_KEPT_MS {
                    true => LATENCY_KEPT_MAX,
                    false => (-age_ms / LATENCY_MEMORY_MS).exp().min(LATENCY_KEPT_MAX),
                };
                self.average_us * old + sample_us * (1.0 - old)
            }
        };
    }
}

/// What the load of a server is compared by, beside the server itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now_ms: u64,
    pub(super) slow_start_ms: u64,
    /// Of the upstream's servers together.
    pub(super) usual: Latency,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) upstream: UpstreamId,
    pub(super) address: SocketAddr,
    pub(super) weight: u64,
    /// Gets no new request, by configuration.
    pub(super) is_draining: bool,
    /// Whether it is still configured; one that is not goes when its last request is over.
    pub(super) is_member: bool,
    /// Connections that wait; the last is the one used last.
    pub(super) idle: Vec<OriginId>,
    /// Requests that are with it, those included whose connection is being opened.
    pub(super) active: u64,
    /// What the health check says; well until it says otherwise.
    is_well: bool,
    failures_in_row: u64,
    /// How many of these were connections that could not be opened.
    unreachable_in_row: u64,
    ejected_until_ms: u64,
    /// Ejections without a good answer between them.
    ejections: u64,
    /// When it came, or came back; its share grows from there.
    since_ms: u64,
    latency: Latency,
    /// Recent errors, each of which weighs like a request in flight for as long as a good answer takes.
    errors: f64,
    errors_at_ms: u64,
    /// Credit in the weighted round robin.
    pub(super) credit: i64,
}

impl Server {
    pub(super) fn new(upstream: UpstreamId, address: SocketAddr, since_ms: u64) -> Self {
        Server {
            upstream,
            address,
            weight: 1,
            is_draining: false,
            is_member: true,
            idle: Vec::new(),
            active: 0,
            is_well: true,
            failures_in_row: 0,
            unreachable_in_row: 0,
            ejected_until_ms: 0,
            ejections: 0,
            since_ms,
            latency: Latency::default(),
            errors: 0.0,
            errors_at_ms: 0,
            credit: 0,
        }
    }

    /// Whether it may get a request, were it not for its limit and its failures.
    pub(super) fn is_in_service(&self) -> bool {
        self.is_member && !self.is_draining && self.is_well
    }

    /// Whether it may get a request, were it not for its limit.
    pub(super) fn is_available(&self, now_ms: u64) -> bool {
        self.is_in_service() && !self.is_ejected(now_ms)
    }

    /// Whether the last that is known of it is a good answer, or nothing.
    pub(super) fn is_blameless(&self) -> bool {
        self.failures_in_row == 0 && self.ejections == 0
    }

    pub(super) fn is_ejected(&self, now_ms: u64) -> bool {
        now_ms < self.ejected_until_ms
    }

    /// The health check changed its mind.
    pub(super) fn checked(&mut self, is_well: bool, now_ms: u64) {
        if is_well && !self.is_well {
            self.since_ms = now_ms;
            self.forgive();
            // The check has asked it just now; what requests found before is older.
            self.ejected_until_ms = 0;
        }
        self.is_well = is_well;
    }

    /// It answered, and well.
    pub(super) fn answered(&mut self, latency_us: u64, now_ms: u64) {
        self.forgive();
        self.latency.add(latency_us, now_ms);
    }

    /// It answered with an error: it is there, and nothing is known of how fast it serves.
    pub(super) fn erred(&mut self, moment: Moment) {
        self.forgive();
        self.weigh_error(moment);
    }

    /// It failed. Gives why it is to be ejected, if that is enough: failures in a row, or the first
    /// request after it came back from an ejection. What it had before it was ejected says nothing new.
    pub(super) fn failed(
        &mut self,
        is_unreachable: bool,
        failures_max: u64,
        moment: Moment,
    ) -> Option<Ejection> {
        self.weigh_error(moment);
        if self.is_ejected(moment.now_ms) {
            return None;
        }
        self.failures_in_row += 1;
        self.unreachable_in_row += u64::from(is_unreachable);
        let is_enough =
            failures_max > 0 && (self.ejections > 0 || self.failures_in_row >= failures_max);
        is_enough.then_some(match self.unreachable_in_row == self.failures_in_row {
            true => Ejection::Unreachable,
            false => Ejection::Failing,
        })
    }

    fn forgive(&mut self) {
        self.failures_in_row = 0;
        self.unreachable_in_row = 0;
        self.ejections = 0;
    }

    /// Errors are often made faster than answers. One that weighed nothing would make a server look
    /// free that does nothing but fail, and all requests would go there.
    fn weigh_error(&mut self, moment: Moment) {
        self.errors = self.recent_errors(moment) + 1.0;
        self.errors_at_ms = moment.now_ms;
    }

    /// What errors still weigh. That many errors a second for so long is what a server that answers
    /// well has in flight (Little's law).
    fn recent_errors(&self, moment: Moment) -> f64 {
        if self.errors == 0.0 {
            return 0.0;
        }
        let age_ms = moment.now_ms.saturating_sub(self.errors_at_ms) as f64;
        let usual_ms = match moment.usual.average_us {
            0.0 => UNKNOWN_LATENCY_MS,
            usual_us => usual_us / 1000.0,
        };
        self.errors * (-age_ms / usual_ms).exp()
    }

    /// Ejects it for its own failures; gives for how long.
    pub(super) fn eject_again(&mut self, now_ms: u64, eject_ms: u64) -> u64 {
        let for_ms = eject_ms * (self.ejections + 1).min(EJECTIONS_MAX);
        self.eject(now_ms, for_ms);
        for_ms
    }

    /// It gets nothing for so long. That several workers find it failing at once is one ejection.
    pub(super) fn eject(&mut self, now_ms: u64, for_ms: u64) {
        self.ejections += u64::from(!self.is_ejected(now_ms));
        self.failures_in_row = 0;
        self.unreachable_in_row = 0;
        self.ejected_until_ms = self.ejected_until_ms.max(now_ms.saturating_add(for_ms));
        self.since_ms = self.ejected_until_ms;
    }

    /// Its weight now, in hundredths: a server that comes gets its share little by little.
    pub(super) fn share(&self, moment: Moment) -> u64 {
        let age_ms = moment.now_ms.saturating_sub(self.since_ms);
        match self.since_ms > 0 && age_ms < moment.slow_start_ms {
            true => {
                (self.weight * SCALE * age_ms / moment.slow_start_ms).max(self.weight * SHARE_MIN)
            }
            false => self.weight * SCALE,
        }
    }

    /// What sending it one more request costs, for comparing: requests for its share.
    pub(super) fn load(&self, moment: Moment) -> f64 {
        ((self.active + 1) as f64 + self.recent_errors(moment)) / self.share(moment) as f64
    }

    /// The same, by the time that it takes to answer them. One that has not answered yet is taken for
    /// usual, and one that fails for no better than usual.
    pub(super) fn delay(&self, moment: Moment) -> f64 {
        let (own_us, usual_us) = (self.latency.average_us, moment.usual.average_us);
        let is_unknown = own_us == 0.0 || self.recent_errors(moment) >= ERRORS_MIN;
        let latency_us = if is_unknown { own_us.max(usual_us) } else { own_us };
        self.load(moment) * (latency_us + 1.0)
    }
}
