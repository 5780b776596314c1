//! The rounds of a case, in which the peers take turns.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use tempfile::TempDir;

use crate::bodies::Moved;
use crate::cases::{Case, Traffic};
use crate::cpu;
use crate::demands::Verdict;
use crate::figures::{Metric, Round, Spreads, ratios, spreads};
use crate::load::{Counted, Load, Pace};
use crate::machine::Cores;
use crate::origin;
use crate::peers::{Duty, NGINX, Peer, Server, Site};

/// Load that each server gets before its first round.
const WARM_UP: Duration = Duration::from_secs(1);

/// What all parts of a run share.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) cores: Cores,
    pub(crate) kiln: PathBuf,
    pub(crate) folder: TempDir,
    pub(crate) rounds: u32,
    pub(crate) round: Duration,
}

/// One peer's figures over the rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) peer: &'static str,
    pub(crate) what: &'static str,
    pub(crate) figures: Spreads,
    /// Kiln's figures over this peer's in the same round.
    pub(crate) kiln_over_it: Spreads,
}

/// What a case came to.
#[derive(Debug, Serialize)]
pub(crate) struct Compared {
    pub(crate) name: &'static str,
    /// The metric that the case is about.
    pub(crate) decisive: Metric,
    /// Kiln is the first.
    pub(crate) peers: Vec<Figures>,
    pub(crate) verdict: Verdict,
}

impl Bench {
    /// A folder of its own for one server.
    pub(crate) fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(folder)
    }

    /// Where a server that is measured runs.
    pub(crate) fn site(&self, peer: &Peer, duty: Duty) -> anyhow::Result<Site<'_>> {
        Site::new(&self.kiln, self.cores.server.to_string(), self.folder(peer.name)?, duty)
    }

    /// The origin of small answers, on the load's core.
    pub(crate) fn origin(&self) -> anyhow::Result<Server> {
        let folder = self.folder("origin")?;
        let core = self.cores.load.to_string();
        NGINX.serve(&Site::new(&self.kiln, core, folder, Duty::Reply)?).context("origin")
    }

    /// How long a case takes, but for the starts of its servers.
    pub(crate) fn duration(&self, case: &Case) -> Duration {
        (WARM_UP + self.round * self.rounds) * case.peers.len() as u32
    }

    /// Runs the rounds of one case.
    pub(crate) fn compare(&self, case: &Case) -> anyhow::Result<Compared> {
        let (_origin, duty) = match (case.is_forwarded, case.traffic) {
            (false, _) => (None, Duty::Reply),
            (true, Traffic::Bodies(_)) => (None, Duty::Move(origin::start(self.cores.load)?)),
            (true, Traffic::Requests(_)) => {
                let origin = self.origin()?;
                let duty = Duty::Forward(origin.address);
                (Some(origin), duty)
            }
        };
        let serve = |peer: &&Peer| peer.serve(&self.site(peer, duty)?);
        let servers = case.peers.iter().map(serve).collect::<anyhow::Result<Vec<Server>>>()?;
        for (peer, server) in case.peers.iter().zip(&servers) {
            eprintln!("{}: warming up {}", case.name, peer.name);
            self.load(case.traffic, server, WARM_UP).context(peer.name)?;
        }
        let mut rounds = vec![Vec::new(); servers.len()];
        for number in 0..self.rounds as usize {
            for index in turns(number, servers.len()) {
                let name = case.peers[index].name;
                eprintln!("{}: round {} of {}, {name}", case.name, number + 1, self.rounds);
                rounds[index].push(self.round(case.traffic, &servers[index]).context(name)?);
            }
        }
        Ok(compared(case, duty, &rounds))
    }

    fn round(&self, traffic: Traffic, server: &Server) -> anyhow::Result<Round> {
        let worker = server.worker()?;
        let before_ns = cpu::time_ns(worker)?;
        let outcome = self.load(traffic, server, self.round)?;
        let cpu_ns = cpu::time_ns(worker)? - before_ns;
        anyhow::ensure!(server.worker()? == worker, "the worker was replaced during the round");
        Ok(outcome.round(cpu_ns as f64))
    }

    fn load(
        &self,
        traffic: Traffic,
        server: &Server,
        duration: Duration,
    ) -> anyhow::Result<Outcome> {
        let (core, address) = (self.cores.load, server.address);
        Ok(match traffic {
            Traffic::Requests(pace) => {
                let counted = Load::new(core, self.folder.path(), pace)?.run(address, duration)?;
                match pace {
                    Pace::Pipelined => Outcome::Batches(counted),
                    Pace::Saturating | Pace::Pausing => Outcome::Requests(counted),
                }
            }
            Traffic::Bodies(transfers) => Outcome::Bodies(transfers.run(core, address, duration)?),
        })
    }
}

/// Whose turn it is in a round, one after the other. The first is another from round to round, and
/// the direction too, so that a machine that slows down favours nobody.
fn turns(round: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |turn| {
        let step = if round.is_multiple_of(2) { turn } else { count - turn };
        (round + step) % count
    })
}

/// What a load came to.
enum Outcome {
    Requests(Counted),
    /// Requests that were sent several at a time.
    Batches(Counted),
    Bodies(Moved),
}

impl Outcome {
    fn round(self, cpu_ns: f64) -> Round {
        match self {
            Outcome::Requests(counted) => {
                let mut round = Outcome::Batches(counted).round(cpu_ns);
                round.insert(Metric::P50Us, counted.p50_us);
                round.insert(Metric::P99Us, counted.p99_us);
                round
            }
            // wrk times batches and corrects them by the rate of requests: that is no latency.
            Outcome::Batches(counted) => {
                let requests = counted.requests as f64;
                Round::from([
                    (Metric::RequestsPerS, requests * 1e6 / counted.duration_us as f64),
                    (Metric::CpuUsPerRequest, cpu_ns / 1e3 / requests),
                ])
            }
            Outcome::Bodies(moved) => {
                let bytes = moved.bytes as f64;
                Round::from([
                    (Metric::BytesPerS, bytes / moved.duration.as_secs_f64()),
                    (Metric::BytesPerCpuS, bytes * 1e9 / cpu_ns),
                ])
            }
        }
    }
}

fn compared(case: &Case, duty: Duty, rounds: &[Vec<Round>]) -> Compared {
    let kiln = &rounds[0];
    let peers = case.peers.iter().zip(rounds).map(|(peer, rounds)| Figures {
        peer: peer.name,
        what: peer.does_by(duty),
        figures: spreads(rounds),
        kiln_over_it: ratios(kiln, rounds),
    });
    let rounds_of = |wanted: &Peer| {
        let index = case.peers.iter().position(|peer| peer.name == wanted.name);
        rounds[index.expect("a demand is beside peers of its case")].clone()
    };
    Compared {
        name: case.name,
        decisive: case.demand.metric,
        peers: peers.collect(),
        verdict: case.demand.judge(case.name, kiln, rounds_of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(round: usize, expect: [usize; 4]) {
        assert_eq!(turns(round, 4).collect::<Vec<_>>(), expect, "round {round}");
    }

    #[test]
    fn the_first_and_the_direction_change_from_round_to_round() {
        check(0, [0, 1, 2, 3]);
        check(1, [1, 0, 3, 2]);
        check(2, [2, 3, 0, 1]);
        check(3, [3, 2, 1, 0]);
    }
}
