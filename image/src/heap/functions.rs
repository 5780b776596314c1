//! What C and C++ call to allocate: for the C++ half of the runtime by name, for scripts through their
//! table of symbols.

use std::ffi::{CStr, c_char, c_void};
use std::sync::atomic::Ordering;

use super::{ALIGN, CURRENT, Heap, Misdeed, fault, misuse};

/// The heap of the running generation.
///
/// # Safety
///
/// The answer is used before anything else of the generation runs.
unsafe fn current<'a>() -> &'a mut Heap {
    // SAFETY: whoever enters an image sets it, to a heap that lives as long as the image.
    match unsafe { CURRENT.load(Ordering::Relaxed).as_mut() } {
        Some(heap) => heap,
        None => misuse("a script allocates while none was called"),
    }
}

/// For C++: a block of `heap`, or null.
#[unsafe(no_mangle)]
unsafe extern "C" fn kiln_heap_allocate(heap: *mut c_void, size: usize, align: usize) -> *mut u8 {
    // SAFETY: C++ passes the heap that is current.
    unsafe { &mut *heap.cast::<Heap>() }.allocate(size, align)
}

/// For C++: ends a block of `heap`.
#[unsafe(no_mangle)]
unsafe extern "C" fn kiln_heap_release(heap: *mut c_void, place: *mut u8) {
    // SAFETY: as above.
    unsafe { &mut *heap.cast::<Heap>() }.release(place);
}

/// For C++: a script asked for what cannot be given.
#[unsafe(no_mangle)]
unsafe extern "C" fn kiln_heap_fault(sentence: *const c_char) -> ! {
    // SAFETY: C++ passes literals.
    misuse(&unsafe { CStr::from_ptr(sentence) }.to_string_lossy())
}

/// For C++: `std::terminate` was called by a script, or on its behalf.
#[unsafe(no_mangle)]
unsafe extern "C" fn kiln_terminated(sentence: *const c_char) -> ! {
    // SAFETY: C++ passes a string.
    let sentence = unsafe { CStr::from_ptr(sentence) }.to_string_lossy();
    fault(Misdeed::Termination, &sentence)
}

/// For C++: a script waits for what nothing else could end.
#[unsafe(no_mangle)]
unsafe extern "C" fn kiln_deadlocked(sentence: *const c_char) -> ! {
    // SAFETY: C++ passes literals.
    fault(Misdeed::Deadlock, &unsafe { CStr::from_ptr(sentence) }.to_string_lossy())
}

/// A block or `ENOMEM`, as C has it.
fn or_no_memory(place: *mut u8) -> *mut u8 {
    if place.is_null() {
        nix::errno::Errno::ENOMEM.set();
    }
    place
}

// Of names of their own: GDB calls `malloc` in a process that it debugs, and must find the host's.

pub(crate) extern "C" fn script_malloc(size: usize) -> *mut u8 {
    // SAFETY: a script calls, and waits for the answer.
    or_no_memory(unsafe { current() }.allocate(size, ALIGN))
}

pub(crate) extern "C" fn script_calloc(count: usize, size: usize) -> *mut u8 {
    let Some(bytes) = count.checked_mul(size) else { return or_no_memory(std::ptr::null_mut()) };
    let place = script_malloc(bytes);
    if !place.is_null() {
        // SAFETY: the block has that many bytes.
        unsafe { place.write_bytes(0, bytes) };
    }
    place
}

pub(crate) extern "C" fn script_realloc(place: *mut u8, size: usize) -> *mut u8 {
    match (place.is_null(), size) {
        (true, _) => script_malloc(size),
        // As the C library of Linux has it.
        (false, 0) => {
            script_free(place);
            std::ptr::null_mut()
        }
        // SAFETY: as in `script_malloc`.
        (false, _) => or_no_memory(unsafe { current() }.resize(place, size)),
    }
}

pub(crate) extern "C" fn script_free(place: *mut u8) {
    if !place.is_null() {
        // SAFETY: as in `script_malloc`.
        unsafe { current() }.release(place);
    }
}

pub(crate) extern "C" fn script_aligned_alloc(align: usize, size: usize) -> *mut u8 {
    if !align.is_power_of_two() {
        nix::errno::Errno::EINVAL.set();
        return std::ptr::null_mut();
    }
    // SAFETY: as in `script_malloc`.
    or_no_memory(unsafe { current() }.allocate(size, align))
}

pub(crate) extern "C" fn script_posix_memalign(
    place: *mut *mut u8,
    align: usize,
    size: usize,
) -> i32 {
    if !align.is_power_of_two() || !align.is_multiple_of(size_of::<usize>()) {
        return libc::EINVAL;
    }
    // SAFETY: as in `script_malloc`.
    let block = unsafe { current() }.allocate(size, align);
    if block.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller has room for the answer there.
    unsafe { place.write(block) };
    0
}
