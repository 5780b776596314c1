//! The table of generations: which there are, which slot each occupies, which workers hold it, and
//! which of them can be had back.
//!
//! A slot is free when no worker can have its addresses mapped: its generation was never given out,
//! or every worker that was told to load it has said that it is unmapped, or died.
//!
//! ```text
//!   Compiling --every worker loaded it--> Active --another became active--> Draining or Standby
//!       |                                   ^                                  |
//!       |             every worker loaded it|                      no worker holds it, nor is it to
//!       |                                   |                                  v
//!       |                               Returning <--it is wanted back-- Draining, Standby, Retired
//!       |                                   |
//!       |                                   +--a worker's load failed--> Draining
//!       +--the compile or a worker's load failed--> Refused
//! ```
//!
//! Image and settings of one that served are kept until its slot is given to another, so that a
//! rollback compiles nothing. Slots that keep nothing are given away first, then the oldest; what a
//! rollback would return to goes last of all.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use heritage::CompileSteps;
use image::Arena;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::Configured;

/// Generations in the table: one for each slot, and as many again that are over, for `kiln status`.
const GENERATIONS_MAX: usize = 2 * Arena::SLOTS as usize;

/// Bytes of images and settings that are kept for nothing but a rollback, the one that it would
/// return to not counted. Usual images have some hundred kilobytes; a few that are full of tables must
/// not take what requests need.
const KEPT_BYTES_MAX: u64 = 256 << 20;

/// How long one drains before that is worth a line in the log. Most requests take a second at most; a
/// download or a stream of events may take as long as it is meant to.
pub(crate) const DRAINS_LONG: Duration = Duration::from_secs(5);

// The active one, the one that stands by and one that is on its way leave a slot for what drains:
// whatever is forced out, it is never one of the three.
const _: () = assert!(Arena::SLOTS >= 4);

/// What a generation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GenerationState {
    /// Its scripts are being compiled, or the workers are being told to load it.
    Compiling,
    /// It has served before, and the workers are being told to load it again.
    Returning,
    /// New requests go to it.
    Active,
    /// It decides where the active one fails (`faults.policy`).
    Standby,
    /// Requests that began with it are being finished.
    Draining,
    /// No worker has it mapped; its slot is free.
    Retired,
    /// It did not compile, or a worker could not load it. Nothing is served by it.
    Refused,
}

/// How the time of a generation as the active one came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Another one came.
    Replaced,
    /// One before it came back.
    RolledBack {
        /// When.
        at: Instant,
        /// Whether the master did it by itself.
        by_itself: bool,
        /// What it had come to.
        record: Record,
    },
}

/// What one came to while it was active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Requests that it failed at.
    pub(crate) faults: u64,
    /// For how long.
    pub(crate) active_for: Duration,
}

/// What the master knows of a worker that may have one mapped.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hold {
    /// Orders to map it that the worker has not answered. What it says meanwhile of having unmapped
    /// it was said before it read them.
    unanswered: u32,
    /// Whether it was mapped as far as is known.
    is_mapped: bool,
}

/// One generation.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) number: u64,
    pub(crate) slot: u8,
    pub(crate) state: GenerationState,
    pub(crate) began: Instant,
    pub(crate) steps: CompileSteps,
    /// The memfd. Kept while the slot is its own, so that a worker can be told to load it again.
    pub(crate) image: Option<OwnedFd>,
    /// Bytes of memory that the image takes.
    pub(crate) image_bytes: u64,
    /// The build-id of the image, once it is sealed.
    pub(crate) digest: Option<String>,
    /// The configuration that belongs to it. The settings in it, as workers get them, are kept as
    /// long as the image.
    pub(crate) configured: Configured,
    /// Why image and settings are kept no longer, if they are not.
    pub(crate) gone: Option<&'static str>,
    /// Workers that may have it mapped: from the order to load on.
    pub(crate) holders: BTreeMap<Pid, Hold>,
    /// When that is said of one that drains; none before it does, and once it was said.
    pub(crate) is_long_at: Option<Instant>,
    /// When it became active last; none if it never did.
    pub(crate) activated: Option<Instant>,
    /// Whether it has got through its probation, or needed none.
    pub(crate) is_proven: bool,
    /// What it had come to when it had failed too often to get through it.
    pub(crate) broken: Option<Record>,
    /// How its last time as the active one ended; none before that.
    pub(crate) ended: Option<Ended>,
    /// Why it was refused, or could not be had back when that was tried.
    pub(crate) refusal: Option<String>,
    /// Requests that it failed at, as workers said at once ([`heritage::Report::Fault`]).
    pub(crate) faults: u64,
    /// Of these, those before it came back last.
    faults_before: u64,
    /// Requests that it decided: in each worker that holds it, as the worker counted last, and in
    /// all that do not any more.
    decided: BTreeMap<Pid, u64>,
    decided_before: u64,
}

