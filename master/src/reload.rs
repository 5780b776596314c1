//! The life of a reload, from the request to the last worker's answer.
//!
//! ```text
//!   Idle --> AwaitingSlot? --> Compiling --> Loading: one worker --> Loading: the others --> Idle
//!                                  |              |                       |
//!                                  +--------------+-----------------------+--> refused, Idle
//! ```
//!
//! One worker tries a new image before the others get it: an initialiser that crashes costs one
//! worker, and not all of them. When any worker cannot load it, those that have are told to load
//! the one before again, whose image is kept until then.
//!
//! A reload begins with the configuration: a generation is scripts and settings, which reach a
//! worker together, or not at all.
//!
//! A request that comes while a reload runs may be about sources that this one has read already: it
//! waits, together with all others like it, for exactly one more.

use std::collections::BTreeMap;
use std::time::Instant;

use heritage::{CompileOutcome, Diagnostic, Order, Severity, settings_file};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use crate::StartError;
use crate::clients::ClientId;
use crate::compile::{CompileChild, CompileFiles, leavings, log_diagnostics};
use crate::control::ControlReply;
use crate::supervisor::{Phase, Supervisor};
use crate::workers::Activity;

/// Workers that may die while they are the first to load a generation: one death may be chance.
const LOSSES_MAX: u32 = 2;

/// What the master does about a reload.
#[derive(Default)]
pub(crate) enum Reload {
    /// Nothing.
    #[default]
    Idle,
    /// Every slot is taken: the oldest outgoing generation was told to go.
    AwaitingSlot {
        /// When the workers that still have it are killed.
        deadline: Instant,
    },
    /// The compile child runs.
    Compiling {
        /// The generation it makes.
        generation: u64,
        /// The child.
        child: Box<CompileChild>,
    },
    /// The workers are being told to load the image.
    Loading(Loading),
}

/// A sealed image on its way into the workers.
pub(crate) struct Loading {
    generation: u64,
    outcome: CompileOutcome,
    /// Workers that were told to load it and have not answered, and when they must have.
    awaiting: BTreeMap<Pid, Instant>,
    /// Whether one worker has loaded it.
    proven: bool,
    /// Workers that died while they were the first.
    losses: u32,
    /// The longest that a worker took to map and initialise it.
    map_us: u64,
    /// Workers that have loaded it.
    loaded: usize,
}

/// A reload that came to nothing, and since which none has succeeded.
pub(crate) struct LastRefusal {
    pub(crate) at: Instant,
    pub(crate) reason: String,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// Who waits for reloads.
#[derive(Default)]
pub(crate) struct Waiting {
    /// For the one that runs.
    current: Vec<ClientId>,
    /// For the one after it.
    next: Vec<ClientId>,
    /// Whether there is to be one after it.
    again: bool,
}

impl Supervisor<'_> {
    /// Somebody wants the scripts compiled anew; the client, if it is one, gets the result.
    pub(crate) fn request_reload(&mut self, client: Option<ClientId>) {
        self.waiting.next.extend(client);
        self.waiting.again = true;
    }

    /// Begins what is wanted, and goes on with what waited for time to pass or a slot to get free.
    pub(crate) fn advance_reload(&mut self, now: Instant) {
        match &mut self.reload {
            Reload::Idle if self.waiting.again => {
                self.waiting.again = false;
                self.waiting.current = std::mem::take(&mut self.waiting.next);
                self.began = now;
                self.configure(now);
            }
            Reload::Idle => {}
            Reload::AwaitingSlot { deadline } if *deadline <= now => {
                *deadline = now + self.settings.answer_timeout;
                self.kill_outgoing_holders();
            }
            Reload::AwaitingSlot { .. } => {
                if let Some(slot) = self.generations.free_slot() {
                    self.compile(slot, now);
                }
            }
            Reload::Compiling { child, .. } => {
                if child.deadline <= now {
                    child.time_out(&self.settings);
                    child.deadline = now + self.settings.answer_timeout;
                }
            }
            Reload::Loading(loading) => {
                let late = due(&loading.awaiting, now);
                for pid in &late {
                    loading.awaiting.insert(*pid, now + self.settings.answer_timeout);
                }
                for pid in late {
                    self.kill_worker(pid, "it did not load the new generation in time");
                }
                self.advance_loading(now);
            }
        }
    }

