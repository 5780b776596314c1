//! CPU time of a process, as the scheduler counts it.

use anyhow::Context;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

/// Nanoseconds that the process has spent on a CPU, in user mode and in the kernel for it.
///
/// This is the process's CPU clock: it counts all threads, those that have ended too, and no child.
pub(crate) fn time_ns(pid: Pid) -> anyhow::Result<u64> {
    let ended = || format!("process {pid} has ended");
    let time = clock_getcpuclockid(pid).with_context(ended)?.now().with_context(ended)?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_spends_time_on_a_cpu() {
        let before_ns = time_ns(Pid::this()).expect("this process lives");
        let sum = (0..10_000_000_u64).fold(0, |sum, number| std::hint::black_box(sum ^ number));
        std::hint::black_box(sum);
        assert!(time_ns(Pid::this()).expect("this process lives") > before_ns);
    }

    #[test]
    fn a_process_that_is_not_there_has_no_time() {
        // One more than the kernel's greatest.
        assert!(time_ns(Pid::from_raw((1 << 22) + 1)).is_err());
    }
}
