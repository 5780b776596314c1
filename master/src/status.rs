//! `kiln status`: what the master knows, and what the workers count on the scoreboard.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::control::{GenerationStatus, MasterStatus, Status, UpstreamsStatus, WorkerStatus};
use crate::supervisor::Supervisor;
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
        });
        Status {
            master: MasterStatus {
                pid: nix::unistd::getpid().as_raw(),
                uptime_s: (now - self.started).as_secs(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            listen: self.listeners.addresses().to_vec(),
            generations: generations.collect(),
            workers: self
                .workers
                .iter()
                .map(|(index, worker)| self.worker_status(*index, worker, now))
                .collect(),
            broker: self.broker.status(),
            upstreams: UpstreamsStatus {
                names: self.servers.names().collect(),
                out: self.servers.out(now).collect(),
            },
        }
    }

    fn worker_status(&self, index: usize, worker: &Worker, now: Instant) -> WorkerStatus {
        let page = self.scoreboard.page(index);
        WorkerStatus {
            index,
            pid: worker.pid().map(nix::unistd::Pid::as_raw),
            state: worker.activity.into(),
            generation: page.generation.load(Ordering::Relaxed),
            requests: worker.requests_before + page.requests.load(Ordering::Relaxed),
            connections: page.connections.load(Ordering::Relaxed),
            forwarded: page.forwarded.load(Ordering::Relaxed),
            origin_connections: page.origin_connections.load(Ordering::Relaxed),
            retries: page.retries.load(Ordering::Relaxed),
            turned_away: page.turned_away.load(Ordering::Relaxed),
            restarts: worker.restarts,
            uptime_s: worker.age(now).as_secs(),
        }
    }
}
