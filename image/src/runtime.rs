//! What the image's C++ runtime gives to the code in it: names for the symbol table of a link.

use std::ffi::c_void;

pub use crate::heap::Misdeed;
use crate::heap::{self, functions};

#[allow(unsafe_code)]
mod ffi {
    use super::c_void;
    unsafe extern "C" {
        pub(super) fn kiln_emutls_get_address(control: *mut c_void) -> *mut c_void;
        pub(super) fn kiln_cxa_atexit(f: *mut c_void, a: *mut c_void, image: *mut c_void) -> i32;
        pub(super) fn kiln_cxa_thread_atexit(
            f: *mut c_void,
            a: *mut c_void,
            image: *mut c_void,
        ) -> i32;
        pub(super) fn kiln_atexit(f: *mut c_void) -> i32;
        pub(super) fn kiln_replace_operators(own: *const c_void);
        pub(super) fn kiln_new(size: usize) -> *mut c_void;
        pub(super) fn kiln_default_resource() -> *mut c_void;
        pub(super) fn kiln_set_default_resource(resource: *mut c_void) -> *mut c_void;
        pub(super) fn kiln_sscanf(text: *const c_void, format: *const c_void, ...) -> i32;
        pub(super) fn kiln_vsscanf(t: *const c_void, f: *const c_void, list: *mut c_void) -> i32;
        pub(super) fn kiln_qsort(items: *mut c_void, count: usize, size: usize, f: *mut c_void);
        pub(super) fn kiln_qsort_r(
            items: *mut c_void,
            count: usize,
            size: usize,
            f: *mut c_void,
            argument: *mut c_void,
        );
        pub(super) static kiln_once_callable: c_void;
        pub(super) static kiln_once_call: c_void;
        pub(super) fn kiln_call_abandoned();
        pub(super) fn kiln_prepare_for_faults();
        pub(super) fn kiln_is_unwinding(at: usize, stack: *const usize, end: *const usize) -> bool;
        pub(super) fn kiln_thrown_at() -> *const super::Trace;
        pub(super) fn kiln_backtrace(begin: usize, is_call: bool, trace: *mut super::Trace);
        pub(super) fn _Unwind_Find_FDE(
            pc: *const c_void,
            bases: *mut [*const c_void; 3],
        ) -> *const c_void;
    }
}

/// For a program: its thread-locals live in the image, and the C++ library uses its operators; all
/// else is the process's.
#[allow(unsafe_code)]
pub fn program_bindings() -> Vec<(&'static str, u64)> {
    let mut bindings = thread_locals();
    bindings.push(("kiln_replace_operators", ffi::kiln_replace_operators as *const () as u64));
    bindings
}

/// Emulated thread-locals, and libstdc++'s own two.
#[allow(unsafe_code)]
fn thread_locals() -> Vec<(&'static str, u64)> {
    let (callable, call) = (&raw const ffi::kiln_once_callable, &raw const ffi::kiln_once_call);
    vec![
        ("__emutls_get_address", ffi::kiln_emutls_get_address as *const () as u64),
        ("__emutls_v._ZSt15__once_callable", callable as u64),
        ("__emutls_v._ZSt11__once_call", call as u64),
    ]
}

/// What C++ has for them under other names: `threads.cc`.
#[allow(unsafe_code)]
fn of_one_thread() -> Vec<(&'static str, u64)> {
    macro_rules! named {
        ($($name:literal: $own:ident,)*) => {{
            // Only their addresses are of use here.
            unsafe extern "C" { $(fn $own();)* }
            vec![$(($name, $own as *const () as u64)),*]
        }};
    }
    named! {
        "pthread_mutex_lock": kiln_mutex_lock,
        "pthread_mutex_timedlock": kiln_mutex_timedlock,
        "pthread_mutex_clocklock": kiln_mutex_clocklock,
        "pthread_rwlock_rdlock": kiln_rwlock_rdlock,
        "pthread_rwlock_timedrdlock": kiln_rwlock_timedrdlock,
        "pthread_rwlock_clockrdlock": kiln_rwlock_clockrdlock,
        "pthread_rwlock_wrlock": kiln_rwlock_wrlock,
        "pthread_rwlock_timedwrlock": kiln_rwlock_timedwrlock,
        "pthread_rwlock_clockwrlock": kiln_rwlock_clockwrlock,
        "pthread_spin_lock": kiln_spin_lock,
        "pthread_once": kiln_once,
        "sched_yield": kiln_yield,
        "_ZNSt8__detail17__platform_notifyIiEEvPKT_b": kiln_notify,
        "_ZNSt13random_device7_M_initERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE":
            kiln_random_device_open,
        "_ZNSt13random_device9_M_getvalEv": kiln_random_device_value,
        "_ZNSt13random_device7_M_finiEv": kiln_random_device_close,
        "_ZNKSt13random_device13_M_getentropyEv": kiln_random_device_entropy,
    }
}

