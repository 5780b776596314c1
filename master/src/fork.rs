//! The fork, and what a child does before anything else.
//!
//! A child begins as a copy of the master: it holds every descriptor, every listening socket, the
//! master's signal mask, and the whole scoreboard. Each of these does harm if it stays: an
//! inherited control socket hides end-of-file from its client, an inherited end of another worker's
//! channel hides the master's death from that worker, a listener of another keeps a closed port
//! open.
//!
//! ```text
//!   master --fork--> child
//!                      1. ask to be signalled when the master dies; is it dead already?
//!                      2. signal dispositions, then an empty mask (in this order: what is
//!                         pending meets the new dispositions)
//!                      3. its network, if it needs none; then close every descriptor that is not on
//!                         the list
//!                      4. its fence: user, limits, files, system calls
//!                      5. its role; exit without unwinding into the master's code
//! ```

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fence::EmptyNetwork;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{ForkResult, Pid, alarm, dup2_stdout, getpid, getppid};

/// Which child is forked; decides how it outlives the master and what limits it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Child<'a> {
    /// Serves on without the master until its requests are finished, but no longer than this.
    Worker {
        /// The drain timeout.
        drain_timeout: Duration,
        /// Its fence.
        may: &'a fence::Worker,
    },
    /// Dies with the master.
    Compiler {
        /// Its fence.
        may: &'a fence::Compiler,
        /// Where it is to be.
        network: Option<&'a EmptyNetwork>,
    },
    /// Dies with the master: what it finds out is of no use to anybody else.
    Broker {
        /// What it may use.
        may: &'a fence::Broker,
        /// How that is seen to.
        fence: fn(&fence::Broker) -> io::Result<()>,
    },
    /// Dies with the master, which waits for it before it ends.
    Keeper {
        /// Its fence.
        may: &'a fence::Keeper,
        /// Where it is to be.
        network: Option<&'a EmptyNetwork>,
    },
}

/// Exit code of a child that could not do its hygiene: EX_OSERR of sysexits.h.
const EXIT_HYGIENE: i32 = 71;

/// Seconds that a worker lives on after the master's death. Set before the handler that reads it.
static ORPHAN_GRACE_S: AtomicU32 = AtomicU32::new(1);

/// Forks a child that keeps the standard streams and `keep`, runs `role` and exits with its answer.
// fork() is unsafe as such; here is the only one of the master.
#[allow(unsafe_code)]
pub(crate) fn fork(
    child: Child<'_>,
    keep: &[RawFd],
    role: impl FnOnce() -> i32,
) -> nix::Result<Pid> {
    let master = getpid();
    // SAFETY: the master has one thread (the caller of `run` promises it), so no lock is held by a
    // thread that does not exist in the child.
    match unsafe { nix::unistd::fork()? } {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            // A panic must end the child here: the frames above belong to the master's loop, and
            // its destructors would unlink the master's files.
            let code = catch_unwind(AssertUnwindSafe(|| match hygiene(child, master, keep) {
                Ok(()) => role(),
                Err(error) => {
                    tracing::error!(?child, %error, "a new child could not do its hygiene");
                    EXIT_HYGIENE
                }
            }))
            .unwrap_or_else(|_| std::process::abort());
            // Nothing is left to report a failed flush to.
            let _ = io::stdout().flush();
            // SAFETY: ends the process without running what the master registered for its own end.
            unsafe { libc::_exit(code) }
        }
    }
}

/// Has the C library read /etc/localtime, which it does when it is first asked for a date, be it one
/// in UTC. A script may ask for one, and a worker opens no path.
// gmtime_r() has no safe wrapper.
#[allow(unsafe_code)]
pub(crate) fn read_time_zone() {
    let mut date = std::mem::MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are valid, and there is one thread.
    unsafe { libc::gmtime_r(&0, date.as_mut_ptr()) };
}

