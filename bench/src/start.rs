//! Starting beside compiling: the master compiles once, and every worker maps what came of it.
//!
//! So a worker's start has to stand far below a compile, and this shows by how much.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use serde::{Deserialize, Serialize};

use crate::costs::{self, Cost};
use crate::figures::Spread;
use crate::load;
use crate::peers::{Duty, KILN, Server, control};
use crate::rounds::Bench;

/// How often each thing is done.
const TIMES: usize = 5;

/// How long all of it takes, about: mostly compiling.
pub(crate) const DURATION: Duration = Duration::from_secs(22);

/// What starting costs, in milliseconds, and what there is to start.
#[derive(Debug, Serialize)]
pub(crate) struct Start {
    pub(crate) front_end_ms: Spread,
    pub(crate) optimise_ms: Spread,
    pub(crate) code_ms: Spread,
    pub(crate) link_ms: Spread,
    /// From the end of the compile until every worker has mapped the image.
    pub(crate) map_ms: Spread,
    pub(crate) reload_ms: Spread,
    /// From the kill of the only worker to the first answer of the next.
    pub(crate) replace_ms: Spread,
    /// From exec to the first answer, with the compile.
    pub(crate) cold_start_ms: Spread,
    pub(crate) binary_bytes: u64,
    pub(crate) stripped_bytes: u64,
    /// What a script of usual length costs.
    pub(crate) costs: Vec<Cost>,
}

/// What is read of `kiln reload --json`.
#[derive(Deserialize)]
pub(crate) struct Reloaded {
    steps: Steps,
    pub(crate) map_ms: f64,
    pub(crate) total_ms: f64,
}

#[derive(Deserialize)]
struct Steps {
    front_end_ms: f64,
    optimise_ms: f64,
    code_ms: f64,
    link_ms: f64,
}

/// Measures all of it.
pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Start> {
    let mut cold_starts = Vec::new();
    for number in 0..TIMES {
        eprintln!("start: cold start {} of {TIMES}", number + 1);
        cold_starts.push(cold_start_ms(bench).context("cold start")?);
    }
    let site = bench.site(&KILN, Duty::Reply)?;
    let mut server = KILN.serve(&site)?;
    let mut reloads = Vec::new();
    for number in 0..TIMES {
        eprintln!("start: reload {} of {TIMES}", number + 1);
        reloads.push(reload(&bench.kiln, &control(&site.folder)).context("reload")?);
    }
    let mut replacements = Vec::new();
    for number in 0..TIMES {
        eprintln!("start: replacement {} of {TIMES}", number + 1);
        replacements.push(replace_ms(&mut server).context("replacement of a worker")?);
    }
    drop(server);
    let stripped_bytes = stripped_bytes(bench)?;
    let costs = costs::measure(bench, stripped_bytes).context("costs")?;
    let spread = |figure: fn(&Reloaded) -> f64| Spread::of(reloads.iter().map(figure));
    Ok(Start {
        front_end_ms: spread(|reload| reload.steps.front_end_ms),
        optimise_ms: spread(|reload| reload.steps.optimise_ms),
        code_ms: spread(|reload| reload.steps.code_ms),
        link_ms: spread(|reload| reload.steps.link_ms),
        map_ms: spread(|reload| reload.map_ms),
        reload_ms: spread(|reload| reload.total_ms),
        replace_ms: Spread::of(replacements),
        cold_start_ms: Spread::of(cold_starts),
        binary_bytes: std::fs::metadata(&bench.kiln)?.len(),
        stripped_bytes,
        costs,
    })
}

fn cold_start_ms(bench: &Bench) -> anyhow::Result<f64> {
    let site = bench.site(&KILN, Duty::Reply)?;
    let started = Instant::now();
    let mut server = KILN.start(&site)?;
    server.await_answer(Duration::from_micros(500))?;
    Ok(milliseconds_since(started))
}

pub(crate) fn reload(kiln: &Path, control: &Path) -> anyhow::Result<Reloaded> {
    let output = Command::new(kiln)
        .args(["reload", "--json", "--control"])
        .arg(control)
        .output()
        .context("kiln reload does not start")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "kiln reload ended with {}: {text}", output.status);
    serde_json::from_str(&text).with_context(|| format!("kiln reload said: {text}"))
}

/// The listener stays open in the master, so the request waits there for the next worker.
fn replace_ms(server: &mut Server) -> anyhow::Result<f64> {
    load::ask(server.address)?;
    let worker = server.worker()?;
    let started = Instant::now();
    kill(worker, Signal::SIGKILL)?;
    server.await_answer(Duration::from_micros(100))?;
    let replaced_ms = milliseconds_since(started);
    ensure!(server.worker()? != worker, "the worker that answered is the one that was killed");
    Ok(replaced_ms)
}

fn milliseconds_since(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e3
}

fn stripped_bytes(bench: &Bench) -> anyhow::Result<u64> {
    let stripped = bench.folder.path().join("stripped");
    let status = Command::new("strip")
        .arg("-o")
        .args([&stripped, &bench.kiln])
        .status()
        .context("strip does not start; it is in Debian's binutils")?;
    ensure!(status.success(), "strip ended with {status}");
    let bytes = std::fs::metadata(&stripped)?.len();
    std::fs::remove_file(&stripped)?;
    Ok(bytes)
}