/// For scripts: static and thread-local objects live as long as their image, and memory is that of
/// its heap.
#[allow(unsafe_code)]
pub fn script_bindings() -> Vec<(&'static str, u64)> {
    macro_rules! libstdcxx {
        ($($name:ident)*) => {{
            unsafe extern "C" { $(fn $name();)* }
            [$((stringify!($name), $name as *const () as u64)),*]
        }};
    }
    let mut bindings = thread_locals();
    bindings.extend(of_one_thread());
    bindings.extend([
        ("__cxa_atexit", ffi::kiln_cxa_atexit as *const () as u64),
        ("atexit", ffi::kiln_atexit as *const () as u64),
        ("__cxa_thread_atexit", ffi::kiln_cxa_thread_atexit as *const () as u64),
        ("malloc", functions::script_malloc as *const () as u64),
        ("calloc", functions::script_calloc as *const () as u64),
        ("realloc", functions::script_realloc as *const () as u64),
        ("free", functions::script_free as *const () as u64),
        ("aligned_alloc", functions::script_aligned_alloc as *const () as u64),
        ("posix_memalign", functions::script_posix_memalign as *const () as u64),
        ("sscanf", ffi::kiln_sscanf as *const () as u64),
        ("vsscanf", ffi::kiln_vsscanf as *const () as u64),
        ("__isoc99_sscanf", ffi::kiln_sscanf as *const () as u64),
        ("__isoc99_vsscanf", ffi::kiln_vsscanf as *const () as u64),
        ("qsort", ffi::kiln_qsort as *const () as u64),
        ("qsort_r", ffi::kiln_qsort_r as *const () as u64),
        ("_ZNSt3pmr20get_default_resourceEv", ffi::kiln_default_resource as *const () as u64),
        (
            "_ZNSt3pmr20set_default_resourceEPNS_15memory_resourceE",
            ffi::kiln_set_default_resource as *const () as u64,
        ),
    ]);
    bindings.extend(["_Znwm", "_Znam"].map(|name| (name, ffi::kiln_new as *const () as u64)));
    // The rarer forms of operator new are the binary's, which know who is running.
    bindings.extend(libstdcxx! {
        _ZnwmRKSt9nothrow_t _ZnamRKSt9nothrow_t _ZnwmSt11align_val_t _ZnamSt11align_val_t
        _ZnwmSt11align_val_tRKSt9nothrow_t _ZnamSt11align_val_tRKSt9nothrow_t
    });
    // Scripts have nothing to delete but what is of their own heap.
    bindings.extend(DELETES.map(|name| (name, functions::script_free as *const () as u64)));
    bindings
}

/// Every form of operator delete. What they get beside the place is in registers that nobody reads.
const DELETES: [&str; 12] = [
    "_ZdlPv",
    "_ZdaPv",
    "_ZdlPvm",
    "_ZdaPvm",
    "_ZdlPvRKSt9nothrow_t",
    "_ZdaPvRKSt9nothrow_t",
    "_ZdlPvSt11align_val_t",
    "_ZdaPvSt11align_val_t",
    "_ZdlPvmSt11align_val_t",
    "_ZdaPvmSt11align_val_t",
    "_ZdlPvSt11align_val_tRKSt9nothrow_t",
    "_ZdaPvSt11align_val_tRKSt9nothrow_t",
];

/// A call into an image has ended without returning: nothing of it runs any more. To be said before
/// anything else of this process allocates in C++.
#[allow(unsafe_code)]
pub fn call_abandoned() {
    // SAFETY: it sets what is this thread's, and nothing of an image runs.
    unsafe { ffi::kiln_call_abandoned() };
}

