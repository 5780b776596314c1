//! The heap of one generation in one worker: what its scripts allocate, and what the C++ library
//! allocates on their behalf.
//!
//! A range of addresses that belongs to the generation alone. Its blocks are kept by a two-level
//! segregated fit allocator (TLSF: constant time, whatever the history), whose books are within the
//! range and in [`Heap`]; so retiring a generation is one munmap(2), however much its scripts have
//! leaked or whatever they have done to their blocks. The host's own allocator is another one.
//!
//! ```text
//!   base                    grown                             end
//!    | guard | blocks ...     | reserved, no memory yet         | guard |
//! ```
//!
//! Each block begins with a mark, so that a pointer that is not a block's is a fault with a sentence
//! and not a corrupted heap. One thread uses a heap: a worker has but one.
//!
//! Programs under `kiln run` have no heap, and keep the C library's.

pub(crate) mod functions;
#[cfg(test)]
mod tests;

use std::alloc::Layout;
use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, Ordering, compiler_fence};

use fence::strict;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};
use rlsf::Tlsf;

/// Free lists for every size that a pointer reaches: pools that are appended to one another must not
/// be limited in size. The second level loses a sixteenth of the largest block at most.
type Blocks = Tlsf<'static, u64, u16, 59, 16>;

/// Bytes that become usable at once: a system call for so many is no cost any more.
const STEP_BYTES: usize = 1 << 20;
const PAGE_BYTES: usize = 4096;
/// Alignment that every block has.
const ALIGN: usize = 16;
/// No request beyond it is looked at: sums of sizes don't overflow.
const REQUEST_BYTES_MAX: usize = 1 << 46;
/// The smallest run of free pages that is worth a system call.
const TRIMMED_BYTES_MIN: usize = 64 << 10;
/// Small blocks are allocated in multiples of so many bytes, which is what the allocator rounds to.
const SMALL_STEP: usize = 32;
/// Sizes of small blocks: up to 512 bytes, which is most of what C++ allocates.
const SMALL_SIZES: usize = 16;
/// Freed blocks of one size that are kept for the next request, which joining and splitting them would
/// cost more than anything else. All together they are a quarter of a megabyte.
const SMALL_KEPT_MAX: u32 = 64;
/// Bytes that a burst leaves unused before they are given back.
const UNUSED_BYTES_MIN: usize = 1 << 20;

/// The heap of the generation that is running, or null. `runtime.cc` and `memory.cc` set and read it.
#[unsafe(export_name = "kiln_heap")]
static CURRENT: AtomicPtr<Heap> = AtomicPtr::new(std::ptr::null_mut());

/// What is done about a script that breaks its heap; the sentence says how.
static FAULT: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// What a script does that ends its call at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misdeed {
    /// It has broken its heap.
    HeapMisuse,
    /// It has taken more memory than one call may.
    Exhaustion,
    /// `std::terminate`, say since an exception met a function that throws none.
    Termination,
    /// It waits for a lock that nothing else could release.
    Deadlock,
}

/// For as long as it lives the host works on behalf of a script: it must not be left in the middle, and
/// may make system calls.
pub(crate) struct AtWork {
    before: u8,
}

impl AtWork {
    pub(crate) fn begin() -> Self {
        let before = strict::selector().load(Ordering::Relaxed);
        strict::selector().store(strict::ALLOW, Ordering::Relaxed);
        // A signal handler of this thread looks at it.
        compiler_fence(Ordering::SeqCst);
        AtWork { before }
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        compiler_fence(Ordering::SeqCst);
        strict::selector().store(self.before, Ordering::Relaxed);
    }
}

/// What stands before each block.
#[repr(C)]
struct Mark {
    /// Bytes as asked for, and above [`SIZE_BITS`] the binary logarithm of the alignment.
    request: usize,
    /// Tells a block from any other memory.
    seal: usize,
}

