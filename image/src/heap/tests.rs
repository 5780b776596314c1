//! Blocks of a heap: where they lie, what they cost, and what is no block.

use std::fs;

use super::*;

unsafe extern "C" {
    fn __cxa_allocate_exception(size: usize) -> *mut u8;
    fn __cxa_free_exception(object: *mut u8);
    fn __cxa_init_primary_exception(
        object: *mut u8,
        kind: *const c_void,
        destructor: *const c_void,
    ) -> *mut u8;
}

fn heap(bytes: u64) -> OwnHeap {
    on_fault(|_, sentence| panic!("{sentence}"));
    OwnHeap::new(bytes).expect("addresses are plenty")
}

impl OwnHeap {
    fn get(&mut self) -> &mut Heap {
        // SAFETY: the test has it alone.
        unsafe { self.0.as_mut() }
    }

    /// Pages of it that are in memory.
    fn resident(&mut self) -> usize {
        let heap = self.get();
        let mut pages = vec![0_u8; (heap.grown - heap.base) / PAGE_BYTES];
        let (first, bytes) = (heap.base as *mut c_void, heap.grown - heap.base);
        // SAFETY: one byte for each page of a range that is mapped.
        let answer = unsafe { libc::mincore(first, bytes, pages.as_mut_ptr()) };
        assert_eq!(answer, 0);
        pages.iter().filter(|page| *page & 1 == 1).count()
    }
}

/// Fills a block with what its number says, and looks whether it still is.
#[derive(Clone, Copy)]
struct Filled {
    place: *mut u8,
    size: usize,
    byte: u8,
}

impl Filled {
    fn fill(place: *mut u8, size: usize, byte: u8) -> Self {
        // SAFETY: the heap gave so many bytes.
        unsafe { place.write_bytes(byte, size) };
        Self { place, size, byte }
    }

    fn check(&self, size: usize) {
        // SAFETY: as above.
        let bytes = unsafe { std::slice::from_raw_parts(self.place, self.size.min(size)) };
        assert!(bytes.iter().all(|byte| *byte == self.byte), "a block was overwritten");
    }
}

#[test]
fn blocks_keep_what_is_in_them_through_any_history() {
    let mut own = heap(64 << 20);
    let heap = own.get();
    let mut blocks: Vec<Option<Filled>> = vec![None; 512];
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    for turn in 0..200_000 {
        let at = random(blocks.len());
        let size = if random(100) == 0 { random(200_000) } else { random(300) };
        blocks[at] = match blocks[at] {
            Some(block) if random(3) == 0 => {
                let place = heap.resize(block.place, size);
                Filled { place, ..block }.check(size);
                Some(Filled::fill(place, size, turn as u8))
            }
            Some(block) => {
                block.check(usize::MAX);
                heap.release(block.place);
                None
            }
            None => {
                let align = 1 << random(13);
                let place = heap.allocate(size, align);
                assert_eq!(place as usize % align.max(ALIGN), 0);
                Some(Filled::fill(place, size, turn as u8))
            }
        };
    }
    let expect: usize = blocks.iter().flatten().map(|block| block.size).sum();
    assert_eq!(heap.in_use, expect);
    blocks.iter().flatten().for_each(|block| {
        block.check(usize::MAX);
        heap.release(block.place);
    });
    assert_eq!(heap.in_use, 0);
}

#[test]
fn a_full_heap_says_so_and_has_room_again_once_blocks_are_freed() {
    let mut own = heap(8 << 20);
    let heap = own.get();
    let mut blocks = Vec::new();
    loop {
        let place = heap.allocate(1000, 0);
        if place.is_null() {
            break;
        }
        blocks.push(place);
    }
    assert!(blocks.len() * 1000 > 7 << 20, "{} blocks", blocks.len());
    assert!(heap.resize(blocks[0], 1 << 20).is_null());
    for place in blocks.drain(..) {
        heap.release(place);
    }
    assert!(!heap.allocate(7 << 20, 0).is_null(), "free blocks are joined again");
    assert!(heap.allocate(usize::MAX, 0).is_null());
    assert!(heap.allocate(8, 1 << 62).is_null());
}