/// Sets what is done about a script that the host cannot let go on; the sentence says why.
pub fn on_fault(fault: fn(Misdeed, &str) -> !) {
    heap::on_fault(fault);
}

/// Does something on behalf of a script that must not be left in the middle.
pub fn as_host<T>(work: impl FnOnce() -> T) -> T {
    let _at_work = heap::AtWork::begin();
    work()
}

/// Code that a signal has interrupted.
#[derive(Clone, Copy, Debug)]
pub struct Interrupted {
    /// Its address.
    pub at: usize,
    /// Whether that is the address behind a call, and not the one of the instruction itself.
    pub is_call: bool,
}

/// Calls that were found on a stack, innermost first. Of very many the innermost half is kept, where it
/// went wrong, and the outermost, which is the script's own also when a library recurses.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    found: usize,
    innermost: [usize; Trace::HALF],
    /// A ring: the call with number n is at n % HALF.
    outermost: [usize; Trace::HALF],
}

// As runtime.cc has it.
const _: () = assert!(Trace::HALF == 16 && size_of::<Trace>() == 33 * size_of::<usize>());

impl Trace {
    const HALF: usize = 16;

    /// None yet.
    pub const EMPTY: Self =
        Trace { found: 0, innermost: [0; Trace::HALF], outermost: [0; Trace::HALF] };

    /// The innermost one alone.
    pub fn beginning_at(address: usize) -> Self {
        let mut trace = Trace { found: 1, ..Trace::EMPTY };
        trace.innermost[0] = address;
        trace
    }

    /// The addresses of the innermost calls.
    pub fn innermost(&self) -> &[usize] {
        &self.innermost[..self.found.min(Trace::HALF)]
    }

    /// The addresses of those farther out that were kept.
    pub fn outermost(&self) -> impl Iterator<Item = usize> {
        let first = Trace::HALF.max(self.found.saturating_sub(Trace::HALF));
        (first..self.found).map(|number| self.outermost[number % Trace::HALF])
    }

    /// How many calls between these two are left out.
    pub fn left_out(&self) -> usize {
        self.found.saturating_sub(2 * Trace::HALF)
    }

    /// Adds the code of an image that runs, and what has called it: from the interrupted code, or from
    /// the caller of this function. If a ruined stack makes this fault, what was found until then is
    /// there.
    #[allow(unsafe_code)]
    pub fn add_calls(&mut self, from: Option<Interrupted>) {
        let (begin, is_call) = from.map_or((0, false), |from| (from.at, from.is_call));
        // SAFETY: it writes to the trace alone.
        unsafe { ffi::kiln_backtrace(begin, is_call, self) };
    }
}

/// Where the exception was thrown that the last call ended with.
#[allow(unsafe_code)]
pub fn thrown_at() -> Trace {
    // SAFETY: the runtime's own, which stays as it is until another exception is thrown.
    unsafe { *ffi::kiln_thrown_at() }
}

/// To be called once, before the first call that may be abandoned or fail.
#[allow(unsafe_code)]
pub fn prepare_for_faults() {
    // SAFETY: it looks at what is loaded, and at its own frames.
    unsafe { ffi::kiln_prepare_for_faults() };
}

/// Whether code that was interrupted at this address is the unwinder, or something that it called: then
/// it may hold a lock, and nobody must ask for a backtrace or for a function. `stack` is what is on the
/// stack above the interrupted code.
#[allow(unsafe_code)]
pub fn is_unwinding(at: usize, stack: &[usize]) -> bool {
    let words = stack.as_ptr_range();
    // SAFETY: it reads no more than what is there, and compares numbers.
    unsafe { ffi::kiln_is_unwinding(at, words.start, words.end) }
}

/// Where the function begins that has code at this address; none if no function is known there.
#[allow(unsafe_code)]
pub fn function_start(address: usize) -> Option<usize> {
    let mut bases = [std::ptr::null(); 3];
    // SAFETY: it looks an address up in tables, and reads nothing there.
    let found = unsafe { ffi::_Unwind_Find_FDE(address as *const c_void, &raw mut bases) };
    (!found.is_null()).then_some(bases[2] as usize)
}

/// Symbols whose address is the image's own: its identity for `__cxa_atexit`.
pub const IDENTITY_SYMBOL: &str = "__dso_handle";
