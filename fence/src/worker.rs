//! A worker: it serves connections and runs scripts, and may do nothing else.
//!
//! A script is native code in the worker's address space: what it links against is on a list, and
//! this is for whatever gets round that, by a computed address or a gadget. It finds a process that
//! opens no path, starts no process or thread, signals nobody, and executes only what the master has
//! sealed.
//!
//! What a filter cannot tell is who in a process makes a call. A worker opens connections to servers,
//! writes to those that it has and to its log, and so may a script that finds `connect`, unless
//! [`crate::strict`] is on. There is no landlock: nothing is opened in any case, and the kernel writes
//! a core with the rights of whoever dies.

use std::io;
use std::ops::Range;

use nix::sys::prctl::{set_dumpable, set_no_new_privs};

use crate::strict::PR_SET_SYSCALL_USER_DISPATCH;
use crate::{Identity, calls, limits, scheduling};

/// What a worker may use.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Addresses at which code of images may be mapped.
    pub images: Range<u64>,
    /// Bytes of a core file that it leaves if it dies; 0 is none.
    pub core_bytes_max: u64,
    /// Who it becomes; none if it stays who it is.
    pub identity: Option<Identity>,
}

/// Fences the calling process, which has one thread, for serving. Descriptors that are open stay open.
pub fn worker(may: &Worker) -> io::Result<()> {
    scheduling::wake_soon();
    limits::core(may.core_bytes_max)?;
    if let Some(identity) = may.identity {
        identity.assume()?;
        // Of who has changed its user the kernel writes no core otherwise.
        set_dumpable(may.core_bytes_max > 0)?;
    }
    set_no_new_privs()?;
    refuse_execution_gain();
    calls::allow(&allowed(may)?)
}

/// No page becomes executable that was not mapped so, and none is writable and executable at once:
/// images are mapped as they stay. Since Linux 6.3; the filter says the same of mmap and mprotect.
// prctl() has no safe wrapper for it.
#[allow(unsafe_code)]
fn refuse_execution_gain() {
    /// `PR_MDWE_REFUSE_EXEC_GAIN` of linux/prctl.h.
    const REFUSE_EXEC_GAIN: libc::c_ulong = 1;
    let nothing: libc::c_ulong = 0;
    // SAFETY: changes a property of this process alone.
    let answer =
        unsafe { libc::prctl(libc::PR_SET_MDWE, REFUSE_EXEC_GAIN, nothing, nothing, nothing) };
    if answer != 0 {
        let error = io::Error::last_os_error();
        tracing::debug!(%error, "this kernel has no PR_SET_MDWE");
    }
}

/// Calls that a worker makes between its fork and its end.
fn allowed(may: &Worker) -> io::Result<calls::Allowed> {
    let mut allowed = calls::Allowed::of_any_process()?;
    allowed
        .always(&[
            // Connections, those of clients and those to servers, and the channel to the master.
            libc::SYS_accept4,
            libc::SYS_connect,
            libc::SYS_getsockname,
            libc::SYS_getpeername,
            libc::SYS_getsockopt,
            libc::SYS_setsockopt,
            libc::SYS_shutdown,
            libc::SYS_recvfrom,
            libc::SYS_recvmsg,
            libc::SYS_sendto,
            libc::SYS_sendmsg,
            // Bodies that are not copied.
            libc::SYS_pipe2,
            libc::SYS_splice,
            // The loop.
            libc::SYS_epoll_create1,
            libc::SYS_epoll_ctl,
            libc::SYS_epoll_wait,
            libc::SYS_epoll_pwait,
            // Whether the log has room.
            libc::SYS_poll,
            // Descriptors that it has: sockets, the log, images and settings that were sent to it.
            libc::SYS_readv,
            libc::SYS_dup,
            libc::SYS_sched_yield,
            // Time, and budgets of it.
            libc::SYS_clock_getres,
            libc::SYS_gettimeofday,
            libc::SYS_time,
            libc::SYS_getrusage,
            libc::SYS_timer_create,
            libc::SYS_timer_settime,
            libc::SYS_timer_gettime,
            libc::SYS_timer_getoverrun,
            libc::SYS_timer_delete,
            libc::SYS_setitimer,
            libc::SYS_getitimer,
            libc::SYS_alarm,
            // What this process and its machine are; the C library's qsort asks how much memory there
            // is.
            libc::SYS_getppid,
            libc::SYS_sysinfo,
        ])
        .look_at_descriptors()?
        // Not the commands by which a descriptor signals another process, or takes a lock.
        .control_descriptors(
            &[
                libc::F_GETFD,
                libc::F_SETFD,
                libc::F_GETFL,
                libc::F_SETFL,
                libc::F_DUPFD,
                libc::F_DUPFD_CLOEXEC,
                libc::F_SETPIPE_SZ,
                libc::F_GETPIPE_SZ,
                libc::F_GET_SEALS,
            ],
            &[libc::FIONBIO, libc::FIONREAD, libc::TCGETS],
        )?
        .sockets(&[libc::AF_INET, libc::AF_INET6], &[libc::SOCK_STREAM])?
        .map_code(Some(&may.images))?
        .control(&[PR_SET_SYSCALL_USER_DISPATCH, libc::PR_SET_NAME])?
        .ask_for_limits_only()?;
    Ok(allowed)
}

#[cfg(test)]
mod tests;
