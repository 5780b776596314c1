//! What an instruction was about that the CPU refused, where the kernel has no address to tell.
//!
//! For a page fault the CPU says which address it was. For a general protection fault, a stack fault or
//! an alignment check it does not: then the address is worked out here, from the instruction and the
//! registers.

use std::ffi::c_int;

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, Register,
    UsedMemory,
};

/// Bytes of the longest instruction.
pub(crate) const BYTES_MAX: usize = 15;

/// Registers as signal handlers get them.
pub(crate) type Registers = [libc::greg_t; 23];

/// By the numbers that instructions have for them.
const BY_NUMBER: [c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// What an instruction does that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    /// It reads or writes at an address that no pointer can have.
    UsesNoAddress(usize),
    /// It reads or writes at an address that is not a multiple of what it demands.
    UsesUnaligned { address: usize, multiple_of: usize },
    /// It reads or writes at this address, for which nothing else is wrong.
    Uses(usize),
    /// It jumps or calls, to an address that a register or memory has.
    Jumps,
    /// It returns, to an address that the stack has.
    Returns,
    /// It is for kernels.
    IsPrivileged(Mnemonic),
    /// It is `int` with this number.
    Interrupts(u8),
    /// It is `ud2`, which compilers put where code must not get to.
    IsUd2,
    /// It is `ud1` or `ud0`, which compilers put behind checks of theirs.
    IsUd1,
}

/// What the instruction that begins with these bytes does; none if they are none, or not all of it.
pub(crate) fn does(bytes: &[u8], registers: &Registers) -> Option<Does> {
    let at = registers[libc::REG_RIP as usize] as u64;
    let instruction = Decoder::with_ip(64, bytes, at, DecoderOptions::NONE).decode();
    match instruction.mnemonic() {
        Mnemonic::INVALID => return None,
        Mnemonic::Ud2 => return Some(Does::IsUd2),
        Mnemonic::Ud1 | Mnemonic::Ud0 => return Some(Does::IsUd1),
        Mnemonic::Int => return Some(Does::Interrupts(instruction.immediate8())),
        mnemonic if instruction.is_privileged() => return Some(Does::IsPrivileged(mnemonic)),
        _ => {}
    }
    let mut factory = InstructionInfoFactory::new();
    let used = factory.info(&instruction).used_memory();
    let mut addresses = used.iter().filter_map(|memory| address_of(memory, registers));
    if let Some(address) = addresses.clone().find(|address| !is_canonical(*address)) {
        return Some(Does::UsesNoAddress(address));
    }
    match instruction.flow_control() {
        FlowControl::Return => return Some(Does::Returns),
        FlowControl::IndirectBranch | FlowControl::IndirectCall => return Some(Does::Jumps),
        _ => {}
    }
    let address = addresses.next()?;
    match vector_bytes(&instruction) {
        Some(multiple_of) if address % multiple_of != 0 => {
            Some(Does::UsesUnaligned { address, multiple_of })
        }
        _ => Some(Does::Uses(address)),
    }
}

/// Whether the upper bits are copies of bit 47, without which an address of four levels of page tables
/// is none.
pub(crate) fn is_canonical(address: usize) -> bool {
    let address = address as i64;
    address << 16 >> 16 == address
}

/// Where this is; none if that is not among the registers: what FS and GS add, elements of a vector.
fn address_of(memory: &UsedMemory, registers: &Registers) -> Option<usize> {
    let address = memory.virtual_address(0, |register, _, _| match register {
        Register::ES | Register::CS | Register::SS | Register::DS => Some(0),
        register if register.is_gpr() => {
            let whole = registers[BY_NUMBER[register.number()] as usize] as u64;
            Some(if register.is_gpr32() { whole & 0xffff_ffff } else { whole })
        }
        _ => None,
    });
    address.and_then(|address| usize::try_from(address).ok())
}

