//! Chaos: everything that can happen to a Kiln, at random and at the same time, while clients look at
//! every answer.
//!
//! What happens is drawn from a seed, which is printed, so that a run that fails can be had again (as
//! far as the machine's scheduler plays along). What may come of it is the same whatever happens: each
//! answer is right, only the failing path fails, no connection is refused, none is broken whose worker
//! was not killed, and at the end the master has as much of everything as at the beginning.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde_json::Value;

use crate::{
    Checker, Client, Kiln, Response, Signal, Wrk, descriptors, kiln, mappings, private_kb, state,
    until,
};

/// Workers at the beginning and at the end, and how many there may be between.
const WORKERS: usize = 3;
const WORKERS_MAX: usize = 5;

/// Connections of the clients that check, and of those that only ask.
const CHECKERS: usize = 6;
const ASKERS: usize = 16;

/// A worker that stands still so long is killed.
const WORKER_MS: u64 = 3000;

/// How long after a kill its connections may be noticed to be broken.
const NOTICED: Duration = Duration::from_secs(2);

/// Reloads before anything is measured: more than there are slots, so that whatever is kept of former
/// generations is kept by then.
const WARM_UP: usize = 20;

/// What the master may have grown by: its allocator keeps what it got in the busiest moment.
const PRIVATE_KB_GROWTH_MAX: u64 = 4096;

/// Ways to fail, each with a path of its own.
const FAILURES: [&str; 6] = ["null", "abort", "throw", "loop", "stack", "divide"];

/// A run that is to be.
#[derive(Clone, Copy, Debug)]
pub struct Chaos {
    /// What happens, and when.
    pub seed: u64,
    /// How long.
    pub duration: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    seed: u64,
    /// How often each thing happened, or was counted.
    figures: BTreeMap<&'static str, u64>,
    /// What must not have been.
    pub violations: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to, "seed {}", self.seed)?;
        for (name, count) in &self.figures {
            writeln!(to, "{count:>10}  {name}")?;
        }
        for violation in &self.violations {
            writeln!(to, "VIOLATION: {violation}")?;
        }
        Ok(())
    }
}

impl Chaos {
    /// Lets it happen.
    pub fn run(&self) -> Report {
        let can_roll_back = kiln(["--help"]).stdout.contains("rollback");
        let mut run = Run::start(self.seed, can_roll_back);
        let before = run.measure();
        let load = Wrk::start(run.kiln.address(), "/", ASKERS);
        let checker = run.check();
        let end = Instant::now() + self.duration;
        while Instant::now() < end {
            run.act();
            thread::sleep(Duration::from_millis(run.random.below(300)));
        }
        run.calm_down();
        checker.until_answered(CHECKERS);
        let (checked, load) = (checker.stop(), load.stop());
        run.figures.insert("requests of wrk", load.requests);
        run.figures.insert("checked answers", checked.answered as u64);
        run.figures.insert("broken connections", checked.lost.len() as u64);
        for refused in checked.refused {
            run.violations.push(format!("a connection was refused: {refused}"));
        }
        for wrong in checked.wrong {
            run.violations.push(format!("a wrong answer: {wrong}"));
        }
        for lost in checked.lost {
            if !run.kills.iter().any(|(from, to)| (*from..*to).contains(&lost.at)) {
                run.violations.push(format!("nobody was killed, but {lost:?}"));
            }
        }
        if (load.socket_errors[0], load.error_statuses) != (0, 0) {
            run.violations.push(format!("wrk: {load:?}"));
        }
        run.compare(before);
        run.count_replacements();
        if !run.violations.is_empty() {
            eprintln!("{}", run.kiln.log());
        }
        Report { seed: self.seed, figures: run.figures, violations: run.violations }
    }
}

