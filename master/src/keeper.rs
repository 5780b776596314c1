//! The keeper as the master sees it: a child that puts into the cache what a compile left, and ends.
//!
//! A child, since writing to a disk may take any time and the master waits for nothing; and not the
//! compile child, since that ran a compiler over somebody's source and may write nothing. There is one
//! at a time: what is left meanwhile is not kept, and the compile that would have used it takes longer.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use crate::fork::{Child, fork};
use crate::staffing::how;
use crate::supervisor::Supervisor;

/// After this long it is killed: a disk that takes so much time for some MB is no cache.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The master's record of it.
#[derive(Debug)]
pub(crate) struct Keeper {
    pid: Pid,
    /// When it is killed.
    deadline: Instant,
}

impl Supervisor<'_> {
    /// Has what a compile left put into the cache.
    pub(crate) fn employ_keeper(&mut self, leavings: File, now: Instant) {
        let is_empty = leavings.metadata().is_ok_and(|found| found.len() == 0);
        if is_empty || self.keeper.is_some() {
            return;
        }
        let Some(folder) = self.roles.cache_folder() else { return };
        let may = fence::Keeper { folder, identity: self.settings.identity };
        let (roles, keep) = (&mut *self.roles, [leavings.as_raw_fd()]);
        let child = Child::Keeper { may: &may, network: self.network.as_ref() };
        match fork(child, &keep, move || roles.keep(leavings)) {
            Ok(pid) => self.keeper = Some(Keeper { pid, deadline: now + TIMEOUT }),
            Err(error) => tracing::warn!(%error, "cannot fork a keeper: the cache gets nothing"),
        }
    }

    /// Kills a keeper that takes too long.
    pub(crate) fn hurry_keeper(&mut self, now: Instant) {
        if let Some(keeper) = self.keeper.as_mut().filter(|keeper| keeper.deadline <= now) {
            tracing::warn!(timeout_s = TIMEOUT.as_secs(), "writing to the cache takes too long");
            // It may be dead already, and not yet reaped: its pid is still ours.
            let _ = kill(keeper.pid, Signal::SIGKILL);
            keeper.deadline = now + TIMEOUT;
        }
    }

    /// When [`Supervisor::hurry_keeper`] next has something to do.
    pub(crate) fn keeper_deadline(&self) -> Option<Instant> {
        self.keeper.as_ref().map(|keeper| keeper.deadline)
    }

    /// A child has ended: was it the keeper?
    pub(crate) fn keeper_ended(&mut self, pid: Pid, ended: WaitStatus) -> bool {
        if self.keeper.as_ref().is_none_or(|keeper| keeper.pid != pid) {
            return false;
        }
        self.keeper = None;
        // One that exits has said why.
        if let WaitStatus::Signaled(..) = ended {
            tracing::warn!("writing to the cache {}", how(ended));
        }
        true
    }
}
