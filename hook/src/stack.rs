//! The hook stack: scripts run on a stack of their own, with a guard below it, and can be left in the
//! middle of anything.
//!
//! A script that recurses without end hits the guard and not the worker's own frames. The switch is
//! some thirty instructions. Unwinders and debuggers walk across it by its unwind table.
//!
//! ```text
//!   enter --switch--> function ... returns ------------------------> enter answers Returned
//!                        |
//!                        +-- a signal handler sets the program counter to the landing, or
//!                        +-- the host calls abandon() --landing------> enter answers Abandoned
//! ```
//!
//! Nothing unwinds: the frames between are forgotten as they are. So whoever calls or is called by a
//! script leaves nothing in them that has to be dropped, and what those frames would have put in order
//! is (`runtime::call_abandoned`). The landing restores what a function has to preserve.
//!
//! How the CPU rounds, traps and flushes, which floating-point exceptions there were, and those flags
//! that the host relies on are after a call as a process begins with them: what a script sets is for
//! that call, and the host sets nothing.
//!
//! Profilers follow frame pointers, which scripts have and the rest of the worker has not: there the
//! register holds anything, and perf drops a chain of callers that ends in nonsense. So the chain ends
//! with whoever called a hook.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use nix::sys::mman::MapFlags;

use crate::reserved::Reserved;

/// Bytes of the stack: what a thread of the C library has.
const STACK_BYTES: usize = 8 << 20;
/// Wider than any frame is likely to be: a function with a large array begins to write at its far end.
const GUARD_BYTES: usize = 1 << 20;
const BYTES: usize = GUARD_BYTES + STACK_BYTES;

/// Where the stack pointer is to be for the landing; 0 while nobody is on a hook stack.
static LANDING: AtomicUsize = AtomicUsize::new(0);

/// How often a stack was entered. Who looks twice and sees the same number sees the same call.
static ENTERED: AtomicU64 = AtomicU64::new(0);

/// What the control registers of floating-point arithmetic hold in a new process (System V ABI for
/// AMD64, section 3.4.1): to the nearest, nothing traps, and of SSE no exception so far.
const MXCSR_VALUE: u32 = 0x1f80;
static MXCSR: u32 = MXCSR_VALUE;
const X87_CONTROL: u32 = 0x37f;
/// Bits of the x87 status word: the six exceptions and the fault of the register stack.
const X87_EXCEPTIONS: u32 = 0x7f;

/// Bits of the flags register that a script may leave set and the host relies on being clear (Intel's
/// manual, volume 1, section 3.4.3): single steps, string instructions that go down, addresses that have
/// to be aligned.
pub(crate) const FLAGS: i32 = 1 << 8 | 1 << 10 | 1 << 18;

/// A guarded stack.
pub(crate) struct HookStack {
    range: Reserved,
}

/// How a call on a hook stack ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Ended {
    /// The function has returned.
    Returned,
    /// It never will.
    Abandoned,
}

std::arch::global_asm!(
    ".globl kiln_on_stack",
    ".type kiln_on_stack,@function",
    "kiln_on_stack:", // (stack top, function, argument) -> whether it was abandoned
    ".cfi_startproc",
    "mov rax, [rsp]",
    "push rbp",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset rbp, 0",
    "push rbx",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset rbx, 0",
    "push r12",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset r12, 0",
    "push r13",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset r13, 0",
    "push r14",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset r14, 0",
    "push r15",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset r15, 0",
    "mov rbx, rsp",
    ".cfi_def_cfa_register rbx",
    "mov [rip + {landing}], rsp",
    "inc qword ptr [rip + {entered}]",
    // The last frame for those who follow frame pointers: it returns to the caller, and has no next.
    "mov [rdi - 8], rax",
    "mov qword ptr [rdi - 16], 0",
    "lea rbp, [rdi - 16]",
    "mov rsp, rbp",
    "mov rdi, rdx",
    "call rsi",
    "mov rsp, rbx",
    ".cfi_def_cfa_register rsp",
    // Asking costs a few cycles and loading far more, so only what differs is loaded.
    "pushfq",
    "pop rsi",
    "stmxcsr [rsp - 8]",
    "fnstcw [rsp - 4]",
    "fnstsw ax",
    "mov ecx, [rsp - 8]",
    "movzx edx, word ptr [rsp - 4]",
    "and esi, {flags}",
    "and eax, {x87_exceptions}",
    "xor ecx, {mxcsr_value}",
    "xor edx, {x87_control}",
    "or eax, ecx",
    "or eax, edx",
    "or eax, esi",
    "jnz 3f",
    "2:",
    "mov qword ptr [rip + {landing}], 0",
    "pop r15",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_restore r15",
    "pop r14",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_restore r14",
    "pop r13",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_restore r13",
    "pop r12",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_restore r12",
    "pop rbx",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_restore rbx",
    "pop rbp",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_restore rbp",
    "ret",
    // It computes in another way than before.
    "3:",
    ".cfi_def_cfa_offset 56",
    ".cfi_offset rbp, -16",
    ".cfi_offset rbx, -24",
    ".cfi_offset r12, -32",
    ".cfi_offset r13, -40",
    ".cfi_offset r14, -48",
    ".cfi_offset r15, -56",
    "xor eax, eax",
    "4:",
    "fninit", // X87_CONTROL, and no exceptions
    "ldmxcsr [rip + {mxcsr}]",
    "pushfq",
    "and dword ptr [rsp], {no_flags}",
    "popfq",
    "jmp 2b",
    // Here the stack pointer is as it was before the switch, and nothing else is as it was.
    ".globl kiln_landing",
    "kiln_landing:",
    "mov eax, 1",
    "jmp 4b",
    ".cfi_endproc",
    ".size kiln_on_stack, . - kiln_on_stack",
    "",
    ".globl kiln_abandon",
    ".type kiln_abandon,@function",
    "kiln_abandon:",
    "mov rsp, [rip + {landing}]",
    "jmp kiln_landing",
    ".size kiln_abandon, . - kiln_abandon",
    landing = sym LANDING,
    entered = sym ENTERED,
    mxcsr = sym MXCSR,
    mxcsr_value = const MXCSR_VALUE,
    x87_control = const X87_CONTROL,
    x87_exceptions = const X87_EXCEPTIONS,
    flags = const FLAGS,
    no_flags = const !FLAGS,
);

