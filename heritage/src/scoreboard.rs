//! The scoreboard: one page of shared memory a worker process, written by it and read by the master.
//!
//! It is all atomics, so that nobody waits for anybody: a worker that dies in the middle of an
//! update leaves a counter that is one short, and never a lock that is held. A worker unmaps every
//! page but its own right after the fork, so that a script gone wild cannot write into a
//! neighbour's.

use std::io;
use std::num::NonZeroUsize;
use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::PAGES_MAX;
use crate::holdings::Holdings;
use crate::reason::{REASONS_MAX, ReasonCounts};
use crate::target::TargetCell;

/// What a worker is doing, as `kiln status` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum WorkerState {
    /// Forked, and not yet ready to accept.
    Starting = 0,
    /// Accepting and serving.
    Serving = 1,
    /// Finishing what it has; takes nothing new.
    Draining = 2,
}

/// Which page. Not an index of a worker: a process keeps its page when another takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageNumber(usize);

impl PageNumber {
    /// The page of this number, which is below [`PAGES_MAX`].
    pub fn new(number: usize) -> Self {
        assert!(number < PAGES_MAX, "there is no page {number}");
        PageNumber(number)
    }

    /// Every one, in order.
    pub fn all() -> impl Iterator<Item = PageNumber> {
        (0..PAGES_MAX).map(PageNumber)
    }
}

/// Counters of one worker; alone on its page, so that a worker can be given just its own.
#[repr(C, align(4096))]
pub struct WorkerPage {
    /// A [`WorkerState`].
    pub state: AtomicU8,
    /// The generation that new requests go to; 0 before the first.
    pub generation: AtomicU64,
    /// Requests answered since the worker started.
    pub requests: AtomicU64,
    /// Client connections open now.
    pub connections: AtomicU64,
    /// Client connections accepted since the worker started.
    pub accepted: AtomicU64,
    /// Milliseconds of CLOCK_MONOTONIC at the last turn of the event loop.
    pub heartbeat_ms: AtomicU64,
    /// Requests sent to origins since the worker started, each time that one was sent.
    pub forwarded: AtomicU64,
    /// Connections to origins opened since then: one in how many requests says how well pools work.
    pub origin_connections: AtomicU64,
    /// Requests sent to another server, or over another connection, after the first had failed.
    pub retries: AtomicU64,
    /// Requests and connections answered 503 for want of a server, of room in a queue, or of a
    /// place.
    pub turned_away: AtomicU64,
    /// How often Kiln answered or closed by itself since then, by [`crate::Reason`].
    pub reasons: [AtomicU64; REASONS_MAX],
    /// What it holds of each generation.
    pub holdings: Holdings,
    /// Which request a script decides on now: what to blame if the worker dies.
    pub at_work: AtWork,
}

/// A hook call that runs.
#[repr(C)]
pub struct AtWork {
    /// 0 where no hook runs. A number, since a worker gone wild may write any.
    calls: AtomicU64,
    target: TargetCell,
}

impl AtWork {
    /// In the worker: a hook is about to be called for a request of this target.
    pub fn begin(&self, target: &[u8]) {
        self.target.write(target);
        self.calls.store(1, Ordering::Relaxed);
    }

    /// In the worker: it has returned.
    pub fn end(&self) {
        self.calls.store(0, Ordering::Relaxed);
    }

    /// In the master: whether a hook runs.
    pub fn is_busy(&self) -> bool {
        self.calls.load(Ordering::Relaxed) != 0
    }

    /// In the master: the beginning of the target of the request at work, printable whatever stands
    /// there; none where no hook runs.
    pub fn target(&self) -> Option<String> {
        self.is_busy().then(|| self.target.read())
    }
}

const _: () = assert!(size_of::<WorkerPage>() == 4096, "a worker can be given just its own");