impl Generation {
    fn occupies_slot(&self) -> bool {
        use GenerationState::*;
        match self.state {
            Compiling | Returning | Active | Standby => true,
            Draining | Refused => !self.holders.is_empty(),
            Retired => false,
        }
    }

    /// Whether the master goes back to it by itself, or when nobody says to which: it has served and
    /// nothing is known against it.
    pub(crate) fn is_good(&self) -> bool {
        self.image.is_some()
            && self.ended == Some(Ended::Replaced)
            && self.broken.is_none()
            && self.refusal.is_none()
    }

    /// Why it cannot be had back, if it cannot.
    pub(crate) fn cannot_return(&self) -> Option<&'static str> {
        match self.state {
            GenerationState::Active => Some("it serves"),
            GenerationState::Returning => Some("it is on its way back already"),
            GenerationState::Compiling => Some("it has not served yet"),
            GenerationState::Refused => Some("it never served"),
            _ => self.gone,
        }
    }

    /// Bytes that it keeps.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.image_bytes + self.configured.settings.len() as u64
    }

    /// What it has come to since it became active.
    pub(crate) fn record(&self, now: Instant) -> Record {
        Record {
            faults: self.faults - self.faults_before,
            active_for: self.activated.map_or(Duration::ZERO, |at| now.duration_since(at)),
        }
    }

    /// Requests that it decided, as far as is known.
    pub(crate) fn decided(&self) -> u64 {
        self.decided_before + self.decided.values().sum::<u64>()
    }

    /// The worker has it no more; what it counted stays.
    fn drop_holder(&mut self, worker: Pid) {
        self.holders.remove(&worker);
        self.decided_before += self.decided.remove(&worker).unwrap_or_default();
    }

    fn forget(&mut self, why: &'static str) {
        if self.image.take().is_some() {
            self.gone = Some(why);
        }
        self.image_bytes = 0;
        self.configured.settings = Vec::new();
    }
}

/// Every generation that matters, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Generations {
    list: VecDeque<Generation>,
    last: u64,
    /// Those that led to the active one, which is the last: each took the place of the one before it.
    /// Going back to one forgets what came after that, as it is what somebody wanted to get away from.
    line: Vec<u64>,
    /// Where the search for a free slot begins: a slot rests as long as possible, so that an image
    /// stays mappable in place after its generation retired.
    next_slot: u8,
}

impl Generations {
    /// A slot that no worker has mapped: one that keeps nothing, or else the one whose loss costs
    /// least.
    pub(crate) fn free_slot(&self) -> Option<u8> {
        let last_good = self.last_good();
        let cost = |slot: u8| {
            let rests = (slot + Arena::SLOTS - self.next_slot) % Arena::SLOTS;
            let mut kept = self.list.iter().filter(|known| known.image.is_some());
            match kept.find(|known| known.slot == slot) {
                None => (0, u64::from(rests)),
                Some(known) if Some(known.number) == last_good => (2, known.number),
                Some(known) => (1, known.number),
            }
        };
        (0..Arena::SLOTS).filter(|slot| !self.is_occupied(*slot)).min_by_key(|slot| cost(*slot))
    }

    fn is_occupied(&self, slot: u8) -> bool {
        self.list.iter().any(|known| known.slot == slot && known.occupies_slot())
    }

