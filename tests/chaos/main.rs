//! Everything that can happen to a Kiln, at random, for as long as one likes.
//!
//!     chaos [--minutes N] [--seed N]
//!
//! It ends with 1 if anything came of it that must not. See the harness for what happens and what may.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use tests::Chaos;

#[derive(Parser)]
struct Options {
    /// How long.
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    minutes: f64,
    /// Decides what happens; if not given it is the time.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = options.seed.unwrap_or(since.as_secs());
    println!("seed {seed}, {} minutes", options.minutes);
    let duration = Duration::from_secs_f64(options.minutes * 60.0);
    let report = Chaos { seed, duration }.run();
    print!("{report}");
    ExitCode::from(u8::from(!report.violations.is_empty()))
}
