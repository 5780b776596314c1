//! Who waits for whom, where more wants to run than there are CPUs.
//!
//! A reload under load takes CPU time from the requests. What they notice of it is not the time but how
//! long they stand still at once, and that is for the scheduler to say.

use std::io;

/// What sched(7) calls the slice of a task: who asks for a short one runs sooner when it wakes up, and no
/// more in all. The least that the kernel takes.
const WORKER_SLICE_NS: u64 = 100_000;

/// Has the calling process run soon after it wakes up, though another one is at work. Since Linux 6.12;
/// kernels before take no notice, and under a policy of real time, which an operator may have chosen,
/// there is nothing to change.
#[allow(unsafe_code)] // sched_setattr(2) has no wrapper at all.
pub(crate) fn wake_soon() {
    // SAFETY: it fails only for processes that do not exist.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: 0,
        sched_flags: libc::SCHED_FLAG_KEEP_POLICY as u64,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: WORKER_SLICE_NS,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the structure is whole, and as long as it says.
    let answer = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if answer != 0 {
        let error = io::Error::last_os_error();
        tracing::debug!(%error, "a worker keeps the usual slice of CPU time");
    }
}

/// Puts the calling process behind the workers. To be said before it does anything else.
///
/// No lower: under SCHED_IDLE a reload on a machine whose CPUs are all busy with requests would not end,
/// and that machine may wait for just this reload.
#[allow(unsafe_code)] // nice(2) has no safe wrapper.
pub fn give_way() {
    // SAFETY: changes the priority of this process alone. Its failure would be harmless.
    unsafe { libc::nice(5) };
}
