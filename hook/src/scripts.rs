//! The script side of one worker: which generations are mapped, and who decides.

use std::ffi::c_void;
use std::net::IpAddr;
use std::time::Instant;

use heritage::{Fault, InheritedImage};
use image::{Arena, Enter, EntryPoint, Hook, MapError, Mapped, Sealed, Thrown};

use crate::answer::{self, Answer, Fields};
use crate::backtrace::Names;
use crate::events::{Events, Failure, Where};
use crate::faults::{self, Allowance};
use crate::host::{self, Call};
use crate::stack::{Ended, HookStack};
use crate::{Decision, Held, Holding, LoadError, Loaded, RequestView, abi};

/// Of all initialisers of a generation together, and of one destructor: tables of millions of entries
/// are made in less, and the worker does not serve meanwhile.
const OF_INITIALISERS: Allowance = Allowance { cpu_ms: 2_000, wall_ms: 8_000 };

/// A mapped image, and who uses it.
struct Generation {
    number: u64,
    on_request: Hook,
    users: u32,
    decided: u64,
    image: Mapped,
}

/// The script side of one worker: mapped generations, the hook stack and the request arena.
pub struct Scripts {
    arena: Arena,
    stack: HookStack,
    call: Box<Call>,
    /// Oldest first; the last one is active.
    generations: Vec<Generation>,
    /// The one that decides where the active one fails.
    standing_by: Option<u64>,
    retired: Vec<u64>,
    fields: Vec<abi::Field>,
    reply_fields: Fields,
    client: (IpAddr, String),
    faults: settings::Faults,
    of_hooks: Allowance,
    events: Events,
}

impl Scripts {
    /// Makes the hook stack, and catches from now on what scripts do wrong. `arena` is what the master
    /// reserved before it forked; `names` are for backtraces.
    pub fn new(arena: Arena, names: Names) -> std::io::Result<Self> {
        let nobody = IpAddr::from([0, 0, 0, 0]);
        let stack = HookStack::new()?;
        image::runtime::on_fault(host::misdeed);
        image::runtime::prepare_for_faults();
        faults::install(&stack)?;
        Ok(Self {
            arena,
            stack,
            call: Box::new(Call::new()?),
            generations: Vec::new(),
            standing_by: None,
            retired: Vec::new(),
            fields: Vec::new(),
            reply_fields: Vec::new(),
            client: (nobody, nobody.to_string()),
            of_hooks: Allowance::of(&settings::Faults::default()),
            faults: settings::Faults::default(),
            events: Events::new(names),
        })
    }

    /// What happens from now on when a script fails, and when it counts as having failed.
    pub fn configure(&mut self, settings: &settings::Faults) {
        if self.faults.strict != settings.strict
            && let Err(error) = fence::strict::enable(settings.strict)
        {
            tracing::error!(%error, "strict mode cannot be changed");
        }
        self.faults = settings.clone();
        self.of_hooks = Allowance::of(settings);
        faults::recover(settings.recover);
        self.call.log_lines_max = settings.log_lines;
    }

    /// Maps a sealed image, runs its initialisers and makes it the active generation; one that is
    /// still mapped is made active again. The one before it retires when the last request that holds
    /// it is done. What its scripts allocate has to fit `memory_bytes_max`.
    pub fn load(
        &mut self,
        image: InheritedImage,
        memory_bytes_max: u64,
    ) -> Result<Loaded, LoadError> {
        let started = Instant::now();
        let new = match self.position(image.generation) {
            Some(at) => self.generations.remove(at),
            None => self.map(image, memory_bytes_max)?,
        };
        self.generations.push(new);
        self.retire_unused();
        Ok(Loaded { map_us: started.elapsed().as_micros() as u64 })
    }

    /// Maps a sealed image, runs its initialisers and keeps it beside the active one, in place of the
    /// one that stood by before.
    pub fn stand_by(
        &mut self,
        image: InheritedImage,
        memory_bytes_max: u64,
    ) -> Result<(), LoadError> {
        let generation = image.generation;
        if self.position(generation).is_none() {
            let new = self.map(image, memory_bytes_max)?;
            self.generations.insert(self.generations.len().saturating_sub(1), new);
        }
        self.standing_by = Some(generation);
        self.retire_unused();
        Ok(())
    }

    fn map(
        &mut self,
        image: InheritedImage,
        memory_bytes_max: u64,
    ) -> Result<Generation, LoadError> {
        let InheritedImage { generation: number, slot, file } = image;
        let image = Sealed::open(file, self.arena.slot(slot))?;
        faults::allow(OF_INITIALISERS);
        let image = match Mapped::new(image, memory_bytes_max, &mut self.stack) {
            Ok(image) => image,
            Err(MapError::Initialiser { thrown, image }) => {
                let failure = Failure::thrown(&thrown, false);
                let message = failure.message.clone();
                self.events.note(failure, Where::initialiser(number));
                finish(number, *image, &mut self.stack, &mut self.events);
                return Err(LoadError::Initialiser(message));
            }
            Err(MapError::Abandoned { image }) => {
                let failure = Failure::caught(faults::take(), OF_INITIALISERS);
                let message = failure.message.clone();
                self.events.note(failure, Where::initialiser(number));
                self.events.part_with(number, &image);
                return Err(LoadError::Initialiser(message));
            }
            Err(error) => return Err(LoadError::Map(error.to_string())),
        };
        let on_request = image.hook(EntryPoint::OnRequest).ok_or(LoadError::NoHook)?;
        Ok(Generation { number, on_request, users: 0, decided: 0, image })
    }

