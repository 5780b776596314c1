//! What a SIGSYS says: which call was stopped, where, and by which fence.

/// Which fence stopped a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violated {
    /// The list of the process.
    List,
    /// Strict mode: no call at all may be made beneath a hook.
    Strict,
}

/// A system call that was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its number; [`crate::call_name`] knows the names.
    pub call: i32,
    /// The instruction after the one that makes the call.
    pub address: u64,
    /// Who stopped it.
    pub violated: Violated,
}

/// `SYS_SECCOMP` and `SYS_USER_DISPATCH` of asm-generic/siginfo.h.
const SECCOMP: i32 = 1;
const USER_DISPATCH: i32 = 2;

/// The beginning of a `siginfo_t` of SIGSYS on 64-bit machines.
#[repr(C)]
struct Said {
    signal: i32,
    error: i32,
    code: i32,
    _padding: i32,
    address: u64,
    call: i32,
    architecture: u32,
}

const _: () = assert!(size_of::<Said>() <= size_of::<libc::siginfo_t>());
const _: () = assert!(align_of::<Said>() <= align_of::<libc::siginfo_t>());

impl Violation {
    /// What a signal's information says, if it is of a SIGSYS that the kernel has sent. Safe in a
    /// signal handler.
    // The fields of SIGSYS have no accessors.
    #[allow(unsafe_code)]
    pub fn of(information: &libc::siginfo_t) -> Option<Self> {
        // SAFETY: the kernel fills all of a siginfo_t, which is longer and as aligned, and every
        // pattern of bits is a number.
        let said = unsafe { &*(&raw const *information).cast::<Said>() };
        let violated = match (said.signal, said.code) {
            (libc::SIGSYS, SECCOMP) => Violated::List,
            (libc::SIGSYS, USER_DISPATCH) => Violated::Strict,
            _ => return None,
        };
        Some(Violation { call: said.call, address: said.address, violated })
    }
}
