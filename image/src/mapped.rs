//! From sealed to mapped: an image in the address space of a worker, until it is retired.
//!
//! Everything is mapped private: with a shared mapping GDB's breakpoints would never fire, and before
//! Linux 6.7 the kernel refuses a shared mapping of a file that is sealed against writing. Pages that
//! nobody writes are shared through the page cache all the same, so a worker costs a few pages.
//!
//! A core file gets a private mapping of a file only if a page of it was written, and then the whole
//! of it. So one byte of each mapping is written, with the value that it has: constants, variables and
//! debug information are in every core, for a page each. Code can't be written, and is in the core
//! only as a part of the file that debuggers are shown.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, mprotect};

use crate::check::Sealed;
use crate::format::{HEADER_BYTES, Protection, page_end};
use crate::heap::OwnHeap;
use crate::{EntryPoint, Slot};

/// What `main` and initialisers get: count and vector of arguments, and the environment.
pub type Arguments = (c_int, *const *const c_char, *const *const c_char);

/// No arguments at all, for scripts.
const NO_ARGUMENTS: Arguments = (0, std::ptr::null(), std::ptr::null());

/// Destructors that one image runs when it is retired: one that registers another each time would
/// never come to an end.
const DESTRUCTORS_RUN_MAX: usize = 1 << 20;

/// How the code of an image is run: on which stack, and what becomes of a call that does not come back.
pub trait Enter {
    /// Runs `inside`. False if it was abandoned: then it stands somewhere in the middle for ever.
    fn enter(&mut self, inside: &mut dyn FnMut()) -> bool;
}

/// Why an image could not be put to use.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The kernel did not map it.
    #[error("cannot map the image: {0}")]
    Map(#[from] std::io::Error),
    /// There are no addresses for the scripts' heap.
    #[error("cannot reserve the scripts' memory: {0}")]
    Heap(std::io::Error),
    /// A static initialiser threw.
    #[error("a static initialiser threw {thrown}")]
    Initialiser {
        /// Type and message of what it threw.
        thrown: String,
        /// The image, to be asked for where, and to be retired.
        image: Box<Mapped>,
    },
    /// A static initialiser did not come back.
    #[error("a static initialiser failed")]
    Abandoned {
        /// The image, to be asked for where.
        image: Box<Mapped>,
    },
}

/// How a call into an image came to no good end.
enum Failed {
    Thrown(String),
    Abandoned,
}

/// A mapped, initialised image.
///
/// Dropping it unmaps it: no code of it may be running then, and nobody may hold a pointer into it.
#[derive(Debug)]
pub struct Mapped {
    image: Sealed,
    /// Whether a call of it was abandoned: nothing of it is to be relied on, and no more of its code is
    /// run than is asked for.
    is_ruined: bool,
    /// What its code allocates from; none for a program, which has the C library's.
    heap: Option<OwnHeap>,
    /// Dropping it tells debuggers that the image is gone.
    debugged: Debugged,
}

/// A function of a mapped image that the host calls. Good for as long as the image is mapped.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    address: u64,
    heap: *mut c_void,
}

/// The whole file, mapped for a debugger to read: symbols and line tables are behind the segments.
///
/// Nobody else touches it, so it costs addresses and one page: the one written for core files.
#[derive(Debug)]
struct Debugged {
    file: memmap2::Mmap,
    entry: *mut c_void,
}

#[allow(unsafe_code)]
impl Debugged {
    fn register(image: &Sealed) -> std::io::Result<Self> {
        // SAFETY: the file is sealed: it can't change or shrink under the mapping.
        let mut file = unsafe { memmap2::MmapOptions::new().map_copy(&image.file) }?;
        // SAFETY: the mapping is this function's own, and an image has a first byte.
        unsafe { write_first_byte(file.as_mut_ptr()) };
        let file = file.make_read_only()?;
        // SAFETY: the mapping lives until the entry is gone again.
        let entry = unsafe { ffi::kiln_debug_register(file.as_ptr().cast(), file.len() as u64) };
        Ok(Self { file, entry })
    }
}

#[allow(unsafe_code)]
impl Drop for Debugged {
    fn drop(&mut self) {
        // SAFETY: `register` made the entry.
        unsafe { ffi::kiln_debug_unregister(self.entry) };
    }
}

#[allow(unsafe_code)]
mod ffi {
    use super::*;