const SIZE_BITS: u32 = 48;
const MARK_BYTES: usize = size_of::<Mark>();
const _: () = assert!(MARK_BYTES == ALIGN, "a block stays aligned behind its mark");
const _: () = assert!(REQUEST_BYTES_MAX < 1 << SIZE_BITS);

/// One generation's heap. C++ reads the first fields: `heap.h`.
#[repr(C)]
pub(crate) struct Heap {
    /// Addresses of its blocks.
    base: usize,
    end: usize,
    /// Destructors that the generation has registered, newest first: of thread-local objects, and of
    /// static ones. C++ has them.
    destructors: [*mut c_void; 2],
    destructors_count: usize,
    /// `std::pmr`'s default, null for the library's.
    default_resource: *mut c_void,
    /// Where usable memory ends.
    grown: usize,
    secret: usize,
    in_use: usize,
    /// The most that may be in use while the call lasts that runs.
    call_in_use_max: usize,
    /// Whether that call asked for more than there is.
    is_exhausted: bool,
    /// The most that was in use since the last [`Heap::settle`].
    peak: usize,
    /// The most that was in use since pages were given back.
    touched: usize,
    /// By size in [`SMALL_STEP`]s, less one.
    small: [Kept; SMALL_SIZES],
    blocks: Blocks,
}

/// Freed blocks of one size, each with the address of the next in its first word.
#[derive(Clone, Copy)]
struct Kept {
    first: *mut u8,
    count: u32,
}

/// Owns a [`Heap`], which C++ knows by its address.
#[derive(Debug)]
pub(crate) struct OwnHeap(NonNull<Heap>);

impl OwnHeap {
    /// Reserves a heap of `bytes_max` bytes at most, what keeping them costs included.
    pub(crate) fn new(bytes_max: u64) -> io::Result<Self> {
        let bytes = usize::try_from(bytes_max).unwrap_or(usize::MAX).min(REQUEST_BYTES_MAX);
        let bytes = bytes.next_multiple_of(PAGE_BYTES).max(STEP_BYTES);
        let length = NonZeroUsize::new(bytes + 2 * PAGE_BYTES).expect("it has guards");
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let range = unsafe { mmap_anonymous(None, length, ProtFlags::PROT_NONE, flags) }?;
        let base = range.as_ptr() as usize + PAGE_BYTES;
        let heap = Box::new(Heap {
            base,
            end: base + bytes,
            destructors: [std::ptr::null_mut(); 2],
            destructors_count: 0,
            default_resource: std::ptr::null_mut(),
            grown: base,
            secret: base.rotate_left(29) ^ 0x9e37_79b9_7f4a_7c15,
            in_use: 0,
            call_in_use_max: usize::MAX,
            is_exhausted: false,
            peak: 0,
            touched: 0,
            small: [Kept { first: std::ptr::null_mut(), count: 0 }; SMALL_SIZES],
            blocks: Blocks::new(),
        });
        Ok(Self(NonNull::from(Box::leak(heap))))
    }

    /// For C++.
    pub(crate) fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr().cast()
    }

    /// Bytes that are allocated now, as they were asked for.
    pub(crate) fn bytes_in_use(&self) -> u64 {
        // SAFETY: it lives as long as its owner, and nobody else looks at it between two entries.
        unsafe { self.0.as_ref() }.in_use as u64
    }

    /// The next call may take so many bytes more than are in use.
    pub(crate) fn begin_call(&mut self, bytes_max: u64) {
        // SAFETY: as above.
        let heap = unsafe { self.0.as_mut() };
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        heap.call_in_use_max = heap.in_use.saturating_add(bytes_max);
        heap.is_exhausted = false;
    }

    /// Whether the last call asked for more than the heap has.
    pub(crate) fn is_exhausted(&self) -> bool {
        // SAFETY: as above.
        unsafe { self.0.as_ref() }.is_exhausted
    }

    /// Gives memory back of which a burst has left much unused; to be called now and then.
    pub(crate) fn settle(&mut self) {
        // SAFETY: as above.
        unsafe { self.0.as_mut() }.settle();
    }
}

