//! Retirement without growth: a year's reloads of a script that leaks in every way it can, and what
//! each process of Kiln holds meanwhile.
//!
//! The script comes from the cache, so that a reload is a link, a map and a retirement. A leak shows
//! as a slope: memory, mappings and descriptors are told for each 1000 reloads, by least squares over
//! all samples after the first.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::unistd::Pid;
use serde::Serialize;

use crate::chart;
use crate::figures::Spread;
use crate::load;
use crate::peers::{Duty, KILN, control, reload, remember};
use crate::rounds::Bench;

/// What a script leaves behind that takes no care at all.
const LEAKING: &str = include_str!("../scripts/leaking.cc");

/// A reload an hour is as many in a year.
const RELOADS: u32 = 10_000;
const QUICK_RELOADS: u32 = 300;
/// Samples of a run.
const SAMPLES: u32 = 200;
/// Reloads that use every slot, and give buffers and tables their size.
const WARM: u32 = 50;
const WORKERS: u32 = 2;
/// Requests after each reload: so many that most generations have served in each worker.
const REQUESTS: u32 = 4;
/// About, where nothing else runs.
const RELOAD: Duration = Duration::from_millis(25);
/// Where the picture goes, from the folder that it runs in.
const PICTURE: &str = "target/retirement.svg";

/// What is counted of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Quantity {
    /// Kilobytes that it shares with nobody.
    PrivateKb,
    Mappings,
    Descriptors,
}

impl Quantity {
    pub(crate) const ALL: [Self; 3] = [Self::PrivateKb, Self::Mappings, Self::Descriptors];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Quantity::PrivateKb => "private memory, KB",
            Quantity::Mappings => "mappings",
            Quantity::Descriptors => "descriptors",
        }
    }

    /// The most that it may grow in 1000 reloads, measured over so many: an allocator's and a kernel's
    /// own ups and downs, and beyond them less than one small block, or any mapping, for each reload.
    fn limit(self, reloads: u32) -> f64 {
        let (each, noise) = match self {
            Quantity::PrivateKb => (32.0, 300.0),
            Quantity::Mappings => (0.1, 3.0),
            Quantity::Descriptors => (0.01, 0.5),
        };
        each + noise * 1000.0 / f64::from(reloads)
    }

    fn of(self, process: Pid) -> anyhow::Result<f64> {
        let path = format!("/proc/{process}");
        let count = match self {
            Quantity::PrivateKb => {
                let rollup = std::fs::read_to_string(format!("{path}/smaps_rollup"))?;
                let line = rollup.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
                let number = line.and_then(|rest| rest.split_whitespace().next());
                return Ok(number.context("no Private_Dirty")?.parse()?);
            }
            Quantity::Mappings => std::fs::read_to_string(format!("{path}/maps"))?.lines().count(),
            Quantity::Descriptors => std::fs::read_dir(format!("{path}/fd"))?.count(),
        };
        Ok(count as f64)
    }
}

/// What one process held of one quantity.
#[derive(Debug, Serialize)]
pub(crate) struct Curve {
    pub(crate) process: String,
    pub(crate) quantity: Quantity,
    /// Reloads, and how much there was.
    pub(crate) samples: Vec<(f32, f32)>,
    pub(crate) per_1000_reloads: f64,
    pub(crate) limit: f64,
    pub(crate) is_met: bool,
}

/// What the run came to.
#[derive(Debug, Serialize)]
pub(crate) struct Retirement {
    pub(crate) reloads: u32,
    pub(crate) reload_ms: Spread,
    pub(crate) curves: Vec<Curve>,
    pub(crate) picture: PathBuf,
}

/// How many reloads, and about how long they take.
pub(crate) fn plan(is_quick: bool) -> (u32, Duration) {
    let reloads = if is_quick { QUICK_RELOADS } else { RELOADS };
    (reloads, RELOAD * (WARM + reloads))
}