fn hygiene(child: Child<'_>, master: Pid, keep: &[RawFd]) -> io::Result<()> {
    if matches!(child, Child::Compiler { .. }) {
        fence::give_way();
    }
    set_pdeathsig(match child {
        Child::Worker { .. } => Signal::SIGUSR1,
        Child::Compiler { .. } | Child::Broker { .. } | Child::Keeper { .. } => Signal::SIGKILL,
    })?;
    // The master may have died before the line above, and then nobody signals.
    if getppid() != master {
        return Err(io::Error::other("the master is gone"));
    }
    set_dispositions(child)?;
    if let Child::Compiler { network: Some(network), .. }
    | Child::Keeper { network: Some(network), .. } = child
    {
        network.enter();
    }
    close_all_but(keep)?;
    match child {
        Child::Worker { may, .. } => fence::worker(may),
        Child::Compiler { may, .. } => {
            // It may be a pipe that somebody reads as data.
            dup2_stdout(File::options().write(true).open("/dev/null")?)?;
            fence::compiler(may)
        }
        Child::Broker { may, fence } => fence(may),
        Child::Keeper { may, .. } => fence::keeper(may),
    }
}

/// What each signal does in a child.
// sigaction() is unsafe because of what a handler may do; see below.
#[allow(unsafe_code)]
fn set_dispositions(child: Child<'_>) -> nix::Result<()> {
    let set = |signal, handler| {
        let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
        // SAFETY: the only handler of ours is `on_master_death`, which is async-signal-safe.
        unsafe { sigaction(signal, &action) }
    };
    // A terminal's ctrl-C and hang-up go to the whole process group, and the rest are orders to the
    // master: a child hears of them from the master alone. SIGPIPE: a broken connection is an
    // error. SIGVTALRM and SIGPROF are about hooks that run for too long: who has none has nothing to
    // stop.
    for signal in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
        Signal::SIGPIPE,
        Signal::SIGVTALRM,
        Signal::SIGPROF,
    ] {
        set(signal, SigHandler::SigIgn)?;
    }
    for signal in [Signal::SIGTERM, Signal::SIGCHLD, Signal::SIGALRM] {
        set(signal, SigHandler::SigDfl)?;
    }
    if let Child::Worker { drain_timeout, .. } = child {
        // One second more than the drain: the alarm is for a worker that is stuck in a script.
        let grace_s = u32::try_from(drain_timeout.as_secs()).unwrap_or(u32::MAX - 1) + 1;
        ORPHAN_GRACE_S.store(grace_s, Ordering::Relaxed);
        set(Signal::SIGUSR1, SigHandler::Handler(on_master_death))?;
    }
    SigSet::empty().thread_set_mask()
}

/// The master died. The worker's loop learns it from its channel and drains; this is for a worker
/// that never gets back to its loop: the alarm ends it.
extern "C" fn on_master_death(_signal: libc::c_int) {
    // alarm(2) and a load are async-signal-safe (signal-safety(7)).
    alarm::set(ORPHAN_GRACE_S.load(Ordering::Relaxed));
}

/// Closes every descriptor above the standard streams that is not on the list.
// The descriptors that are closed have owners in the copied memory of the master.
#[allow(unsafe_code)]
fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    for (first, last) in gaps(keep) {
        // SAFETY: the owners of these descriptors are values of the master's, which this child
        // never touches again and never drops: it leaves by _exit.
        if unsafe { libc::close_range(first, last, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Ranges of descriptors from 3 on that are not in `keep`.
fn gaps(keep: &[RawFd]) -> Vec<(u32, u32)> {
    let mut kept: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).collect();
    kept.sort_unstable();
    let mut gaps = Vec::new();
    let mut first = 3;
    for fd in kept.into_iter().filter(|fd| *fd >= 3) {
        if fd > first {
            gaps.push((first, fd - 1));
        }
        first = fd + 1;
    }
    gaps.push((first, u32::MAX));
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keep: &[RawFd], expect: &[(u32, u32)]) {
        assert_eq!(gaps(keep), expect);
    }

    #[test]
    fn every_descriptor_that_is_not_kept_lies_in_a_gap() {
        check(&[], &[(3, u32::MAX)]);
        check(&[3], &[(4, u32::MAX)]);
        check(&[9, 5, 6], &[(3, 4), (7, 8), (10, u32::MAX)]);
        check(&[1, 2, 4], &[(3, 3), (5, u32::MAX)]);
    }
}
