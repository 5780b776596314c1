//! The generation that stands by: mapped in every worker beside the active one, it decides where that
//! one fails (`faults.policy = "previous"`).
//!
//! Which one it is follows from what is known of the generations, and each turn of the loop compares
//! what a worker was told with that.

use std::time::Instant;

use heritage::Order;
use nix::unistd::Pid;

use crate::generations::Generation;
use crate::reload::Reload;
use crate::supervisor::Supervisor;
use crate::workers::{Activity, Worker};

impl Supervisor<'_> {
    /// Has the right generation stand by in every worker. While a generation is on its way to the
    /// workers, it is not known which that is.
    pub(crate) fn keep_standby(&mut self, now: Instant) {
        if matches!(self.reload, Reload::Loading(_)) {
            return;
        }
        let active = self.generations.active();
        let wanted = active.filter(|active| active.wants_standby());
        let wanted = wanted.and_then(|active| self.generations.standby_of(active.number));
        let active = active.map(|active| active.number);
        self.generations.stand_by(wanted, now);
        let misled = |worker: &&Worker| {
            let Some(process) = &worker.process else { return false };
            let takes = matches!(worker.activity, Activity::Serving | Activity::Leaving);
            // One that never had any stand by has nothing to let go of.
            takes
                && process.stands_by != wanted
                && (wanted.is_some() || process.stands_by != active)
        };
        let misled: Vec<Pid> =
            self.workers.values().filter(misled).filter_map(Worker::pid).collect();
        for pid in misled {
            // Where nobody is to stand by, the active one does, which is the same.
            if let Some(generation) = wanted.or(active) {
                self.order_standby(pid, generation);
            }
        }
    }

    /// A worker is about to be told to load a generation. If the one that it serves is to stand by
    /// then, it is told so first: it stays mapped, with all that its scripts keep, and nobody runs its
    /// initialisers again.
    pub(crate) fn keep_for_standby(&mut self, pid: Pid, generation: u64) {
        let active = self.generations.active().map(|active| active.number);
        let wants = self.generations.find(generation).is_some_and(Generation::wants_standby);
        if let Some(active) = active
            && wants
            && self.generations.standby_of(generation) == Some(active)
        {
            self.order_standby(pid, active);
        }
    }

    fn order_standby(&mut self, pid: Pid, generation: u64) {
        let known = self.generations.find(generation).expect("it occupies its slot");
        let slot = known.slot;
        let image = known.image.as_ref().expect("it is kept while the slot is its own").try_clone();
        if let Some(process) = self.process_mut(pid) {
            process.stands_by = Some(generation);
        }
        match image {
            Ok(image) => {
                self.generations.tell(generation, pid);
                self.order(pid, &Order::StandBy { generation, slot }, &[image]);
            }
            Err(error) => self.kill_worker(pid, &format!("cannot send it an image: {error}")),
        }
    }
}