    unsafe extern "C" {
        pub(super) fn kiln_run_functions(
            heap: *mut c_void,
            table: *const *const c_void,
            count: usize,
            argc: c_int,
            argv: *const *const c_char,
            environment: *const *const c_char,
        ) -> *mut c_char;
        pub(super) fn kiln_initialise_program(
            table: *const *const c_void,
            count: usize,
            argc: c_int,
            argv: *const *const c_char,
            environment: *const *const c_char,
        );
        pub(super) fn kiln_finalise_at_exit(table: *const *const c_void, count: usize);
        pub(super) fn kiln_finish_at_exit();
        pub(super) fn kiln_call_hook(
            heap: *mut c_void,
            hook: *const c_void,
            action: *mut c_void,
            request: *mut c_void,
        ) -> *mut c_char;
        pub(super) fn kiln_call_main(
            main: *const c_void,
            argc: c_int,
            argv: *const *const c_char,
            environment: *const *const c_char,
        ) -> c_int;
        pub(super) fn kiln_debug_register(file: *const c_void, size: u64) -> *mut c_void;
        pub(super) fn kiln_debug_unregister(entry: *mut c_void);
        pub(super) fn kiln_run_destructor(heap: *mut c_void, thrown: *mut *mut c_char) -> bool;
        pub(super) fn kiln_forget_heap(heap: *mut c_void);
        pub(super) fn kiln_forget_image(start: usize, end: usize);
        pub(super) fn __register_frame(eh_frame: *const c_void);
        pub(super) fn __deregister_frame(eh_frame: *const c_void);
        pub(super) fn _Unwind_Find_FDE(
            pc: *const c_void,
            bases: *mut [*const c_void; 3],
        ) -> *const c_void;
    }
}

#[allow(unsafe_code)]
impl Mapped {
    /// Maps the image of scripts at its slot, makes its exceptions known and runs its initialisers.
    /// All that its code allocates has to fit `heap_bytes_max`.
    pub fn new(
        image: Sealed,
        heap_bytes_max: u64,
        enter: &mut dyn Enter,
    ) -> Result<Self, MapError> {
        let heap = OwnHeap::new(heap_bytes_max).map_err(MapError::Heap)?;
        let mut mapped = Self::prepare(image, Some(heap))?;
        let initialisers = mapped.image.manifest.initialisers.clone();
        let initialised = initialisers.into_iter().try_for_each(|it| mapped.run_table(it, enter));
        let image = Box::new(mapped);
        match initialised {
            Ok(()) => Ok(*image),
            Err(Failed::Thrown(thrown)) => Err(MapError::Initialiser { thrown, image }),
            Err(Failed::Abandoned) => Err(MapError::Abandoned { image }),
        }
    }

    /// The same for a program: an exception that leaves an initialiser ends the process, and `exit`
    /// runs its finalisers, and then nothing that this process registered before.
    pub fn program(image: Sealed, arguments: Arguments) -> Result<ManuallyDrop<Self>, MapError> {
        let mapped = ManuallyDrop::new(Self::prepare(image, None)?);
        let manifest = &mapped.image.manifest;
        let (argc, argv, environment) = arguments;
        // SAFETY: the tables were checked to be aligned and mapped, and stay so until the process
        // ends; their words are functions that the linker put there, or null.
        unsafe {
            ffi::kiln_finish_at_exit();
            for table in &manifest.finalisers {
                ffi::kiln_finalise_at_exit(functions(table), function_count(table));
            }
            for table in &manifest.initialisers {
                let (first, count) = (functions(table), function_count(table));
                ffi::kiln_initialise_program(first, count, argc, argv, environment);
            }
        }
        Ok(mapped)
    }

    fn prepare(image: Sealed, heap: Option<OwnHeap>) -> Result<Self, MapError> {
        map_segments(&image)?;
        let debugged = Debugged::register(&image)?;
        let mapped = Self { image, is_ruined: false, heap, debugged };
        mapped.register_frames();
        Ok(mapped)
    }

    /// Address of an entry point, if the image has it.
    pub fn entry(&self, entry: EntryPoint) -> Option<u64> {
        self.image.entry(entry)
    }

    /// The function at an entry point, if the image has it.
    pub fn hook(&self, entry: EntryPoint) -> Option<Hook> {
        Some(Hook { address: self.entry(entry)?, heap: self.heap() })
    }

    /// Bytes that its code has allocated and not given back.
    pub fn heap_bytes_in_use(&self) -> u64 {
        self.heap.as_ref().map_or(0, OwnHeap::bytes_in_use)
    }

    /// The next call may allocate so many bytes that it does not give back.
    pub fn begin_call(&mut self, heap_bytes_max: u64) {
        if let Some(heap) = &mut self.heap {
            heap.begin_call(heap_bytes_max);
        }
    }

    /// Whether the last call asked for more memory than all of its generation may have.
    pub fn is_exhausted(&self) -> bool {
        self.heap.as_ref().is_some_and(OwnHeap::is_exhausted)
    }

