//! The table of generations: which there are, which slot each occupies, and which workers hold it.
//!
//! A slot is free when no worker can have its addresses mapped: its generation was never given out,
//! or every worker that was told to load it has said that it is unmapped, or died.
//!
//! ```text
//!   Compiling --every worker loaded it--> Active --another became active--> Draining
//!       |                                                                      |
//!       +--the compile or a worker's load failed--> Refused        no worker holds it --> Retired
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use heritage::CompileSteps;
use image::Arena;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// Generations in the table: one for each slot, and as many again that are over, for `kiln status`.
const GENERATIONS_MAX: usize = 2 * Arena::SLOTS as usize;

/// How long one drains before that is worth a line in the log. Most requests take a second at most; a
/// download or a stream of events may take as long as it is meant to.
pub(crate) const DRAINS_LONG: Duration = Duration::from_secs(5);

/// What a generation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GenerationState {
    /// Its scripts are being compiled, or the workers are being told to load it.
    Compiling,
    /// New requests go to it.
    Active,
    /// Requests that began with it are being finished.
    Draining,
    /// No worker has it mapped; its slot is free.
    Retired,
    /// It did not compile, or a worker could not load it. Nothing is served by it.
    Refused,
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
    /// Settings that belong to it, as workers get them. Kept for as long.
    pub(crate) settings: Vec<u8>,
    /// Workers that may have it mapped: from the order to load on.
    pub(crate) holders: BTreeSet<Pid>,
    /// When that is said of one that drains; none before it does, and once it was said.
    pub(crate) is_long_at: Option<Instant>,
}

impl Generation {
    fn occupies_slot(&self) -> bool {
        match self.state {
            GenerationState::Compiling | GenerationState::Active => true,
            GenerationState::Draining | GenerationState::Refused => !self.holders.is_empty(),
            GenerationState::Retired => false,
        }
    }
}

/// Every generation that matters, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Generations {
    list: VecDeque<Generation>,
    last: u64,
    /// Where the search for a free slot begins: a slot rests as long as possible, so that an image
    /// stays mappable in place after its generation retired.
    next_slot: u8,
}

impl Generations {
    /// A slot that no worker has mapped.
    pub(crate) fn free_slot(&self) -> Option<u8> {
        (0..Arena::SLOTS).map(|step| (self.next_slot + step) % Arena::SLOTS).find(|slot| {
            !self.list.iter().any(|known| known.slot == *slot && known.occupies_slot())
        })
    }

    /// Opens the next generation in a free slot; answers its number.
    pub(crate) fn begin(
        &mut self,
        slot: u8,
        image: OwnedFd,
        settings: Vec<u8>,
        now: Instant,
    ) -> u64 {
        assert!(
            !self.list.iter().any(|known| known.slot == slot && known.occupies_slot()),
            "slot {slot} is occupied"
        );
        while self.list.len() >= GENERATIONS_MAX {
            let over = self.list.iter().position(|known| !known.occupies_slot());
            self.list.remove(over.expect("at most one generation occupies each slot"));
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
            settings,
            holders: BTreeSet::new(),
            is_long_at: None,
        });
        self.last
    }

    /// The generation of this number.
    pub(crate) fn find(&self, number: u64) -> Option<&Generation> {
        self.list.iter().find(|known| known.number == number)
    }

    /// The one that new requests go to.
    pub(crate) fn active(&self) -> Option<&Generation> {
        self.list.iter().find(|known| known.state == GenerationState::Active)
    }

    /// Every one, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Generation> {
        self.list.iter()
    }

    /// Notes how long its compile took.
    pub(crate) fn compiled(&mut self, number: u64, steps: CompileSteps) {
        if let Some(known) = self.find_mut(number) {
            known.steps = steps;
        }
    }

    /// New requests go to this one from now on; the one before it drains.
    pub(crate) fn activate(&mut self, number: u64, now: Instant) {
        for known in &mut self.list {
            match known.state {
                GenerationState::Compiling if known.number == number => {
                    known.state = GenerationState::Active;
                }
                GenerationState::Active => {
                    known.state = GenerationState::Draining;
                    known.is_long_at = Some(now + DRAINS_LONG);
                }
                _ => {}
            }
        }
        self.settle();
    }

    /// This one will never serve.
    pub(crate) fn refuse(&mut self, number: u64) {
        if let Some(known) = self.find_mut(number) {
            assert_eq!(known.state, GenerationState::Compiling, "only a new one is refused");
            known.state = GenerationState::Refused;
        }
        self.settle();
    }

    /// A worker is told to load it, or says that it did.
    pub(crate) fn hold(&mut self, number: u64, worker: Pid) {
        if let Some(known) = self.find_mut(number) {
            known.holders.insert(worker);
        }
    }

    /// A worker has unmapped it.
    pub(crate) fn let_go(&mut self, number: u64, worker: Pid) {
        if let Some(known) = self.find_mut(number) {
            known.holders.remove(&worker);
        }
        self.settle();
    }

    /// A worker is dead, and whatever it had mapped is gone.
    pub(crate) fn forget(&mut self, worker: Pid) {
        for known in &mut self.list {
            known.holders.remove(&worker);
        }
        self.settle();
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

    /// The oldest one that only keeps a slot.
    pub(crate) fn oldest_outgoing(&self) -> Option<&Generation> {
        self.list.iter().find(|known| {
            matches!(known.state, GenerationState::Draining | GenerationState::Refused)
                && known.occupies_slot()
        })
    }

    fn find_mut(&mut self, number: u64) -> Option<&mut Generation> {
        self.list.iter_mut().find(|known| known.number == number)
    }

    /// Retires what no worker holds any more, and frees the memory of its image and settings.
    fn settle(&mut self) {
        for known in self.list.iter_mut().filter(|known| !known.occupies_slot()) {
            if known.state == GenerationState::Draining {
                tracing::info!(generation = known.number, "generation retired");
                known.state = GenerationState::Retired;
            }
            known.is_long_at = None;
            known.image = None;
            known.settings = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn begin(generations: &mut Generations) -> u64 {
        let slot = generations.free_slot().expect("a slot is free");
        let image = File::open("/dev/null").unwrap().into();
        generations.begin(slot, image, Vec::new(), Instant::now())
    }

    fn served_by(generations: &mut Generations, workers: &[i32]) -> u64 {
        let number = begin(generations);
        for worker in workers {
            generations.hold(number, Pid::from_raw(*worker));
        }
        generations.activate(number, Instant::now());
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
        assert!(generations.find(first).unwrap().image.is_none(), "its memory is freed");
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
        generations.hold(refused, Pid::from_raw(10));
        generations.refuse(refused);
        assert_eq!(generations.oldest_outgoing().map(|known| known.number), Some(refused));
        generations.let_go(refused, Pid::from_raw(10));
        assert!(generations.oldest_outgoing().is_none());
        assert_eq!(generations.active().map(|known| known.number), Some(1));
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
