//! A sealed image on its way into the workers: a new one at the end of a reload, or one that served
//! before, which a rollback brings back.
//!
//! One worker tries it before the others get it: an initialiser that crashes costs one worker, and
//! not all of them. When any worker cannot load it, those that have are told to load the active one
//! again, whose image is kept until then: a generation serves everywhere or nowhere.
//!
//! Where no worker serves that could try, as at the start, those that are forked next begin with it,
//! all of them at once. If there is nothing to go back to, one that serves with it is enough: others
//! that cannot load it are replaced until they can.

use std::collections::BTreeMap;
use std::time::Instant;

use heritage::{CompileOutcome, Diagnostic, Order, Severity, settings_file};
use nix::unistd::Pid;

use crate::Configured;
use crate::compile::log_diagnostics;
use crate::control::ControlReply;
use crate::generations::{Ended, Generation};
use crate::reload::Reload;
use crate::rollback::{LastRollback, Rollback};
use crate::supervisor::{Phase, Supervisor};
use crate::workers::{Activity, Worker};

/// Workers that may die while they are the first to load a generation: one death may be chance.
const LOSSES_MAX: u32 = 2;

/// What brings a generation to the workers.
pub(crate) enum Change {
    /// It is new, and this came of its compile.
    Reload(Box<CompileOutcome>),
    /// It served before.
    Rollback(Rollback),
}

/// A sealed image on its way into the workers.
pub(crate) struct Loading {
    pub(crate) generation: u64,
    pub(crate) change: Change,
    /// Workers that were told to load it and have not answered, and when they must have.
    pub(crate) awaiting: BTreeMap<Pid, Instant>,
    /// Whether one worker has loaded it.
    proven: bool,
    /// Whether workers that are forked begin with it before that: nobody serves who could try.
    is_tried_by_new: bool,
    /// Workers that died while they were the first.
    losses: u32,
    /// The longest that a worker took to map and initialise it.
    map_us: u64,
    /// Workers that have loaded it.
    loaded: usize,
}

impl Loading {
    pub(crate) fn new(generation: u64, change: Change) -> Self {
        Loading {
            generation,
            change,
            awaiting: BTreeMap::new(),
            proven: false,
            is_tried_by_new: false,
            losses: 0,
            map_us: 0,
            loaded: 0,
        }
    }
}

/// What a worker that is forked now begins with.
pub(crate) enum Beginning {
    /// This generation.
    Generation(u64),
    /// No scripts: every request gets what the failure policy says.
    NoScripts,
}