    /// Gives back memory that its code no longer uses; to be called now and then between two calls.
    pub fn settle(&mut self) {
        if let Some(heap) = self.heap.as_mut().filter(|_| !self.is_ruined) {
            heap.settle();
        }
    }

    /// A call was abandoned: its heap and its objects may be in any state, and are never put in order.
    pub fn ruin(&mut self) {
        self.is_ruined = true;
    }

    /// The file, as it is mapped for debuggers: an ELF file with symbols and line tables.
    pub fn file(&self) -> &[u8] {
        &self.debugged.file
    }

    fn heap(&self) -> *mut c_void {
        self.heap.as_ref().map_or(std::ptr::null_mut(), OwnHeap::as_ptr)
    }

    /// Addresses that it occupies.
    pub fn slot(&self) -> Slot {
        self.image.slot
    }

    /// Registers the unwind tables, and looks one address up so that they are sorted now and not
    /// while the first exception is thrown.
    fn register_frames(&self) {
        if self.image.manifest.eh_frame.is_empty() {
            return;
        }
        let mut bases = [std::ptr::null(); 3];
        // SAFETY: the range was checked to lie within a mapped segment, and JITLink ends it with a
        // zero word, which is what libgcc looks for.
        unsafe {
            ffi::__register_frame(self.eh_frame());
            ffi::_Unwind_Find_FDE(self.image.slot.base as *const c_void, &mut bases);
        }
    }

    fn eh_frame(&self) -> *const c_void {
        self.image.manifest.eh_frame.start as *const c_void
    }

    fn run_table(&mut self, table: Range<u64>, enter: &mut dyn Enter) -> Result<(), Failed> {
        let (first, count) = (functions(&table), function_count(&table));
        let (argc, argv, environment) = NO_ARGUMENTS;
        let heap = self.heap();
        let mut description = std::ptr::null_mut();
        // SAFETY: the table was checked to be aligned and mapped; its words are functions that the
        // linker put there, or null. Exceptions end in the callee.
        let has_returned = enter.enter(&mut || unsafe {
            description = ffi::kiln_run_functions(heap, first, count, argc, argv, environment);
        });
        if !has_returned {
            self.ruin();
            return Err(Failed::Abandoned);
        }
        came_to(description).map_err(|thrown| Failed::Thrown(thrown.described()))
    }

    /// Runs, newest first, what the image has registered for its end, and then its finalisers, last
    /// first, within a table as well. What one of them throws is told, and does not keep the others
    /// from running. False if one was abandoned: then nothing more is run. Of a ruined image nothing
    /// is, and a second time there is nothing left.
    pub fn finalise(&mut self, enter: &mut dyn Enter, told: &mut dyn FnMut(&str)) -> bool {
        let heap = self.heap();
        if heap.is_null() || self.is_ruined {
            return true;
        }
        self.begin_call(u64::MAX);
        for _ in 0..DESTRUCTORS_RUN_MAX {
            let (mut description, mut is_left) = (std::ptr::null_mut(), false);
            // SAFETY: the image is still mapped, and what it registered is its own code.
            let has_returned = enter.enter(&mut || unsafe {
                is_left = ffi::kiln_run_destructor(heap, &raw mut description);
            });
            if !has_returned {
                self.ruin();
                return false;
            }
            if !is_left {
                break;
            }
            if let Err(thrown) = came_to(description) {
                told(&thrown.described());
            }
        }
        let finalisers = std::mem::take(&mut self.image.manifest.finalisers);
        let entries = finalisers.iter().flat_map(|table| table.clone().step_by(size_of::<u64>()));
        for entry in entries.collect::<Vec<_>>().into_iter().rev() {
            let one = entry..entry + size_of::<u64>() as u64;
            match self.run_table(one, enter) {
                Err(Failed::Thrown(thrown)) => told(&thrown),
                Err(Failed::Abandoned) => return false,
                Ok(()) => {}
            }
        }
        true
    }

    /// Calls a program's `main` with these arguments and returns its exit code.
    pub fn call_main(&self, arguments: Arguments) -> Option<c_int> {
        let main = self.entry(EntryPoint::Main)? as *const c_void;
        let (argc, argv, environment) = arguments;
        // SAFETY: the image was compiled as a program, and its entry was checked to be code.
        Some(unsafe { ffi::kiln_call_main(main, argc, argv, environment) })
    }
}

#[allow(unsafe_code)]
impl Hook {
    /// Where it is.
    pub fn address(self) -> u64 {
        self.address
    }

    /// Calls it: `action` is a `kiln_action` for its answer, `request` is a `kiln_request`.
    ///
    /// # Safety
    ///
    /// The image is still mapped, and both point to structures of its ABI version.
    #[inline]
    pub unsafe fn call(self, action: *mut c_void, request: *mut c_void) -> Result<(), Thrown> {
        let function = self.address as *const c_void;
        // SAFETY: the caller upholds it; exceptions end in the callee.
        let description = unsafe { ffi::kiln_call_hook(self.heap, function, action, request) };
        came_to(description)
    }
}

