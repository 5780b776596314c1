//! What a worker holds of each generation that it has mapped: a part of its page of the scoreboard.
//!
//! A worker writes it about twice a second, the master reads it when somebody asks.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::target::TargetCell;

/// Generations that a worker may have mapped: as many as the arena has slots.
pub const HOLDINGS_MAX: usize = 16;

/// What one generation holds in one worker. `T` is text: lent where it is written, owned where it is
/// read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holding<T = String> {
    /// Its number.
    pub generation: u64,
    /// Requests that it decided and that are not over.
    pub requests: u64,
    /// Requests that it decided since this worker has it, those that it failed at included.
    pub decided: u64,
    /// Bytes that its scripts have allocated and not given back.
    pub memory_bytes: u64,
    /// The oldest of its requests, where they are what it waits for.
    pub oldest: Option<Oldest<T>>,
}

/// A request that a generation waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Oldest<T = String> {
    /// When it was decided, in milliseconds of CLOCK_MONOTONIC.
    pub since_ms: u64,
    /// The beginning of its target.
    pub target: T,
}

/// The holdings of one worker.
#[repr(C)]
pub struct Holdings([Cell; HOLDINGS_MAX]);

#[repr(C)]
struct Cell {
    /// 0 where there is none.
    generation: AtomicU64,
    requests: AtomicU64,
    decided: AtomicU64,
    memory_bytes: AtomicU64,
    /// 0 where none is told.
    since_ms: AtomicU64,
    target: TargetCell,
}

impl Holdings {
    /// In the worker: these are all there are now.
    pub fn publish<'a>(&self, holdings: impl Iterator<Item = Holding<&'a [u8]>>) {
        let mut used = 0;
        for (cell, held) in self.0.iter().zip(holdings) {
            used += 1;
            cell.generation.store(held.generation, Relaxed);
            cell.requests.store(held.requests, Relaxed);
            cell.decided.store(held.decided, Relaxed);
            cell.memory_bytes.store(held.memory_bytes, Relaxed);
            let Oldest { since_ms, target } = held.oldest.unwrap_or_default();
            cell.since_ms.store(since_ms, Relaxed);
            cell.target.write(target);
        }
        self.0[used..].iter().for_each(|cell| cell.generation.store(0, Relaxed));
    }

    /// In the master: what the worker said last.
    pub fn read(&self) -> impl Iterator<Item = Holding> {
        let used = self.0.iter().filter(|cell| cell.generation.load(Relaxed) != 0);
        used.map(Cell::read)
    }
}

impl Cell {
    fn read(&self) -> Holding {
        let since_ms = self.since_ms.load(Relaxed);
        let oldest = (since_ms != 0).then(|| Oldest { since_ms, target: self.target.read() });
        Holding {
            generation: self.generation.load(Relaxed),
            requests: self.requests.load(Relaxed),
            decided: self.decided.load(Relaxed),
            memory_bytes: self.memory_bytes.load(Relaxed),
            oldest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::TARGET_BYTES_MAX;

    fn empty() -> Holdings {
        Holdings(std::array::from_fn(|_| Cell {
            generation: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            decided: AtomicU64::new(0),
            memory_bytes: AtomicU64::new(0),
            since_ms: AtomicU64::new(0),
            target: TargetCell::empty(),
        }))
    }

    fn held(generation: u64, oldest: Option<(u64, &[u8])>) -> Holding<&[u8]> {
        let oldest = oldest.map(|(since_ms, target)| Oldest { since_ms, target });
        Holding { generation, requests: 5, decided: 7, memory_bytes: 9, oldest }
    }

    #[test]
    fn what_was_published_last_is_all_there_is() {
        let holdings = empty();
        holdings.publish([held(1, Some((7, b"/a"))), held(2, None)].into_iter());
        holdings.publish([held(2, Some((8, b"/b")))].into_iter());
        let oldest = Some(Oldest { since_ms: 8, target: "/b".to_owned() });
        let expect = Holding { generation: 2, requests: 5, decided: 7, memory_bytes: 9, oldest };
        assert_eq!(holdings.read().collect::<Vec<_>>(), [expect]);
    }

    #[test]
    fn whatever_a_worker_writes_is_read_as_a_short_line() {
        let holdings = empty();
        holdings.publish([held(1, Some((1, b"/\x1b[2J\n\xff")))].into_iter());
        holdings.0[0].target.break_length();
        let target = holdings.read().next().unwrap().oldest.unwrap().target;
        assert_eq!(target.len(), TARGET_BYTES_MAX);
        assert!(target.starts_with("/?[2J??"), "{target}");
    }
}