    /// Opens the next generation in a free slot; answers its number.
    pub(crate) fn begin(
        &mut self,
        slot: u8,
        image: OwnedFd,
        configured: Configured,
        now: Instant,
    ) -> u64 {
        assert!(!self.is_occupied(slot), "slot {slot} is occupied");
        for known in self.list.iter_mut().filter(|known| known.slot == slot) {
            known.forget("it is gone: its place was given to a later one");
        }
        while self.list.len() >= GENERATIONS_MAX {
            let over = self.list.iter().position(|known| known.image.is_none());
            self.list.remove(over.expect("each slot keeps at most one"));
        }
        self.last += 1;
        self.next_slot = (slot + 1) % Arena::SLOTS;
        self.list.push_back(Generation {
            number: self.last,
            slot,
            state: GenerationState::Compiling,
            began: now,
            steps: CompileSteps::default(),
            image: Some(image),
            image_bytes: 0,
            digest: None,
            configured,
            gone: None,
            holders: BTreeMap::new(),
            is_long_at: None,
            activated: None,
            is_proven: false,
            broken: None,
            ended: None,
            refusal: None,
            faults: 0,
            faults_before: 0,
            decided: BTreeMap::new(),
            decided_before: 0,
        });
        self.last
    }

    /// The generation of this number.
    pub(crate) fn find(&self, number: u64) -> Option<&Generation> {
        self.list.iter().find(|known| known.number == number)
    }

    /// The same, to note something about it that moves no slot.
    pub(crate) fn find_mut(&mut self, number: u64) -> Option<&mut Generation> {
        self.list.iter_mut().find(|known| known.number == number)
    }

    /// The one that new requests go to.
    pub(crate) fn active(&self) -> Option<&Generation> {
        self.list.iter().find(|known| known.state == GenerationState::Active)
    }

