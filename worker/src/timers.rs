//! Deadlines: a wheel of two levels with one entry a connection, re-armed lazily.
//!
//! A busy connection moves its deadline with every request, nearly always further away. That is one
//! store: the entry stays where it is on the wheel, and when its place comes up the wheel sees that
//! the deadline has moved and carries the entry on. Only a deadline that comes *nearer* moves it at once.
//!
//! The fine level has a place for each millisecond of the next quarter of a second, so that waiting for
//! some milliseconds is just that; the coarse one has a place for each such quarter of the next minute.
//! Bitmaps say which places are taken: finding out how long nothing is due takes no search.
//! There is no clock here; `now` is an argument.

use slab::Slab;

/// Places of each level, a power of two.
const PLACES: usize = 256;

/// Milliseconds of one place of the coarse level: all of the fine one.
const COARSE_MS: u64 = PLACES as u64;

/// Deadlines beyond this are carried on when it has passed: for 10,000 connections one in 6 ms.
const SPAN_MS: u64 = COARSE_MS * (PLACES as u64 - 1);

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
    /// When the wheel looks at this entry, at the latest; [`NEVER`] while it is not on the wheel.
    look_ms: u64,
    /// Where it is on the wheel, if it is.
    place: usize,
    previous: usize,
    next: usize,
}

/// One level of the wheel: the first entry of each place.
#[derive(Debug)]
struct Level {
    first: [usize; PLACES],
    taken: [u64; PLACES / 64],
}

impl Level {
    const EMPTY: Level = Level { first: [NONE; PLACES], taken: [0; PLACES / 64] };

    /// Puts an entry into a place; gives the one that was first there.
    fn put(&mut self, place: usize, entry: usize) -> usize {
        self.taken[place / 64] |= 1 << (place % 64);
        std::mem::replace(&mut self.first[place], entry)
    }

    fn set_first(&mut self, place: usize, entry: usize) {
        self.first[place] = entry;
        if entry == NONE {
            self.taken[place / 64] &= !(1 << (place % 64));
        }
    }

    /// How many places after this one the next taken one is, this one included, all the way round.
    fn next_taken(&self, from: usize) -> Option<usize> {
        let words = self.taken.len();
        (0..=words).find_map(|ahead| {
            let word = (from / 64 + ahead) % words;
            let mask = match ahead {
                0 => u64::MAX << (from % 64),
                // Round again, to what lies before.
                _ if ahead == words => !(u64::MAX << (from % 64)),
                _ => u64::MAX,
            };
            let bits = self.taken[word] & mask;
            (bits != 0).then(|| {
                let place = word * 64 + bits.trailing_zeros() as usize;
                (place + PLACES - from) % PLACES
            })
        })
    }
}

/// All deadlines of one worker.
#[derive(Debug)]
pub(crate) struct Timers {
    entries: Slab<Entry>,
    fine: Level,
    coarse: Level,
    /// The last millisecond that was dealt with.
    now_ms: u64,
}

impl Timers {
    pub(crate) fn new(now_ms: u64) -> Self {
        Timers { entries: Slab::new(), fine: Level::EMPTY, coarse: Level::EMPTY, now_ms }
    }

    /// Makes an entry without a deadline. `token` is what [`Timers::expire`] gives back.
    pub(crate) fn add(&mut self, token: usize) -> TimerId {
        let (deadline_ms, look_ms) = (NEVER, NEVER);
        let (place, previous, next) = (NONE, NONE, NONE);
        TimerId(self.entries.insert(Entry { token, deadline_ms, look_ms, place, previous, next }))
    }