unsafe extern "C" {
    fn kiln_on_stack(
        top: *mut c_void,
        function: extern "C" fn(*mut c_void),
        argument: *mut c_void,
    ) -> u32;
    fn kiln_landing();
    fn kiln_abandon() -> !;
}

impl HookStack {
    /// Reserves it; pages cost nothing until they are used.
    pub(crate) fn new() -> io::Result<Self> {
        let range = Reserved::new(BYTES, MapFlags::MAP_STACK)?;
        range.open(GUARD_BYTES..BYTES)?;
        Ok(Self { range })
    }

    /// Calls `function` with `argument` on this stack.
    ///
    /// # Safety
    ///
    /// Nobody is on a hook stack, no exception leaves `function`, and what it has begun may be left as
    /// it is at any moment.
    #[inline]
    pub(crate) unsafe fn call(
        &self,
        function: extern "C" fn(*mut c_void),
        argument: *mut c_void,
    ) -> Ended {
        debug_assert!(!is_entered(), "hooks don't nest");
        // SAFETY: the top is the end of the mapping, aligned as the ABI wants it before a call.
        let is_abandoned =
            unsafe { kiln_on_stack(self.range.at(BYTES).as_ptr(), function, argument) };
        if is_abandoned == 0 {
            return Ended::Returned;
        }
        image::runtime::call_abandoned();
        Ended::Abandoned
    }

    /// Addresses of the guard.
    pub(crate) fn guard(&self) -> Range<usize> {
        self.address(0)..self.address(GUARD_BYTES)
    }

    /// Addresses of the stack itself.
    pub(crate) fn frames(&self) -> Range<usize> {
        self.address(GUARD_BYTES)..self.address(BYTES)
    }

    fn address(&self, offset: usize) -> usize {
        self.range.at(offset).addr().get()
    }
}

/// Whether somebody is on a hook stack.
pub(crate) fn is_entered() -> bool {
    LANDING.load(Ordering::Relaxed) != 0
}

/// The number of the call that runs, or of the last one that ran.
pub(crate) fn entered() -> u64 {
    ENTERED.load(Ordering::Relaxed)
}

/// For a signal handler: where program counter and stack pointer have to be for the call to be
/// abandoned; none while nobody is on a hook stack.
pub(crate) fn landing() -> Option<(usize, usize)> {
    let stack_pointer = LANDING.load(Ordering::Relaxed);
    (stack_pointer != 0).then_some((kiln_landing as *const () as usize, stack_pointer))
}

/// Leaves the call that runs.
///
/// # Safety
///
/// Somebody is on a hook stack; what the frames above hold is not missed.
pub(crate) unsafe fn abandon() -> ! {
    // SAFETY: the caller upholds it.
    unsafe { kiln_abandon() }
}

/// A value of the one thread that a worker has, which its signal handlers reach too.
///
/// What is behind it is touched either while nobody is on a hook stack, or by a handler or a fault
/// that ends the call: never by both at once.
pub(crate) struct OfThread<T>(UnsafeCell<T>);

// SAFETY: a worker has one thread.
unsafe impl<T> Sync for OfThread<T> {}

impl<T> OfThread<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// The value.
    ///
    /// # Safety
    ///
    /// No other reference to it is alive.
    #[allow(clippy::mut_from_ref, reason = "the caller upholds that there is one")]
    pub(crate) unsafe fn get(&self) -> &mut T {
        // SAFETY: the caller upholds it.
        unsafe { &mut *self.0.get() }
    }
}