impl Drop for OwnHeap {
    fn drop(&mut self) {
        // SAFETY: `new` made both, and the image that had pointers to its blocks is gone.
        unsafe {
            let heap = Box::from_raw(self.0.as_ptr());
            let first = NonNull::new_unchecked((heap.base - PAGE_BYTES) as *mut c_void);
            let unmapped = munmap(first, heap.end - heap.base + 2 * PAGE_BYTES);
            assert!(unmapped.is_ok(), "the range is the heap's own: {unmapped:?}");
        }
    }
}

impl Heap {
    /// A block of `size` bytes, or null when the heap is full. `align` is a power of two, or 0 for
    /// the alignment that every block has.
    fn allocate(&mut self, size: usize, align: usize) -> *mut u8 {
        let _at_work = AtWork::begin();
        let align = align.max(ALIGN);
        let place = self.take_kept(size, align).unwrap_or_else(|| self.allocate_anew(size, align));
        if place.is_null() {
            self.is_exhausted = true;
            return place;
        }
        self.mark(place, size, align);
        self.count(self.in_use + size);
        place
    }

    /// So many bytes are in use now.
    fn count(&mut self, in_use: usize) {
        self.in_use = in_use;
        self.peak = self.peak.max(in_use);
        if in_use > self.call_in_use_max {
            self.call_in_use_max = usize::MAX;
            fault(Misdeed::Exhaustion, "it has allocated more than one call may");
        }
    }

    fn allocate_anew(&mut self, size: usize, align: usize) -> *mut u8 {
        let Some((layout, before)) = layout_of(size, align) else { return std::ptr::null_mut() };
        let block = self.blocks.allocate(layout).or_else(|| {
            if !self.grow(layout) {
                self.let_kept_go();
            }
            self.blocks.allocate(layout)
        });
        // SAFETY: the block has `before` bytes in front of what was asked for.
        block.map_or(std::ptr::null_mut(), |block| unsafe { block.as_ptr().add(before) })
    }

    /// A block that was freed and is as large.
    fn take_kept(&mut self, size: usize, align: usize) -> Option<*mut u8> {
        let kept = self.small.get_mut(small_size(size, align)?)?;
        let place = kept.first;
        if place.is_null() {
            return None;
        }
        // SAFETY: it was put there by `keep`, and is written to by nobody, unless a script still uses
        // what it has freed: then the address of the next may be any, which is looked at before it is
        // used.
        kept.first = unsafe { place.cast::<*mut u8>().read() };
        kept.count -= 1;
        let next = kept.first as usize;
        if next != 0 && (next < self.base || next >= self.grown || !next.is_multiple_of(ALIGN)) {
            *kept = Kept { first: std::ptr::null_mut(), count: 0 };
            misuse(&format!(
                "memory of the scripts' heap was written to after it was freed, at {place:p}"
            ));
        }
        Some(place)
    }

    /// Keeps a freed block for the next request of its size; false where it is none that is kept.
    fn keep(&mut self, place: *mut u8, size: usize, align: usize) -> bool {
        let Some(index) = small_size(size, align) else { return false };
        let kept = &mut self.small[index];
        if kept.count >= SMALL_KEPT_MAX {
            return false;
        }
        // SAFETY: the block has room for a pointer, and is nobody's now.
        unsafe { place.cast::<*mut u8>().write(kept.first) };
        *kept = Kept { first: place, count: kept.count + 1 };
        true
    }

    fn let_kept_go(&mut self) {
        for index in 0..SMALL_SIZES {
            let size = (index + 1) * SMALL_STEP;
            while let Some(place) = self.take_kept(size, ALIGN) {
                // SAFETY: a block of the least alignment, which nobody has.
                unsafe {
                    let block = NonNull::new_unchecked(place.sub(ALIGN));
                    self.blocks.deallocate(block, ALIGN);
                }
            }
        }
    }

