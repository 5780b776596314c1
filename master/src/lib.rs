//! The master: owns listening sockets, generations and children, and keeps all three in order.
//!
//! It has one thread and one loop, which never waits for anything but poll(2): signals arrive
//! through a signalfd, workers speak over channels, the compile child over a pipe, commands over a
//! socket. It never runs LLVM, never reads a byte of a request, and knows neither the worker's nor
//! the compiler's crate: what children do is handed in as [`Roles`].
//!
//! Where to start reading: `supervisor.rs` has the loop, `reload.rs` and `loading.rs` the life of a
//! reload, `rollback.rs`, `probation.rs` and `standby.rs` what is done with generations before it,
//! `staffing.rs` and `tainted.rs` that of a worker, `broker.rs` and `keeper.rs` those of the other children, `fork.rs` what a child does
//! first.

mod backoff;
mod broker;
mod check;
mod claim;
mod clients;
mod compile;
pub mod control;
mod error;
mod faults;
mod fork;
mod generations;
mod keeper;
mod listeners;
mod loading;
mod poll;
mod probation;
mod pulse;
mod reload;
mod rollback;
mod servers;
mod settings;
mod signals;
mod staffing;
mod standby;
mod status;
mod supervisor;
mod tainted;
#[cfg(test)]
mod tests;
mod workers;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use heritage::{Channel, CompileOutcome, CompileReporter, Diagnostic, Inheritance};

pub use check::check;
pub use error::StartError;
pub use settings::{Control, Settings};

use supervisor::Supervisor;

/// What the master does not know how to do: read a configuration, and be a child.
pub trait Roles {
    /// Reads the configuration again; called in the master itself when a reload begins. It may read
    /// files and must wait for nothing else. On an error the reload is refused and all stays as it
    /// was.
    fn configure(&mut self) -> Result<Configured, Vec<Diagnostic>>;

    /// Folders and files that the next compile child may read, with all that is below them. Other
    /// paths are closed to it.
    fn compile_reads(&self) -> Vec<PathBuf>;

    /// Runs in the forked, fenced compile child: compiles the scripts into `job.image` and returns
    /// what to report. What it leaves behind dies with the child.
    fn compile(&mut self, job: &CompileJob) -> CompileOutcome;

    /// The only folder that the next keeper may look into and write to; none if nothing is kept.
    fn cache_folder(&self) -> Option<PathBuf>;

    /// Runs in the forked keeper: puts what a compile child wrote into `job.leavings` where later
    /// ones find it. Returns its exit code.
    fn keep(&mut self, leavings: File) -> i32;

    /// Runs in a forked worker; returns its exit code.
    fn work(&mut self, inheritance: Inheritance) -> i32;

    /// Runs in the forked broker: finds out about the servers of these settings (see
    /// [`Configured`]), and reports news of them. What the one before it found out comes as orders.
    /// Returns its exit code.
    fn broker(&mut self, settings: &[u8], channel: Channel) -> i32;

    /// Whether there is anything in these settings for a broker to find out.
    fn needs_broker(&self, settings: &[u8]) -> bool;
}

/// What a configuration comes to.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    /// Settings of the workers, as they travel to them.
    pub settings: Vec<u8>,
    /// Workers, from 1 to [`heritage::WORKERS_MAX`].
    pub workers: usize,
    /// Longest compile, from this reload on.
    pub compile_timeout: Duration,
    /// Most memory of a compile, from this reload on.
    pub compile_memory_max: u64,
    /// Longest drain of a worker, once this generation serves.
    pub drain_timeout: Duration,
    /// How long a worker may take to do what it is told, once this generation serves.
    pub answer_timeout: Duration,
    /// Longest time of one hook call, once this generation serves.
    pub hook_time_max: Duration,
    /// How long a generation is on probation.
    pub probation: Duration,
    /// Requests that it may fail at before that is over; as many, and the one before it comes back. 0:
    /// it needs no probation.
    pub probation_faults: u64,
    /// Whether the last good generation before it is to be kept mapped beside it.
    pub stands_by: bool,
    /// What differs and takes a restart, each in a sentence for the operator.
    pub unchanged: Vec<String>,
}

/// One compile: which generation it makes, for which addresses, and where it puts the image.
#[derive(Debug)]
pub struct CompileJob {
    /// Number of the generation.
    pub generation: u64,
    /// Addresses that the code is linked for.
    pub slot: image::Slot,
    /// Empty memfd that takes the image.
    pub image: OwnedFd,
    /// Empty memfd that takes what later compiles can use.
    pub leavings: File,
    /// Threads that it may use.
    pub threads: usize,
    /// Where to say what it is doing.
    pub report: CompileReporter,
}

/// How a master that had started came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// SIGTERM or SIGINT: requests in flight were cut off.
    Fast,
    /// SIGQUIT: every request was finished.
    Drained,
    /// SIGQUIT, but some requests were not finished within the drain timeout and were cut off.
    DrainTimedOut,
}

/// Runs the master until it is told to stop. The caller must have no other thread.
pub fn run(
    settings: Settings,
    arena: image::Arena,
    roles: &mut dyn Roles,
) -> Result<Stopped, StartError> {
    fork::read_time_zone();
    fence::master().map_err(|error| StartError::System { what: "its own fence", error })?;
    Supervisor::start(settings, arena, roles)?.run()
}
