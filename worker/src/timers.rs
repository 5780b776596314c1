//! Deadlines: a hashed wheel with one entry a connection, re-armed lazily.
//!
//! A busy connection moves its deadline with every request, nearly always further away. That is one
//! store: the entry stays where it is on the wheel, and when its place comes up the wheel sees that
//! the deadline has moved and carries the entry on. Only a deadline that comes *nearer* moves it at once.
//! There is no clock here; `now` is an argument.

use slab::Slab;

/// Places on the wheel, a power of two.
const PLACES: usize = 512;

/// Milliseconds that one place stands for. With [`PLACES`] the wheel spans 16 s; deadlines beyond it
/// are carried on once a round, which for 10,000 connections is one entry in 1.6 ms.
const PLACE_MS: u64 = 32;

const NONE: usize = usize::MAX;

/// A deadline that never comes.
const NEVER: u64 = u64::MAX;

/// Names one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerId(usize);

#[derive(Debug)]
struct Entry {
    token: usize,
    deadline_ms: u64,
    /// The tick at which the wheel looks at this entry; [`NEVER`] while it is not on the wheel.
    tick: u64,
    previous: usize,
    next: usize,
}

/// All deadlines of one worker.
#[derive(Debug)]
pub(crate) struct Timers {
    entries: Slab<Entry>,
    /// First entry of each place.
    places: Vec<usize>,
    /// The last tick that was dealt with.
    tick: u64,
}

impl Timers {
    pub(crate) fn new(now_ms: u64) -> Self {
        Timers { entries: Slab::new(), places: vec![NONE; PLACES], tick: now_ms / PLACE_MS }
    }

    /// Makes an entry without a deadline. `token` is what [`Timers::expire`] gives back.
    pub(crate) fn add(&mut self, token: usize) -> TimerId {
        let entry = Entry { token, deadline_ms: NEVER, tick: NEVER, previous: NONE, next: NONE };
        TimerId(self.entries.insert(entry))
    }

    /// Moves the deadline.
    pub(crate) fn set(&mut self, id: TimerId, deadline_ms: u64) {
        let entry = &mut self.entries[id.0];
        entry.deadline_ms = deadline_ms;
        let tick = tick_of(deadline_ms);
        if tick < entry.tick {
            self.unlink(id.0);
            self.link(id.0, tick);
        }
    }

    /// Removes the deadline; the entry stays.
    pub(crate) fn clear(&mut self, id: TimerId) {
        self.entries[id.0].deadline_ms = NEVER;
    }

    /// From now on the deadline is about another subject; it stays as it is.
    pub(crate) fn lend(&mut self, id: TimerId, token: usize) {
        self.entries[id.0].token = token;
    }

    /// Moves the deadline, or removes it.
    pub(crate) fn set_or_clear(&mut self, id: TimerId, deadline_ms: Option<u64>) {
        match deadline_ms {
            Some(deadline_ms) => self.set(id, deadline_ms),
            None => self.clear(id),
        }
    }

    /// Removes the entry.
    pub(crate) fn remove(&mut self, id: TimerId) {
        self.unlink(id.0);
        self.entries.remove(id.0);
    }

    /// Appends to `due` the tokens whose deadlines have passed; they have no deadline after that.
    pub(crate) fn expire(&mut self, now_ms: u64, due: &mut Vec<usize>) {
        let now_tick = now_ms / PLACE_MS;
        // After a long sleep one round sees every place.
        self.tick = self.tick.max(now_tick.saturating_sub(PLACES as u64));
        while self.tick < now_tick {
            self.tick += 1;
            let mut at = self.places[place_of(self.tick)];
            while at != NONE {
                let Entry { token, deadline_ms, next, .. } = self.entries[at];
                self.unlink(at);
                if deadline_ms <= now_ms {
                    self.entries[at].deadline_ms = NEVER;
                    due.push(token);
                } else if deadline_ms != NEVER {
                    self.link(at, tick_of(deadline_ms));
                }
                at = next;
            }
        }
    }

