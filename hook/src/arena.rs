//! The request arena: memory for what a script makes of one request, given back all at once.

use std::ffi::c_void;

/// Bytes of the first block, which is kept from request to request: most need no other.
const BLOCK_BYTES: usize = 64 << 10;
/// Most bytes that one request may take: a reply made by a script is at most this large.
pub(crate) const REQUEST_BYTES_MAX: usize = 64 << 20;
/// Alignment that `malloc` gives, and so the arena.
pub(crate) const ALIGN: usize = 16;

/// Blocks of one worker's arena.
pub(crate) struct Arena {
    first: Block,
    more: Vec<Block>,
    taken: usize,
}

type Block = Box<[Aligned]>;

/// A unit of memory with the arena's alignment.
#[repr(C, align(16))]
#[derive(Clone, Copy)]
struct Aligned([u8; ALIGN]);

const _: () = assert!(align_of::<Aligned>() == ALIGN && BLOCK_BYTES.is_multiple_of(ALIGN));

impl Arena {
    pub(crate) fn new() -> Self {
        Self { first: block(BLOCK_BYTES), more: Vec::new(), taken: 0 }
    }

    /// Frees what the last request took; returns the free range that the next one starts with.
    pub(crate) fn reset(&mut self) -> (*mut u8, *mut u8) {
        self.more.clear();
        self.taken = BLOCK_BYTES;
        let range = self.first.as_mut_ptr_range();
        (range.start.cast(), range.end.cast())
    }

    /// `size` bytes of a block of their own, or null when the request has used up its share.
    pub(crate) fn allocate(&mut self, size: usize) -> *mut c_void {
        if size > REQUEST_BYTES_MAX - self.taken {
            return std::ptr::null_mut();
        }
        self.taken += size;
        self.more.push(block(size));
        self.more.last_mut().map_or(std::ptr::null_mut(), |block| block.as_mut_ptr().cast())
    }
}

fn block(bytes: usize) -> Block {
    vec![Aligned([0; ALIGN]); bytes.div_ceil(ALIGN)].into_boxed_slice()
}
