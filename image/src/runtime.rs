//! What the image's C++ runtime gives to the code in it: names for the symbol table of a link.

use std::ffi::c_void;

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
        pub(super) static kiln_once_callable: c_void;
        pub(super) static kiln_once_call: c_void;
    }
}

/// For a program: its thread-locals live in the image, and the C++ library uses its operators; all
/// else is the process's.
#[allow(unsafe_code)]
pub fn program_bindings() -> Vec<(&'static str, u64)> {
    let (callable, call) = (&raw const ffi::kiln_once_callable, &raw const ffi::kiln_once_call);
    vec![
        ("__emutls_get_address", ffi::kiln_emutls_get_address as *const () as u64),
        ("__emutls_v._ZSt15__once_callable", callable as u64),
        ("__emutls_v._ZSt11__once_call", call as u64),
        ("kiln_replace_operators", ffi::kiln_replace_operators as *const () as u64),
    ]
}

/// For scripts: static and thread-local objects live as long as their image.
pub fn script_bindings() -> Vec<(&'static str, u64)> {
    vec![
        ("__emutls_get_address", ffi::kiln_emutls_get_address as *const () as u64),
        ("__cxa_atexit", ffi::kiln_cxa_atexit as *const () as u64),
        ("atexit", ffi::kiln_atexit as *const () as u64),
        ("__cxa_thread_atexit", ffi::kiln_cxa_thread_atexit as *const () as u64),
    ]
}

/// Symbols whose address is the image's own: its identity for `__cxa_atexit`.
pub const IDENTITY_SYMBOL: &str = "__dso_handle";