/// The exception that came out of a call.
#[derive(Debug)]
pub struct Thrown(NonNull<c_char>);

#[allow(unsafe_code)]
impl Thrown {
    /// Its type and message.
    pub fn described(self) -> String {
        // SAFETY: the runtime made a string, for the caller to free once.
        unsafe {
            let text = CStr::from_ptr(self.0.as_ptr()).to_string_lossy().into_owned();
            libc::free(self.0.as_ptr().cast());
            text
        }
    }
}

fn functions(table: &Range<u64>) -> *const *const c_void {
    table.start as *const *const c_void
}

fn function_count(table: &Range<u64>) -> usize {
    (table.end - table.start) as usize / size_of::<u64>()
}

/// What a guarded call came to: null, or a string of the runtime that was given to nobody else.
#[inline]
fn came_to(description: *mut c_char) -> Result<(), Thrown> {
    NonNull::new(description).map_or(Ok(()), |description| Err(Thrown(description)))
}

#[allow(unsafe_code)]
impl Drop for Mapped {
    fn drop(&mut self) {
        let slot = self.image.slot;
        let (start, end) = (slot.base as usize, (slot.base + slot.size) as usize);
        // SAFETY: the tables were registered when the image was mapped, and nothing of the image
        // runs any more; what the runtime knew of it goes before its pages and its heap do.
        unsafe {
            if !self.image.manifest.eh_frame.is_empty() {
                ffi::__deregister_frame(self.eh_frame());
            }
            ffi::kiln_forget_image(start, end);
            if let Some(heap) = &self.heap {
                ffi::kiln_forget_heap(heap.as_ptr());
            }
        }
        slot.clear().expect("a slot can be made inaccessible: it is ours");
    }
}

/// Writes a mapping's first byte as it is, so that core files have the mapping.
///
/// # Safety
///
/// There is a byte, which is private to this process and may be written.
#[allow(unsafe_code)]
unsafe fn write_first_byte(at: *mut u8) {
    // SAFETY: the caller upholds it. Volatile, as nothing else makes a compiler write what is there.
    unsafe { at.write_volatile(at.read_volatile()) };
}

#[allow(unsafe_code)]
fn map_segments(image: &Sealed) -> std::io::Result<()> {
    map_segment(image, image.slot.base, HEADER_BYTES, Protection::Read)?;
    for segment in &image.segments {
        let in_file = page_end(segment.file_bytes);
        map_segment(image, segment.address, in_file, segment.protection)?;
        let zeroes = page_end(segment.memory_bytes) - in_file;
        if let Some((at, length)) = place(segment.address + in_file, zeroes) {
            // SAFETY: the addresses were checked to lie in the image's own slot, where nothing else
            // is.
            unsafe { mmap_anonymous(Some(at), length, access(segment.protection), FIXED)? };
        }
    }
    Ok(())
}

const FIXED: MapFlags = MapFlags::MAP_PRIVATE.union(MapFlags::MAP_FIXED);

/// Maps what the file has of a segment.
#[allow(unsafe_code)]
fn map_segment(
    image: &Sealed,
    address: u64,
    bytes: u64,
    protection: Protection,
) -> std::io::Result<()> {
    let Some((at, length)) = place(address, bytes) else { return Ok(()) };
    let offset = (address - image.slot.base) as i64;
    // SAFETY: the addresses were checked to lie in the image's own slot, where nothing else is; a
    // page that is not code belongs to nobody else while it is writable here.
    unsafe {
        if protection == Protection::ReadExecute {
            mmap(Some(at), length, access(protection), FIXED, &image.file, offset)?;
            return Ok(());
        }
        let writable = access(Protection::ReadWrite);
        let mapped = mmap(Some(at), length, writable, FIXED, &image.file, offset)?;
        write_first_byte(mapped.as_ptr().cast());
        if protection == Protection::Read {
            mprotect(mapped, length.get(), access(protection))?;
        }
    }
    Ok(())
}

/// Where to map, if there is anything to be mapped.
fn place(address: u64, bytes: u64) -> Option<(NonZeroUsize, NonZeroUsize)> {
    Some((NonZeroUsize::new(address as usize)?, NonZeroUsize::new(bytes as usize)?))
}

fn access(protection: Protection) -> ProtFlags {
    match protection {
        Protection::Read => ProtFlags::PROT_READ,
        Protection::ReadWrite => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        Protection::ReadExecute => ProtFlags::PROT_READ | ProtFlags::PROT_EXEC,
    }
}
