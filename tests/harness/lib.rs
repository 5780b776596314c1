//! The harness of the black-box tests: a real Kiln, real origins and real clients.
//!
//! Everything listens on a port that the system chose and lives in a folder of its own, so tests run
//! side by side. Nothing here sleeps for a guess: [`until`] waits for a condition, up to [`PATIENCE`].
//! What a value started, dropping it ends, by pid and within bounds.

mod apache;
mod bare;
mod chaos;
mod client;
mod command;
mod gdb;
mod haproxy;
mod kiln;
mod load;
mod network;
mod nginx;
mod node;
mod origin;
mod process;
mod server;
mod steps;

use std::thread;
use std::time::{Duration, Instant};

pub use bare::BareMachine;
pub use chaos::{Chaos, Report};
pub use client::{Client, Response, reset};
pub use command::{Finished, binary, kiln, kiln_command, run};
pub use gdb::Gdb;
pub use kiln::{Builder, FORWARDING, Kiln, Refusal, Reloaded};
pub use load::{Checked, Checker, Lost, Wrk, WrkReport};
pub use network::Network;
pub use nginx::Nginx;
pub use origin::{Origin, Received};
pub use process::{
    descriptors, is_alive, mappings, private_kb, processes_marked, resident_kb, state,
};
pub use server::Server;
pub use steps::{Stepped, Steps};

pub use nix::sys::signal::Signal;

/// Longest wait for anything. Nothing that works comes near it, even on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until `look` gives something; panics with `what` when it never does.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        thread::sleep(LOOK_EVERY);
    }
}

/// Waits until a condition holds; panics with `what` when it never does.
#[track_caller]
pub fn until_true(what: &str, mut holds: impl FnMut() -> bool) {
    until(what, || holds().then_some(()));
}
