//! What is compared: the cases, and the rounds in which the peers take turns.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use tempfile::TempDir;

use crate::Part;
use crate::cpu;
use crate::figures::Spread;
use crate::load::Load;
use crate::machine::Cores;
use crate::peers::{Duty, Server};

/// A case: both peers have the same duty under the same load.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) part: Part,
    pub(crate) name: &'static str,
    /// What it is, for Kiln and for nginx.
    pub(crate) what: [&'static str; 2],
    is_forwarded: bool,
    is_pipelined: bool,
}

/// All cases.
pub(crate) const ALL: [Case; 3] = [
    Case {
        part: Part::Reply,
        name: "reply",
        what: ["a script that replies", "return 200"],
        is_forwarded: false,
        is_pipelined: false,
    },
    Case {
        part: Part::Proxied,
        name: "proxied",
        what: ["a script that forwards", "proxy_pass and a keepalive pool"],
        is_forwarded: true,
        is_pipelined: false,
    },
    Case {
        part: Part::Pipelined,
        name: "pipelined",
        what: ["a script that replies, 16 requests at a time", "return 200"],
        is_forwarded: false,
        is_pipelined: true,
    },
];

/// What all parts of a run share.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) cores: Cores,
    pub(crate) kiln: PathBuf,
    pub(crate) folder: TempDir,
    pub(crate) rounds: u32,
    pub(crate) round: Duration,
}

/// What one round of one peer came to.
#[derive(Clone, Copy, Debug)]
struct Round {
    requests_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us: f64,
}

/// One peer's figures over the rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) peer: &'static str,
    pub(crate) what: &'static str,
    pub(crate) requests_per_s: Spread,
    pub(crate) p50_us: Spread,
    pub(crate) p99_us: Spread,
    /// CPU microseconds of the worker for each request.
    pub(crate) cpu_us: Spread,
}

/// What a case came to.
#[derive(Debug, Serialize)]
pub(crate) struct Compared {
    pub(crate) name: &'static str,
    pub(crate) kiln: Figures,
    pub(crate) nginx: Figures,
    /// Kiln's figure over nginx's in the same round.
    pub(crate) ratio: Ratios,
}

/// Kiln's figures over nginx's: above 1 is more, whether that is good or bad.
#[derive(Debug, Serialize)]
pub(crate) struct Ratios {
    pub(crate) requests_per_s: Spread,
    pub(crate) p50_us: Spread,
    pub(crate) p99_us: Spread,
    pub(crate) cpu_us: Spread,
}

impl Bench {
    /// A folder of its own for one server.
    pub(crate) fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(folder)
    }

    /// Runs the rounds of one case.
    pub(crate) fn compare(&self, case: &Case) -> anyhow::Result<Compared> {
        let load = Load::new(self.cores.load, self.folder.path(), case.is_pipelined)?;
        let origin = match case.is_forwarded {
            true => Some(Server::nginx(self.cores.load, &self.folder("origin")?, Duty::Reply)?),
            false => None,
        };
        let duty = origin.as_ref().map_or(Duty::Reply, |origin| Duty::Forward(origin.address));
        let core = self.cores.server;
        let kiln = Server::kiln(&self.kiln, core, &self.folder("kiln")?, duty)?;
        let nginx = Server::nginx(core, &self.folder("nginx")?, duty)?;
        let servers = [&kiln, &nginx];
        for (server, name) in servers.iter().zip(NAMES) {
            load.run(server.address, Duration::from_secs(1))
                .with_context(|| format!("warming up {name}"))?;
        }
        let mut rounds = [Vec::new(), Vec::new()];
        for number in 0..self.rounds as usize {
            for turn in 0..2 {
                let peer = (number + turn) % 2;
                eprintln!(
                    "{}: round {} of {}, {}",
                    case.name,
                    number + 1,
                    self.rounds,
                    NAMES[peer]
                );
                rounds[peer].push(self.round(&load, servers[peer]).context(NAMES[peer])?);
            }
        }
        let [of_kiln, of_nginx] = &rounds;
        let ratio = |figure: fn(&Round) -> f64| {
            Spread::of(of_kiln.iter().zip(of_nginx).map(|(k, n)| figure(k) / figure(n)))
        };
        Ok(Compared {
            name: case.name,
            kiln: figures(NAMES[0], case.what[0], of_kiln),
            nginx: figures(NAMES[1], case.what[1], of_nginx),
            ratio: Ratios {
                requests_per_s: ratio(|round| round.requests_per_s),
                p50_us: ratio(|round| round.p50_us),
                p99_us: ratio(|round| round.p99_us),
                cpu_us: ratio(|round| round.cpu_us),
            },
        })
    }

    fn round(&self, load: &Load, server: &Server) -> anyhow::Result<Round> {
        let worker = server.worker()?;
        let before_ns = cpu::time_ns(worker)?;
        let counted = load.run(server.address, self.round)?;
        let cpu_ns = cpu::time_ns(worker)? - before_ns;
        anyhow::ensure!(server.worker()? == worker, "the worker was replaced during the round");
        Ok(Round {
            requests_per_s: counted.requests as f64 * 1e6 / counted.duration_us as f64,
            p50_us: counted.p50_us,
            p99_us: counted.p99_us,
            cpu_us: cpu_ns as f64 / 1e3 / counted.requests as f64,
        })
    }

    /// The command lines behind the figures.
    pub(crate) fn commands(&self) -> Vec<String> {
        let core = self.cores.server;
        let (kiln, address) = (self.kiln.display(), ([127, 0, 0, 1], 0).into());
        let load = Load::new(self.cores.load, Path::new(self.folder.path()), false);
        let wrk = load.map(|load| load.arguments(address, self.round).join(" "));
        vec![
            format!("taskset --cpu-list {core} {kiln} serve --workers 1 --script script.cc"),
            format!("taskset --cpu-list {core} nginx -c nginx.conf (worker_processes 1)"),
            format!("taskset {}", wrk.unwrap_or_default()),
        ]
    }
}

/// The peers, in the order of the columns.
const NAMES: [&str; 2] = ["kiln", "nginx"];

fn figures(peer: &'static str, what: &'static str, rounds: &[Round]) -> Figures {
    let spread = |figure: fn(&Round) -> f64| Spread::of(rounds.iter().map(figure));
    Figures {
        peer,
        what,
        requests_per_s: spread(|round| round.requests_per_s),
        p50_us: spread(|round| round.p50_us),
        p99_us: spread(|round| round.p99_us),
        cpu_us: spread(|round| round.cpu_us),
    }
}
