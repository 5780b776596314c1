//! One server: its connections, and whether and how much it should be asked.

use std::net::SocketAddr;

use super::UpstreamId;
use crate::table::Id;

/// Time constant of the moving average of latency: what is older counts for little.
const LATENCY_MEMORY_MS: f64 = 10_000.0;

/// What the average before counts for at most: each answer makes up a tenth, so that a busy server's
/// average follows within some answers and not only within seconds.
const LATENCY_KEPT_MAX: f64 = 0.9;

/// Longest ejection, as a multiple of the first: a server that never comes well is tried now and then.
const EJECTIONS_MAX: u64 = 10;

/// Full weight in the units that weights are compared in, so that a slow start has steps.
const SCALE: u64 = 100;

/// What a slow start begins with: less would be nothing for too long, since who gets no request can't
/// show that it is well.
const SHARE_MIN: u64 = SCALE / 10;

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
    pub(super) idle: Vec<Id>,
    /// Requests that are with it, those included whose connection is being opened.
    pub(super) active: u64,
    /// What the health check says; well until it says otherwise.
    is_well: bool,
    failures_in_row: u64,
    ejected_until_ms: u64,
    /// Ejections without a good answer between them.
    ejections: u64,
    /// When it came, or came back; its share grows from there.
    since_ms: u64,
    /// Moving average of the time to the response's head; 0 until there is one.
    latency_us: f64,
    latency_at_ms: u64,
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
            ejected_until_ms: 0,
            ejections: 0,
            since_ms,
            latency_us: 0.0,
            latency_at_ms: 0,
            credit: 0,
        }
    }

    /// Whether it may get a request, were it not for its limit.
    pub(super) fn is_available(&self, now_ms: u64) -> bool {
        self.is_member && !self.is_draining && self.is_well && !self.is_ejected(now_ms)
    }

    pub(super) fn is_ejected(&self, now_ms: u64) -> bool {
        now_ms < self.ejected_until_ms
    }

    /// The health check changed its mind.
    pub(super) fn checked(&mut self, is_well: bool, now_ms: u64) {
        if is_well && !self.is_well {
            self.since_ms = now_ms;
            self.failures_in_row = 0;
            self.ejections = 0;
            // The check has asked it just now; what requests found before is older.
            self.ejected_until_ms = 0;
        }
        self.is_well = is_well;
    }

    /// It answered.
    pub(super) fn answered(&mut self, latency_us: u64, now_ms: u64) {
        self.failures_in_row = 0;
        self.ejections = 0;
        let sample = latency_us as f64;
        let age_ms = now_ms.saturating_sub(self.latency_at_ms) as f64;
        self.latency_at_ms = now_ms;
        // Peaks count at once, and are forgotten slowly: a server that stalls is avoided from its first
        // slow answer on.
        self.latency_us = match sample > self.latency_us {
            true => sample,
            false => {
                let old = (-age_ms / LATENCY_MEMORY_MS).exp().min(LATENCY_KEPT_MAX);
                self.latency_us * old + sample * (1.0 - old)
            }
        };
    }

    /// It failed. Whether that is enough to eject it: failures in a row, or the first request after it
    /// came back from an ejection. What it had before it was ejected says nothing new.
    pub(super) fn failed(&mut self, failures_max: u64, now_ms: u64) -> bool {
        if self.is_ejected(now_ms) {
            return false;
        }
        self.failures_in_row += 1;
        failures_max > 0 && (self.ejections > 0 || self.failures_in_row >= failures_max)
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
        self.ejected_until_ms = self.ejected_until_ms.max(now_ms.saturating_add(for_ms));
        self.since_ms = self.ejected_until_ms;
    }

    /// Its weight now, in hundredths: a server that comes gets its share little by little.
    pub(super) fn share(&self, now_ms: u64, slow_start_ms: u64) -> u64 {
        let age_ms = now_ms.saturating_sub(self.since_ms);
        match self.since_ms > 0 && age_ms < slow_start_ms {
            true => (self.weight * SCALE * age_ms / slow_start_ms).max(self.weight * SHARE_MIN),
            false => self.weight * SCALE,
        }
    }

    /// What sending it one more request costs, for comparing: requests for its share.
    pub(super) fn load(&self, now_ms: u64, slow_start_ms: u64) -> f64 {
        (self.active + 1) as f64 / self.share(now_ms, slow_start_ms) as f64
    }

    /// The same, by the time that it takes to answer them.
    pub(super) fn delay(&self, now_ms: u64, slow_start_ms: u64) -> f64 {
        self.load(now_ms, slow_start_ms) * (self.latency_us + 1.0)
    }
}
