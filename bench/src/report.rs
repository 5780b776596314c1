//! Everything that a run found out, for people and for machines.

use serde::Serialize;

use crate::costs::Cost;
use crate::load::{CONNECTIONS, Load, Pace};
use crate::machine::Machine;
use crate::retirement::Retirement;
use crate::reuse::Reuse;
use crate::rounds::{Bench, Compared};
use crate::start::Start;

/// A run's outcome.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) commands: Vec<String>,
    pub(crate) rounds: u32,
    pub(crate) round_s: u64,
    pub(crate) connections: u32,
    pub(crate) cases: Vec<Compared>,
    pub(crate) reuse: Vec<Reuse>,
    pub(crate) fence: Vec<Cost>,
    pub(crate) reloads: Vec<Cost>,
    pub(crate) start: Option<Start>,
    pub(crate) retirement: Option<Retirement>,
}

impl Report {
    pub(crate) fn new(machine: Machine, bench: &Bench) -> Self {
        Report {
            machine,
            commands: commands(bench),
            rounds: bench.rounds,
            round_s: bench.round.as_secs(),
            connections: CONNECTIONS,
            cases: Vec::new(),
            reuse: Vec::new(),
            fence: Vec::new(),
            reloads: Vec::new(),
            start: None,
            retirement: None,
        }
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has string keys alone")
    }
}

/// The command lines behind the figures.
fn commands(bench: &Bench) -> Vec<String> {
    let (core, kiln) = (bench.cores.server, bench.kiln.display());
    let load = Load::new(bench.cores.load, bench.folder.path(), Pace::Saturating);
    let wrk = load.map(|load| load.arguments(([127, 0, 0, 1], 0).into(), bench.round).join(" "));
    vec![
        format!("taskset --cpu-list {core} {kiln} serve --workers 1 --script script.cc"),
        format!("taskset --cpu-list {core} nginx -c nginx.conf (worker_processes 1)"),
        format!("taskset --cpu-list {core} haproxy -db -f haproxy.cfg (nbthread 1)"),
        format!("taskset --cpu-list {core} relay (bench/floor/relay.c, cc -O2)"),
        format!("taskset {}", wrk.unwrap_or_default()),
    ]
}
