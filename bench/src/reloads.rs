//! What a reload costs those who are served meanwhile: the latency under load with reloads, over that
//! without, in turns.
//!
//! The worker, the master and the compiles share both cores with the load, as they do for whoever tries
//! this on a small machine. A load that pauses leaves some CPU time for a reload; one that does not leaves
//! none, and the reload takes its time from the requests, whatever the scheduler does. The limits are for
//! the former, and both are told.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::costs::Cost;
use crate::load::{Load, Pace};
use crate::peers::{Duty, KILN, Site, control, reload, remember};
use crate::retirement::processes;
use crate::rounds::Bench;

/// Load of each kind in a round: over the rounds of a run a minute.
const ROUND: Duration = Duration::from_secs(12);
const QUICK_ROUND: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_secs(1);

/// A kind of reload, and how often.
struct Kind {
    each: Duration,
    is_cold: bool,
    /// Of the latency with such reloads over that without.
    limit: f64,
    /// What the latency is called where the CPUs have time left, and where they have not.
    names: [&'static str; 2],
}

const KINDS: [Kind; 2] = [
    Kind {
        each: Duration::from_millis(100),
        is_cold: false,
        limit: 1.2,
        names: [
            "p99 with ten cached reloads a second, over that without",
            "the same with all CPUs busy: ten cached",
        ],
    },
    Kind {
        each: Duration::from_secs(1),
        is_cold: true,
        limit: 1.5,
        names: [
            "p99 with a cold reload a second, over that without",
            "the same with all CPUs busy: a cold one",
        ],
    },
];

/// Paces of the load, as [`Kind::names`] has them.
const PACES: [Pace; 2] = [Pace::Pausing, Pace::Saturating];

/// How long the whole of it takes.
pub(crate) fn duration(bench: &Bench, is_quick: bool) -> Duration {
    let loads = (KINDS.len() as u32 + 1) * PACES.len() as u32;
    (WARM_UP * 2) + round(is_quick) * loads * bench.rounds
}

fn round(is_quick: bool) -> Duration {
    if is_quick { QUICK_ROUND } else { ROUND }
}

/// How the latency with reloads stands to that without.
pub(crate) fn measure(bench: &Bench, is_quick: bool) -> anyhow::Result<Vec<Cost>> {
    let mut site = bench.site(&KILN, Duty::Reply)?;
    site.cores = bench.cores.both();
    let server = KILN.serve(&site)?;
    remember(&site)?;
    reload(&control(&site.folder))?;
    // Behind the master; another child may be at work for the cache.
    let worker = || processes(server.process.pid()).map(|all| all.into_iter().nth(1));
    let before = worker()?;
    let mut costs = Vec::new();
    for (place, pace) in PACES.into_iter().enumerate() {
        let load = Load::new(bench.cores.load, bench.folder.path(), pace)?;
        load.run(server.address, WARM_UP)?;
        let mut ratios = KINDS.map(|_| Vec::new());
        for number in 0..bench.rounds {
            eprintln!("reloads: {pace:?}, round {} of {}", number + 1, bench.rounds);
            let without = load.run(server.address, round(is_quick))?.p99_us;
            for (kind, ratios) in KINDS.iter().zip(&mut ratios) {
                let with = kind.meanwhile(&site, || load.run(server.address, round(is_quick)));
                ratios.push(with?.p99_us / without);
            }
        }
        for (kind, ratios) in KINDS.iter().zip(ratios) {
            costs.push(Cost::new(kind.names[place], ratios, kind.limit, "x"));
        }
    }
    ensure!(worker()? == before, "the worker was replaced");
    Ok(costs)
}

impl Kind {
    /// Reloads for as long as something lasts. A reload that fails, or that comes too late for most of
    /// the next ones, fails the run.
    fn meanwhile<T>(
        &self,
        site: &Site,
        run: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let reloads = scope.spawn(|| self.until(site, &is_over));
            let started = Instant::now();
            let outcome = run();
            let due = started.elapsed().as_secs_f64() / self.each.as_secs_f64();
            is_over.store(true, Ordering::Relaxed);
            let count = reloads.join().expect("it does not panic")?;
            ensure!(f64::from(count) > 0.8 * due, "only {count} reloads of {due:.0}");
            outcome
        })
    }

    fn until(&self, site: &Site, is_over: &AtomicBool) -> anyhow::Result<u32> {
        let (control, started) = (control(&site.folder), Instant::now());
        let mut count = 0;
        while !is_over.load(Ordering::Relaxed) {
            if self.is_cold {
                let script = site.folder.join("script.cc");
                writeln!(OpenOptions::new().append(true).open(script)?, "// once more")?;
            }
            reload(&control).context("a reload under load")?;
            count += 1;
            thread::sleep((started + self.each * count).saturating_duration_since(Instant::now()));
        }
        Ok(count)
    }
}
