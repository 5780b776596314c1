//! What a signal of the CPU says of a script's mistake, in a sentence: what happened, and what to look
//! for.
//!
//! The signal alone says little: SIGSEGV and SIGBUS are each sent for half a dozen exceptions of the
//! CPU, and only for a page fault is there an address. So the number of the exception counts (Intel's
//! manual, volume 3, section 7.3; arch/x86/kernel/traps.c of Linux), and where the CPU does not say what
//! was wrong with an instruction, the instruction itself is looked at.

use std::ffi::c_int;

use fence::{Violated, Violation};

use crate::instruction::{self, Does, Registers, is_canonical};

/// What the kernel and the CPU said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignalNote {
    pub(crate) signal: c_int,
    pub(crate) code: c_int,
    pub(crate) address: usize,
    pub(crate) registers: Registers,
    /// The instruction at fault, as far as it was read.
    pub(crate) instruction: [u8; instruction::BYTES_MAX],
    pub(crate) length: usize,
    pub(crate) violation: Option<Violation>,
}

/// Exceptions of x86-64, as `REG_TRAPNO` has them.
const DEBUG: i64 = 1;
const BREAKPOINT: i64 = 3;
const OVERFLOW: i64 = 4;
const INVALID_OPCODE: i64 = 6;
const STACK_SEGMENT: i64 = 12;
const GENERAL_PROTECTION: i64 = 13;
const PAGE_FAULT: i64 = 14;
const ALIGNMENT_CHECK: i64 = 17;
const CONTROL_PROTECTION: i64 = 21;

/// Bits of a page fault's error code (`X86_PF_WRITE` and `X86_PF_INSTR` of Linux).
const WRITES: i64 = 1 << 1;
const FETCHES: i64 = 1 << 4;

/// The flag by which the CPU refuses addresses that are not aligned.
const AC: i64 = 1 << 18;

/// Codes of siginfo (sigaction(2)) that libc has no names for.
const SEGV_ACCERR: c_int = 2;
const SEGV_PKUERR: c_int = 4;
const BUS_MCEERR_AR: c_int = 4;
const BUS_MCEERR_AO: c_int = 5;
const FPE_INTDIV: c_int = 1;

/// Addresses that nothing is ever mapped at: the usual vm.mmap_min_addr.
const UNMAPPED_BYTES: usize = 64 << 10;

/// Offsets that members of a usual object have, so that one more word says nothing.
const OBJECT_BYTES: usize = 4096;

/// What to look for where a pointer is none.
const WILD: &str =
    "look for a pointer that was never set or was overwritten, or whose object is gone";

impl SignalNote {
    /// Whether the bytes of the instruction say more than the kernel does.
    pub(crate) fn is_about_instruction(&self) -> bool {
        let trap = self.trap();
        self.is_by_cpu()
            && [INVALID_OPCODE, STACK_SEGMENT, GENERAL_PROTECTION, ALIGNMENT_CHECK].contains(&trap)
    }

    /// What happened, as the end of a sentence that begins with "a script failed:".
    pub(crate) fn sentence(&self) -> String {
        match self.signal {
            libc::SIGSYS => match self.violation {
                Some(violation) => refused_call(violation),
                None => "it made a system call that scripts may not".to_owned(),
            },
            libc::SIGABRT => "it called abort, or the C library did for it".to_owned(),
            signal if !self.is_by_cpu() => format!("it sent itself the signal {signal}"),
            libc::SIGFPE => floating_point(self.code).to_owned(),
            libc::SIGILL => self.invalid_opcode(),
            libc::SIGTRAP => match self.trap() {
                BREAKPOINT => {
                    "a breakpoint that nobody has set: an int3, as __builtin_debugtrap is"
                }
                DEBUG => "a debug trap: assembly has set the flag TF, or runs an int1",
                _ => "a trap that no debugger has asked for",
            }
            .to_owned(),
            _ => self.memory(),
        }
    }

    /// Whether an exception of the CPU is behind it, and no call of kill(2).
    fn is_by_cpu(&self) -> bool {
        self.code > 0
    }

    fn trap(&self) -> i64 {
        self.registers[libc::REG_TRAPNO as usize]
    }

    fn does(&self) -> Option<Does> {
        instruction::does(&self.instruction[..self.length], &self.registers)
    }