/// Reloads so many times.
pub(crate) fn measure(bench: &Bench, reloads: u32) -> anyhow::Result<Retirement> {
    let mut site = bench.site(&KILN, Duty::Reply)?;
    site.workers = WORKERS;
    let server = KILN.serve(&site)?;
    std::fs::write(site.folder.join("script.cc"), LEAKING)?;
    remember(&site)?;
    let control = control(&site.folder);
    let ask = || (0..REQUESTS).try_for_each(|_| load::fetch(server.address, "/").map(drop));
    for _ in 0..WARM {
        reload(&control)?;
        ask()?;
    }
    let processes = processes(server.process.pid())?;
    let mut curves = curves(&processes);
    let mut took_ms = Vec::new();
    for number in 0..=reloads {
        let started = Instant::now();
        reload(&control)?;
        took_ms.push(started.elapsed().as_secs_f64() * 1e3);
        // Of a generation that has served nobody: those that have leak as they please.
        if number.is_multiple_of((reloads / SAMPLES).max(1)) {
            sample(&processes, &mut curves, number)?;
        }
        if number.is_multiple_of(1000) {
            eprintln!("retirement: {number} of {reloads} reloads");
        }
        ask()?;
    }
    ensure!(self::processes(server.process.pid())? == processes, "a process died of it");
    for curve in &mut curves {
        curve.judge(reloads);
    }
    let picture = PathBuf::from(PICTURE);
    chart::draw(&picture, &curves).context("the picture")?;
    Ok(Retirement { reloads, reload_ms: Spread::of(took_ms), curves, picture })
}

/// The master and its children, with their names.
pub(crate) fn processes(master: Pid) -> anyhow::Result<Vec<(String, Pid)>> {
    let path = format!("/proc/{master}/task/{master}/children");
    let children = std::fs::read_to_string(&path).context(path)?;
    let children = children.split_whitespace().enumerate();
    let workers = children.map(|(index, pid)| Ok((format!("worker {index}"), pid.parse()?)));
    let workers = workers.map(|worker: anyhow::Result<(String, i32)>| {
        worker.map(|(name, pid)| (name, Pid::from_raw(pid)))
    });
    std::iter::once(Ok(("master".to_owned(), master))).chain(workers).collect()
}

fn curves(processes: &[(String, Pid)]) -> Vec<Curve> {
    let of = |quantity| {
        processes.iter().map(move |(name, _)| Curve {
            process: name.clone(),
            quantity,
            samples: Vec::new(),
            per_1000_reloads: 0.0,
            limit: 0.0,
            is_met: false,
        })
    };
    Quantity::ALL.into_iter().flat_map(of).collect()
}

fn sample(processes: &[(String, Pid)], curves: &mut [Curve], number: u32) -> anyhow::Result<()> {
    for curve in curves {
        let process = processes.iter().find(|(name, _)| *name == curve.process);
        let (name, pid) = process.context("it is one of them")?;
        let held = curve.quantity.of(*pid).with_context(|| name.clone())?;
        curve.samples.push((number as f32, held as f32));
    }
    Ok(())
}

impl Curve {
    fn judge(&mut self, reloads: u32) {
        self.per_1000_reloads = 1000.0 * slope(&self.samples);
        self.limit = self.quantity.limit(reloads);
        self.is_met = self.per_1000_reloads <= self.limit;
    }
}

/// By least squares.
fn slope(samples: &[(f32, f32)]) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: fn(&(f32, f32)) -> f32| {
        samples.iter().map(|sample| f64::from(of(sample))).sum::<f64>() / count
    };
    let (x_mean, y_mean) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let (mut both, mut square) = (0.0, 0.0);
    for (x, y) in samples {
        let (x, y) = (f64::from(*x) - x_mean, f64::from(*y) - y_mean);
        both += x * y;
        square += x * x;
    }
    if square == 0.0 { 0.0 } else { both / square }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_what_each_reload_adds() {
        let samples: Vec<(f32, f32)> = (0..10).map(|x| (x as f32, 7.0 + 2.0 * x as f32)).collect();
        assert!((slope(&samples) - 2.0).abs() < 1e-9);
        assert_eq!(slope(&samples[..1]), 0.0);
    }

    #[test]
    fn a_descriptor_or_a_mapping_or_a_small_block_for_each_reload_is_too_much() {
        let leaks =
            [(Quantity::Descriptors, 1.0), (Quantity::Mappings, 1.0), (Quantity::PrivateKb, 0.064)];
        for (quantity, each) in leaks {
            assert!(quantity.limit(RELOADS) < 1000.0 * each, "{quantity:?}");
        }
    }
}