    /// Ends a block; its place was given by this heap, or a fault says that it was not.
    fn release(&mut self, place: *mut u8) {
        let _at_work = AtWork::begin();
        let (size, align) = self.check(place, "freed");
        self.in_use -= size;
        // SAFETY: the mark says that it is a block; without one it is no block any more. As many bytes
        // stand before it as it is aligned to.
        unsafe {
            mark_of(place).write(Mark { request: 0, seal: 0 });
            if !self.keep(place, size, align) {
                self.blocks.deallocate(NonNull::new_unchecked(place.sub(align)), align);
            }
        }
    }

    /// Changes a block's size; null when the heap is full, and then the block is as it was.
    fn resize(&mut self, place: *mut u8, size: usize) -> *mut u8 {
        let _at_work = AtWork::begin();
        let (old, align) = self.check(place, "reallocated");
        if align > ALIGN {
            return self.move_to_new(place, old, size);
        }
        let Some((layout, before)) = layout_of(size, ALIGN) else { return std::ptr::null_mut() };
        // SAFETY: the mark says that it is a block of this alignment.
        let moved = unsafe {
            let block = NonNull::new_unchecked(place.sub(before));
            self.blocks.reallocate(block, layout)
        };
        // What does not fit may fit once there is more.
        let Some(block) = moved else { return self.move_to_new(place, old, size) };
        // SAFETY: as in `allocate`.
        let place = unsafe { block.as_ptr().add(before) };
        self.mark(place, size, ALIGN);
        self.count(self.in_use - old + size);
        place
    }

    fn move_to_new(&mut self, place: *mut u8, old: usize, size: usize) -> *mut u8 {
        let new = self.allocate(size, ALIGN);
        if !new.is_null() {
            // SAFETY: two blocks, of at least so many bytes each.
            unsafe { std::ptr::copy_nonoverlapping(place, new, old.min(size)) };
            self.release(place);
        }
        new
    }

    fn mark(&self, place: *mut u8, size: usize, align: usize) {
        let request = size | (align.trailing_zeros() as usize) << SIZE_BITS;
        let mark = Mark { request, seal: self.seal(place, request) };
        // SAFETY: the mark's place is the block's own.
        unsafe { mark_of(place).write(mark) };
    }

    /// Size and alignment of a block, or a fault.
    fn check(&self, place: *mut u8, what: &str) -> (usize, usize) {
        let address = place as usize;
        if address < self.base + MARK_BYTES || address >= self.grown {
            misuse(&format!(
                "{place:p} was {what}, which is not memory of the scripts' heap ({:#x} to {:#x})",
                self.base, self.grown
            ));
        }
        let mut mark = Mark { request: 0, seal: 1 };
        if address.is_multiple_of(ALIGN) {
            // SAFETY: the mark's place lies within what is usable of the heap.
            mark = unsafe { mark_of(place).read() };
        }
        if mark.seal != self.seal(place, mark.request) {
            misuse(&format!(
                "{place:p} was {what}, where no block of the scripts' heap begins: it was freed \
                 before, or it is inside of a block, or something was written in front of it"
            ));
        }
        (mark.request & ((1 << SIZE_BITS) - 1), 1 << (mark.request >> SIZE_BITS))
    }

    fn seal(&self, place: *mut u8, request: usize) -> usize {
        place as usize ^ self.secret ^ request.wrapping_mul(0xff51_afd7_ed55_8ccd)
    }

    /// Makes more memory usable; whether by so much that a block of this layout fits.
    fn grow(&mut self, layout: Layout) -> bool {
        // The allocator rounds a request up to where its next list begins, and has headers.
        let need = layout.size() + layout.size() / 8 + layout.align() + PAGE_BYTES;
        let bytes = need.next_multiple_of(STEP_BYTES).min(self.end - self.grown);
        let Some(place) = NonNull::new(self.grown as *mut c_void) else { return false };
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the pages are the heap's own, and nobody has used them.
        if bytes == 0 || unsafe { mprotect(place, bytes, access) }.is_err() {
            return false;
        }
        let pages = NonNull::slice_from_raw_parts(place.cast(), bytes);
        // SAFETY: the pages live as long as the heap, and follow those before them.
        unsafe {
            if self.grown == self.base {
                self.blocks.insert_free_block_ptr(pages);
            } else {
                self.blocks.append_free_block_ptr(pages);
            }
        }
        self.grown += bytes;
        bytes > layout.size()
    }