    /// SIGSEGV or SIGBUS.
    fn memory(&self) -> String {
        match (self.signal, self.code, self.trap()) {
            (libc::SIGBUS, BUS_MCEERR_AR | BUS_MCEERR_AO, _) => {
                format!("the machine's memory is broken at address {:#x}", self.address)
            }
            (_, _, PAGE_FAULT) => self.page_fault(),
            (_, _, ALIGNMENT_CHECK) => self.alignment_check(),
            (_, _, STACK_SEGMENT) => self.no_address(
                "the stack pointer or the frame pointer has an address that can't exist: look for \
                 assembly that changes them, or a stack that was overwritten",
            ),
            (_, _, GENERAL_PROTECTION) => self.no_address(
                "an address is used that can't exist, or a vector is not aligned, or an instruction is \
                 not for programs (a general protection fault)",
            ),
            (_, _, OVERFLOW) => "an overflow is trapped (int 4)".to_owned(),
            (_, _, CONTROL_PROTECTION) => {
                "it returns or jumps to where the control-flow protection of the CPU forbids: look for a \
                 stack or a function pointer that was overwritten"
                    .to_owned()
            }
            (_, _, trap) => format!("the exception {trap} of the processor"),
        }
    }

    /// The one exception for which the CPU says the address and what was done there.
    fn page_fault(&self) -> String {
        let Self { address, code, .. } = *self;
        let access = self.registers[libc::REG_ERR as usize];
        let does = match access {
            access if access & FETCHES != 0 => "runs",
            access if access & WRITES != 0 => "writes",
            _ => "reads",
        };
        let why = match (self.signal, code, does) {
            (libc::SIGBUS, _, _) => "which has no memory behind it",
            (_, SEGV_PKUERR, _) => "which a protection key forbids",
            (_, SEGV_ACCERR, "runs") => {
                "which it may not: that is data and no code; look for a function pointer, an object with \
                 virtual functions or a return address that was overwritten"
            }
            (_, SEGV_ACCERR, "writes") => {
                "which it may not: constants, literals and code are read-only, and guards lie beside \
                 stacks and buffers"
            }
            (_, SEGV_ACCERR, _) => "which it may not: guards lie beside stacks and buffers",
            _ => "where nothing is",
        };
        format!("it {does} at address {address:#x}{}, {why}", null(address))
    }

    /// A general protection fault or a fault of the stack; `otherwise` is what else it may be.
    fn no_address(&self, otherwise: &str) -> String {
        let at = self.registers[libc::REG_RIP as usize] as usize;
        if !is_canonical(at) {
            return format!("it runs at address {at:#x}, which can't exist: {WILD}");
        }
        match self.does() {
            Some(Does::UsesNoAddress(address)) => {
                format!("it uses address {address:#x}, which can't exist: {WILD}")
            }
            Some(Does::UsesUnaligned { address, multiple_of }) => format!(
                "it uses {multiple_of} bytes at address {address:#x}, which is not aligned to \
                 {multiple_of} bytes as its type promises: look for a pointer that was cast to a type of \
                 stricter alignment, or a packed structure"
            ),
            Some(Does::Jumps) => {
                format!("it calls or jumps to an address that can't exist: {WILD}")
            }
            Some(Does::Returns) => {
                "it returns to an address that can't exist: look for an array on \
                                    the stack that is written beyond its end"
                    .to_owned()
            }
            Some(Does::IsPrivileged(mnemonic)) => {
                let name = format!("{mnemonic:?}").to_lowercase();
                format!("it runs the instruction `{name}`, which is the kernel's alone")
            }
            Some(Does::Interrupts(number)) => {
                format!("it raises the interrupt {number:#x}, which programs may not")
            }
            Some(Does::Uses(_) | Does::IsUd1 | Does::IsUd2) | None => otherwise.to_owned(),
        }
    }

    fn alignment_check(&self) -> String {
        let at = match self.does() {
            Some(Does::Uses(address) | Does::UsesUnaligned { address, .. }) => {
                format!("address {address:#x}")
            }
            _ => "an address".to_owned(),
        };
        match self.registers[libc::REG_EFL as usize] & AC != 0 {
            true => format!(
                "it uses {at}, which is not aligned, while the flag AC has the processor check that (an \
                 alignment check): look for assembly that sets the flag"
            ),
            false => format!(
                "it uses {at} with an atomic operation that crosses two cache lines (a split lock): align \
                 the atomic variable"
            ),
        }
    }