impl WorkerPage {
    /// Says what the worker is doing now.
    pub fn enter(&self, state: WorkerState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// In the master: how often each reason was one.
    pub fn reasons(&self) -> ReasonCounts {
        std::array::from_fn(|place| self.reasons[place].load(Ordering::Relaxed))
    }

    fn clear(&self) {
        self.enter(WorkerState::Starting);
        let counters = [
            &self.generation,
            &self.requests,
            &self.connections,
            &self.accepted,
            &self.heartbeat_ms,
            &self.forwarded,
            &self.origin_connections,
            &self.retries,
            &self.turned_away,
        ];
        for counter in counters.into_iter().chain(&self.reasons) {
            counter.store(0, Ordering::Relaxed);
        }
        self.holdings.publish(std::iter::empty());
        self.at_work.end();
    }
}

/// The pages that this process has mapped: all of them in the master, its own in a worker.
///
/// The mapping lasts as long as the process: pages are handed out as [`OwnPage`], and a master
/// without a scoreboard has nothing left to do.
pub struct Scoreboard {
    pages: NonNull<WorkerPage>,
    mapped: Range<usize>,
}

// The mapping is raw memory: making it, narrowing it and reading through it have no safe wrapper.
#[allow(unsafe_code)]
impl Scoreboard {
    /// Reserves shared memory for [`PAGES_MAX`] pages; untouched ones cost nothing.
    pub fn create() -> io::Result<Self> {
        const LENGTH: usize = PAGES_MAX * size_of::<WorkerPage>();
        let length = NonZeroUsize::new(LENGTH).expect("there is at least one worker");
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: an anonymous mapping at an address of the kernel's choice overlaps nothing.
        let pages = unsafe { mmap_anonymous(None, length, protection, MapFlags::MAP_SHARED)? };
        Ok(Scoreboard { pages: pages.cast(), mapped: 0..PAGES_MAX })
    }

    /// The page of this number.
    pub fn page(&self, PageNumber(number): PageNumber) -> &WorkerPage {
        assert!(self.mapped.contains(&number), "page {number} is not mapped here");
        // SAFETY: `mapped` holds the pages that are mapped, for the life of the process (nothing
        // but `keep_only` unmaps, and it narrows `mapped`). Zeroed memory is a valid page, the
        // kernel aligns mappings to pages, and all of it is atomics, which others may write
        // meanwhile.
        unsafe { self.pages.add(number).as_ref() }
    }

    /// Zeroes a page for the next process that counts on it.
    pub fn clear(&self, page: PageNumber) {
        self.page(page).clear();
    }

    /// In a new worker: keeps its own page and unmaps the others.
    ///
    /// Takes `&mut self` and not `self`: the child of a fork stands deep in the master's loop.
    pub fn keep_only(&mut self, own: PageNumber) -> io::Result<OwnPage> {
        let page = NonNull::from(self.page(own));
        let PageNumber(number) = own;
        let others = [self.mapped.start..number, number + 1..self.mapped.end];
        self.mapped = number..number + 1;
        self.unmap(others)?;
        Ok(OwnPage { page })
    }

    /// In a new child that counts nothing: unmaps every page.
    pub fn keep_none(&mut self) -> io::Result<()> {
        let all = std::mem::replace(&mut self.mapped, 0..0);
        self.unmap([all])
    }