impl Supervisor<'_> {
    /// Kills workers that took too long to answer, and goes on with those that have.
    pub(crate) fn hurry_loading(&mut self, now: Instant) {
        let Reload::Loading(loading) = &mut self.reload else { return };
        let late = due(&loading.awaiting, now);
        for pid in &late {
            loading.awaiting.insert(*pid, now + self.settings.answer_timeout);
        }
        for pid in late {
            self.kill_worker(pid, "it did not load the generation in time");
        }
        self.advance_loading(now);
    }

    /// Gives the image to whoever is next, and ends the change when all have it.
    pub(crate) fn advance_loading(&mut self, now: Instant) {
        let Reload::Loading(loading) = &mut self.reload else { return };
        if !loading.awaiting.is_empty() || self.broker.is_awaited() {
            return;
        }
        if loading.proven {
            return self.finish_loaded(now);
        }
        let first = self.workers.values().find(|worker| worker.activity == Activity::Serving);
        if let Some(pid) = first.and_then(|worker| worker.pid()) {
            return self.order_load(pid, now);
        }
        // Nobody could try, nor soon: at the start, or when the generation before kills its workers.
        // Then those that are forked next try this one.
        let may_serve =
            |it: &Worker| matches!(it.activity, Activity::Starting { .. } | Activity::Serving);
        if !loading.is_tried_by_new && !self.workers.values().any(may_serve) {
            loading.is_tried_by_new = true;
            self.fork_without_delay(now);
        }
    }

    /// Has workers forked that begin with something else: what killed those before them is gone.
    fn fork_without_delay(&mut self, now: Instant) {
        for worker in self.workers.values_mut() {
            worker.backoff = Default::default();
            if let Activity::Vacant { fork_at } = &mut worker.activity {
                *fork_at = now;
            }
        }
    }

    /// A worker was forked that begins with this generation.
    pub(crate) fn begins_with(&mut self, pid: Pid, generation: u64, now: Instant) {
        self.generations.tell(generation, pid);
        if let Reload::Loading(loading) = &mut self.reload
            && loading.generation == generation
            && !loading.proven
        {
            loading.awaiting.insert(pid, now + self.settings.answer_timeout);
        }
    }

    /// Whether this worker is not ready yet.
    fn begins(&self, pid: Pid) -> bool {
        let worker = self.workers.values().find(|worker| worker.pid() == Some(pid));
        worker.is_some_and(|worker| matches!(worker.activity, Activity::Starting { .. }))
    }

    fn order_load(&mut self, pid: Pid, now: Instant) {
        let Reload::Loading(loading) = &mut self.reload else { return };
        loading.awaiting.insert(pid, now + self.settings.answer_timeout);
        let generation = loading.generation;
        self.keep_for_standby(pid, generation);
        self.send_image(pid, generation);
    }

    fn send_image(&mut self, pid: Pid, generation: u64) {
        let known = self.generations.find(generation).expect("it occupies its slot");
        let image = known.image.as_ref().expect("it is kept while the slot is its own").try_clone();
        let settings = &known.configured.settings;
        let files = image.and_then(|image| Ok([image, settings_file(settings)?]));
        let slot = known.slot;
        self.generations.tell(generation, pid);
        match files {
            Ok(files) => {
                self.order(pid, &Order::Load { generation, slot }, &files);
                self.tell_anew(pid);
            }
            Err(error) => self.kill_worker(pid, &format!("cannot send it an image: {error}")),
        }
    }

    /// A worker has loaded a generation, by order or at its start.
    pub(crate) fn loaded(&mut self, pid: Pid, generation: u64, map_us: u64, now: Instant) {
        self.generations.mapped(generation, pid);
        let Reload::Loading(loading) = &mut self.reload else { return };
        if loading.generation != generation {
            return;
        }
        loading.map_us = loading.map_us.max(map_us);
        loading.loaded += 1;
        loading.awaiting.remove(&pid);
        if !std::mem::replace(&mut loading.proven, true) {
            let others = self.workers.values().filter(|worker| worker.activity.takes_generations());
            let others = others.filter_map(|worker| worker.pid());
            // Some may have begun with it, too.
            let is_untold = |other: &Pid| *other != pid && !loading.awaiting.contains_key(other);
            let others: Vec<Pid> = others.filter(is_untold).collect();
            for other in others {
                self.order_load(other, now);
            }
        }
        self.advance_loading(now);
    }

    /// A worker could not load a generation; it serves the one before, or is replaced if it has none.
    pub(crate) fn load_failed(
        &mut self,
        index: usize,
        pid: Pid,
        generation: u64,
        reason: &str,
        now: Instant,
    ) {
        self.generations.not_mapped(generation, pid);
        let has_nothing_else = self.begins(pid) && self.generations.active().is_none();
        if let Reload::Loading(loading) = &mut self.reload
            && loading.generation == generation
        {
            if !(loading.proven && has_nothing_else) {
                let reason = format!("worker {index} cannot load it: {reason}");
                return self.refuse_loading(reason, now);
            }
            loading.awaiting.remove(&pid);
        }
        tracing::error!(worker = index, generation, reason, "a worker failed to load");
    }

    /// A worker is dead; the one that replaces it starts with the newest generation.
    pub(crate) fn load_interrupted(&mut self, pid: Pid, now: Instant) {
        let Reload::Loading(loading) = &mut self.reload else { return };
        if loading.awaiting.remove(&pid).is_none() {
            return;
        }
        if !loading.proven {
            loading.losses += 1;
            if loading.losses >= LOSSES_MAX {
                let losses = loading.losses;
                let reason = format!("{losses} workers died while they loaded it");
                return self.refuse_loading(reason, now);
            }
        }
        self.advance_loading(now);
    }

    /// A worker was replaced for what another generation did: that says nothing about this one.
    pub(crate) fn load_overtaken(&mut self, pid: Pid) {
        if let Reload::Loading(loading) = &mut self.reload {
            loading.awaiting.remove(&pid);
        }
    }

    /// Nothing can be loaded: workers begin without scripts, as this configuration says.
    pub(crate) fn serve_without_scripts(&mut self, configured: Configured, reason: &str) {
        self.without_scripts = Some(configured);
        tracing::error!(
            reason,
            "the scripts were refused, and no generation serves: requests get what faults.policy says until a reload brings others"
        );
    }

    /// What a worker that is forked now begins with; none if that is not known yet.
    pub(crate) fn beginning(&self) -> Option<Beginning> {
        match &self.reload {
            Reload::Loading(loading) if loading.proven || loading.is_tried_by_new => {
                Some(Beginning::Generation(loading.generation))
            }
            _ => match self.generations.active() {
                Some(active) => Some(Beginning::Generation(active.number)),
                None => self.without_scripts.as_ref().map(|_| Beginning::NoScripts),
            },
        }
    }

    /// Takes an image back: whoever has it loads the active one again.
    pub(crate) fn refuse_loading(&mut self, reason: String, now: Instant) {
        let Reload::Loading(loading) = std::mem::take(&mut self.reload) else { return };
        let Loading { generation, change, is_tried_by_new, .. } = loading;
        if is_tried_by_new {
            self.fork_without_delay(now);
        }
        let holders = self.generations.find(generation).map(|known| known.holders.clone());
        match &change {
            Change::Reload(_) => self.generations.refuse(generation, &reason),
            Change::Rollback(_) => self.generations.fail_return(generation, &reason, now),
        }
        let active = self.generations.active().map(|active| active.number);
        // Of a master that ends they end with what they have.
        let holders = holders.filter(|_| matches!(self.phase, Phase::Running));
        for pid in holders.unwrap_or_default().into_keys() {
            match active.filter(|_| !self.begins(pid)) {
                Some(active) => self.send_image(pid, active),
                None => self.kill_worker(pid, "it has what is not to serve"),
            }
        }
        match change {
            Change::Reload(outcome) => self.finish_refused(reason, outcome.diagnostics, now),
            Change::Rollback(rollback) => self.finish_not_rolled_back(rollback, reason, now),
        }
    }

    fn finish_loaded(&mut self, now: Instant) {
        let Reload::Loading(loading) = std::mem::take(&mut self.reload) else { return };
        let Loading { generation, change, map_us, loaded: workers, .. } = loading;
        let before = self.generations.active();
        let from = before.map(|before| before.number);
        let record = before.map(|before| before.record(now));
        let goes_back = self.generations.led_to_active(generation);
        let ended = match (&change, record) {
            // Who goes forward again says nothing against the one before.
            (Change::Rollback(rollback), Some(record)) if goes_back => {
                Ended::RolledBack { at: now, by_itself: rollback.by_itself, record }
            }
            _ => Ended::Replaced,
        };
        self.generations.activate(generation, ended, now);
        self.without_scripts = None;
        let mut diagnostics = self.apply_configured(generation);
        self.begin_probation(generation, now);
        let map_ms = map_us as f64 / 1000.0;
        let total_ms = self.began.elapsed().as_micros() as f64 / 1000.0;
        let reply = match change {
            Change::Reload(outcome) => {
                let CompileOutcome { diagnostics: compiled, steps, .. } = *outcome;
                diagnostics.splice(0..0, compiled);
                self.last_refusal = None;
                self.last_rollback = None;
                log_diagnostics(&diagnostics);
                tracing::info!(
                    generation,
                    workers,
                    front_end_ms = steps.front_end_ms,
                    optimise_ms = steps.optimise_ms,
                    code_ms = steps.code_ms,
                    link_ms = steps.link_ms,
                    map_ms,
                    total_ms,
                    "generation active"
                );
                ControlReply::Reloaded { generation, steps, map_ms, total_ms, workers, diagnostics }
            }
            Change::Rollback(Rollback { by_itself, .. }) => {
                self.last_rollback =
                    Some(LastRollback { at: now, from, to: generation, by_itself, record });
                log_diagnostics(&diagnostics);
                tracing::warn!(
                    generation,
                    from,
                    by_itself,
                    workers,
                    map_ms,
                    total_ms,
                    "rolled back"
                );
                ControlReply::RolledBack {
                    generation,
                    from,
                    map_ms,
                    total_ms,
                    workers,
                    diagnostics,
                }
            }
        };
        let clients = std::mem::take(&mut self.waiting.current);
        self.answer(clients, &reply);
    }

    /// The master's own part of the configuration that now serves; answers what it cannot apply.
    fn apply_configured(&mut self, generation: u64) -> Vec<Diagnostic> {
        let known = self.generations.find(generation).expect("it has become active");
        let configured = known.configured.clone();
        self.settings.drain_timeout = configured.drain_timeout;
        self.settings.answer_timeout = configured.answer_timeout;
        self.settings.hook_time_max = configured.hook_time_max;
        self.next_look = Instant::now();
        // A number that is the same as before leaves alone what signals have made of it.
        if configured.workers != self.settings.workers {
            self.settings.workers = configured.workers;
            self.scale(configured.workers);
        }
        let warning = |message| Diagnostic::about(Severity::Warning, "", message);
        configured.unchanged.into_iter().map(warning).collect()
    }
}

impl Generation {
    /// Whether one before it is to be kept mapped beside it.
    pub(crate) fn wants_standby(&self) -> bool {
        self.configured.stands_by
    }
}

fn due(deadlines: &BTreeMap<Pid, Instant>, now: Instant) -> Vec<Pid> {
    deadlines.iter().filter(|(_, deadline)| **deadline <= now).map(|(pid, _)| *pid).collect()
}