    /// When [`Supervisor::advance_reload`] next has something to do.
    pub(crate) fn reload_deadline(&self) -> Option<Instant> {
        match &self.reload {
            Reload::Idle => None,
            Reload::AwaitingSlot { deadline } => Some(*deadline),
            Reload::Compiling { child, .. } => Some(child.deadline),
            Reload::Loading(loading) => loading.awaiting.values().min().copied(),
        }
    }

    /// Reads the configuration, before anything has changed or anybody was told to make room.
    fn configure(&mut self, now: Instant) {
        match self.roles.configure() {
            Ok(configured) => {
                self.settings.compile_timeout = configured.compile_timeout;
                self.settings.compile_memory_max = configured.compile_memory_max;
                self.employ_broker(&configured.settings, now);
                self.configured = configured;
                self.find_slot(now);
            }
            Err(diagnostics) => {
                self.finish_refused("the configuration is wrong".to_owned(), diagnostics);
            }
        }
    }

    fn find_slot(&mut self, now: Instant) {
        if let Some(slot) = self.generations.free_slot() {
            return self.compile(slot, now);
        }
        let oldest = self.generations.oldest_outgoing();
        let oldest = oldest.expect("of all slots, the active generation has but one");
        let (generation, holders) = (oldest.number, oldest.holders.clone());
        tracing::warn!(generation, "no slot is free: requests of this generation are cut off");
        self.reload = Reload::AwaitingSlot { deadline: now + self.settings.answer_timeout };
        for pid in holders {
            self.order(pid, &Order::Retire { generation }, &[]);
        }
    }

    fn kill_outgoing_holders(&mut self) {
        let oldest = self.generations.oldest_outgoing();
        for pid in oldest.map(|oldest| oldest.holders.clone()).unwrap_or_default() {
            self.kill_worker(pid, "it did not retire a generation in time");
        }
    }

    /// Forks the compile child.
    fn compile(&mut self, slot: u8, now: Instant) {
        let (image, leavings) = match image::create().and_then(|image| Ok((image, leavings()?))) {
            Ok(files) => files,
            Err(error) => {
                return self.finish_refused(format!("cannot make a memfd: {error}"), Vec::new());
            }
        };
        let theirs = image.try_clone();
        let settings = std::mem::take(&mut self.configured.settings);
        let generation = self.generations.begin(slot, image, settings, now);
        let started = theirs.and_then(|image| {
            let slot = self.arena.slot(slot);
            let files = CompileFiles { image, leavings };
            CompileChild::start(generation, slot, files, self.roles, &self.settings, now)
        });
        match started {
            Ok(child) => {
                tracing::info!(generation, pid = child.pid().as_raw(), "compiling");
                self.reload = Reload::Compiling { generation, child: Box::new(child) };
            }
            Err(error) => {
                self.generations.refuse(generation);
                self.finish_refused(format!("cannot fork a compile child: {error}"), Vec::new());
            }
        }
    }

    /// A child has ended: was it the compile child? If so, this was the end of the compile.
    pub(crate) fn compile_ended(&mut self, pid: Pid, ended: WaitStatus, now: Instant) -> bool {
        let (generation, child) = match std::mem::take(&mut self.reload) {
            Reload::Compiling { generation, child } if child.pid() == pid => (generation, child),
            other => {
                self.reload = other;
                return false;
            }
        };
        match child.conclude(ended) {
            Ok((outcome, leavings)) => {
                if outcome.compiled {
                    self.take_image(generation, outcome, now);
                } else {
                    self.generations.refuse(generation);
                    let reason = "the scripts do not compile".to_owned();
                    self.finish_refused(reason, outcome.diagnostics);
                }
                // After the workers have their orders: nobody waits for this.
                self.employ_keeper(leavings, now);
            }
            Err(failed) => {
                self.generations.refuse(generation);
                self.finish_refused(failed.message.clone(), vec![*failed]);
            }
        }
        true
    }

    /// The compile child says that the memfd holds an image: check that, and give it out.
    fn take_image(&mut self, generation: u64, outcome: CompileOutcome, now: Instant) {
        let compiled = self.generations.find(generation).expect("it was begun");
        let file = compiled.image.as_ref().expect("it is kept until the generation is over");
        if let Err(error) = (self.seal)(file, self.arena.slot(compiled.slot)) {
            self.generations.refuse(generation);
            return self.finish_refused(error.to_string(), outcome.diagnostics);
        }
        self.generations.compiled(generation, outcome.steps);
        self.reload = Reload::Loading(Loading {
            generation,
            outcome,
            awaiting: BTreeMap::new(),
            proven: false,
            losses: 0,
            map_us: 0,
            loaded: 0,
        });
        self.advance_loading(now);
    }