    fn invalid_opcode(&self) -> String {
        match self.does() {
            Some(Does::IsUd2) => "code got to a place that it must not get to, where the compiler puts an \
                                  instruction that traps (ud2): look for undefined behaviour, \
                                  __builtin_unreachable or __builtin_trap"
                .to_owned(),
            Some(Does::IsUd1) => {
                "a check of the compiler's failed, behind which it puts an instruction that traps (ud1)"
                    .to_owned()
            }
            _ => {
                let bytes = &self.instruction[..self.length.min(8)];
                let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                format!(
                    "an instruction that the processor does not have ({}): look at compile.cpu, at \
                     assembly, or for a jump into the middle of something",
                    bytes.join(" ")
                )
            }
        }
    }
}

/// What is said of addresses that a null pointer leads to.
fn null(address: usize) -> String {
    match (address, address.wrapping_neg()) {
        (0..OBJECT_BYTES, _) => " (a null pointer)".to_owned(),
        (OBJECT_BYTES..UNMAPPED_BYTES, _) => format!(" (a null pointer and {address} bytes)"),
        (_, less @ 1..OBJECT_BYTES) => format!(" (a null pointer less {less} bytes)"),
        _ => String::new(),
    }
}

/// The codes of SIGFPE, in the order of sigaction(2).
fn floating_point(code: c_int) -> &'static str {
    match code {
        FPE_INTDIV => "an integer is divided by zero, or the quotient does not fit",
        2 => "an integer overflows, where that is trapped",
        3 => "a floating-point number is divided by zero, where assembly or fenv.h traps that",
        4 => "a floating-point number is too large, where assembly or fenv.h traps that",
        5 => "a floating-point number is too small, where assembly or fenv.h traps that",
        6 => "a floating-point number is rounded, where assembly or fenv.h traps that",
        7 => "a floating-point operation has no result, where assembly or fenv.h traps that",
        _ => "a floating-point exception that is not masked",
    }
}

fn refused_call(Violation { call, violated, .. }: Violation) -> String {
    let name = fence::call_name(call.into()).map_or_else(|| call.to_string(), str::to_owned);
    match violated {
        Violated::List => format!("it made the system call {name}, which scripts may not"),
        Violated::Strict => {
            format!("it made the system call {name}; in strict mode scripts make none")
        }
    }
}

#[cfg(test)]
mod tests {
    use heritage::FAULT_TEXT_BYTES_MAX;

    use super::*;

    /// SI_KERNEL, with which the kernel sends what it has no address for.
    const KERNEL: c_int = libc::SI_KERNEL;
    const SEGV_MAPERR: c_int = 1;

