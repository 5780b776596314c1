//! Programs that nobody here wrote, from Debian packages: what Kiln's engine makes of them is
//! compared with what `clang++` makes of them.
//!
//!     suite [--only PACKAGE] [--count N] [--seed N]
//!
//! Each package's programs are judged in a random order with a fixed seed, up to a number. Which ones
//! are left out is a matter of rules (`packages.rs`, `judge.rs`), and not of names. It ends with 1 if
//! any program behaves differently.

mod judge;
mod packages;
mod process;
mod report;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use clap::Parser;

use judge::Verdict;
use packages::{PACKAGES, Program};
use report::Report;

/// Programs at work at a time: each keeps a CPU busy, compiling.
const AT_ONCE: usize = 2;

#[derive(Parser)]
struct Options {
    /// Judge programs of this package only.
    #[arg(long, value_name = "PACKAGE")]
    only: Option<String>,
    /// How many programs of each package, instead of the package's own number.
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// Decides the order, and with it which programs are judged.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Judge programs only whose name contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    name: String,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    process::limit_files()?;
    let mut report = Report::default();
    let mut chosen = Vec::new();
    for package in PACKAGES {
        if options.only.as_ref().is_some_and(|only| only != package.name) {
            continue;
        }
        let mut programs = Vec::new();
        for found in package.programs()? {
            match found {
                Ok(program) if program.name.contains(&options.name) => programs.push(program),
                Ok(_) => {}
                Err(why) => report.left_out(package.name, why),
            }
        }
        shuffle(&mut programs, options.seed);
        let count = options.count.unwrap_or(package.count);
        report.not_drawn(package.name, programs.len().saturating_sub(count));
        programs.truncate(count);
        chosen.extend(programs);
    }
    anyhow::ensure!(!chosen.is_empty(), "no program of that package or name");
    shuffle(&mut chosen, options.seed);
    judge_all(&chosen, &mut report);
    report.print();
    Ok(ExitCode::from(u8::from(report.differs())))
}

fn judge_all(programs: &[Program], report: &mut Report) {
    let next = AtomicUsize::new(0);
    let report = Mutex::new(report);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(program) = programs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let verdict = judge::judge(program).unwrap_or_else(|error| {
                        Verdict::Different(format!("it could not be judged: {error:#}"))
                    });
                    let mut report = report.lock().expect("no holder panics");
                    report.judged(program, verdict, programs.len());
                }
            });
        }
    });
}

/// Fisher and Yates's shuffle, with numbers of Vigna's splitmix64.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed;
    for last in (1..items.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut random = state;
        random = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        random = (random ^ (random >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        random ^= random >> 31;
        items.swap(last, (random % (last as u64 + 1)) as usize);
    }
}
