//! `kiln serve`: the master, how it is configured anew, and what its children do.

use std::cell::OnceCell;
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use cache::Folder;
use heritage::{Channel, CompileOutcome, Diagnostic, Inheritance, Severity};
use image::Arena;
use jit::{Cache, Job, PassedOver, Scripts, Source, SymbolTable};
use master::{CompileJob, Configured, Roles, StartError, Stopped};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use settings::Limits;

use crate::config::{Config, cache_default, print_errors};
use crate::{EXIT_USAGE, cli, logs};

/// Descriptors of a worker that are no connections: standard streams, channel, poll, sockets that
/// it listens on and adopts, images and settings on their way in.
const DESCRIPTORS_BESIDE: u64 = 256;

/// Exit code of a keeper that could not write: EX_IOERR of sysexits.h.
const EXIT_NOT_KEPT: i32 = 74;

/// Serves until told to stop.
pub(crate) fn serve(arguments: &cli::Serve) -> anyhow::Result<ExitCode> {
    let mut arguments = arguments.clone();
    // The file is read again at each reload, and messages about it should say which one it is.
    if let Some(path) = &mut arguments.config {
        *path = std::path::absolute(&*path)?;
    }
    let mut config = match Config::load(&arguments) {
        Ok(config) => config,
        Err(errors) => {
            print_errors(&errors);
            eprintln!("kiln: the configuration was refused");
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    config.look_for_script()?;
    config.find_identities()?;
    let logs = logs::start();
    let arena = Arena::reserve()?;
    let settings = config.master.clone();
    let mut children = Children::new(arguments, config, arena);
    let stopped = master::run(settings, arena, &mut children);
    drop(logs);
    match stopped {
        Ok(Stopped::Fast | Stopped::Drained) => Ok(ExitCode::SUCCESS),
        Ok(Stopped::DrainTimedOut) => Ok(ExitCode::FAILURE),
        Err(StartError::Refused { reason, diagnostics }) => {
            print_errors(&diagnostics);
            eprintln!("kiln: the start was refused: {reason}");
            Ok(ExitCode::from(EXIT_USAGE))
        }
        Err(error) => Err(error.into()),
    }
}

/// Compiles the scripts of a configuration as a reload does, and serves nothing. An error is about a
/// compile that came to no end of its own.
pub(crate) fn compile(config: Config) -> anyhow::Result<Result<CompileOutcome, Box<Diagnostic>>> {
    let arena = Arena::reserve()?;
    let settings = config.master.clone();
    let mut children = Children::new(cli::Serve::default(), config, arena);
    Ok(master::check(arena, &settings, &mut children))
}

/// Lets this process and its children open as many files as the system allows them; answers how
/// many.
fn raise_descriptors() -> u64 {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, most)| {
        setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
        Ok(most)
    });
    raised.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot raise the limit on open files");
        getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft)
    })
}

/// Says so where the connections of a worker need more descriptors than it may have.
fn look_at_descriptors(connections: u64, descriptors_max: u64) {
    // One for the client and one for its origin.
    let needed = 2 * connections + DESCRIPTORS_BESIDE;
    if needed <= descriptors_max {
        return;
    }
    let fits = descriptors_max.saturating_sub(DESCRIPTORS_BESIDE) / 2;
    let remedy = format!(
        "set limits.connections to {fits} at most, or raise the hard limit on open files to {needed} \
         (LimitNOFILE= of systemd, ulimit -Hn)"
    );
    // A default that does not fit is nobody's mistake.
    if connections == Limits::default().connections {
        tracing::info!(
            connections,
            descriptors_max,
            remedy,
            "fewer connections than the default fit"
        );
    } else {
        tracing::warn!(connections, descriptors_max, remedy, "limits.connections does not fit");
    }
}

fn settings_of(json: &[u8]) -> settings::Worker {
    serde_json::from_slice(json).expect("the role that configures wrote it")
}

/// What the master is told at a reload, and what the forked children do.
struct Children {
    arguments: cli::Serve,
    /// As of the last reload.
    script: PathBuf,
    /// As of the last reload.
    include: Vec<PathBuf>,
    /// As of the last reload.
    compile: settings::Compile,
    arena: Arena,
    descriptors_max: u64,
    /// What the master runs with.
    started_with: Config,
    /// Whether the first generation was begun: it is that of the configuration above.
    has_started: bool,
    /// `limits.connections` as it was looked at last.
    connections: u64,
}

