//! What a script of usual length costs before it serves, and what a worker costs beside it, against
//! limits.
//!
//! The limits are for a quiet machine with two cores. The script is `scripts/edge.cc`; a reload is
//! cold where its text has changed, so that nothing of it is in the cache.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Serialize;

use crate::figures::Spread;
use crate::load;
use crate::process::{Process, child_of};
use crate::rounds::Bench;
use crate::start::{Reloaded, reload};

const SCRIPT: &str = include_str!("../scripts/edge.cc");
/// How often each thing is done.
const TIMES: usize = 5;
/// Time for Kiln to answer after its start.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_PAUSE: Duration = Duration::from_micros(500);

/// One cost, and what it may be.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) what: &'static str,
    pub(crate) measured: Spread,
    pub(crate) limit: f64,
    pub(crate) unit: &'static str,
    /// What Facebook's system was said to take ("Handling all Facebook requests with JITed C++ code",
    /// EuroLLVM 2019), where that can be compared.
    pub(crate) first_system: Option<f64>,
    pub(crate) is_met: bool,
}

impl Cost {
    pub(crate) fn new(
        what: &'static str,
        values: impl IntoIterator<Item = f64>,
        limit: f64,
        unit: &'static str,
    ) -> Self {
        let measured = Spread::of(values);
        let is_met = measured.median <= limit;
        Cost { what, measured, limit, unit, first_system: None, is_met }
    }

    fn beside(self, first_system: f64) -> Self {
        Cost { first_system: Some(first_system), ..self }
    }
}

/// Measures all of them.
pub(crate) fn measure(bench: &Bench, stripped_bytes: u64) -> anyhow::Result<Vec<Cost>> {
    let (mut cold_starts, mut warm_starts) = (Vec::new(), Vec::new());
    for number in 0..TIMES {
        eprintln!("costs: start {} of {TIMES}", number + 1);
        let site = Site::new(bench, &format!("start-{number}"), "full")?;
        cold_starts.push(site.start()?.answered_ms);
        warm_starts.push(site.start()?.answered_ms);
    }
    let full = Site::new(bench, "full", "full")?;
    let running = full.start()?;
    let cold_full = full.reloads("with all debug information", Site::change)?;
    let remembered = full.reloads("from the cache", |_| Ok(()))?;
    let dirty_kb = private_dirty_kb(&running)?;
    drop(running);
    let lines = Site::new(bench, "lines", "lines")?;
    let _running = lines.start()?;
    let cold_lines = lines.reloads("with line tables", Site::change)?;

    let total = |reload: &Reloaded| reload.total_ms;
    let maps = cold_full.iter().chain(&cold_lines).chain(&remembered).map(|reload| reload.map_ms);
    Ok(vec![
        Cost::new("binary, stripped", [stripped_bytes as f64 / 1e6], 110.0, "MB").beside(100.0),
        Cost::new("start to the first answer, empty cache", cold_starts, 300.0, "ms"),
        Cost::new("start to the first answer, from the cache", warm_starts, 40.0, "ms"),
        Cost::new("reload, all debug information", cold_full.iter().map(total), 250.0, "ms")
            .beside(2000.0),
        Cost::new("reload, line tables", cold_lines.iter().map(total), 150.0, "ms").beside(2000.0),
        Cost::new("reload, from the cache", remembered.iter().map(total), 10.0, "ms"),
        Cost::new("a worker maps and initialises", maps, 0.3, "ms"),
        Cost::new("memory that only an idle worker has", [dirty_kb / 1e3], 3.0, "MB"),
    ])
}

/// A Kiln with the script, both in a folder of their own.
struct Site<'a> {
    bench: &'a Bench,
    folder: PathBuf,
    address: SocketAddr,
}

struct Running {
    process: Process,
    answered_ms: f64,
}

impl<'a> Site<'a> {
    fn new(bench: &'a Bench, name: &str, debug: &str) -> anyhow::Result<Self> {
        let folder = bench.folder(&format!("costs-{name}"))?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let at = |file: &str| folder.join(file).display().to_string();
        let config = format!(
            "listen = [\"{address}\"]\nworkers = 1\nscript = {:?}\ncontrol = {:?}\n\n\
             [compile]\ncache = {:?}\ndebug = \"{debug}\"\n\n\
             [upstreams.web]\nservers = [\"127.0.0.1:9\"]\n",
            at("edge.cc"),
            at("kiln.sock"),
            at("cache"),
        );
        fs::write(folder.join("kiln.toml"), config)?;
        fs::write(folder.join("edge.cc"), SCRIPT)?;
        Ok(Site { bench, folder, address })
    }

    /// Starts Kiln on both cores, and waits for an answer.
    fn start(&self) -> anyhow::Result<Running> {
        let cores = self.bench.cores.both();
        let (log, config) = (self.folder.join("log"), self.folder.join("kiln.toml"));
        let started = Instant::now();
        let arguments = [Path::new("serve"), Path::new("-c"), &config];
        let mut process = Process::start(&cores, &log, &self.bench.kiln, arguments)?;
        while load::fetch(self.address, "/ping").is_err() {
            process.check_alive()?;
            if started.elapsed() > READY_TIMEOUT {
                bail!("Kiln does not answer; its log is {}", log.display());
            }
            std::thread::sleep(POLL_PAUSE);
        }
        Ok(Running { process, answered_ms: started.elapsed().as_secs_f64() * 1e3 })
    }

    /// Reloads several times, after `before` each time.
    fn reloads(
        &self,
        how: &str,
        before: fn(&Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<Vec<Reloaded>> {
        let control = self.folder.join("kiln.sock");
        (0..TIMES)
            .map(|number| {
                eprintln!("costs: reload {} of {TIMES}, {how}", number + 1);
                before(self)?;
                reload(&self.bench.kiln, &control).with_context(|| format!("reload {how}"))
            })
            .collect()
    }

    /// Makes the script one that was never compiled.
    fn change(&self) -> anyhow::Result<()> {
        let mut script = OpenOptions::new().append(true).open(self.folder.join("edge.cc"))?;
        Ok(script.write_all(b"// once more\n")?)
    }
}

/// What the worker shares with no other process, in KB, when it has nothing to do.
fn private_dirty_kb(running: &Running) -> anyhow::Result<f64> {
    let path = format!("/proc/{}/smaps_rollup", child_of(running.process.pid())?);
    let text = fs::read_to_string(&path).context(path.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).context(path)?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
