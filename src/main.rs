//! The command line of Kiln: reads arguments and configuration, and wires the crates together.
//!
//! `cli` is what can be typed, `config` what it means together with a file, `serve` the master with
//! its children, `check` a compile without them, `control` and `generations` the commands to a running
//! master, `demo` a first try without a setup.

#![forbid(unsafe_code)]

mod check;
mod cli;
mod config;
mod control;
mod demo;
mod generations;
mod logs;
mod sarif;
mod serve;
mod symbols;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

/// Exit code of what the operator can mend: arguments, configuration, scripts, addresses.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(arguments) => serve::serve(&arguments),
        Command::Reload(arguments) => control::reload(&arguments),
        Command::Rollback(arguments) => generations::rollback(&arguments),
        Command::Generations(arguments) => generations::generations(&arguments),
        Command::Status(arguments) => control::status(&arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Config(command) => config::command::run(&command),
        Command::Profile(arguments) => control::profile(&arguments),
        Command::Run(arguments) => run(&arguments),
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::Origin(arguments) => demo::origin(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("kiln: {error:#}");
        ExitCode::from(EXIT_USAGE)
    })
}

fn run(typed: &cli::Run) -> anyhow::Result<ExitCode> {
    let (file, arguments) = typed.program.split_first().expect("one value is required");
    let program =
        jit::Program { path: Path::new(file), include: &typed.include, define: &typed.define };
    let code = tools::run::program(program, arguments)?;
    Ok(ExitCode::from(code as u8))
}
