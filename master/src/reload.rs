//! The life of a reload, from the request to the last worker's answer.
//!
//! ```text
//!   Idle --> AwaitingSlot? --> Compiling --> Loading: one worker --> Loading: the others --> Idle
//!                                  |              |                       |
//!                                  +--------------+-----------------------+--> refused, Idle
//! ```
//!
//! How the image gets to the workers is told in `loading.rs`; a rollback begins there, too.
//!
//! A reload begins with the configuration: a generation is scripts and settings, which reach a
//! worker together, or not at all.
//!
//! A request that comes while a reload runs may be about sources that this one has read already: it
//! waits, together with all others like it, for exactly one more.
//!
//! A start is a reload with nothing before it. Where it is refused, the workers begin without scripts.

use std::time::Instant;

use heritage::{CompileOutcome, Diagnostic, Order};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use crate::StartError;
use crate::clients::ClientId;
use crate::compile::{CompileChild, CompileFiles, leavings, log_diagnostics};
use crate::control::ControlReply;
use crate::loading::{Change, Loading};
use crate::rollback::Wanted;
use crate::supervisor::{Phase, Supervisor};

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

/// A reload that came to nothing, and since which none has succeeded.
pub(crate) struct LastRefusal {
    pub(crate) at: Instant,
    pub(crate) reason: String,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// Who waits for what.
#[derive(Default)]
pub(crate) struct Waiting {
    /// For the reload or rollback that runs.
    pub(crate) current: Vec<ClientId>,
    /// For the reload after it.
    pub(crate) next: Vec<ClientId>,
    /// Whether there is to be one after it.
    pub(crate) again: bool,
    /// A rollback that is to come before that.
    pub(crate) rollback: Option<Wanted>,
    /// For the end of the probation of these generations.
    pub(crate) probation: Vec<(ClientId, u64)>,
}

impl Supervisor<'_> {
    /// Somebody wants the scripts compiled anew; the client, if it is one, gets the result.
    pub(crate) fn request_reload(&mut self, client: Option<ClientId>) {
        self.waiting.next.extend(client);
        self.waiting.again = true;
    }

