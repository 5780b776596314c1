//! CPU time of a process, as the scheduler counts it.

use anyhow::Context;
use nix::unistd::Pid;

/// Nanoseconds that the process has spent on a CPU, in user mode and in the kernel for it.
///
/// `schedstat` counts nanoseconds, where `stat` counts ticks of 10 ms. It is of one thread, and the
/// workers that are compared have one each.
pub(crate) fn time_ns(pid: Pid) -> anyhow::Result<u64> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"))
        .with_context(|| format!("process {pid} has ended"))?
        .count();
    anyhow::ensure!(threads == 1, "process {pid} has {threads} threads; its CPU time is of one");
    let path = format!("/proc/{pid}/schedstat");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let first = text.split_whitespace().next().with_context(|| format!("{path} is empty"))?;
    first.parse().with_context(|| path)
}
