//! `kiln serve`: the master, and what its children do.

use std::path::PathBuf;
use std::process::ExitCode;

use heritage::{CompileOutcome, Inheritance};
use image::Arena;
use jit::{Job, Source, SymbolTable};
use master::{CompileJob, Roles, StartError, Stopped};

use crate::config::Config;
use crate::{EXIT_USAGE, cli, logs};

/// Serves until told to stop.
pub(crate) fn serve(arguments: &cli::Serve) -> anyhow::Result<ExitCode> {
    let Config { script, master, worker } = Config::load(arguments)?;
    logs::start();
    let arena = Arena::reserve()?;
    let mut children = Children { script, worker, arena };
    match master::run(master, arena, &mut children) {
        Ok(Stopped::Fast | Stopped::Drained) => Ok(ExitCode::SUCCESS),
        Ok(Stopped::DrainTimedOut) => Ok(ExitCode::FAILURE),
        Err(StartError::Refused { reason, diagnostics }) => {
            diagnostics.iter().for_each(|found| eprintln!("{}", found.rendered.trim_end()));
            eprintln!("kiln: the scripts were refused: {reason}");
            Ok(ExitCode::from(EXIT_USAGE))
        }
        Err(error) => Err(error.into()),
    }
}

/// What the forked children do.
struct Children {
    script: PathBuf,
    worker: worker::Settings,
    arena: Arena,
}

impl Roles for Children {
    fn compile(&mut self, job: &CompileJob) -> CompileOutcome {
        let symbols = SymbolTable::workers(&hook::script_bindings());
        jit::compile(&Job {
            what: Source::Scripts(&self.script),
            slot: job.slot,
            image: &job.image,
            symbols: &symbols,
        })
    }

    fn work(&mut self, inheritance: Inheritance) -> i32 {
        worker::run(&self.worker, self.arena, inheritance)
    }
}
