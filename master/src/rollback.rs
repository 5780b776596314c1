//! Going back to a generation that served before: when an operator says so, or when a new one fails
//! too often.
//!
//! Image and settings are kept, so nothing is compiled and nothing of the disk is read: the image goes
//! to the workers as that of a reload does. A rollback overtakes a compile that runs. Where an
//! operator asked, the reloads that were asked for before come to nothing: they would undo it. Where
//! the master goes back by itself, they are done after it: they may be what mends it.

use std::time::Instant;

use crate::clients::ClientId;
use crate::control::{ControlReply, RollbackStatus};
use crate::generations::Record;
use crate::loading::{Change, Loading};
use crate::reload::Reload;
use crate::supervisor::{Phase, Supervisor};

/// A rollback on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rollback {
    pub(crate) to: u64,
    /// Whether the master does it by itself, and then which generation it goes back from.
    pub(crate) by_itself: bool,
    pub(crate) from: Option<u64>,
}

/// A rollback that waits for the end of what runs, and the clients that wait for it.
pub(crate) struct Wanted {
    pub(crate) rollback: Rollback,
    pub(crate) clients: Vec<ClientId>,
}

/// A rollback that succeeded, and since which no reload has.
pub(crate) struct LastRollback {
    pub(crate) at: Instant,
    pub(crate) from: Option<u64>,
    pub(crate) to: u64,
    pub(crate) by_itself: bool,
    /// What the one before had come to.
    pub(crate) record: Option<Record>,
}

impl LastRollback {
    pub(crate) fn status(&self, now: Instant) -> RollbackStatus {
        RollbackStatus {
            from: self.from,
            to: self.to,
            by_itself: self.by_itself,
            age_s: now.duration_since(self.at).as_secs(),
            faults: self.record.map_or(0, |record| record.faults),
            active_s: self.record.map_or(0, |record| record.active_for.as_secs()),
        }
    }
}