#[test]
#[should_panic(expected = "where no block of the scripts' heap begins")]
fn a_block_that_is_freed_twice_is_a_fault() {
    let mut own = heap(1 << 20);
    let [place, next] = [100; 2].map(|size| own.get().allocate(size, 0));
    own.get().release(place);
    own.get().release(next);
    own.get().release(next);
}

#[test]
#[should_panic(expected = "where no block of the scripts' heap begins")]
fn a_pointer_into_a_block_is_no_block() {
    let mut own = heap(1 << 20);
    let place = own.get().allocate(100, 0);
    // SAFETY: it points into the block.
    own.get().release(unsafe { place.add(32) });
}

#[test]
#[should_panic(expected = "which is not memory of the scripts' heap")]
fn memory_of_the_host_is_no_block() {
    let mut own = heap(1 << 20);
    own.get().allocate(100, 0);
    own.get().release(Box::into_raw(Box::new(1_u64)).cast());
}

#[test]
#[should_panic(expected = "something was written in front of it")]
fn a_block_whose_neighbour_has_run_over_is_a_fault() {
    let mut own = heap(1 << 20);
    let [place, next] = [32; 2].map(|size| own.get().allocate(size, 0));
    // SAFETY: both are blocks of the heap, and what lies between them is the heap's.
    unsafe { place.write_bytes(0x41, next as usize - place as usize) };
    own.get().release(next);
}

#[test]
#[should_panic(expected = "was written to after it was freed")]
fn a_block_that_is_written_to_after_it_was_freed_is_a_fault() {
    let mut own = heap(1 << 20);
    let place = own.get().allocate(100, 0);
    own.get().release(place);
    Filled::fill(place, 100, 0x41);
    own.get().allocate(100, 0);
}

/// Or a generation that once had many small blocks could not have a large one.
#[test]
fn small_blocks_that_are_kept_are_not_in_the_way_of_large_ones() {
    let mut own = heap(1 << 20);
    for size in (1..=512).rev().step_by(3) {
        let blocks: Vec<_> = (0..100).map(|_| own.get().allocate(size, 0)).collect();
        blocks.iter().for_each(|place| own.get().release(*place));
    }
    assert!(!own.get().allocate(900 << 10, 0).is_null());
}

#[test]
fn what_a_burst_has_used_goes_back_wherever_it_lies() {
    let mut own = heap(256 << 20);
    let blocks: Vec<*mut u8> = (0..400_000)
        .map(|number| {
            let place = own.get().allocate(100, 0);
            Filled::fill(place, 100, number as u8).place
        })
        .collect();
    own.settle();
    let most = own.resident();
    assert!(most * PAGE_BYTES > 40 << 20, "{most} pages");
    // Some stay, at the beginning, in the middle and at the end.
    for (number, place) in blocks.iter().enumerate() {
        if number % 50_000 != 0 && number != blocks.len() - 1 {
            own.get().release(*place);
        }
    }
    own.settle();
    assert_eq!(own.resident(), most, "it may be wanted again at once");
    own.settle();
    assert!(own.resident() < 64, "{} pages of {most}", own.resident());
    let place = own.get().allocate(40 << 20, 0);
    Filled::fill(place, 40 << 20, 7).check(usize::MAX);
}

#[test]
fn heaps_that_end_leave_no_mapping_whatever_they_held() {
    let mappings = || fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    let before = mappings();
    for _ in 0..1000 {
        let mut own = heap(64 << 20);
        for size in [10, 100_000, 2 << 20] {
            Filled::fill(own.get().allocate(size, 0), 10, 1);
        }
    }
    // Other tests have some heaps meanwhile.
    assert!(mappings() < before + 40, "{before} mappings became {}", mappings());
}

/// libstdc++ finds the header of an exception by this distance; so must what allocates it.
#[test]
fn the_header_of_an_exception_is_as_long_as_the_library_has_it() {
    // SAFETY: an exception object that is never thrown.
    unsafe {
        let object = __cxa_allocate_exception(8);
        let nothing = std::ptr::null();
        let header = __cxa_init_primary_exception(object, nothing, nothing);
        assert_eq!(object as usize - header as usize, 128);
        __cxa_free_exception(object);
    }
}