    /// A signal, its code and address, the exception with its error code, and the instruction.
    struct Case(c_int, c_int, usize, i64, i64, &'static [u8]);

    #[track_caller]
    fn check(case: &Case, expect: &str) {
        let Case(signal, code, address, trap, error, bytes) = *case;
        let mut registers: Registers = [0x7000_0001; 23];
        registers[libc::REG_TRAPNO as usize] = trap;
        registers[libc::REG_ERR as usize] = error;
        registers[libc::REG_RIP as usize] = 0x1000;
        registers[libc::REG_RCX as usize] = i64::MIN;
        registers[libc::REG_EFL as usize] = AC;
        let mut instruction = [0; instruction::BYTES_MAX];
        instruction[..bytes.len()].copy_from_slice(bytes);
        let length = bytes.len();
        let note =
            SignalNote { signal, code, address, registers, instruction, length, violation: None };
        let told = note.sentence();
        assert!(told.contains(expect), "{told}");
        assert!(told.len() <= FAULT_TEXT_BYTES_MAX, "{} bytes: {told}", told.len());
    }

    #[test]
    fn a_page_fault_is_told_with_its_address_and_what_is_there() {
        let fault = |code, address, error| Case(libc::SIGSEGV, code, address, 14, error, &[]);
        let nowhere = |address, error| fault(SEGV_MAPERR, address, error);
        check(&nowhere(0, 4), "reads at address 0x0 (a null pointer), where nothing is");
        check(&nowhere(0x18, 6), "writes at address 0x18 (a null pointer), where");
        check(&nowhere(0x8000, 6), "(a null pointer and 32768 bytes)");
        check(&nowhere(usize::MAX - 7, 4), "(a null pointer less 8 bytes)");
        check(&nowhere(0x1234_5678, 4), "reads at address 0x12345678, where nothing is");
        check(
            &fault(SEGV_ACCERR, 0x1234_5678, 7),
            "writes at address 0x12345678, which it may not",
        );
        check(&fault(SEGV_ACCERR, usize::MAX >> 17, 0x15), "which it may not: that is data");
        check(&fault(SEGV_ACCERR, 0x1234_5678, 5), "which it may not: guards");
        check(&fault(SEGV_PKUERR, 0x1234_5678, 5), "a protection key");
        check(&Case(libc::SIGBUS, 2, 0x1234_5678, 14, 4, &[]), "no memory behind it");
        check(&Case(libc::SIGBUS, BUS_MCEERR_AR, 0x1234_5678, 14, 4, &[]), "memory is broken");
    }

    /// The kernel says address 0 for all of these, and no null pointer is in sight.
    #[test]
    fn what_the_cpu_has_no_address_for_is_no_null_pointer() {
        let refused = |bytes| Case(libc::SIGSEGV, KERNEL, 0, GENERAL_PROTECTION, 0, bytes);
        check(
            &refused(&[0x0f, 0x28, 0x00]),
            "16 bytes at address 0x70000001, which is not aligned to 16 bytes",
        );
        check(&refused(&[0x8b, 0x01]), "it uses address 0x8000000000000000, which can't exist");
        check(&refused(&[0xff, 0xd1]), "it calls or jumps to an address that can't exist");
        check(&refused(&[0xc3]), "it returns to an address that can't exist");
        check(&refused(&[0xf4]), "the instruction `hlt`, which is the kernel's alone");
        check(&refused(&[]), "a general protection fault");
        let interrupt = Case(libc::SIGSEGV, KERNEL, 0, GENERAL_PROTECTION, 0x102, &[0xcd, 0x20]);
        check(&interrupt, "the interrupt 0x20");
        check(&Case(libc::SIGSEGV, KERNEL, 0, OVERFLOW, 0, &[]), "an overflow is trapped");
        let stack = |bytes| Case(libc::SIGBUS, KERNEL, 0, STACK_SEGMENT, 0, bytes);
        check(&stack(&[0x8b, 0x01]), "it uses address 0x8000000000000000, which can't exist");
        check(&stack(&[]), "the stack pointer or the frame pointer has an address");
        let unaligned = Case(libc::SIGBUS, 1, 0, ALIGNMENT_CHECK, 0, &[0x8b, 0x00]);
        check(&unaligned, "it uses address 0x70000001, which is not aligned, while the flag AC");
        check(&Case(libc::SIGSEGV, 10, 0, CONTROL_PROTECTION, 1, &[]), "control-flow protection");
    }

    #[test]
    fn instructions_that_trap_are_told_by_their_kind() {
        let invalid = |bytes| Case(libc::SIGILL, 2, 0x1000, INVALID_OPCODE, 0, bytes);
        check(&invalid(&[0x0f, 0x0b]), "__builtin_unreachable or __builtin_trap");
        check(&invalid(&[0x67, 0x0f, 0xb9, 0x40, 0x01]), "a check of the compiler's failed");
        check(&invalid(&[0x62, 0xf1, 0x7c]), "does not have (62 f1 7c): look at compile.cpu");
        check(&Case(libc::SIGTRAP, KERNEL, 0, BREAKPOINT, 0, &[]), "an int3");
        check(&Case(libc::SIGTRAP, 2, 0x1000, DEBUG, 0, &[]), "the flag TF");
        check(&Case(libc::SIGFPE, FPE_INTDIV, 0x1000, 0, 0, &[]), "divided by zero, or");
        check(&Case(libc::SIGFPE, 3, 0x1000, 19, 0, &[]), "a floating-point number is divided");
        check(&Case(libc::SIGFPE, 7, 0x1000, 16, 0, &[]), "has no result");
        check(&Case(libc::SIGABRT, -6, 0, 0, 0, &[]), "it called abort");
        check(&Case(libc::SIGSEGV, -6, 0, 0, 0, &[]), "it sent itself the signal 11");
    }
}