    /// Gives the image to whoever is next, and ends the reload when all have it.
    fn advance_loading(&mut self, now: Instant) {
        let Reload::Loading(loading) = &self.reload else { return };
        if !loading.awaiting.is_empty() || self.broker.is_awaited() {
            return;
        }
        if loading.proven {
            return self.finish_loaded();
        }
        let first = self.workers.values().find(|worker| worker.activity == Activity::Serving);
        if let Some(pid) = first.and_then(|worker| worker.pid()) {
            return self.order_load(pid, now);
        }
        // Nobody lives who could try: at the start, or when the generation before kills its
        // workers. Then those that are forked from now on start with this one.
        if self.workers.values().all(|worker| worker.process.is_none()) {
            self.finish_loaded();
        }
    }

    fn order_load(&mut self, pid: Pid, now: Instant) {
        let Reload::Loading(loading) = &mut self.reload else { return };
        loading.awaiting.insert(pid, now + self.settings.answer_timeout);
        let generation = loading.generation;
        self.send_image(pid, generation);
    }

    fn send_image(&mut self, pid: Pid, generation: u64) {
        self.generations.hold(generation, pid);
        let known = self.generations.find(generation).expect("it occupies its slot");
        let image = known.image.as_ref().expect("it is kept while the slot is its own").try_clone();
        let files = image.and_then(|image| Ok([image, settings_file(&known.settings)?]));
        let slot = known.slot;
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
        self.has_loaded = true;
        self.generations.hold(generation, pid);
        let Reload::Loading(loading) = &mut self.reload else { return };
        if loading.generation != generation {
            return;
        }
        loading.map_us = loading.map_us.max(map_us);
        loading.loaded += 1;
        loading.awaiting.remove(&pid);
        if !std::mem::replace(&mut loading.proven, true) {
            let others = self.workers.values().filter(|worker| worker.activity.takes_generations());
            let others: Vec<Pid> =
                others.filter_map(|worker| worker.pid()).filter(|other| *other != pid).collect();
            for other in others {
                self.order_load(other, now);
            }
        }
        self.advance_loading(now);
    }

    /// A worker could not load a generation; it serves the one before, if there is one.
    pub(crate) fn load_failed(&mut self, index: usize, pid: Pid, generation: u64, reason: &str) {
        self.generations.let_go(generation, pid);
        match &self.reload {
            Reload::Loading(loading) if loading.generation == generation => {
                self.refuse_loading(format!("worker {index} cannot load it: {reason}"));
            }
            _ if !self.has_loaded => {
                self.refuse_start(format!("worker {index} cannot load them: {reason}"));
            }
            _ => tracing::error!(worker = index, generation, reason, "a worker failed to load"),
        }
    }