/// What the address of a vector has to be a multiple of, where the instruction demands that at all: one
/// that does not is never refused for it.
fn vector_bytes(instruction: &Instruction) -> Option<usize> {
    use Mnemonic::*;
    match instruction.mnemonic() {
        Fxsave | Fxsave64 | Fxrstor | Fxrstor64 => Some(16),
        Xsave | Xsave64 | Xsavec | Xsavec64 | Xsaveopt | Xsaveopt64 | Xrstor | Xrstor64 => Some(64),
        _ => match instruction.memory_size().size() {
            bytes @ (16 | 32 | 64) => Some(bytes),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `rax` is misaligned, `rcx` is no address, `rdx` is 16, `r8` is aligned.
    fn check(bytes: &[u8], expect: Option<Does>) {
        let mut registers: Registers = [0x7000; 23];
        registers[libc::REG_RAX as usize] = 0x5001;
        registers[libc::REG_RCX as usize] = i64::MIN;
        registers[libc::REG_RDX as usize] = 16;
        registers[libc::REG_R8 as usize] = 0x6000;
        registers[libc::REG_RIP as usize] = 0x1000;
        assert_eq!(does(bytes, &registers), expect, "{bytes:02x?}");
    }

    fn unaligned(address: usize, multiple_of: usize) -> Option<Does> {
        Some(Does::UsesUnaligned { address, multiple_of })
    }

    const NO_ADDRESS: usize = 1 << 63;

    #[test]
    fn a_vector_that_is_not_aligned_is_found_in_every_encoding() {
        check(&[0x0f, 0x28, 0x00], unaligned(0x5001, 16)); // movaps (%rax), %xmm0
        check(&[0x66, 0x0f, 0x6f, 0x40, 0x0f], Some(Does::Uses(0x5010))); // movdqa 15(%rax), %xmm0
        check(&[0x66, 0x0f, 0x7f, 0x44, 0x10, 0x08], unaligned(0x5019, 16)); // 8(%rax,%rdx)
        check(&[0x41, 0x0f, 0x29, 0x40, 0x08], unaligned(0x6008, 16)); // movaps %xmm0, 8(%r8)
        check(&[0x66, 0x0f, 0x38, 0x00, 0x00], unaligned(0x5001, 16)); // pshufb (%rax), %xmm0
        check(&[0x0f, 0x28, 0x05, 1, 0, 0, 0], unaligned(0x1008, 16)); // movaps 1(%rip), %xmm0
        check(&[0x66, 0x0f, 0x3a, 0x0f, 0x05, 1, 0, 0, 0, 4], unaligned(0x100b, 16)); // palignr
        check(&[0xc5, 0xfc, 0x28, 0x42, 0x08], unaligned(0x18, 32)); // vmovaps 8(%rdx), %ymm0
        check(&[0xc5, 0xf8, 0x28, 0x42, 0x10], Some(Does::Uses(0x20))); // vmovaps 16(%rdx), %xmm0
        check(&[0xc4, 0xc1, 0x7c, 0x28, 0x40, 0x10], unaligned(0x6010, 32)); // 16(%r8), %ymm0
        check(&[0x62, 0xf1, 0x7c, 0x48, 0x28, 0x42, 0x01], unaligned(0x50, 64)); // 64(%rdx), %zmm0
        check(&[0x0f, 0xae, 0x22], unaligned(0x10, 64)); // xsave (%rdx)
        check(&[0x0f, 0xae, 0x00], unaligned(0x5001, 16)); // fxsave (%rax)
        check(&[0x48, 0x0f, 0xc7, 0x08], unaligned(0x5001, 16)); // cmpxchg16b (%rax)
    }

    #[test]
    fn an_address_that_can_not_exist_is_found_wherever_it_comes_from() {
        let none = Some(Does::UsesNoAddress(NO_ADDRESS));
        check(&[0x8b, 0x01], none); // mov (%rcx), %eax
        check(&[0xc6, 0x01, 0x05], none); // movb $5, (%rcx)
        check(&[0x48, 0x8b, 0x04, 0x11], Some(Does::UsesNoAddress(NO_ADDRESS + 16))); // (%rcx,%rdx)
        check(&[0x8b, 0x81, 0, 1, 0, 0], Some(Does::UsesNoAddress(NO_ADDRESS + 256))); // 256(%rcx)
        check(&[0x0f, 0xb6, 0x01], none); // movzbl (%rcx), %eax
        check(&[0xf0, 0x0f, 0xb1, 0x11], none); // lock cmpxchg %edx, (%rcx)
        check(&[0xff, 0x11], none); // call *(%rcx)
        check(&[0x67, 0x8b, 0x01], Some(Does::Uses(0))); // mov (%ecx), %eax
        check(&[0x64, 0x8b, 0x01], None); // mov %fs:(%rcx), %eax
    }

    #[test]
    fn jumps_returns_and_instructions_of_kernels_are_known() {
        check(&[0xff, 0xd1], Some(Does::Jumps)); // call *%rcx
        check(&[0x41, 0xff, 0xe0], Some(Does::Jumps)); // jmp *%r8
        check(&[0xff, 0x20], Some(Does::Jumps)); // jmp *(%rax)
        check(&[0xc3], Some(Does::Returns));
        check(&[0xf4], Some(Does::IsPrivileged(Mnemonic::Hlt)));
        check(&[0x66, 0xed], Some(Does::IsPrivileged(Mnemonic::In)));
        check(&[0x0f, 0x32], Some(Does::IsPrivileged(Mnemonic::Rdmsr)));
        check(&[0x0f, 0x01, 0xd1], Some(Does::IsPrivileged(Mnemonic::Xsetbv)));
        check(&[0xcd, 0x20], Some(Does::Interrupts(0x20)));
        check(&[0x0f, 0x0b], Some(Does::IsUd2));
        check(&[0x67, 0x0f, 0xb9, 0x40, 0x0b], Some(Does::IsUd1));
    }

    #[test]
    fn strings_and_the_stack_are_used_without_being_named() {
        let mut registers: Registers = [0x7000; 23];
        registers[libc::REG_RDI as usize] = i64::MIN;
        let none = Some(Does::UsesNoAddress(NO_ADDRESS));
        assert_eq!(does(&[0xf3, 0x48, 0xa5], &registers), none, "rep movsq");
        assert_eq!(does(&[0xf3, 0xaa], &registers), none, "rep stosb");
        assert_eq!(does(&[0x55], &registers), Some(Does::Uses(0x6ff8)), "push %rbp");
        registers[libc::REG_RSP as usize] = i64::MIN;
        let below = Some(Does::UsesNoAddress(NO_ADDRESS - 8));
        assert_eq!(does(&[0x55], &registers), below, "push %rbp");
    }

    /// The bytes may be anything: what was overwritten, or not all of an instruction.
    #[test]
    fn no_bytes_are_too_strange() {
        let registers: Registers = [-1; 23];
        let mut state = 1_u64;
        for length in (0..=BYTES_MAX).cycle().take(200_000) {
            let mut bytes = [0; BYTES_MAX];
            for byte in &mut bytes[..length] {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (state >> 56) as u8;
            }
            let _ = does(&bytes[..length], &registers);
        }
    }
}
