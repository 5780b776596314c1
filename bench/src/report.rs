//! Everything that a run found out, for people and for machines.

use serde::Serialize;

use crate::cases::{Bench, Compared};
use crate::load::CONNECTIONS;
use crate::machine::Machine;
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
    pub(crate) start: Option<Start>,
}

impl Report {
    pub(crate) fn new(machine: Machine, bench: &Bench) -> Self {
        Report {
            machine,
            commands: bench.commands(),
            rounds: bench.rounds,
            round_s: bench.round.as_secs(),
            connections: CONNECTIONS,
            cases: Vec::new(),
            start: None,
        }
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has string keys alone")
    }
}