/// A Kiln and what is done to it.
struct Run {
    kiln: Kiln,
    random: Random,
    /// The version that every worker has at least.
    floor: Arc<AtomicUsize>,
    /// The newest version that any worker may have.
    newest: Arc<AtomicUsize>,
    /// Version of each generation that was taken.
    versions: BTreeMap<u64, usize>,
    /// When connections may break, since a worker was killed.
    kills: Vec<(Instant, Instant)>,
    wanted: usize,
    can_roll_back: bool,
    figures: BTreeMap<&'static str, u64>,
    violations: Vec<String>,
}

/// What the master has.
#[derive(Debug)]
struct Holdings {
    descriptors: usize,
    mappings: usize,
    private_kb: u64,
}

impl Run {
    fn start(seed: u64, can_roll_back: bool) -> Self {
        let kiln = Kiln::builder()
            .script(&script(1))
            .workers(WORKERS)
            .config(&format!(
                "[timeouts]\nworker_ms = {WORKER_MS}\ndrain_ms = 5000\n\
                 [faults]\nhook_cpu_ms = 50\nprobation_faults = 0\n"
            ))
            .start();
        let mut run = Run {
            kiln,
            random: Random(seed),
            floor: Arc::new(AtomicUsize::new(1)),
            newest: Arc::new(AtomicUsize::new(1)),
            versions: BTreeMap::from([(1, 1)]),
            kills: Vec::new(),
            wanted: WORKERS,
            can_roll_back,
            figures: BTreeMap::new(),
            violations: Vec::new(),
        };
        for _ in 0..WARM_UP {
            let generation = run.kiln.reload().expect_taken();
            run.versions.insert(generation, 1);
        }
        run.until_calm();
        run
    }

    /// Clients that look at every answer.
    fn check(&self) -> Checker {
        let (floor, newest) = (self.floor.clone(), self.newest.clone());
        let before = self.floor.clone();
        let check = move |seen: usize, response: &Response| {
            let version = response.text().strip_prefix("version ").map(str::to_owned);
            let Some(version) = version.and_then(|text| text.parse::<usize>().ok()) else {
                return false;
            };
            // A roll-back lowers it.
            let floor = floor.load(Ordering::SeqCst).min(seen);
            // One that leaves, or makes way for another, takes no new generation any more.
            let leaves = response.field("connection") == Some("close");
            version <= newest.load(Ordering::SeqCst) && (version >= floor || leaves)
        };
        let read = move || before.load(Ordering::SeqCst);
        Checker::start(self.kiln.address(), CHECKERS, 200, read, check)
    }

