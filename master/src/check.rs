//! `kiln check`: one compile as a reload has it, by whoever is no master.
//!
//! The same child with the same fences and limits makes the same image, which is checked as the
//! master checks it, and thrown away: nothing serves, and no initialiser of the scripts runs.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use fence::EmptyNetwork;
use heritage::{CompileOutcome, Diagnostic};
use image::Arena;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::waitpid;

use crate::compile::{CompileChild, CompileFiles, diagnostic, leavings};
use crate::{Roles, Settings};

/// Compiles once. An error is about a compile that came to no end of its own. The caller must have
/// no other thread.
pub fn check(
    arena: Arena,
    settings: &Settings,
    roles: &mut dyn Roles,
) -> Result<CompileOutcome, Box<Diagnostic>> {
    let refused = |reason: String| Box::new(diagnostic(&reason));
    let no_image = |error| refused(format!("cannot make a memfd: {error}"));
    let ours = image::create().map_err(|error| no_image(error.to_string()))?;
    let image = ours.try_clone().map_err(|error| no_image(error.to_string()))?;
    let slot = arena.slot(0);
    // What it leaves for the cache is the master's to keep.
    let leavings = leavings().map_err(|error| no_image(error.to_string()))?;
    let files = CompileFiles { image, leavings };
    let network = EmptyNetwork::make();
    let (network, now) = (network.as_ref(), Instant::now());
    let mut child = CompileChild::start(1, slot, files, roles, settings, network, now)
        .map_err(|error| refused(format!("cannot fork a compile child: {error}")))?;
    let cannot_wait = |error| refused(format!("cannot wait for the compile child: {error}"));
    while let Some(pipe) = child.pipe() {
        let left = child.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            child.time_out(settings);
            break;
        }
        // A millisecond more, so that it does not wake up just before the deadline again and again.
        let wait =
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], wait) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => child.read(),
            Err(error) => return Err(cannot_wait(error)),
        }
    }
    // It has said everything, so that it ends now; or it was killed.
    let ended = loop {
        match waitpid(child.pid(), None) {
            Err(Errno::EINTR) => {}
            Ok(ended) => break ended,
            Err(error) => return Err(cannot_wait(error)),
        }
    };
    let (outcome, _) = child.conclude(ended)?;
    if outcome.compiled {
        image::seal(&ours, slot).map_err(|error| refused(error.to_string()))?;
    }
    Ok(outcome)
}
