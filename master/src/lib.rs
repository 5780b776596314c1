//! The master: owns listening sockets, generations and children, and keeps all three in order.
//!
//! It has one thread and one loop, which never waits for anything but poll(2): signals arrive through
//! a signalfd, workers speak over channels, the compile child over a pipe, commands over a socket.
//! It never runs LLVM, never reads a byte of a request, and knows neither the worker's nor the
//! compiler's crate: what children do is handed in as [`Roles`].
//!
//! Where to start reading: `supervisor.rs` has the loop, `reload.rs` the life of a reload,
//! `staffing.rs` that of a worker, `broker.rs` that of the broker, `fork.rs` what a child does first.

mod backoff;
mod broker;
mod claim;
mod clients;
mod compile;
pub mod control;
mod error;
mod fork;
mod generations;
mod listeners;
mod poll;
mod reload;
mod servers;
mod settings;
mod signals;
mod staffing;
mod status;
mod supervisor;
#[cfg(test)]
mod tests;
mod workers;

use std::os::fd::OwnedFd;

use heritage::{Channel, CompileOutcome, Inheritance};

pub use error::StartError;
pub use settings::{Control, Settings};

use supervisor::Supervisor;

/// What the children of the master do.
pub trait Roles {
    /// Runs in the forked, fenced compile child: compiles the scripts into `job.image` and returns
    /// what to report. What it leaves behind dies with the child.
    fn compile(&mut self, job: &CompileJob) -> CompileOutcome;

    /// Runs in a forked worker; returns its exit code.
    fn work(&mut self, inheritance: Inheritance) -> i32;

    /// Runs in the forked broker: finds out about servers, and reports news of them. What the one
    /// before it found out comes as orders. Returns its exit code.
    fn broker(&mut self, channel: Channel) -> i32;

    /// Whether there is anything for a broker to find out.
    fn needs_broker(&self) -> bool;
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
    Supervisor::start(settings, arena, roles)?.run()
}