    fn act(&mut self) {
        match self.random.below(100) {
            0..25 => self.reload_good(),
            25..32 => self.reload_bad("a script that does not compile", "int x = ;\n", false),
            32..38 => {
                let crash = "volatile int* volatile nowhere = nullptr; int crashed = *nowhere;\n";
                self.reload_bad("a script that crashes at its start", crash, false);
            }
            38..39 => {
                let endless = "int endless() { for (volatile int i = 0;; i = 1) {} }\n\
                               int never = endless();\n";
                self.reload_bad("a script whose start does not end", endless, true);
            }
            39..63 => self.fail(),
            63..73 => self.kill(),
            73..76 => self.stop(),
            76..90 => self.scale(),
            90..95 if self.can_roll_back => self.roll_back(),
            _ => self.count("nothing"),
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.figures.entry(what).or_default() += 1;
    }

    fn reload_good(&mut self) {
        self.count("reload");
        let version = self.newest.fetch_add(1, Ordering::SeqCst) + 1;
        self.kiln.write_script("site.cc", &script(version));
        let reloaded = self.kiln.reload();
        match (reloaded.code, reloaded.json["generation"].as_u64()) {
            (Some(0), Some(generation)) => {
                self.versions.insert(generation, version);
                self.floor.store(version, Ordering::SeqCst);
            }
            _ => self.violations.push(format!("version {version} was refused: {reloaded:?}")),
        }
    }

    fn reload_bad(&mut self, what: &'static str, text: &str, kills: bool) {
        self.count(what);
        let version = self.newest.load(Ordering::SeqCst);
        self.kiln.write_script("site.cc", &(script(version) + text));
        let began = Instant::now();
        let reloaded = self.kiln.reload();
        if reloaded.code != Some(1) {
            self.violations.push(format!("{what} was taken: {reloaded:?}"));
        }
        if kills {
            self.kills.push((began, Instant::now() + NOTICED));
        }
    }

    /// A request at which the script fails.
    fn fail(&mut self) {
        self.count("a script that fails at a request");
        let failure = FAILURES[self.random.below(FAILURES.len() as u64) as usize];
        let began = Instant::now();
        let asked = Client::try_connect(self.kiln.address()).and_then(|mut client| {
            client.try_send(format!("GET /{failure} HTTP/1.1\r\nHost: test\r\n\r\n"))?;
            client.try_response()
        });
        match asked {
            Ok(response) if response.status == 500 => {}
            Err(_) if self.kills.iter().any(|(_, to)| began < *to) => {}
            other => self.violations.push(format!("/{failure}: {other:?}")),
        }
    }

    /// Some worker that serves.
    fn any_worker(&mut self) -> Option<i32> {
        let pids = self.kiln.worker_pids();
        let index = self.random.below(pids.len().max(1) as u64) as usize;
        pids.get(index).copied()
    }

    fn kill(&mut self) {
        let Some(pid) = self.any_worker() else { return };
        self.count("a worker that is killed");
        let now = Instant::now();
        // It may have ended since.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        self.kills.push((now, now + NOTICED));
    }

    /// Stops a worker, for a moment or until it is killed for that.
    fn stop(&mut self) {
        let Some(pid) = self.any_worker() else { return };
        self.count("a worker that is stopped");
        let now = Instant::now();
        let _ = kill(Pid::from_raw(pid), Signal::SIGSTOP);
        if self.random.below(2) == 0 {
            thread::sleep(Duration::from_millis(self.random.below(500)));
            let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
        } else {
            // Its looks are counted and not timed.
            let killed_by = now + 3 * Duration::from_millis(WORKER_MS);
            self.kills.push((now, killed_by + NOTICED));
        }
    }

    fn scale(&mut self) {
        let grows = match self.wanted {
            1 => true,
            WORKERS_MAX => false,
            _ => self.random.below(2) == 0,
        };
        self.count("a change of scale");
        // The kernel queues each signal once, so it is waited for.
        let wanted = if grows { self.wanted + 1 } else { self.wanted - 1 };
        let logged = format!("scaling workers={wanted}\n");
        let times = self.kiln.log().matches(&logged).count();
        self.kiln.signal(if grows { Signal::SIGTTIN } else { Signal::SIGTTOU });
        self.kiln.until_logged_times(&logged, times + 1);
        self.wanted = wanted;
    }

    fn roll_back(&mut self) {
        self.count("a roll-back");
        let floor = self.floor.swap(0, Ordering::SeqCst);
        let finished = self.kiln.command("rollback", &[]);
        let status = self.kiln.status();
        let active = status["generations"].as_array().into_iter().flatten();
        let active = active.filter(|known| known["state"] == "active");
        let active = active.filter_map(|known| known["number"].as_u64()).next();
        match active.and_then(|number| self.versions.get(&number)) {
            Some(version) => self.floor.store(*version, Ordering::SeqCst),
            None => {
                self.violations.push(format!("from version {floor} to nowhere: {finished:?}"));
            }
        }
    }

    /// As many workers as at the beginning, all of the newest version.
    fn calm_down(&mut self) {
        while self.wanted != WORKERS {
            self.scale();
        }
        self.until_calm();
        self.reload_good();
        self.until_calm();
    }

    fn until_calm(&self) {
        until("all is calm", || {
            let status = self.kiln.try_status()?;
            let list = |name: &str| status[name].as_array().cloned().unwrap_or_default();
            let serves = |worker: &Value| worker["state"] == "serving";
            let is_over = |known: &Value| {
                let state = known["state"].as_str().unwrap_or_default();
                ["active", "retired", "refused"].contains(&state)
            };
            let workers = list("workers");
            let is_calm = workers.len() == self.wanted
                && workers.iter().all(serves)
                && list("tainted").is_empty()
                && list("generations").iter().all(is_over);
            is_calm.then_some(())
        });
    }

    fn measure(&self) -> Holdings {
        let master = self.kiln.pid();
        Holdings {
            descriptors: descriptors(master).len(),
            mappings: mappings(master).len(),
            private_kb: private_kb(master),
        }
    }

    /// Looks for what was left behind.
    fn compare(&mut self, before: Holdings) {
        let after = self.measure();
        self.figures.insert("descriptors of the master", after.descriptors as u64);
        self.figures.insert("kB of the master alone", after.private_kb);
        self.figures.insert("kB of the master alone at the beginning", before.private_kb);
        let has_grown = after.descriptors > before.descriptors
            || after.mappings > before.mappings + 2
            || after.private_kb > before.private_kb + PRIVATE_KB_GROWTH_MAX;
        if has_grown {
            self.violations.push(format!("the master had {before:?}, and has {after:?}"));
        }
        let master = self.kiln.pid();
        let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children"));
        let children = children.unwrap_or_default();
        let children: Vec<i32> =
            children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        let dead = children.iter().filter(|pid| state(**pid) == Some('Z')).count();
        let living = self.kiln.processes().len();
        if (children.len(), dead, living) != (WORKERS, 0, WORKERS + 1) {
            let children = children.len();
            self.violations.push(format!("{children} children, {dead} dead, {living} processes"));
        }
    }

    /// How long nobody was there, when a worker had died or was tainted.
    fn count_replacements(&mut self) {
        let log = self.kiln.log();
        let replaced = log.lines().filter(|line| line.contains("worker replaced"));
        let after =
            replaced.filter_map(|line| line.rsplit_once("after_ms=")?.1.trim().parse().ok());
        let mut after_us: Vec<u64> = after.map(|ms: f64| (ms * 1000.0) as u64).collect();
        after_us.sort_unstable();
        let at = |percent: usize| after_us.get(after_us.len() * percent / 100).copied();
        self.figures.insert("workers replaced", after_us.len() as u64);
        self.figures.insert("us until the next was ready, half of them", at(50).unwrap_or(0));
        self.figures.insert("us until the next was ready, nine of ten", at(90).unwrap_or(0));
        self.figures.insert("workers tainted", log.matches("worker tainted").count() as u64);
        self.figures.insert("workers died", log.matches("worker died").count() as u64);
        if log.contains("panicked") {
            self.violations.push("something panicked: see the log".to_owned());
        }
    }
}

/// A script that answers with its version, and fails at some paths.
fn script(version: usize) -> String {
    format!(
        r#"#include <kiln.h>
#include <cstdlib>
#include <stdexcept>
#include <string>
namespace {{
int* volatile null = nullptr;
volatile int zero = 0;
[[gnu::noinline]] int deeper(int depth) {{
  volatile char room[4096];
  room[depth % 4096] = 1;
  return deeper(depth + 1) + room[0];
}}
}}
kiln::Action on_request(kiln::Request& request) {{
  auto path = request.path();
  if (path == "/null") *null = 1;
  if (path == "/abort") std::abort();
  if (path == "/throw") throw std::runtime_error("thrown");
  if (path == "/loop") for (volatile int i = 0;; i = i + 1) {{}}
  if (path == "/stack") zero = deeper(0);
  if (path == "/divide") zero = 7 / zero;
  return kiln::reply(200, "version {version}");
}}
"#
    )
}

/// Vigna's splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut random = self.0;
        random = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        random = (random ^ (random >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        random ^= random >> 31;
        random % end
    }
}