    /// Every one, oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Generation> {
        self.list.iter()
    }

    /// The last good one that led to this, or to what is active if this has not served.
    pub(crate) fn last_good_before(&self, number: u64) -> Option<u64> {
        self.last_before(number, Generation::is_good)
    }

    /// What a rollback would return to now.
    fn last_good(&self) -> Option<u64> {
        self.last_good_before(self.active().map_or(0, |active| active.number))
    }

    /// What would stand by if this one were active: the last good one before it, which the active
    /// one is too once it is not active any more.
    pub(crate) fn standby_of(&self, number: u64) -> Option<u64> {
        self.last_before(number, |known| match known.state {
            GenerationState::Active => known.broken.is_none(),
            _ => known.is_good(),
        })
    }

    fn last_before(&self, number: u64, fits: impl Fn(&Generation) -> bool) -> Option<u64> {
        let place = self.line.iter().position(|known| *known == number);
        let before = self.line[..place.unwrap_or(self.line.len())].iter().rev().copied();
        before.into_iter().find(|before| self.find(*before).is_some_and(&fits))
    }

    /// Whether the active one came after this one, directly or not.
    pub(crate) fn led_to_active(&self, number: u64) -> bool {
        self.line.contains(&number)
    }

    /// Notes what came of its compile.
    pub(crate) fn compiled(&mut self, number: u64, steps: CompileSteps, sealed: SealedImage) {
        if let Some(known) = self.find_mut(number) {
            known.steps = steps;
            known.digest = sealed.digest;
            known.image_bytes = sealed.bytes;
        }
    }

    /// New requests go to this one from now on. The time of the one before it has ended in this way,
    /// and it drains.
    pub(crate) fn activate(&mut self, number: u64, ended: Ended, now: Instant) {
        use GenerationState::{Active, Compiling, Draining, Returning};
        self.line.retain(|before| self.list.iter().any(|known| known.number == *before));
        match self.line.iter().position(|before| *before == number) {
            Some(place) => self.line.truncate(place + 1),
            None => self.line.push(number),
        }
        for known in &mut self.list {
            match known.state {
                Compiling | Returning if known.number == number => {
                    known.state = Active;
                    known.activated = Some(now);
                    known.broken = None;
                    known.ended = None;
                }
                Active => {
                    known.state = Draining;
                    known.ended = Some(ended);
                    known.is_long_at = Some(now + DRAINS_LONG);
                }
                _ => {}
            }
        }
        self.settle();
    }

    /// This one, which is new, will never serve.
    pub(crate) fn refuse(&mut self, number: u64, reason: &str) {
        if let Some(known) = self.find_mut(number) {
            assert_eq!(known.state, GenerationState::Compiling);
            known.state = GenerationState::Refused;
            known.refusal = Some(reason.to_owned());
        }
        self.settle();
    }

    /// Workers are going to be told to load this one again.
    pub(crate) fn begin_return(&mut self, number: u64) {
        let known = self.find_mut(number).expect("the caller found it");
        assert_eq!(known.cannot_return(), None);
        known.state = GenerationState::Returning;
        // The first worker that loads it may fail at requests before the last one has it.
        known.faults_before = known.faults;
        known.is_long_at = None;
        known.refusal = None;
    }

    /// A worker could not load it again.
    pub(crate) fn fail_return(&mut self, number: u64, reason: &str, now: Instant) {
        if let Some(known) = self.find_mut(number) {
            assert_eq!(known.state, GenerationState::Returning);
            known.state = GenerationState::Draining;
            known.is_long_at = Some(now + DRAINS_LONG);
            known.refusal = Some(reason.to_owned());
        }
        self.settle();
    }

    /// This one stands by from now on, and the one that did does not any more.
    pub(crate) fn stand_by(&mut self, number: Option<u64>, now: Instant) {
        use GenerationState::{Draining, Retired, Standby};
        for known in &mut self.list {
            let is_wanted = Some(known.number) == number;
            match known.state {
                Draining | Retired if is_wanted => {
                    known.state = Standby;
                    known.is_long_at = None;
                }
                Standby if !is_wanted => {
                    known.state = Draining;
                    known.is_long_at = Some(now + DRAINS_LONG);
                }
                _ => {}
            }
        }
        self.settle();
    }

    /// A worker is told to map it.
    pub(crate) fn tell(&mut self, number: u64, worker: Pid) {
        if let Some(known) = self.find_mut(number) {
            known.holders.entry(worker).or_default().unanswered += 1;
        }
    }

    /// A worker has mapped it, as it was told.
    pub(crate) fn mapped(&mut self, number: u64, worker: Pid) {
        let hold = self.find_mut(number).and_then(|known| known.holders.get_mut(&worker));
        if let Some(hold) = hold {
            hold.unanswered = hold.unanswered.saturating_sub(1);
            hold.is_mapped = true;
        }
    }

    /// A worker could not do what it was told.
    pub(crate) fn not_mapped(&mut self, number: u64, worker: Pid) {
        let Some(known) = self.find_mut(number) else { return };
        let Some(hold) = known.holders.get_mut(&worker) else { return };
        hold.unanswered = hold.unanswered.saturating_sub(1);
        if !hold.is_mapped && hold.unanswered == 0 {
            known.drop_holder(worker);
        }
        self.settle();
    }

    /// A worker has unmapped it.
    pub(crate) fn let_go(&mut self, number: u64, worker: Pid) {
        let Some(known) = self.find_mut(number) else { return };
        let Some(hold) = known.holders.get_mut(&worker) else { return };
        hold.is_mapped = false;
        if hold.unanswered == 0 {
            known.drop_holder(worker);
        }
        self.settle();
    }

    /// A worker is dead, and whatever it had mapped is gone.
    pub(crate) fn forget(&mut self, worker: Pid) {
        self.list.iter_mut().for_each(|known| known.drop_holder(worker));
        self.settle();
    }

    /// A worker that has it mapped says how many requests it decided there.
    pub(crate) fn decided(&mut self, number: u64, worker: Pid, decided: u64) {
        if let Some(known) = self.find_mut(number)
            && known.holders.contains_key(&worker)
        {
            known.decided.insert(worker, decided);
        }
    }

    /// One that has drained for long, the first time that it is asked for.
    pub(crate) fn next_long_drain(&mut self, now: Instant) -> Option<u64> {
        let mut list = self.list.iter_mut();
        let found = list.find(|known| known.is_long_at.is_some_and(|at| at <= now))?;
        found.is_long_at = None;
        Some(found.number)
    }

    /// When [`Generations::next_long_drain`] next has one.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.list.iter().filter_map(|known| known.is_long_at).min()
    }

    /// The oldest one that only keeps a slot. One that stands by does more than that.
    pub(crate) fn oldest_outgoing(&self) -> Option<&Generation> {
        self.list.iter().find(|known| {
            matches!(known.state, GenerationState::Draining | GenerationState::Refused)
                && known.occupies_slot()
        })
    }

    /// Retires what no worker holds any more, and frees what can never be had back.
    fn settle(&mut self) {
        for known in self.list.iter_mut().filter(|known| !known.occupies_slot()) {
            if known.state == GenerationState::Draining {
                tracing::info!(generation = known.number, "generation retired");
                known.state = GenerationState::Retired;
            }
            known.is_long_at = None;
            if known.state == GenerationState::Refused {
                known.forget("it never served");
            }
        }
        self.keep_within(KEPT_BYTES_MAX);
    }

    /// Frees the oldest images that are kept for a rollback, until the others fit.
    fn keep_within(&mut self, bytes_max: u64) {
        let last_good = self.last_good();
        let mut bytes = 0;
        for known in self.list.iter_mut().rev() {
            let is_kept = known.state == GenerationState::Retired && known.image.is_some();
            if !is_kept || Some(known.number) == last_good {
                continue;
            }
            bytes += known.kept_bytes();
            if bytes > bytes_max {
                known.forget(
                    "it is gone: those after it take all the memory that there is for such",
                );
            }
        }
    }
}

