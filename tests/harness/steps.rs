//! What a worker does for a request, counted instruction by instruction with ptrace(2).
//!
//! Time says little on a busy machine, and the counters of the processor are not to be had on every
//! one; a count of single steps is nearly the same everywhere, and shows what a change has cost.

use nix::libc::user_regs_struct;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// Steps of one count. What is counted takes some ten thousand.
const STEPS_MAX: u64 = 20_000_000;

/// The instruction `syscall`.
const SYSCALL: u16 = 0x050f;

/// The calls in which a worker waits for something to happen.
const WAITS: [u64; 2] = [232, 281];

/// A worker under ptrace. Dropping it lets the worker go on by itself.
pub struct Stepped {
    pid: Pid,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Instructions of the worker, not of the kernel for it.
    pub instructions: u64,
    /// System calls, waits included.
    pub system_calls: u64,
    /// Waits among them.
    pub waits: u64,
}

impl Stepped {
    /// Stops a worker where it waits for something to happen.
    pub fn attach(pid: i32) -> Self {
        let pid = Pid::from_raw(pid);
        ptrace::attach(pid).expect("tests may trace their own children");
        expect_stop(pid);
        let stepped = Stepped { pid };
        // The stop interrupted its wait; it is about to wait again.
        stepped.to_wait(&mut Steps::default());
        stepped
    }

    /// Lets the worker go until `is_over`, asked each time that it is about to wait, and counts.
    pub fn count(&self, mut is_over: impl FnMut() -> bool) -> Steps {
        let mut steps = Steps::default();
        loop {
            self.to_wait(&mut steps);
            if is_over() {
                return steps;
            }
        }
    }

    /// Steps until the worker is about to wait, which it is when this begins, too, but the first time.
    fn to_wait(&self, steps: &mut Steps) {
        loop {
            let before = self.registers();
            self.step();
            let after = self.registers();
            steps.instructions += 1;
            assert!(steps.instructions < STEPS_MAX, "it never waits");
            // The instruction leaves the address behind it in rcx.
            if after.rcx == after.rip && self.is_at_system_call(&before) {
                steps.system_calls += 1;
                steps.waits += u64::from(WAITS.contains(&before.rax));
            }
            if WAITS.contains(&after.rax) && self.is_at_system_call(&after) {
                return;
            }
        }
    }

    /// Goes on by one instruction. Ticks of CPU time, by which a worker stops a script that takes too
    /// long, come while it is stepped and are for nobody.
    fn step(&self) {
        loop {
            ptrace::step(self.pid, None).expect("it is stopped");
            match waitpid(self.pid, None) {
                Ok(WaitStatus::Stopped(_, Signal::SIGTRAP)) => return,
                Ok(WaitStatus::Stopped(_, Signal::SIGPROF)) => {}
                other => panic!("expected the worker to stop, got {other:?}"),
            }
        }
    }

    fn is_at_system_call(&self, registers: &user_regs_struct) -> bool {
        let address = registers.rip as ptrace::AddressType;
        ptrace::read(self.pid, address).is_ok_and(|word| word as u16 == SYSCALL)
    }

    fn registers(&self) -> user_regs_struct {
        ptrace::getregs(self.pid).expect("it is stopped")
    }
}

impl Drop for Stepped {
    fn drop(&mut self) {
        // It may have died of what the test did.
        let _ = ptrace::detach(self.pid, None);
    }
}

fn expect_stop(pid: Pid) {
    match waitpid(pid, None) {
        Ok(WaitStatus::Stopped(_, Signal::SIGSTOP | Signal::SIGTRAP)) => {}
        other => panic!("expected the worker to stop, got {other:?}"),
    }
}
