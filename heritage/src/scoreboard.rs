//! The scoreboard: one page of shared memory a worker, written by that worker and read by the master.

use std::io;
use std::ops::Deref;
use std::sync::atomic::{AtomicU8, AtomicU64};

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
}

/// The master's mapping: all pages.
pub struct Scoreboard {
    _todo: (),
}

impl Scoreboard {
    /// Reserves shared memory for [`crate::WORKERS_MAX`] pages; untouched ones cost nothing.
    pub fn create() -> io::Result<Self> {
        todo!()
    }

    /// Page of worker `index`.
    pub fn page(&self, _index: usize) -> &WorkerPage {
        todo!()
    }

    /// Zeroes the page of worker `index` for the next worker of that index.
    pub fn clear(&self, _index: usize) {
        todo!()
    }

    /// In a new worker: keeps its own page and unmaps the others.
    pub fn keep_only(self, _index: usize) -> OwnPage {
        todo!()
    }
}

/// A worker's mapping: its own page alone.
pub struct OwnPage {
    page: std::ptr::NonNull<WorkerPage>,
}

impl Deref for OwnPage {
    type Target = WorkerPage;
    #[allow(unsafe_code)]
    fn deref(&self) -> &WorkerPage {
        // SAFETY: `keep_only` left this page mapped for the life of the process, and it is all atomics.
        unsafe { self.page.as_ref() }
    }
}