    /// Begins what is wanted, and goes on with what waited for time to pass or a slot to get free.
    pub(crate) fn advance_reload(&mut self, now: Instant) {
        if matches!(self.reload, Reload::Idle)
            && let Some(wanted) = self.waiting.rollback.take()
        {
            self.begin_rollback(wanted, now);
        }
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
            Reload::Loading(_) => self.hurry_loading(now),
        }
    }

    /// When [`Supervisor::advance_reload`] next has something to do.
    pub(crate) fn reload_deadline(&self) -> Option<Instant> {
        match &self.reload {
            // What is wanted may have become so in the middle of a turn.
            Reload::Idle => {
                let is_wanted = self.waiting.again || self.waiting.rollback.is_some();
                is_wanted.then(Instant::now)
            }
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
                self.configured = Some(configured);
                self.find_slot(now);
            }
            Err(diagnostics) => {
                self.finish_refused("the configuration is wrong".to_owned(), diagnostics, now);
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
        for pid in holders.into_keys() {
            self.order(pid, &Order::Retire { generation }, &[]);
        }
    }

    fn kill_outgoing_holders(&mut self) {
        let oldest = self.generations.oldest_outgoing();
        let holders = oldest.map(|oldest| oldest.holders.clone()).unwrap_or_default();
        for pid in holders.into_keys() {
            self.kill_worker(pid, "it did not retire a generation in time");
        }
    }

    /// Forks the compile child.
    fn compile(&mut self, slot: u8, now: Instant) {
        let (image, leavings) = match image::create().and_then(|image| Ok((image, leavings()?))) {
            Ok(files) => files,
            Err(error) => {
                let reason = format!("cannot make a memfd: {error}");
                return self.finish_refused(reason, Vec::new(), now);
            }
        };
        let theirs = image.try_clone();
        let configured = self.configured.clone().expect("a reload begins with it");
        let generation = self.generations.begin(slot, image, configured, now);
        let started = theirs.and_then(|image| {
            let slot = self.arena.slot(slot);
            let files = CompileFiles { image, leavings };
            let network = self.network.as_ref();
            CompileChild::start(generation, slot, files, self.roles, &self.settings, network, now)
        });
        match started {
            Ok(child) => {
                tracing::info!(generation, pid = child.pid().as_raw(), "compiling");
                self.reload = Reload::Compiling { generation, child: Box::new(child) };
            }
            Err(error) => {
                let reason = format!("cannot fork a compile child: {error}");
                self.generations.refuse(generation, &reason);
                self.finish_refused(reason, Vec::new(), now);
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
                    let reason = "the scripts do not compile".to_owned();
                    self.generations.refuse(generation, &reason);
                    self.finish_refused(reason, outcome.diagnostics, now);
                }
                // After the workers have their orders: nobody waits for this.
                self.employ_keeper(leavings, now);
            }
            Err(failed) => {
                self.generations.refuse(generation, &failed.message);
                self.finish_refused(failed.message.clone(), vec![*failed], now);
            }
        }
        true
    }

    /// The compile child says that the memfd holds an image: check that, and give it out.
    fn take_image(&mut self, generation: u64, outcome: CompileOutcome, now: Instant) {
        let compiled = self.generations.find(generation).expect("it was begun");
        let file = compiled.image.as_ref().expect("it is kept until the generation is over");
        let sealed = match (self.seal)(file, self.arena.slot(compiled.slot)) {
            Ok(sealed) => sealed,
            Err(error) => {
                self.generations.refuse(generation, &error.to_string());
                return self.finish_refused(error.to_string(), outcome.diagnostics, now);
            }
        };
        self.generations.compiled(generation, outcome.steps, sealed);
        self.reload = Reload::Loading(Loading::new(generation, Change::Reload(Box::new(outcome))));
        self.advance_loading(now);
    }

    /// Gives up the reload that runs, since the master stops.
    pub(crate) fn abandon_reload(&mut self) {
        let reason = "the master stops".to_owned();
        let now = Instant::now();
        self.abandon_rollback(&reason);
        match &mut self.reload {
            Reload::Idle => {}
            Reload::AwaitingSlot { .. } => self.finish_refused(reason.clone(), Vec::new(), now),
            // Its death is awaited like that of any child, and ends the reload.
            Reload::Compiling { child, .. } => child.kill(reason.clone()),
            Reload::Loading(_) => self.refuse_loading(reason.clone(), now),
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

    /// Ends a reload that has come to nothing.
    pub(crate) fn finish_refused(
        &mut self,
        reason: String,
        diagnostics: Vec<Diagnostic>,
        now: Instant,
    ) {
        self.reload = Reload::Idle;
        self.employ_former_broker(now);
        let reply = self.refusal(reason.clone(), diagnostics.clone());
        self.note_refusal(reason.clone(), diagnostics.clone(), now);
        let clients = std::mem::take(&mut self.waiting.current);
        self.answer(clients, &reply);
        if let Some(serving) = self.generations.active().map(|active| active.number) {
            log_diagnostics(&diagnostics);
            tracing::error!(serving, reason, "reload refused: the generation before serves on");
            return;
        }
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        match (self.configured.take(), &self.without_scripts) {
            (_, Some(_)) => {
                log_diagnostics(&diagnostics);
                tracing::error!(reason, "reload refused: no generation serves, as before");
            }
            (Some(configured), None) => {
                log_diagnostics(&diagnostics);
                self.serve_without_scripts(configured, &reason);
            }
            // The caller of the master shows the diagnostics.
            (None, None) => self.stop(Err(StartError::Refused { reason, diagnostics })),
        }
    }

    /// What serves on has the broker that works with its settings.
    pub(crate) fn employ_former_broker(&mut self, now: Instant) {
        let active = self.generations.active().map(|active| &active.configured);
        if let Some(configured) = active.or(self.without_scripts.as_ref()) {
            let settings = configured.settings.clone();
            self.employ_broker(&settings, now);
        }
    }

    /// What is on disk is not what serves.
    pub(crate) fn note_refusal(
        &mut self,
        reason: String,
        diagnostics: Vec<Diagnostic>,
        now: Instant,
    ) {
        self.last_refusal = Some(LastRefusal { at: now, reason, diagnostics });
    }

    pub(crate) fn answer(&mut self, clients: Vec<ClientId>, reply: &ControlReply) {
        let now = Instant::now();
        for client in clients {
            self.clients.reply(client, reply, now);
        }
    }
}