/// What is known of an image once it is sealed.
#[derive(Debug, Default)]
pub(crate) struct SealedImage {
    /// Its build-id, in hexadecimal.
    pub(crate) digest: Option<String>,
    /// Bytes of memory that it takes.
    pub(crate) bytes: u64,
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn begin(generations: &mut Generations) -> u64 {
        let slot = generations.free_slot().expect("a slot is free");
        let image = File::open("/dev/null").unwrap().into();
        generations.begin(slot, image, Configured::default(), Instant::now())
    }

    fn load(generations: &mut Generations, number: u64, worker: i32) {
        generations.tell(number, Pid::from_raw(worker));
        generations.mapped(number, Pid::from_raw(worker));
    }

    fn served_by(generations: &mut Generations, workers: &[i32]) -> u64 {
        let number = begin(generations);
        for worker in workers {
            load(generations, number, *worker);
        }
        generations.activate(number, Ended::Replaced, Instant::now());
        number
    }

    fn check(generations: &Generations, expect: &[GenerationState]) {
        let states: Vec<GenerationState> = generations.iter().map(|known| known.state).collect();
        assert_eq!(states, expect);
    }

    #[test]
    fn the_one_before_drains_until_its_last_worker_lets_go() {
        use GenerationState::{Active, Draining, Retired};
        let mut generations = Generations::default();
        let first = served_by(&mut generations, &[10, 11]);
        served_by(&mut generations, &[10, 11]);
        check(&generations, &[Draining, Active]);
        generations.let_go(first, Pid::from_raw(10));
        check(&generations, &[Draining, Active]);
        generations.forget(Pid::from_raw(11));
        check(&generations, &[Retired, Active]);
        assert_eq!(generations.find(first).unwrap().cannot_return(), None, "it is kept");
    }

    #[test]
    fn one_that_drains_for_long_is_told_once_and_one_that_retires_never() {
        let mut generations = Generations::default();
        let first = served_by(&mut generations, &[10]);
        assert_eq!(generations.next_deadline(), None);
        let second = served_by(&mut generations, &[10]);
        served_by(&mut generations, &[10]);
        assert_eq!(generations.next_long_drain(Instant::now()), None);
        generations.let_go(second, Pid::from_raw(10));
        let due = generations.next_deadline().expect("the first drains");
        assert_eq!(generations.next_long_drain(due), Some(first));
        assert_eq!(generations.next_long_drain(due), None);
        assert_eq!(generations.next_deadline(), None);
    }

    #[test]
    fn the_active_one_keeps_its_slot_without_workers() {
        let mut generations = Generations::default();
        let first = served_by(&mut generations, &[10]);
        generations.forget(Pid::from_raw(10));
        assert_eq!(generations.active().map(|known| known.number), Some(first));
        assert_ne!(generations.free_slot(), Some(0));
    }

    #[test]
    fn a_slot_is_used_again_only_when_no_worker_holds_it() {
        let mut generations = Generations::default();
        for _ in 0..Arena::SLOTS {
            served_by(&mut generations, &[10]);
        }
        assert_eq!(generations.free_slot(), None);
        let oldest = generations.oldest_outgoing().expect("all but one drain").number;
        assert_eq!(oldest, 1);
        generations.let_go(oldest, Pid::from_raw(10));
        assert_eq!(generations.free_slot(), Some(0));
    }

    #[test]
    fn a_refused_one_occupies_its_slot_while_a_worker_may_have_it_mapped() {
        let mut generations = Generations::default();
        served_by(&mut generations, &[10, 11]);
        let refused = begin(&mut generations);
        load(&mut generations, refused, 10);
        generations.refuse(refused, "for the test");
        assert_eq!(generations.oldest_outgoing().map(|known| known.number), Some(refused));
        generations.let_go(refused, Pid::from_raw(10));
        assert!(generations.oldest_outgoing().is_none());
        assert_eq!(generations.active().map(|known| known.number), Some(1));
    }

