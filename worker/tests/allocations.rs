//! Steady traffic allocates nothing: everything that a request needs is there already.

mod harness;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use harness::{IS_WORKER, Origin, Worker};

/// Counts what workers' threads allocate.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

fn count() {
    if IS_WORKER.get() {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing, since the
// thread-local has a constant initialiser and no destructor.
#[allow(unsafe_code, reason = "an allocator can't be had without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller upholds it.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const REQUESTS: u64 = 2000;

/// The text of `Date` is made anew once a second; nothing else may allocate.
const ALLOCATIONS_MAX: u64 = REQUESTS / 100;

/// One test, since the count is of all workers of this process.
#[test]
fn a_request_on_a_connection_that_is_open_allocates_nothing() {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |_| {});
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > 0, "a worker's start is not counted");
    let mut clients = [worker.connect(), worker.connect(), worker.connect()];
    for target in ["/fixed", "/plain", "/edited"] {
        let mut before = 0;
        for request in 0..REQUESTS + 100 {
            if request == 100 {
                before = ALLOCATIONS.load(Ordering::Relaxed);
            }
            for client in &mut clients {
                assert_eq!(client.get(target).status(), 200);
            }
        }
        let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
        assert!(allocations <= ALLOCATIONS_MAX, "{target}: {allocations} in {REQUESTS} requests");
    }
}