    fn settle(&mut self) {
        self.touched = self.touched.max(self.peak);
        let recent = std::mem::replace(&mut self.peak, self.in_use);
        // What was in use a moment ago may be wanted again in the next.
        if self.touched.saturating_sub(recent) > UNUSED_BYTES_MIN + recent / 2 {
            self.trim();
            self.touched = self.in_use;
        }
    }

    /// Gives the pages of free memory back, wherever it is: takes every large free block, drops what
    /// is in it, and lets go of it again.
    fn trim(&mut self) {
        self.let_kept_go();
        let mut taken: *mut *mut u8 = std::ptr::null_mut();
        let mut size = (self.grown - self.base).next_power_of_two();
        while size >= TRIMMED_BYTES_MIN {
            let layout = Layout::from_size_align(size, ALIGN).expect("a power of two");
            while let Some(block) = self.blocks.allocate(layout) {
                let link = block.as_ptr().cast::<*mut u8>();
                let first = (block.as_ptr() as usize + ALIGN).next_multiple_of(PAGE_BYTES);
                let end = (block.as_ptr() as usize + size) & !(PAGE_BYTES - 1);
                // SAFETY: the block is free memory that was just taken; its first page keeps the link.
                unsafe {
                    link.write(taken.cast());
                    let pages = NonNull::new_unchecked(first as *mut c_void);
                    // A kernel that does not give them back leaves them as they are.
                    let _ = madvise(pages, end - first, MmapAdvise::MADV_DONTNEED);
                }
                taken = link;
            }
            size /= 2;
        }
        while let Some(block) = NonNull::new(taken) {
            // SAFETY: each was taken above and holds the link to the one before.
            unsafe {
                taken = block.read().cast();
                self.blocks.deallocate(block.cast(), ALIGN);
            }
        }
    }
}

/// How a block of `size` bytes is laid out, and how many bytes stand before it.
fn layout_of(size: usize, align: usize) -> Option<(Layout, usize)> {
    if size > REQUEST_BYTES_MAX || align > REQUEST_BYTES_MAX {
        return None;
    }
    let size = small_size(size, align).map_or(size, |index| (index + 1) * SMALL_STEP);
    // The mark is as long as the least alignment: what is aligned further has it in its last bytes.
    Some((Layout::from_size_align(size + align, align).ok()?, align))
}

/// Which size of small blocks a request is of.
fn small_size(size: usize, align: usize) -> Option<usize> {
    let is_small = align <= ALIGN && size <= SMALL_SIZES * SMALL_STEP;
    is_small.then(|| size.max(1).div_ceil(SMALL_STEP) - 1)
}

fn mark_of(place: *mut u8) -> *mut Mark {
    place.wrapping_sub(MARK_BYTES).cast()
}

/// Sets what is done about a script that breaks its heap or takes too much of it.
pub(crate) fn on_fault(fault: fn(Misdeed, &str) -> !) {
    FAULT.store(fault as *mut (), Ordering::Relaxed);
}

/// A script has broken its heap.
fn misuse(sentence: &str) -> ! {
    fault(Misdeed::HeapMisuse, sentence)
}

pub(crate) fn fault(what: Misdeed, sentence: &str) -> ! {
    let handler = FAULT.load(Ordering::Relaxed);
    if !handler.is_null() {
        // SAFETY: `on_fault` put a function of this type there.
        let handler: fn(Misdeed, &str) -> ! = unsafe { std::mem::transmute(handler) };
        handler(what, sentence);
    }
    eprintln!("kiln: {sentence}");
    std::process::abort()
}