impl Children {
    fn new(arguments: cli::Serve, config: Config, arena: Arena) -> Self {
        Children {
            arguments,
            script: config.script.clone(),
            include: config.include.clone(),
            compile: config.compile.clone(),
            arena,
            descriptors_max: raise_descriptors(),
            started_with: config,
            has_started: false,
            connections: 0,
        }
    }

    /// Where earlier compiles left things; none if nothing is to be kept.
    fn cache(&self) -> Option<PathBuf> {
        let path = self.compile.cache.clone().or_else(cache_default);
        path.filter(|_| self.compile.cache_bytes > 0)
    }

    fn source(&self) -> Source<'_> {
        Source::Scripts(Scripts { path: &self.script, include: &self.include })
    }
}

impl Roles for Children {
    fn configure(&mut self) -> Result<Configured, Vec<Diagnostic>> {
        let next = match std::mem::replace(&mut self.has_started, true) {
            true => Some(Config::load(&self.arguments)?),
            false => None,
        };
        let config = next.as_ref().unwrap_or(&self.started_with);
        let connections = config.worker.limits.connections;
        if std::mem::replace(&mut self.connections, connections) != connections {
            look_at_descriptors(connections, self.descriptors_max);
        }
        self.script.clone_from(&config.script);
        self.include.clone_from(&config.include);
        self.compile.clone_from(&config.compile);
        let faults = &config.worker.faults;
        Ok(Configured {
            settings: serde_json::to_vec(&config.worker).expect("they are strings and numbers"),
            workers: config.master.workers,
            compile_timeout: config.master.compile_timeout,
            compile_memory_max: config.master.compile_memory_max,
            drain_timeout: config.master.drain_timeout,
            answer_timeout: config.master.answer_timeout,
            hook_time_max: Duration::from_millis(faults.hook_wall_ms),
            probation: Duration::from_secs(faults.probation_s),
            probation_faults: faults.probation_faults,
            stands_by: faults.policy == settings::Policy::Previous,
            unchanged: self.started_with.needs_restart(config),
        })
    }

    fn compile_reads(&self) -> Vec<PathBuf> {
        self.cache().into_iter().chain(self.source().reads()).collect()
    }

    fn compile(&mut self, job: &CompileJob) -> CompileOutcome {
        let symbols = SymbolTable::workers(&hook::script_bindings());
        let (cache, unusable) = match self.cache() {
            Some(path) => match Folder::open(&path) {
                Ok(folder) => (Some(Cache { folder, leavings: &job.leavings }), None),
                Err(error) => (None, Some(error)),
            },
            None => (None, None),
        };
        let mut outcome = jit::compile(&Job {
            what: self.source(),
            slot: job.slot,
            image: &job.image,
            symbols: &symbols,
            debug: match self.compile.debug {
                settings::Debug::Full => jit::Debug::Full,
                settings::Debug::Lines => jit::Debug::Lines,
            },
            cpu: &self.compile.cpu,
            cache,
            threads: job.threads,
            report: &job.report,
        });
        for PassedOver { path, why } in jit::passed_over(&self.script) {
            let file = path.display().to_string();
            outcome.counts.add(Severity::Warning);
            let message = format!("it {why}");
            outcome.diagnostics.push(Diagnostic::about(Severity::Warning, &file, message));
        }
        if let Some(error) = unusable {
            outcome.counts.add(Severity::Warning);
            outcome.diagnostics.push(Diagnostic::about(Severity::Warning, "", error.to_string()));
        }
        outcome
    }

    fn cache_folder(&self) -> Option<PathBuf> {
        self.cache()
    }

    fn keep(&mut self, leavings: File) -> i32 {
        let kept = self.cache().map(|path| cache::keep(&path, self.compile.cache_bytes, &leavings));
        let Some(Err(error)) = kept else { return 0 };
        tracing::warn!(%error, "the cache does not get all that a compile left");
        EXIT_NOT_KEPT
    }

    fn broker(&mut self, settings: &[u8], channel: Channel) -> i32 {
        admin::broker(&settings_of(settings), channel)
    }

    fn needs_broker(&self, settings: &[u8]) -> bool {
        admin::is_needed(&settings_of(settings))
    }

    fn work(&mut self, inheritance: Inheritance) -> i32 {
        // Made when the first name is wanted: most workers never want one.
        let table = OnceCell::new();
        let function = move |start| {
            let table = table.get_or_init(|| SymbolTable::workers(&hook::script_bindings()));
            table.name(start).map(str::to_owned)
        };
        let names = hook::Names {
            function: Box::new(function),
            is_header: jit::is_header,
            demangled: jit::demangled,
        };
        worker::run(self.arena, inheritance, names)
    }
}