impl Supervisor<'_> {
    /// An operator wants this generation back, or the last good one before the active one.
    pub(crate) fn request_rollback(&mut self, client: ClientId, number: Option<u64>) {
        let now = Instant::now();
        let refused = match (&self.phase, self.rollback_target(number)) {
            (Phase::Running, Ok(to)) => {
                let from = self.generations.active().map(|active| active.number);
                return self.overtake(client, Rollback { to, by_itself: false, from });
            }
            (Phase::Running, Err(reason)) => reason,
            _ => "the master stops".to_owned(),
        };
        self.clients.reply(client, &self.refusal(refused, Vec::new()), now);
    }

    /// Which one is meant, or why it cannot be had and which can.
    fn rollback_target(&self, number: Option<u64>) -> Result<u64, String> {
        let active = self.generations.active().map(|active| active.number);
        let refused = match number {
            None => match (self.generations.last_good_before(active.unwrap_or(0)), active) {
                (Some(good), _) => return Ok(good),
                (None, Some(active)) => format!("no good generation before {active} is kept"),
                (None, None) => "no generation serves, and no good one is kept".to_owned(),
            },
            Some(number) => {
                match self.generations.find(number).map(|known| known.cannot_return()) {
                    Some(None) => return Ok(number),
                    Some(Some(reason)) => format!("generation {number} cannot be had: {reason}"),
                    None => format!("there is no generation {number}, or not any more"),
                }
            }
        };
        let kept = self.generations.iter().rev().filter(|known| known.cannot_return().is_none());
        let kept: Vec<String> = kept.map(|known| known.number.to_string()).collect();
        Err(match kept.is_empty() {
            true => format!("{refused}; there is none that can be had"),
            false => format!("{refused}; these can be had: {}", kept.join(", ")),
        })
    }

    /// Puts an operator's rollback before everything else.
    fn overtake(&mut self, client: ClientId, rollback: Rollback) {
        let now = Instant::now();
        let reason = format!("a rollback to generation {} overtook it", rollback.to);
        let mut clients = vec![client];
        if let Some(earlier) = self.waiting.rollback.take() {
            match earlier.rollback.to == rollback.to {
                true => clients.extend(earlier.clients),
                false => self.answer(earlier.clients, &self.refusal(reason.clone(), Vec::new())),
            }
        }
        self.waiting.rollback = Some(Wanted { rollback, clients });
        self.waiting.again = false;
        let reloads = std::mem::take(&mut self.waiting.next);
        self.answer(reloads, &self.refusal(reason.clone(), Vec::new()));
        self.interrupt_compile(reason, now);
    }

    /// The active generation is no good, and this one is: the master goes back as soon as it can.
    pub(crate) fn roll_back_by_itself(&mut self, from: u64, to: u64) {
        if self.waiting.rollback.is_some() {
            return;
        }
        let rollback = Rollback { to, by_itself: true, from: Some(from) };
        self.waiting.rollback = Some(Wanted { rollback, clients: Vec::new() });
        if matches!(self.reload, Reload::AwaitingSlot { .. } | Reload::Compiling { .. }) {
            let current = std::mem::take(&mut self.waiting.current);
            self.waiting.next.splice(0..0, current);
            self.waiting.again = true;
            let reason = "a rollback comes first; it begins anew after that".to_owned();
            self.interrupt_compile(reason, Instant::now());
        }
    }

    /// Ends a reload that has not got to the workers; one that has ends soon by itself.
    fn interrupt_compile(&mut self, reason: String, now: Instant) {
        match &mut self.reload {
            Reload::AwaitingSlot { .. } => self.finish_refused(reason, Vec::new(), now),
            // Its death is awaited like that of any child, and ends the reload.
            Reload::Compiling { child, .. } => child.kill(reason),
            Reload::Idle | Reload::Loading(_) => {}
        }
    }

    /// Brings the image back to the workers.
    pub(crate) fn begin_rollback(&mut self, wanted: Wanted, now: Instant) {
        let Wanted { rollback, clients } = wanted;
        let active = self.generations.active().map(|active| active.number);
        if rollback.by_itself && active.is_some() && active != rollback.from {
            // Another one came meanwhile: nothing is known against that.
            return;
        }
        let kept = self.rollback_target(Some(rollback.to));
        if let Err(reason) = kept {
            return self.answer(clients, &self.refusal(reason, Vec::new()));
        }
        self.began = now;
        self.waiting.current = clients;
        let generation = rollback.to;
        self.generations.begin_return(generation);
        let known = self.generations.find(generation).expect("it can be had");
        let settings = known.configured.settings.clone();
        self.employ_broker(&settings, now);
        self.reload = Reload::Loading(Loading::new(generation, Change::Rollback(rollback)));
        self.advance_loading(now);
    }

    /// The active generation serves on, for good or ill.
    pub(crate) fn finish_not_rolled_back(
        &mut self,
        rollback: Rollback,
        reason: String,
        now: Instant,
    ) {
        self.employ_former_broker(now);
        let Rollback { to, by_itself, from } = rollback;
        tracing::error!(generation = to, by_itself, reason, "cannot go back to a generation");
        let clients = std::mem::take(&mut self.waiting.current);
        self.answer(clients, &self.refusal(reason, Vec::new()));
        if let Some(from) = from.filter(|_| by_itself && matches!(self.phase, Phase::Running)) {
            self.go_back_from(from);
        }
    }

    /// Goes back from a generation that is no good, if there is one to go back to.
    pub(crate) fn go_back_from(&mut self, generation: u64) {
        match self.generations.last_good_before(generation) {
            Some(target) => self.roll_back_by_itself(generation, target),
            None => tracing::error!(
                generation,
                "no good generation before this one is kept: it serves on"
            ),
        }
    }

    /// Gives up the rollback that waits, since the master stops.
    pub(crate) fn abandon_rollback(&mut self, reason: &str) {
        if let Some(wanted) = self.waiting.rollback.take() {
            let refusal: ControlReply = self.refusal(reason.to_owned(), Vec::new());
            self.answer(wanted.clients, &refusal);
        }
    }
}
