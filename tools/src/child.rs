//! Forked children of a command-line tool.

use std::process;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};

/// Forks a child that dies with this process, runs `role` there, and exits with its answer as
/// `exit(3)` does, or at once when `role` says that nothing is to be run at exit.
pub(crate) fn spawn(role: impl FnOnce() -> Exit) -> nix::Result<Pid> {
    let parent = getpid();
    // SAFETY: the tools have one thread when they fork.
    match unsafe { fork()? } {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let died_with_parent = set_pdeathsig(Signal::SIGKILL).is_ok() && getppid() == parent;
            let exit = if died_with_parent { role() } else { Exit::AtOnce(1) };
            match exit {
                Exit::Running(code) => process::exit(code),
                // SAFETY: ends the process without running what the parent registered.
                Exit::AtOnce(code) => unsafe { libc::_exit(code) },
            }
        }
    }
}

/// How a child ends.
pub(crate) enum Exit {
    /// Running exit handlers, a program's static destructors among them.
    Running(i32),
    /// Without.
    AtOnce(i32),
}

/// Waits for a child to end.
pub(crate) fn wait(child: Pid) -> nix::Result<WaitStatus> {
    loop {
        match waitpid(child, None) {
            Err(nix::Error::EINTR) => {}
            other => return other,
        }
    }
}

/// Gives a program the signal dispositions that the system gives it: Rust's runtime ignores SIGPIPE
/// and catches stack overflows.
pub(crate) fn default_signals() {
    for name in [Signal::SIGPIPE, Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGINT, Signal::SIGQUIT]
    {
        // SAFETY: the default disposition runs no code of ours.
        let _ = unsafe { signal(name, SigHandler::SigDfl) };
    }
}

/// Leaves a terminal's ctrl-C to the child; the parent reports how it ended.
pub(crate) fn leave_interrupts_to_child() {
    for name in [Signal::SIGINT, Signal::SIGQUIT] {
        // SAFETY: ignoring a signal runs no code of ours.
        let _ = unsafe { signal(name, SigHandler::SigIgn) };
    }
}

/// Ends this process by the signal that ended its child, so that a shell sees what happened.
pub(crate) fn die_of(name: Signal) -> i32 {
    // SAFETY: the default disposition runs no code of ours.
    let _ = unsafe { signal(name, SigHandler::SigDfl) };
    // The child has left a core if cores are wanted; a second one of this process would hide it.
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    let _ = nix::sys::signal::raise(name);
    128 + name as i32
}
