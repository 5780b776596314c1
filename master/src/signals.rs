//! Signals of the master: all that it handles are blocked, and a signalfd queues them for the loop.
//!
//! So no code ever runs in a signal handler here, and a signal waits until the loop is ready for it.
//! The kernel queues each signal once: two TTINs in the same instant are one.

use std::os::fd::{AsFd, BorrowedFd};

use nix::Result;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What a signal asks of the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// SIGHUP: compile the scripts and swap them in.
    Reload,
    /// SIGTERM, SIGINT: stop now.
    Stop,
    /// SIGQUIT: finish what is in flight, then stop.
    Drain,
    /// SIGTTIN: one worker more.
    MoreWorkers,
    /// SIGTTOU: one worker less.
    FewerWorkers,
    /// SIGCHLD: some children ended.
    Reap,
}

/// Signals that the master handles; in a child, `fork` decides about each anew.
const HANDLED: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGCHLD,
];

/// The queue of signals.
pub(crate) struct Signals(SignalFd);

impl Signals {
    /// Blocks the handled signals and queues them from now on.
    pub(crate) fn block() -> Result<Self> {
        let mask = SigSet::from_iter(HANDLED);
        mask.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Signals(SignalFd::with_flags(&mask, flags)?))
    }

    /// Takes the next one, if there is one.
    pub(crate) fn next(&self) -> Option<Request> {
        // A failed read says that there is nothing to read: the descriptor is ours and valid.
        let number = self.0.read_signal().ok().flatten()?.ssi_signo;
        let signal = Signal::try_from(i32::try_from(number).ok()?).ok()?;
        Some(match signal {
            Signal::SIGHUP => Request::Reload,
            Signal::SIGTERM | Signal::SIGINT => Request::Stop,
            Signal::SIGQUIT => Request::Drain,
            Signal::SIGTTIN => Request::MoreWorkers,
            Signal::SIGTTOU => Request::FewerWorkers,
            Signal::SIGCHLD => Request::Reap,
            other => unreachable!("{other} is not in the mask of the signalfd"),
        })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