    /// Unmaps pages that `mapped` no longer names.
    fn unmap<const N: usize>(&mut self, ranges: [Range<usize>; N]) -> io::Result<()> {
        for range in ranges.into_iter().filter(|range| !range.is_empty()) {
            // SAFETY: the range lies in the mapping, `&mut self` proves that no reference into it
            // is alive, and the callers have seen to it that `mapped` no longer names it.
            unsafe {
                munmap(self.pages.add(range.start).cast(), range.len() * size_of::<WorkerPage>())?;
            }
        }
        Ok(())
    }
}

/// A worker's mapping: its own page alone.
pub struct OwnPage {
    page: NonNull<WorkerPage>,
}

impl Deref for OwnPage {
    type Target = WorkerPage;
    // A pointer into shared memory, see `Scoreboard`.
    #[allow(unsafe_code)]
    fn deref(&self) -> &WorkerPage {
        // SAFETY: `keep_only` left this page mapped for the life of the process, and it is all
        // atomics.
        unsafe { self.page.as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use crate::target::TARGET_BYTES_MAX;
    use nix::sys::signal::Signal;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    use super::*;

    /// Forks, runs `child` there, and says how it ended.
    #[allow(unsafe_code)]
    fn in_child(child: impl FnOnce()) -> WaitStatus {
        // SAFETY: the child does nothing but what `child` does, which is system calls and atomics,
        // and ends without unwinding.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                child();
                // SAFETY: ends the process at once, which is what the child is to do.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => waitpid(child, None).unwrap(),
        }
    }

    #[test]
    fn the_master_reads_what_a_forked_worker_counted() {
        let mut scoreboard = Scoreboard::create().unwrap();
        let ended = in_child(|| {
            let page = scoreboard.keep_only(PageNumber(7)).unwrap();
            page.enter(WorkerState::Serving);
            page.requests.fetch_add(42, Ordering::Relaxed);
        });
        assert!(matches!(ended, WaitStatus::Exited(_, 0)), "{ended:?}");
        assert_eq!(scoreboard.page(PageNumber(7)).requests.load(Ordering::Relaxed), 42);
        assert_eq!(
            scoreboard.page(PageNumber(7)).state.load(Ordering::Relaxed),
            WorkerState::Serving as u8
        );
        assert_eq!(scoreboard.page(PageNumber(6)).requests.load(Ordering::Relaxed), 0);
        scoreboard.clear(PageNumber(7));
        assert_eq!(scoreboard.page(PageNumber(7)).requests.load(Ordering::Relaxed), 0);
    }

    #[test]
    #[allow(unsafe_code)]
    fn a_worker_cannot_touch_the_page_of_another() {
        let mut scoreboard = Scoreboard::create().unwrap();
        let neighbour = std::ptr::from_ref(scoreboard.page(PageNumber(8))).cast::<u8>().cast_mut();
        let ended = in_child(|| {
            let _own = scoreboard.keep_only(PageNumber(7)).unwrap();
            // SAFETY: not sound, and meant so: the page is gone, and the child dies of the write.
            unsafe { neighbour.write_volatile(1) }
        });
        assert!(matches!(ended, WaitStatus::Signaled(_, Signal::SIGSEGV, _)), "{ended:?}");
        assert_eq!(scoreboard.page(PageNumber(8)).state.load(Ordering::Relaxed), 0);
    }

    #[test]
    #[allow(unsafe_code)]
    fn a_child_that_counts_nothing_can_touch_no_page() {
        let mut scoreboard = Scoreboard::create().unwrap();
        let page = std::ptr::from_ref(scoreboard.page(PageNumber(0))).cast::<u8>().cast_mut();
        let ended = in_child(|| {
            scoreboard.keep_none().unwrap();
            // SAFETY: not sound, and meant so, as above.
            unsafe { page.write_volatile(1) }
        });
        assert!(matches!(ended, WaitStatus::Signaled(_, Signal::SIGSEGV, _)), "{ended:?}");
    }

    #[test]
    fn the_master_reads_which_request_a_script_was_at() {
        let scoreboard = Scoreboard::create().unwrap();
        let at_work = &scoreboard.page(PageNumber(0)).at_work;
        let long = "/".repeat(3 * TARGET_BYTES_MAX);
        assert_eq!(at_work.target(), None);
        for (target, told) in [
            ("", ""),
            ("/seven!", "/seven!"),
            ("/eight!!", "/eight!!"),
            ("/\x1b[2J and more", "/?[2J?and?more"),
            (&long, &long[..TARGET_BYTES_MAX]),
        ] {
            at_work.begin(target.as_bytes());
            assert_eq!(at_work.target().as_deref(), Some(told));
            assert!(at_work.is_busy());
        }
        at_work.end();
        assert_eq!(at_work.target(), None);
        assert!(!at_work.is_busy());
        at_work.begin(b"/");
        at_work.target.break_length();
        assert_eq!(at_work.target().map(|target| target.len()), Some(TARGET_BYTES_MAX));
    }

    #[test]
    #[should_panic(expected = "page 1 is not mapped here")]
    fn a_page_that_was_given_up_is_not_handed_out() {
        let mut scoreboard = Scoreboard::create().unwrap();
        let _own = scoreboard.keep_only(PageNumber(0)).unwrap();
        scoreboard.page(PageNumber(1));
    }
}
