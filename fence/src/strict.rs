//! Strict mode: no system call at all beneath a hook (Syscall User Dispatch, Linux 5.11).
//!
//! A filter cannot tell who in a process makes a call; the kernel can be told when. It reads one byte,
//! the selector, at each system call: with [`BLOCK`] in it the call is not made, and raises SIGSYS
//! ([`crate::Violation`] says `Strict`). So the host blocks before it enters a script, and allows when
//! it is back, and for as long as it works on the script's behalf (effects, the heap's growth).
//!
//! ```text
//!   host   | selector = BLOCK | script ...  | effect: ALLOW ... BLOCK | ... script | ALLOW | host
//! ```
//!
//! Returning from a signal handler is a system call too. A handler that interrupts a script therefore
//! allows first of all ([`allow_in_handler`]) and leaves it at that; and if it returns to the script
//! rather than to the host, [`block_after_handler`] has the byte set again once the kernel is done.
//!
//! The byte is in the process's own memory: a script that knows its address can set it, as it can do
//! anything to the worker that it is a part of. It is against scripts that reach a system call by an
//! address or a library function that nobody meant for them.

use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Calls are made.
pub const ALLOW: u8 = 0;
/// A call raises SIGSYS.
pub const BLOCK: u8 = 1;

/// Of linux/prctl.h.
pub(crate) const PR_SET_SYSCALL_USER_DISPATCH: libc::c_int = 59;
const PR_SYS_DISPATCH_OFF: libc::c_ulong = 0;
const PR_SYS_DISPATCH_ON: libc::c_ulong = 1;

/// The byte. It says whose code runs whether strict mode is on or not. Assembly and C++ write it by
/// this name.
#[unsafe(export_name = "kiln_selector")]
static SELECTOR: AtomicU8 = AtomicU8::new(ALLOW);

/// Where the script that a handler has interrupted goes on.
static RESUME_AT: AtomicU64 = AtomicU64::new(0);

// Changes no register, no flag and nothing on the stack: the interrupted code is in the middle of
// something.
std::arch::global_asm!(
    ".globl kiln_strict_resume",
    ".type kiln_strict_resume,@function",
    "kiln_strict_resume:",
    "mov byte ptr [rip + {selector}], 1",
    "jmp qword ptr [rip + {resume_at}]",
    ".globl kiln_strict_resume_end",
    "kiln_strict_resume_end:",
    ".size kiln_strict_resume, . - kiln_strict_resume",
    selector = sym SELECTOR,
    resume_at = sym RESUME_AT,
);

unsafe extern "C" {
    static kiln_strict_resume: u8;
    static kiln_strict_resume_end: u8;
}

/// Whether this kernel has it.
pub fn is_available() -> bool {
    // No process has this address, which is looked at after everything else: EFAULT says that the rest
    // was right, and nothing is changed.
    dispatch(PR_SYS_DISPATCH_ON, usize::MAX)
        .is_err_and(|error| error.raw_os_error() == Some(libc::EFAULT))
}

/// Turns it on for the calling thread, or off.
pub fn enable(is_on: bool) -> io::Result<()> {
    match is_on {
        true => dispatch(PR_SYS_DISPATCH_ON, SELECTOR.as_ptr() as usize),
        false => dispatch(PR_SYS_DISPATCH_OFF, 0),
    }
}

/// The selector: [`BLOCK`] while a script runs.
pub fn selector() -> &'static AtomicU8 {
    &SELECTOR
}

fn dispatch(mode: libc::c_ulong, selector: usize) -> io::Result<()> {
    let no_range: libc::c_ulong = 0;
    // SAFETY: the kernel reads one byte at this address at each call from now on: a static, or an
    // address that it refuses.
    let answer = unsafe {
        let option = PR_SET_SYSCALL_USER_DISPATCH;
        libc::prctl(option, mode, no_range, no_range, selector)
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The first thing in a signal handler: calls are made again. Answers whether a script was interrupted
/// that may make none.
pub fn allow_in_handler(context: &libc::ucontext_t) -> bool {
    SELECTOR.swap(ALLOW, Ordering::Relaxed) == BLOCK || is_resuming(context)
}

/// The last thing in a signal handler that returns to the script: the script may make no call again.
/// To be left out where the handler has found that no script was interrupted, or goes elsewhere.
pub fn block_after_handler(context: &mut libc::ucontext_t) {
    let (first, _) = resume();
    // One that was interrupted on its way back still knows where to.
    if !is_resuming(context) {
        RESUME_AT.store(instruction(context), Ordering::Relaxed);
    }
    context.uc_mcontext.gregs[libc::REG_RIP as usize] = first as i64;
}

fn is_resuming(context: &libc::ucontext_t) -> bool {
    let (first, end) = resume();
    (first..end).contains(&instruction(context))
}

fn instruction(context: &libc::ucontext_t) -> u64 {
    context.uc_mcontext.gregs[libc::REG_RIP as usize] as u64
}

/// Addresses of the way back.
fn resume() -> (u64, u64) {
    ((&raw const kiln_strict_resume) as u64, (&raw const kiln_strict_resume_end) as u64)
}

#[cfg(test)]
mod tests;