    /// Calls `on_request` of the active generation, and where it fails and the policy says so of the
    /// one that stands by; what was decided is valid until the next call. The request holds the
    /// generation that decided until it is released.
    pub fn on_request(&mut self, request: &RequestView<'_>) -> (Held, Decision<'_>) {
        let Some(active) = self.generations.len().checked_sub(1) else {
            return (Held(0), Decision::Failed);
        };
        faults::allow(self.of_hooks);
        // It is written once and read where it stands: a copy of what was just written in other pieces
        // makes the CPU wait, each time for as long as all of the switch to the hook's stack takes.
        let mut answer = None;
        self.ask(active, request, &mut answer);
        let decided_by = match answer {
            None => self.ask_standing_by(request, &mut answer).unwrap_or(active),
            Some(_) => active,
        };
        let generation = &mut self.generations[decided_by];
        generation.users += 1;
        let held = Held(generation.number);
        let decision = match answer {
            None => Decision::Failed,
            Some(Answer::Close) => Decision::Close,
            Some(Answer::Forward { upstream, key }) => {
                Decision::Forward { upstream, key, edits: &self.call.edits }
            }
            Some(Answer::Reply { status, body }) => {
                Decision::Reply { status, fields: &self.reply_fields, body }
            }
        };
        (held, decision)
    }

    /// Asks the generation that stands by, if that is the policy, and says which one it is.
    #[cold]
    fn ask_standing_by(
        &mut self,
        request: &RequestView<'_>,
        answer: &mut Option<Answer>,
    ) -> Option<usize> {
        let is_wanted = self.faults.policy == settings::Policy::Previous;
        let at = self.position(self.standing_by.filter(|_| is_wanted)?)?;
        if at + 1 == self.generations.len() {
            return None;
        }
        self.ask(at, request, answer);
        Some(at)
    }

    /// What one generation answers; there stays none if it fails, which is noted.
    #[inline(always)]
    fn ask(&mut self, at: usize, request: &RequestView<'_>, answer: &mut Option<Answer>) {
        let generation = &mut self.generations[at];
        generation.decided += 1;
        generation.image.begin_call(self.faults.request_memory_bytes);
        let mut action = abi::Action::NONE;
        let mut described = abi::Request::NONE;
        described.describe(request, &mut self.fields, &mut self.client);
        let mut frame = Frame {
            hook: generation.on_request,
            request: &mut described,
            action: &mut action,
            reply_fields: &mut self.reply_fields,
            answer,
            wrong: None,
        };
        self.call.reset(generation.number);
        let stack = &self.stack;
        let ended = self.call.running(|| enter(stack, &mut frame));
        let failure = match (ended, frame.wrong) {
            (Ended::Returned, None) => return,
            (Ended::Returned, Some(Wrong::Answer(what))) => Failure::invalid_answer(what),
            (Ended::Returned, Some(Wrong::Thrown(thrown))) => {
                Failure::thrown(&thrown.described(), generation.image.is_exhausted())
            }
            (Ended::Abandoned, _) => {
                // However far it got.
                *frame.answer = None;
                generation.image.ruin();
                Failure::caught(faults::take(), self.of_hooks)
            }
        };
        let place = Where::request(generation.number, request, &self.faults);
        self.events.note(failure, place);
    }

    /// Calls `on_request` of the active generation without any of its fences: on this stack, with no
    /// budget and nobody to catch what it does wrong. To measure what the fences cost; the answer is
    /// read, and forgotten. False if it is none.
    #[allow(unsafe_code)]
    pub fn on_request_bare(&mut self, request: &RequestView<'_>) -> bool {
        type Bare = unsafe extern "C" fn(*mut abi::Action, *mut abi::Request) -> *mut c_void;
        let Some(generation) = self.generations.last_mut() else { return false };
        generation.decided += 1;
        generation.users += 1;
        let held = Held(generation.number);
        let mut action = abi::Action::NONE;
        let mut described = abi::Request::NONE;
        described.describe(request, &mut self.fields, &mut self.client);
        self.call.reset(generation.number);
        let address = generation.on_request.address() as *const c_void;
        let reply_fields = &mut self.reply_fields;
        let is_answered = self.call.running(|| {
            // SAFETY: the address is that of a hook, whose answer the caller makes room for (System V
            // ABI).
            let answered = unsafe {
                std::mem::transmute::<*const c_void, Bare>(address)(&mut action, &mut described);
                answer::read(&action, reply_fields)
            };
            answered.is_ok()
        });
        self.release(held);
        is_answered
    }

