//! `make bench`: Kiln beside nginx on this machine, in one run.
//!
//! Figures of one machine move by a fifth from hour to hour, so only ratios taken in one run count:
//! the peers take turns in short rounds whose order alternates, on one core, while the load and the
//! origin have the other. What is compared is the time that the server's worker spent on a CPU for
//! each request, as the scheduler counts it; requests/s and latencies stand beside it.
//!
//! Reading order: `cases` (what is compared), `peers` (the servers), `load` (wrk), `cpu`, `start`
//! (compiling beside starting), `report` and `table` (what is printed).
#![forbid(unsafe_code)]

mod cases;
mod cpu;
mod figures;
mod load;
mod machine;
mod peers;
mod process;
mod report;
mod start;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};

use report::Report;

/// Compares Kiln with nginx on this machine, and shows what starting costs beside compiling.
#[derive(Parser)]
#[command(name = "bench")]
struct Options {
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// Rounds of one second: for a quick look, not for figures to quote.
    #[arg(long)]
    quick: bool,
    /// Do only this; may be repeated.
    #[arg(long, value_name = "NAME")]
    only: Vec<Part>,
    /// How many rounds each peer gets.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Binary of Kiln.
    #[arg(long, value_name = "FILE", env = "KILN_BIN", default_value = "target/release/kiln")]
    kiln: PathBuf,
}

/// A part of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A reply that a script makes.
    Reply,
    /// A request that a script forwards.
    Proxied,
    /// Replies to requests that come 16 at a time.
    Pipelined,
    /// Compiling, starting, replacing a worker.
    Start,
}

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
    let bench = cases::Bench {
        cores: machine::Cores::choose()?,
        kiln,
        folder: tempfile::tempdir().context("a folder for configurations")?,
        rounds: options.rounds,
        round: if options.quick { QUICK_ROUND } else { ROUND },
    };
    let mut report = Report::new(machine::Machine::read(&bench)?, &bench);
    for case in cases::ALL.iter().filter(|case| wanted(case.part)) {
        report.cases.push(bench.compare(case).with_context(|| case.name.to_owned())?);
    }
    if wanted(Part::Start) {
        report.start = Some(start::measure(&bench).context("start")?);
    }
    Ok(report)
}
