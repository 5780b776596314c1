//! The hook stack: scripts run on a stack of their own, with a guard page below it.
//!
//! A script that recurses without end hits the guard and not the worker's own frames. The switch is
//! some twenty instructions. Unwinders and debuggers walk across it by its unwind table.
//!
//! Profilers follow frame pointers, which scripts have and the rest of the worker has not: there the
//! register holds anything, and perf drops a chain of callers that ends in nonsense. So the chain ends
//! with whoever called a hook.

use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// Bytes of the stack: what a thread of the C library has, rounded down for the guard.
const STACK_BYTES: usize = 8 << 20;
const GUARD_BYTES: usize = 64 << 10;

/// A guarded stack.
pub(crate) struct HookStack {
    lowest: NonNull<c_void>,
}

std::arch::global_asm!(
    ".globl kiln_on_stack",
    ".type kiln_on_stack,@function",
    "kiln_on_stack:", // (stack top, function, argument)
    ".cfi_startproc",
    "mov rax, [rsp]",
    "push rbp",
    ".cfi_def_cfa_offset 16",
    ".cfi_offset rbp, -16",
    "push rbx",
    ".cfi_def_cfa_offset 24",
    ".cfi_offset rbx, -24",
    "mov rbx, rsp",
    ".cfi_def_cfa_register rbx",
    // The last frame for those who follow frame pointers: it returns to the caller, and has no next.
    "mov [rdi - 8], rax",
    "mov qword ptr [rdi - 16], 0",
    "lea rbp, [rdi - 16]",
    "mov rsp, rbp",
    "mov rdi, rdx",
    "call rsi",
    "mov rsp, rbx",
    "pop rbx",
    ".cfi_def_cfa rsp, 16",
    ".cfi_restore rbx",
    "pop rbp",
    ".cfi_def_cfa_offset 8",
    ".cfi_restore rbp",
    "ret",
    ".cfi_endproc",
    ".size kiln_on_stack, . - kiln_on_stack",
);

unsafe extern "C" {
    fn kiln_on_stack(top: *mut c_void, function: extern "C" fn(*mut c_void), argument: *mut c_void);
}

impl HookStack {
    /// Reserves it; pages cost nothing until they are used.
    pub(crate) fn new() -> io::Result<Self> {
        let size = NonZeroUsize::new(STACK_BYTES).expect("a stack has bytes");
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE | MapFlags::MAP_STACK;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let lowest = unsafe { mmap_anonymous(None, size, access, flags) }?;
        let stack = Self { lowest };
        // SAFETY: the guard is the lowest part of the mapping just made.
        unsafe { mprotect(lowest, GUARD_BYTES, ProtFlags::PROT_NONE) }?;
        Ok(stack)
    }

    /// Calls `function` with `argument` on this stack.
    ///
    /// # Safety
    ///
    /// Nobody else is on this stack, and no exception leaves `function`.
    pub(crate) unsafe fn call(&self, function: extern "C" fn(*mut c_void), argument: *mut c_void) {
        // SAFETY: the top is the end of the mapping, aligned as the ABI wants it before a call.
        unsafe {
            let top = self.lowest.as_ptr().byte_add(STACK_BYTES);
            kiln_on_stack(top, function, argument);
        }
    }
}

impl Drop for HookStack {
    fn drop(&mut self) {
        // SAFETY: the mapping is this stack's, and nobody is on it.
        let unmapped = unsafe { munmap(self.lowest, STACK_BYTES) };
        debug_assert!(unmapped.is_ok(), "the mapping was made by new()");
    }
}