    /// Milliseconds until the wheel has something to look at, if that is before `at_most_ms`. It looks
    /// no further ahead than that, which is a few places.
    pub(crate) fn wait_ms(&self, now_ms: u64, at_most_ms: u64) -> u64 {
        let places = (at_most_ms / PLACE_MS + 1).min(PLACES as u64);
        (1..=places)
            .find(|ahead| self.places[place_of(self.tick + ahead)] != NONE)
            .map_or(at_most_ms, |ahead| ((self.tick + ahead) * PLACE_MS).saturating_sub(now_ms))
            .min(at_most_ms)
    }

    fn link(&mut self, at: usize, tick: u64) {
        // Not the current tick, which was dealt with, and not beyond one round.
        let tick = tick.clamp(self.tick + 1, self.tick + PLACES as u64 - 1);
        let first = std::mem::replace(&mut self.places[place_of(tick)], at);
        if first != NONE {
            self.entries[first].previous = at;
        }
        let entry = &mut self.entries[at];
        entry.tick = tick;
        entry.previous = NONE;
        entry.next = first;
    }

    fn unlink(&mut self, at: usize) {
        let Entry { tick, previous, next, .. } = self.entries[at];
        if tick == NEVER {
            return;
        }
        match previous {
            NONE => self.places[place_of(tick)] = next,
            previous => self.entries[previous].next = next,
        }
        if next != NONE {
            self.entries[next].previous = previous;
        }
        self.entries[at].tick = NEVER;
    }
}

/// The first tick at which the deadline has passed.
fn tick_of(deadline_ms: u64) -> u64 {
    deadline_ms.div_ceil(PLACE_MS)
}

fn place_of(tick: u64) -> usize {
    tick as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expire(timers: &mut Timers, now_ms: u64) -> Vec<usize> {
        let mut due = Vec::new();
        timers.expire(now_ms, &mut due);
        due.sort_unstable();
        due
    }

    /// A deadline is reported at the first look at or after it, rounded up to a place, and only once.
    #[test]
    fn deadlines_are_reported_once_and_never_early() {
        for deadline_ms in [1_001, 1_031, 5_000, 17_000, 100_000, 1_000_000] {
            let mut timers = Timers::new(1_000);
            let id = timers.add(7);
            timers.set(id, deadline_ms);
            let mut now_ms = 1_000;
            loop {
                now_ms += timers.wait_ms(now_ms, 500).max(1);
                if expire(&mut timers, now_ms) == [7] {
                    break;
                }
                assert!(now_ms < deadline_ms + PLACE_MS, "{deadline_ms} was missed");
            }
            assert!((deadline_ms..deadline_ms + PLACE_MS).contains(&now_ms), "{deadline_ms}");
            assert_eq!(timers.wait_ms(now_ms, 500), 500);
        }
    }

    #[test]
    fn a_deadline_that_moves_away_is_carried_on() {
        let mut timers = Timers::new(0);
        let id = timers.add(1);
        timers.set(id, 100);
        timers.set(id, 500);
        assert!(expire(&mut timers, 200).is_empty());
        assert_eq!(expire(&mut timers, 600), [1]);
    }

    #[test]
    fn a_deadline_that_comes_nearer_moves_at_once() {
        let mut timers = Timers::new(0);
        let id = timers.add(1);
        timers.set(id, 10_000);
        timers.set(id, 100);
        assert_eq!(expire(&mut timers, 200), [1]);
        assert!(expire(&mut timers, 20_000).is_empty());
    }

    #[test]
    fn cleared_and_removed_entries_are_never_reported() {
        let mut timers = Timers::new(0);
        let cleared = timers.add(1);
        let removed = timers.add(2);
        let kept = timers.add(3);
        for id in [cleared, removed, kept] {
            timers.set(id, 100);
        }
        timers.clear(cleared);
        timers.remove(removed);
        assert_eq!(expire(&mut timers, 1_000), [3]);
        timers.set(cleared, 2_000);
        assert_eq!(expire(&mut timers, 3_000), [1]);
    }

    #[test]
    fn a_long_sleep_misses_nothing() {
        let mut timers = Timers::new(0);
        for token in 0..1_000 {
            let id = timers.add(token);
            timers.set(id, 1 + token as u64 * 40);
        }
        assert_eq!(expire(&mut timers, 10_000_000).len(), 1_000);
    }
}