    #[test]
    fn what_was_said_before_an_order_was_read_does_not_count() {
        let mut generations = Generations::default();
        let worker = Pid::from_raw(10);
        let first = served_by(&mut generations, &[10]);
        served_by(&mut generations, &[10]);
        // The first is wanted again while the report that it is unmapped is on its way.
        generations.tell(first, worker);
        generations.let_go(first, worker);
        assert_eq!(generations.find(first).unwrap().state, GenerationState::Draining);
        generations.mapped(first, worker);
        assert_eq!(generations.find(first).unwrap().holders.len(), 1);
        generations.let_go(first, worker);
        assert_eq!(generations.find(first).unwrap().state, GenerationState::Retired);
        // One that it could not map again it does not have, and one that it has it keeps.
        generations.tell(first, worker);
        generations.not_mapped(first, worker);
        assert!(generations.find(first).unwrap().holders.is_empty());
        load(&mut generations, first, 10);
        generations.tell(first, worker);
        generations.not_mapped(first, worker);
        assert_eq!(generations.find(first).unwrap().holders.len(), 1);
    }

    #[test]
    fn going_back_forgets_what_came_after_and_the_last_good_one_is_what_is_left() {
        let mut generations = Generations::default();
        let back = |generations: &mut Generations, number| {
            let record = Record { faults: 0, active_for: Duration::ZERO };
            let at = Instant::now();
            generations.begin_return(number);
            let ended = Ended::RolledBack { at, by_itself: false, record };
            generations.activate(number, ended, at);
        };
        for _ in 1..=5 {
            served_by(&mut generations, &[]);
        }
        assert_eq!(generations.last_good_before(5), Some(4));
        back(&mut generations, 3);
        assert_eq!(generations.last_good_before(3), Some(2));
        assert_eq!(served_by(&mut generations, &[]), 6);
        assert_eq!(generations.last_good_before(6), Some(3));
        assert_eq!(
            generations.find(4).unwrap().cannot_return(),
            None,
            "it can be had all the same"
        );
        generations.find_mut(3).unwrap().refusal = Some("for the test".to_owned());
        assert_eq!(generations.last_good_before(6), Some(2));
        assert_eq!(generations.standby_of(7), Some(6), "it is active now");
    }

    #[test]
    fn refused_ones_take_no_slot_from_one_that_can_be_had_back() {
        let mut generations = Generations::default();
        for _ in 0..Arena::SLOTS - 2 {
            served_by(&mut generations, &[]);
        }
        for _ in 0..100 {
            let refused = begin(&mut generations);
            generations.refuse(refused, "for the test");
        }
        let kept = generations.iter().filter(|known| known.image.is_some()).count();
        assert_eq!(kept, usize::from(Arena::SLOTS) - 2);
        assert_eq!(generations.iter().count(), GENERATIONS_MAX);
    }

    #[test]
    fn images_are_kept_within_their_memory_and_the_last_good_one_is_kept_in_any_case() {
        let mut generations = Generations::default();
        for _ in 0..8 {
            let number = begin(&mut generations);
            let sealed = SealedImage { digest: None, bytes: KEPT_BYTES_MAX / 2 };
            generations.compiled(number, CompileSteps::default(), sealed);
            generations.activate(number, Ended::Replaced, Instant::now());
        }
        let kept = generations.iter().filter(|known| known.image.is_some());
        let kept: Vec<u64> = kept.map(|known| known.number).collect();
        assert_eq!(kept, [5, 6, 7, 8], "two that are old, the last good one, the active one");
        let gone = generations.find(4).unwrap();
        assert!(gone.cannot_return().unwrap().contains("memory") && gone.kept_bytes() == 0);
    }

    #[test]
    fn slots_rest_as_long_as_possible_and_the_table_stays_small() {
        let mut generations = Generations::default();
        for number in 1..=1000 {
            assert_eq!(served_by(&mut generations, &[]), number);
            let slot = generations.active().unwrap().slot;
            assert_eq!(u64::from(slot), (number - 1) % u64::from(Arena::SLOTS));
        }
        assert_eq!(generations.iter().count(), GENERATIONS_MAX);
    }
}