    /// A worker is dead; the one that replaces it starts with the newest generation.
    pub(crate) fn load_interrupted(&mut self, pid: Pid, now: Instant) {
        if !self.has_loaded {
            self.lost_at_start += 1;
            if self.lost_at_start >= LOSSES_MAX {
                let losses = self.lost_at_start;
                return self.refuse_start(format!("{losses} workers died while they loaded them"));
            }
        }
        let Reload::Loading(loading) = &mut self.reload else { return };
        if loading.awaiting.remove(&pid).is_none() {
            return;
        }
        if !loading.proven {
            loading.losses += 1;
            if loading.losses >= LOSSES_MAX {
                let losses = loading.losses;
                return self.refuse_loading(format!("{losses} workers died while they loaded it"));
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

    /// Nothing serves, and with these scripts nothing ever will.
    fn refuse_start(&mut self, reason: String) {
        self.stop(Err(StartError::Refused { reason, diagnostics: Vec::new() }));
    }

    /// The generation that a worker starts with, if there is one.
    pub(crate) fn generation_to_start_with(&self) -> Option<u64> {
        match &self.reload {
            Reload::Loading(loading) if loading.proven => Some(loading.generation),
            _ => self.generations.active().map(|active| active.number),
        }
    }

    /// Takes an image back: whoever has it loads the one before again.
    fn refuse_loading(&mut self, reason: String) {
        let Reload::Loading(loading) = std::mem::take(&mut self.reload) else { return };
        let holders = self.generations.find(loading.generation).map(|known| known.holders.clone());
        self.generations.refuse(loading.generation);
        let active = self.generations.active().map(|active| active.number);
        if let Some(active) = active {
            for pid in holders.unwrap_or_default() {
                self.send_image(pid, active);
            }
        }
        self.finish_refused(reason, loading.outcome.diagnostics);
    }

    /// Gives up the reload that runs, since the master stops.
    pub(crate) fn abandon_reload(&mut self) {
        let reason = "the master stops".to_owned();
        match &mut self.reload {
            Reload::Idle => {}
            Reload::AwaitingSlot { .. } => self.finish_refused(reason.clone(), Vec::new()),
            // Its death is awaited like that of any child, and ends the reload.
            Reload::Compiling { child, .. } => child.kill(reason.clone()),
            Reload::Loading(_) => self.refuse_loading(reason.clone()),
        }
        self.waiting.again = false;
        let clients = std::mem::take(&mut self.waiting.next);
        self.answer(clients, &self.refusal(reason, Vec::new()));
    }

    /// What a client is told whose reload came to nothing.
    pub(crate) fn refusal(&self, reason: String, diagnostics: Vec<Diagnostic>) -> ControlReply {
        let generation_serving = self.generations.active().map(|active| active.number);
        ControlReply::Refused { generation_serving, diagnostics, reason }
    }

    fn finish_refused(&mut self, reason: String, diagnostics: Vec<Diagnostic>) {
        self.reload = Reload::Idle;
        if let Some(active) = self.generations.active() {
            let settings = active.settings.clone();
            self.employ_broker(&settings, Instant::now());
        }
        let reply = self.refusal(reason.clone(), diagnostics.clone());
        self.last_refusal = Some(LastRefusal {
            at: Instant::now(),
            reason: reason.clone(),
            diagnostics: diagnostics.clone(),
        });
        match self.generations.active().map(|active| active.number) {
            Some(serving) => {
                log_diagnostics(&diagnostics);
                tracing::error!(serving, reason, "reload refused: the generation before serves on");
            }
            // The caller of the master shows the diagnostics.
            None if matches!(self.phase, Phase::Running) => {
                self.stop(Err(StartError::Refused { reason, diagnostics }));
            }
            None => {}
        }
        let clients = std::mem::take(&mut self.waiting.current);
        self.answer(clients, &reply);
    }

    fn finish_loaded(&mut self) {
        let Reload::Loading(loading) = std::mem::take(&mut self.reload) else { return };
        let Loading { generation, mut outcome, map_us, loaded, .. } = loading;
        self.generations.activate(generation, Instant::now());
        self.last_refusal = None;
        outcome.diagnostics.extend(self.apply_configured());
        log_diagnostics(&outcome.diagnostics);
        let map_ms = map_us as f64 / 1000.0;
        let total_ms = self.began.elapsed().as_micros() as f64 / 1000.0;
        tracing::info!(
            generation,
            workers = loaded,
            front_end_ms = outcome.steps.front_end_ms,
            optimise_ms = outcome.steps.optimise_ms,
            code_ms = outcome.steps.code_ms,
            link_ms = outcome.steps.link_ms,
            map_ms,
            total_ms,
            "generation active"
        );
        let reply = ControlReply::Reloaded {
            generation,
            steps: outcome.steps,
            map_ms,
            total_ms,
            workers: loaded,
            diagnostics: outcome.diagnostics,
        };
        let clients = std::mem::take(&mut self.waiting.current);
        self.answer(clients, &reply);
    }

    /// The master's own part of the configuration that now serves; answers what it cannot apply.
    fn apply_configured(&mut self) -> Vec<Diagnostic> {
        let configured = std::mem::take(&mut self.configured);
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

    fn answer(&mut self, clients: Vec<ClientId>, reply: &ControlReply) {
        let now = Instant::now();
        for client in clients {
            self.clients.reply(client, reply, now);
        }
    }
}

fn due(deadlines: &BTreeMap<Pid, Instant>, now: Instant) -> Vec<Pid> {
    deadlines.iter().filter(|(_, deadline)| **deadline <= now).map(|(pid, _)| *pid).collect()
}