    /// Moves the deadline.
    pub(crate) fn set(&mut self, id: TimerId, deadline_ms: u64) {
        let entry = &mut self.entries[id.0];
        entry.deadline_ms = deadline_ms;
        if deadline_ms < entry.look_ms {
            self.unlink(id.0);
            self.link(id.0, deadline_ms);
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
        while self.now_ms < now_ms {
            // From one place that has something to the next; after a long sleep each is seen once.
            match self.next_look_ms() {
                Some(look_ms) if look_ms <= now_ms => self.turn_to(look_ms, now_ms, due),
                _ => self.now_ms = now_ms,
            }
        }
    }

    /// Looks at all that is in the places of this millisecond.
    fn turn_to(&mut self, look_ms: u64, now_ms: u64, due: &mut Vec<usize>) {
        self.now_ms = look_ms;
        let fine = look_ms as usize % PLACES;
        if fine == 0 {
            let coarse = (look_ms / COARSE_MS) as usize % PLACES;
            self.look(PLACES + coarse, self.coarse.first[coarse], now_ms, due);
        }
        self.look(fine, self.fine.first[fine], now_ms, due);
    }

    fn look(&mut self, place: usize, first: usize, now_ms: u64, due: &mut Vec<usize>) {
        let mut at = first;
        while at != NONE {
            let Entry { token, deadline_ms, next, .. } = self.entries[at];
            debug_assert_eq!(self.entries[at].place, place);
            self.unlink(at);
            if deadline_ms <= now_ms {
                self.entries[at].deadline_ms = NEVER;
                due.push(token);
            } else if deadline_ms != NEVER {
                self.link(at, deadline_ms);
            }
            at = next;
        }
    }

    /// When the wheel has something to look at, after what was dealt with.
    fn next_look_ms(&self) -> Option<u64> {
        let next_ms = self.now_ms + 1;
        let fine = self.fine.next_taken(next_ms as usize % PLACES);
        let fine_ms = fine.map(|ahead| next_ms + ahead as u64);
        let next_coarse = self.now_ms / COARSE_MS + 1;
        let coarse = self.coarse.next_taken(next_coarse as usize % PLACES);
        let coarse_ms = coarse.map(|ahead| (next_coarse + ahead as u64) * COARSE_MS);
        fine_ms.into_iter().chain(coarse_ms).min()
    }

    /// Milliseconds until the wheel has something to look at, if that is before `at_most_ms`.
    pub(crate) fn wait_ms(&self, now_ms: u64, at_most_ms: u64) -> u64 {
        let next_ms = self.next_look_ms().map(|look_ms| look_ms.saturating_sub(now_ms));
        next_ms.map_or(at_most_ms, |wait_ms| wait_ms.min(at_most_ms))
    }

    /// Puts an entry where it will be looked at when its deadline has passed, or before.
    fn link(&mut self, at: usize, deadline_ms: u64) {
        // Not the current millisecond, which was dealt with.
        let look_ms = deadline_ms.clamp(self.now_ms + 1, self.now_ms + SPAN_MS);
        let (look_ms, place) = match look_ms - self.now_ms < COARSE_MS {
            true => (look_ms, look_ms as usize % PLACES),
            false => {
                let coarse = look_ms / COARSE_MS;
                (coarse * COARSE_MS, PLACES + coarse as usize % PLACES)
            }
        };
        let first = match place < PLACES {
            true => self.fine.put(place, at),
            false => self.coarse.put(place - PLACES, at),
        };
        if first != NONE {
            self.entries[first].previous = at;
        }
        let entry = &mut self.entries[at];
        entry.look_ms = look_ms;
        entry.place = place;
        entry.previous = NONE;
        entry.next = first;
    }

    fn unlink(&mut self, at: usize) {
        let Entry { place, previous, next, .. } = self.entries[at];
        if place == NONE {
            return;
        }
        match previous {
            NONE if place < PLACES => self.fine.set_first(place, next),
            NONE => self.coarse.set_first(place - PLACES, next),
            previous => self.entries[previous].next = next,
        }
        if next != NONE {
            self.entries[next].previous = previous;
        }
        self.entries[at].place = NONE;
        self.entries[at].look_ms = NEVER;
    }
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

    /// A deadline is reported in its millisecond, and only once.
    #[test]
    fn deadlines_are_reported_once_and_never_early() {
        for deadline_ms in [1_001, 1_031, 1_255, 1_256, 1_280, 5_000, 66_279, 66_280, 1_000_000] {
            let mut timers = Timers::new(1_000);
            let id = timers.add(7);
            timers.set(id, deadline_ms);
            let mut now_ms = 1_000;
            loop {
                now_ms += timers.wait_ms(now_ms, 500).max(1);
                if expire(&mut timers, now_ms) == [7] {
                    break;
                }
                assert!(now_ms < deadline_ms, "{deadline_ms} was missed");
            }
            assert_eq!(now_ms, deadline_ms);
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

    /// Any deadlines, set again and again, and looks at any time: all that a list would say.
    #[test]
    fn the_wheel_says_what_a_list_of_deadlines_says() {
        let mut random = 1u64;
        let mut below = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % bound
        };
        let mut timers = Timers::new(12_345);
        let ids: Vec<TimerId> = (0..50).map(|token| timers.add(token)).collect();
        let mut list = vec![NEVER; ids.len()];
        let mut now_ms = 12_345;
        for _ in 0..50_000 {
            let at = below(ids.len() as u64) as usize;
            match below(4) {
                0 => {
                    timers.clear(ids[at]);
                    list[at] = NEVER;
                }
                _ => {
                    let magnitude = 1 << below(20);
                    list[at] = now_ms + below(magnitude);
                    timers.set(ids[at], list[at]);
                }
            }
            let due = list.iter().min().expect("there are some");
            let wait_ms = timers.wait_ms(now_ms, 10_000);
            assert!(now_ms + wait_ms <= (*due).max(now_ms + 1), "it would sleep too long");
            now_ms += if below(3) == 0 { below(5000) } else { wait_ms.min(below(300)) };
            // What was due before the last look is reported at the next one.
            let mut expect: Vec<usize> = (0..list.len()).filter(|at| list[*at] <= now_ms).collect();
            let seen = expire(&mut timers, now_ms);
            expect.retain(|at| seen.contains(at) || list[*at] < now_ms);
            assert_eq!(seen, expect);
            seen.iter().for_each(|at| list[*at] = NEVER);
        }
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
