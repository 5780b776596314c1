//! `make bench`: Kiln beside nginx and HAProxy on this machine, in one run.
//!
//! Figures of one machine move by a fifth from hour to hour, so only ratios taken in one run count:
//! the peers take turns in short rounds whose order changes, on one core, while the load and the
//! origin have the other. What is compared is the time that the server's worker spent on a CPU for
//! each request or byte, as the scheduler counts it; rates and latencies stand beside it.
//!
//! Reading order: `cases` (what is compared), `peers` (the servers), `rounds` (the turns), `load`
//! (wrk) and `bodies` (the loader of large bodies, with `origin` at its other end), `cpu`,
//! `demands` (the verdicts), `reuse` (connections to the origin), `start` (compiling beside
//! starting), `costs` (a script of usual length, against limits), `retirement` (thousands of reloads),
//! `fence` (what the fences around a hook cost), `reloads` (what those pay who are served meanwhile),
//! `report`, `table` and `chart` (what is printed).
#![forbid(unsafe_code)]

mod bodies;
mod cases;
mod chart;
mod costs;
mod cpu;
mod demands;
mod fence;
mod figures;
mod head;
mod load;
mod machine;
mod origin;
mod peers;
mod process;
mod reloads;
mod report;
mod retirement;
mod reuse;
mod rounds;
mod start;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};

use report::Report;

/// Compares Kiln with nginx and HAProxy on this machine, and says which of its demands Kiln meets.
///
/// Every server has one worker on one core; the load and the origin have another. The servers of a
/// case take turns in short rounds, so that a ratio compares neighbours in time; the spread over
/// the rounds is printed with every median and is the machine's noise. Take figures on a quiet
/// machine: nothing else should run on the two cores.
///
/// The figure that counts is CPU time of the serving process: microseconds a request, or bytes for
/// each second of it. `floor` is a relay in C that only reads and writes: what copying costs
/// without HTTP. A proxy that splices large bodies goes below it.
#[derive(Parser)]
#[command(name = "bench", after_help = EXAMPLES)]
struct Options {
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// One round of one second: to see that all works, not for figures to quote.
    #[arg(long)]
    quick: bool,
    /// Do only this; may be repeated.
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
    /// How many rounds of 3 s each server gets in each case [default: 5, or 1 with --quick].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Binary of Kiln.
    #[arg(long, value_name = "FILE", env = "KILN_BIN", default_value = "target/release/kiln")]
    kiln: PathBuf,
}

const EXAMPLES: &str = "Examples:
  cargo run --release -p bench                                  everything; what `make bench` does
  cargo run --release -p bench -- --quick                       everything, once and briefly
  cargo run --release -p bench -- --only proxied --rounds 15    one case, with less doubt
  cargo run --release -p bench -- --json >bench.json            for a machine";

/// A part of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A reply that a script makes, beside nginx's `return` and HAProxy's `http-request return`.
    Reply,
    /// A request that a script forwards, beside proxies without a script.
    Proxied,
    /// Replies to requests that come 16 at a time.
    Pipelined,
    /// Bodies of 1 MB and 100 MB that are forwarded, down and up.
    Bodies,
    /// Connections that are opened to the origin, with 1, 2 and 4 workers.
    Reuse,
    /// What the fences around a hook call cost, against the bare call.
    Fence,
    /// Latency while scripts are reloaded, against that without.
    Reloads,
    /// Compiling, starting, replacing a worker; what a script of usual length costs, against limits.
    Start,
    /// 10,000 reloads of a script that leaks: what grows, in which process; curves in
    /// target/retirement.svg.
    Retirement,
}

/// Rounds that a server gets in each case: so many that one disturbed round does not move a median.
const ROUNDS: u32 = 5;
/// Seconds of load in a round.
const ROUND: Duration = Duration::from_secs(3);
const QUICK_ROUND: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(report) => {
            match options.json {
                true => println!("{}", report.json()),
                false => print!("{}", table::render(&report)),
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<Report> {
    let kiln = options.kiln.canonicalize().with_context(|| {
        format!(
            "no Kiln at {}: build it with `make build`, or name it in KILN_BIN",
            options.kiln.display()
        )
    })?;
    let wanted = |part: Part| options.only.is_empty() || options.only.contains(&part);
    let bench = rounds::Bench {
        cores: machine::Cores::choose()?,
        kiln,
        folder: tempfile::tempdir().context("a folder for configurations")?,
        rounds: options.rounds.unwrap_or(if options.quick { 1 } else { ROUNDS }),
        round: if options.quick { QUICK_ROUND } else { ROUND },
    };
    let cases: Vec<_> = cases::ALL.iter().filter(|case| wanted(case.part)).collect();
    let (reloads, retirement) = retirement::plan(options.quick);
    let parts = [
        (Part::Reuse, reuse::DURATION),
        (Part::Reloads, reloads::duration(&bench, options.quick)),
        (Part::Start, start::DURATION),
        (Part::Retirement, retirement),
    ];
    let parts = parts.into_iter().filter(|(part, _)| wanted(*part)).map(|(_, duration)| duration);
    let duration: Duration = cases.iter().map(|case| bench.duration(case)).chain(parts).sum();
    eprintln!("bench: this takes about {} s", duration.as_secs());

    let mut report = Report::new(machine::Machine::read(&bench.kiln)?, &bench);
    for case in cases {
        report.cases.push(bench.compare(case).with_context(|| case.name.to_owned())?);
    }
    if wanted(Part::Reuse) {
        report.reuse = reuse::measure(&bench).context("reuse")?;
    }
    if wanted(Part::Fence) {
        report.fence = fence::measure().context("fence")?;
    }
    if wanted(Part::Reloads) {
        report.reloads = reloads::measure(&bench, options.quick).context("reloads")?;
    }
    if wanted(Part::Start) {
        report.start = Some(start::measure(&bench).context("start")?);
    }
    if wanted(Part::Retirement) {
        report.retirement = Some(retirement::measure(&bench, reloads).context("retirement")?);
    }
    Ok(report)
}
