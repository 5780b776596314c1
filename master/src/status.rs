//! `kiln status`: what the master knows, and what the workers count on the scoreboard.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Instant;

use heritage::{PageNumber, Reason, ReasonCounts};

use crate::control::{
    GenerationStatus, HeldStatus, MasterStatus, RecordStatus, RefusalStatus, RolledBackStatus,
    Status, UpstreamsStatus, WorkerActivity, WorkerStatus,
};
use crate::generations::{Ended, Generation, Record};
use crate::pulse::monotonic_ms;
use crate::staffing::Running;
use crate::supervisor::Supervisor;
use crate::tainted::Tainted;
use crate::workers::Worker;

impl Supervisor<'_> {
    /// How everything is now.
    pub(crate) fn status(&self, now: Instant) -> Status {
        let generations = self.generations.iter().map(|known| GenerationStatus {
            number: known.number,
            state: known.state,
            age_s: (now - known.began).as_secs(),
            build: known.steps,
            workers: known.holders.len(),
            held: self.held(known),
            digest: known.digest.clone(),
            decided: known.decided(),
            faults: known.faults,
            image_bytes: known.image_bytes,
            can_return: known.cannot_return().is_none(),
            cannot_return: known.cannot_return().map(str::to_owned),
            is_good: known.is_good(),
            refusal: known.refusal.clone(),
            probation: self.probation_status(known, now),
            broken: known.broken.map(Into::into),
            rolled_back: match known.ended {
                Some(Ended::RolledBack { at, by_itself, record }) => Some(RolledBackStatus {
                    age_s: now.saturating_duration_since(at).as_secs(),
                    by_itself,
                    record: record.into(),
                }),
                _ => None,
            },
        });
        Status {
            master: MasterStatus {
                pid: nix::unistd::getpid().as_raw(),
                uptime_s: (now - self.started).as_secs(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            listen: self.listeners.addresses().to_vec(),
            generation_serving: self.generations.active().map(|active| active.number),
            generations: generations.collect(),
            workers: self
                .workers
                .iter()
                .map(|(index, worker)| self.worker_status(*index, worker, now))
                .collect(),
            tainted: self.tainted.iter().map(|one| self.tainted_status(one, now)).collect(),
            broker: self.broker.status(),
            upstreams: UpstreamsStatus {
                names: self.servers.names().collect(),
                out: self.servers.out(now).collect(),
            },
            reasons: self.reasons(),
            faults: self.faults.faults(now).collect(),
            deaths: self.faults.deaths(now).collect(),
            rollback: self.last_rollback.as_ref().map(|rollback| rollback.status(now)),
            refused: self.last_refusal.as_ref().map(|refusal| RefusalStatus {
                age_s: now.saturating_duration_since(refusal.at).as_secs(),
                reason: refusal.reason.clone(),
                diagnostics: refusal.diagnostics.clone(),
            }),
        }
    }

    /// What all workers have answered or cut off by themselves.
    fn reasons(&self) -> BTreeMap<String, u64> {
        let mut counts = self.reasons_before;
        for running in self.processes() {
            add(&mut counts, &self.scoreboard.page(running.page).reasons());
        }
        let named = Reason::ALL.iter().map(|reason| (reason.name().to_owned(), *reason as usize));
        named.map(|(name, place)| (name, counts[place])).filter(|(_, count)| *count > 0).collect()
    }

    /// The same of those that are gone, once this page's is.
    pub(crate) fn reasons_with(&self, page: PageNumber) -> ReasonCounts {
        let mut counts = self.reasons_before;
        add(&mut counts, &self.scoreboard.page(page).reasons());
        counts
    }

    /// What a generation holds in each worker that has it mapped.
    pub(crate) fn held(&self, generation: &Generation) -> Vec<HeldStatus> {
        let now_ms = monotonic_ms();
        let holders = self.processes();
        let holders = holders.filter(|it| generation.holders.contains_key(&it.process.pid));
        let of_worker = |running: Running<'_>| {
            let mut holdings = self.scoreboard.page(running.page).holdings.read();
            let held = holdings.find(|held| held.generation == generation.number)?;
            Some(HeldStatus {
                worker: running.index,
                requests: held.requests,
                memory_bytes: held.memory_bytes,
                oldest_ms: held.oldest.as_ref().map(|it| now_ms.saturating_sub(it.since_ms)),
                oldest_target: held.oldest.map(|it| it.target),
            })
        };
        holders.filter_map(of_worker).collect()
    }

    fn worker_status(&self, index: usize, worker: &Worker, now: Instant) -> WorkerStatus {
        let counted = self.counted_on(worker.page);
        WorkerStatus {
            index,
            pid: worker.pid().map(nix::unistd::Pid::as_raw),
            state: worker.activity.into(),
            requests: worker.requests_before + counted.requests,
            restarts: worker.restarts,
            uptime_s: worker.age(now).as_secs(),
            ..counted
        }
    }

    fn tainted_status(&self, one: &Tainted, now: Instant) -> WorkerStatus {
        WorkerStatus {
            index: one.index,
            pid: Some(one.process.pid.as_raw()),
            uptime_s: one.age(now).as_secs(),
            ..self.counted_on(one.page)
        }
    }

    /// What a process has counted; the rest as that of one that drains.
    fn counted_on(&self, page: PageNumber) -> WorkerStatus {
        let page = self.scoreboard.page(page);
        WorkerStatus {
            index: 0,
            pid: None,
            state: WorkerActivity::Draining,
            generation: page.generation.load(Ordering::Relaxed),
            requests: page.requests.load(Ordering::Relaxed),
            connections: page.connections.load(Ordering::Relaxed),
            forwarded: page.forwarded.load(Ordering::Relaxed),
            origin_connections: page.origin_connections.load(Ordering::Relaxed),
            retries: page.retries.load(Ordering::Relaxed),
            turned_away: page.turned_away.load(Ordering::Relaxed),
            restarts: 0,
            uptime_s: 0,
        }
    }
}

/// A worker gone wild may have counted anything.
fn add(counts: &mut ReasonCounts, more: &ReasonCounts) {
    for (count, more) in counts.iter_mut().zip(more) {
        *count = count.saturating_add(*more);
    }
}

impl From<Record> for RecordStatus {
    fn from(record: Record) -> Self {
        RecordStatus { faults: record.faults, active_s: record.active_for.as_secs_f64() }
    }
}

const _: () = assert!(heritage::HOLDINGS_MAX >= image::Arena::SLOTS as usize);