    /// Ends a request's hold on its generation.
    pub fn release(&mut self, held: Held) {
        let mut generations = self.generations.iter_mut();
        if let Some(generation) = generations.find(|generation| generation.number == held.0) {
            generation.users -= 1;
            // The active one, which is the last, stays.
            if generation.users == 0 && generations.next().is_some() {
                self.retire_unused();
            }
        }
    }

    /// Unmaps a generation although requests hold it. The active one stays.
    pub fn retire(&mut self, generation: u64) {
        self.standing_by = self.standing_by.filter(|standing_by| *standing_by != generation);
        let active = self.generations.last().map(|active| active.number);
        self.drop_generations(|found| found.number == generation && Some(generation) != active);
    }

    /// A generation that was unmapped since the last call, to be reported to the master.
    pub fn next_retired(&mut self) -> Option<u64> {
        self.retired.pop()
    }

    /// A fault that was not told yet, if one may be told now.
    pub fn next_fault(&mut self) -> Option<Fault> {
        let mut generations = self.generations.iter();
        self.events
            .next(|number| Some(&generations.find(|generation| generation.number == number)?.image))
    }

    /// Whether a script was left in the middle of something in this process, or has used up its
    /// memory: another process does better.
    pub fn is_tainted(&self) -> bool {
        self.events.is_tainted()
    }

    fn position(&self, generation: u64) -> Option<usize> {
        self.generations.iter().position(|found| found.number == generation)
    }

    fn retire_unused(&mut self) {
        let active = self.generations.last().map(|active| active.number);
        let kept = [active, self.standing_by];
        self.drop_generations(|found| found.users == 0 && !kept.contains(&Some(found.number)));
    }

    fn drop_generations(&mut self, gone: impl Fn(&Generation) -> bool) {
        for generation in self.generations.extract_if(.., |it| gone(it)) {
            faults::allow(OF_INITIALISERS);
            self.retired.push(generation.number);
            finish(generation.number, generation.image, &mut self.stack, &mut self.events);
        }
    }

    /// The generations that are mapped, the active one last.
    pub fn holdings(&self) -> impl Iterator<Item = Holding> {
        self.generations.iter().map(|found| Holding {
            generation: found.number,
            requests: found.users,
            decided: found.decided,
            memory_bytes: found.image.heap_bytes_in_use(),
        })
    }

    /// Gives back memory that scripts no longer use; to be called now and then.
    pub fn settle(&mut self) {
        self.generations.iter_mut().for_each(|found| found.image.settle());
    }
}

impl Drop for Scripts {
    fn drop(&mut self) {
        self.drop_generations(|_| true);
    }
}

/// Runs the destructors of a generation and unmaps it. A destructor that fails is told, and the
/// others are left.
fn finish(number: u64, mut image: Mapped, stack: &mut HookStack, events: &mut Events) {
    let came_back = image.finalise(stack, &mut |thrown| {
        tracing::error!(
            generation = number,
            "at the end of the generation, a destructor or a function of atexit threw {thrown}"
        );
    });
    if !came_back {
        let failure = Failure::caught(faults::take(), OF_INITIALISERS);
        events.note(failure, Where::destructor(number));
    }
    events.part_with(number, &image);
}

impl Enter for HookStack {
    #[allow(unsafe_code)]
    fn enter(&mut self, inside: &mut dyn FnMut()) -> bool {
        extern "C" fn run(inside: *mut c_void) {
            // SAFETY: it is the one below, which waits for this.
            unsafe { (*inside.cast::<&mut dyn FnMut()>())() }
        }
        let mut inside = inside;
        // SAFETY: what is run is `image`'s, which ends exceptions, and prepared for its abandonment.
        unsafe { self.call(run, (&raw mut inside).cast()) == Ended::Returned }
    }
}

/// What goes to the other stack and back.
struct Frame<'a> {
    hook: Hook,
    request: &'a mut abi::Request,
    action: &'a mut abi::Action,
    reply_fields: &'a mut Fields,
    answer: &'a mut Option<Answer>,
    wrong: Option<Wrong>,
}

/// Why a hook that has come back has not answered.
enum Wrong {
    Answer(&'static str),
    Thrown(Thrown),
}

#[allow(unsafe_code)]
fn enter(stack: &HookStack, frame: &mut Frame<'_>) -> Ended {
    extern "C" fn on_hook_stack(frame: *mut c_void) {
        // SAFETY: `frame` is the one below; its hook is of a generation that is mapped, and the
        // structures are those of `abi.h`.
        unsafe {
            let frame = &mut *frame.cast::<Frame<'_>>();
            let (action, request) = (&raw mut *frame.action, &raw mut *frame.request);
            match frame.hook.call(action.cast(), request.cast()) {
                Err(thrown) => frame.wrong = Some(Wrong::Thrown(thrown)),
                Ok(()) => match answer::read(frame.action, frame.reply_fields) {
                    Err(what) => frame.wrong = Some(Wrong::Answer(what)),
                    Ok(answer) => *frame.answer = Some(answer),
                },
            }
        }
    }
    // SAFETY: hooks don't nest, and exceptions end in `Hook::call`. What is abandoned leaves at most a
    // list of fields half full, which is emptied before it is used again.
    unsafe { stack.call(on_hook_stack, (&raw mut *frame).cast()) }
}
