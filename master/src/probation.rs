//! The probation of a new generation: if it fails at too many requests while it is new, the master
//! goes back to the last good one by itself (`faults.probation_faults`, `faults.probation_s`).
//!
//! Faults are counted as workers report them ([`heritage::Report::Fault`], with those it says were
//! untold): each once, at once, and also those of a worker that dies right after. The counts on the
//! scoreboard are up to half a second old, and what was counted since is lost with the worker.
//!
//! One that has got through is new no more: where it comes back after a rollback, what it fails at
//! has been there before, and there is no end to going back.

use std::time::{Duration, Instant};

use crate::clients::ClientId;
use crate::control::{ControlReply, ProbationOutcome, ProbationStatus};
use crate::generations::{Ended, Generation, GenerationState, Record};
use crate::loading::Change;
use crate::reload::Reload;
use crate::supervisor::Supervisor;

/// Clients that wait for the end of a probation at once. Half of all that there may be, so that
/// there is always one that can ask what goes on.
const WAITING_MAX: usize = crate::clients::CLIENTS_MAX / 2;

/// The active generation, while it is new.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probation {
    pub(crate) generation: u64,
    /// When it is over.
    pub(crate) until: Instant,
    faults_max: u64,
}

impl Supervisor<'_> {
    /// A generation has become active.
    pub(crate) fn begin_probation(&mut self, generation: u64, now: Instant) {
        let known = self.generations.find_mut(generation).expect("it has become active");
        let faults_max = known.configured.probation_faults;
        // Without a number of faults that are too many there is nothing to get through.
        known.is_proven |= faults_max == 0;
        let until = now + known.configured.probation;
        self.probation = (!known.is_proven).then_some(Probation { generation, until, faults_max });
        // The workers that had it first may have failed at requests already.
        self.judge(generation, now);
    }

    /// When [`Supervisor::keep_probation`] next has something to do.
    pub(crate) fn probation_deadline(&self) -> Option<Instant> {
        self.probation.map(|probation| probation.until)
    }

    /// A generation has failed at requests.
    pub(crate) fn note_faults(&mut self, generation: u64, faults: u64, now: Instant) {
        let Some(known) = self.generations.find_mut(generation) else { return };
        known.faults = known.faults.saturating_add(faults);
        self.judge(generation, now);
    }

    /// Goes back from a generation that has failed too often.
    fn judge(&mut self, generation: u64, now: Instant) {
        let Some(known) = self.generations.find(generation) else { return };
        let record = known.record(now);
        let too_many = |probation: &Probation| {
            probation.generation == generation && record.faults >= probation.faults_max
        };
        if self.probation.take_if(|probation| too_many(probation)).is_some() {
            self.break_probation(generation, record);
        }
    }

    fn break_probation(&mut self, generation: u64, record: Record) {
        if let Some(known) = self.generations.find_mut(generation) {
            known.broken = Some(record);
        }
        tracing::error!(
            generation,
            faults = record.faults,
            within_s = record.active_for.as_secs_f32(),
            "a new generation fails at too many requests"
        );
        self.go_back_from(generation);
    }

    /// Ends a probation whose time is over, and answers those who wait for the end of one.
    pub(crate) fn keep_probation(&mut self, now: Instant) {
        if let Some(passed) = self.probation.take_if(|probation| probation.until <= now) {
            tracing::info!(generation = passed.generation, "a generation is past its probation");
            if let Some(known) = self.generations.find_mut(passed.generation) {
                known.is_proven = true;
            }
        }
        for (client, generation) in std::mem::take(&mut self.waiting.probation) {
            match self.outcome_of_probation(generation) {
                Some(outcome) => {
                    let serving = self.generations.active().map(|active| active.number);
                    let reply = ControlReply::Probation { generation, outcome, serving };
                    self.clients.reply(client, &reply, now);
                }
                None => self.waiting.probation.push((client, generation)),
            }
        }
    }

    /// A client wants to know what comes of a generation's probation.
    pub(crate) fn await_probation(&mut self, client: ClientId, generation: u64) {
        // Those that have hung up are no clients any more.
        self.waiting.probation.retain(|(waiting, _)| self.clients.has(*waiting));
        if self.waiting.probation.len() < WAITING_MAX {
            return self.waiting.probation.push((client, generation));
        }
        let reason = format!("{WAITING_MAX} commands wait for the end of a probation already");
        self.clients.reply(client, &ControlReply::Invalid { reason }, Instant::now());
    }

    /// Whether the master is about to leave the active generation by itself.
    fn is_going_back(&self) -> bool {
        let waits = self.waiting.rollback.as_ref().is_some_and(|wanted| wanted.rollback.by_itself);
        let loading = match &self.reload {
            Reload::Loading(loading) => matches!(loading.change, Change::Rollback(_)),
            _ => false,
        };
        waits || loading
    }

    /// What came of a generation's probation; none while it goes on, or while the master goes back.
    fn outcome_of_probation(&self, generation: u64) -> Option<ProbationOutcome> {
        let Some(known) = self.generations.find(generation) else {
            return Some(ProbationOutcome::Replaced);
        };
        let told = |record: Record| (record.faults, record.active_for.as_secs_f64());
        match (known.ended, known.broken) {
            (Some(Ended::RolledBack { by_itself, record, .. }), _) => {
                let (faults, within_s) = told(record);
                Some(ProbationOutcome::RolledBack { by_itself, faults, within_s })
            }
            (None, Some(_)) if self.is_going_back() => None,
            (_, Some(record)) => {
                let (faults, within_s) = told(record);
                Some(ProbationOutcome::Broken { faults, within_s })
            }
            (_, None) if known.is_proven => Some(ProbationOutcome::Passed),
            (None, None) if known.state == GenerationState::Active => None,
            _ => Some(ProbationOutcome::Replaced),
        }
    }

    /// Of the generation that is on probation.
    pub(crate) fn probation_status(
        &self,
        known: &Generation,
        now: Instant,
    ) -> Option<ProbationStatus> {
        let probation = self.probation.filter(|probation| probation.generation == known.number)?;
        let left: Duration = probation.until.saturating_duration_since(now);
        Some(ProbationStatus {
            faults: known.record(now).faults,
            faults_max: probation.faults_max,
            left_s: left.as_secs_f64().ceil() as u64,
        })
    }
}
