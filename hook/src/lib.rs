//! Calling scripts: what a worker knows of C++.
//!
//! ```text
//! worker ---RequestView--> Scripts ---kiln_request---> hook, on its own guarded stack
//!        <----Decision----         <---kiln_action----
//! ```
//!
//! A hook call writes the parsed head down as `abi.h` has it, points `kiln_current` at the call's
//! context, switches stacks, and enters the image through a C++ frame that ends exceptions. What a
//! script wants done comes back as its action, or goes through the table of effects (`host`).
//!
//! This crate knows no socket and no HTTP beyond which fields are valid.

#[allow(unsafe_code)] // Reading what scripts lend.
mod abi;
mod arena;
mod field;
#[allow(unsafe_code)] // Effects are called by scripts, through pointers that scripts hand back.
mod host;
#[allow(unsafe_code)] // Switching stacks.
mod stack;

use std::ffi::c_void;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Instant;

use image::{EntryPoint, Hook, MapError, Mapped, Sealed};

use abi::Str;
use host::Call;
pub use host::script_bindings;
pub use image::Arena;
use stack::HookStack;

/// Most fields that a script adds to a reply.
const REPLY_FIELDS_MAX: usize = 128;
/// Most bytes of one name, value or upstream name that a script hands over.
const NAME_BYTES_MAX: usize = 16 << 10;

/// One field line of a request head: name as the client spelt it, value without surrounding whitespace.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Field name.
    pub name: &'a [u8],
    /// Field value.
    pub value: &'a [u8],
}

/// What `on_request` sees: views over the parsed head.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// Method, for instance `GET`.
    pub method: &'a [u8],
    /// Request target as it stood in the request line.
    pub target: &'a [u8],
    /// Path of the target, without the query; `*` or empty for forms that have none.
    pub path: &'a [u8],
    /// Query of the target, without the `?`; empty when there is none.
    pub query: &'a [u8],
    /// Host that the request is for (RFC 9112, section 3.3), with the port if it was given.
    pub authority: &'a [u8],
    /// Field lines in the order of arrival.
    pub fields: &'a [Field<'a>],
    /// Address of the client.
    pub client: SocketAddr,
}

/// One change that a script made to the request before it goes upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit<'a> {
    /// Remove every field of this name, then append one with this value.
    Set(&'a [u8], &'a [u8]),
    /// Append a field, whatever there is of that name.
    Add(&'a [u8], &'a [u8]),
    /// Remove every field of this name.
    Remove(&'a [u8]),
}

/// What a script decided.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// Send the request, edited, to a server of this upstream.
    Forward {
        /// Name of the upstream, not yet looked up; empty when every script left the decision to
        /// the next: then it is for the only upstream there is.
        upstream: &'a [u8],
        /// What decides about the server where the upstream balances by hash; empty if no script said.
        key: &'a [u8],
        /// In the order in which the script made them. Names are tokens and values are field values
        /// (RFC 9110, sections 5.1 and 5.5): checked before they got here.
        edits: &'a [Edit<'a>],
    },
    /// Answer without an upstream.
    Reply {
        /// Status code, 200 to 599.
        status: u16,
        /// Response fields as name and value, checked like those of edits.
        fields: &'a [(&'a [u8], &'a [u8])],
        /// Response content.
        body: &'a [u8],
    },
    /// Close the connection without an answer.
    Close,
    /// The script failed; the failure was logged. Answer 500.
    Failed,
}

/// A generation in use by a request; given back with [`Scripts::release`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a generation that is never released is never retired"]
pub struct Held(pub u64);

/// What loading an image cost.
#[derive(Clone, Copy, Debug)]
pub struct Loaded {
    /// Microseconds to map the image and run its initialisers.
    pub map_us: u64,
}

/// Why an image was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is not one.
    #[error(transparent)]
    Invalid(#[from] image::Invalid),
    /// It could not be mapped, or an initialiser threw.
    #[error(transparent)]
    Map(#[from] MapError),
    /// It holds no hook.
    #[error("the image has no hook")]
    NoHook,
}

/// A mapped image, and who uses it.
struct Generation {
    number: u64,
    on_request: Hook,
    users: u32,
    decided: u64,
    faults: u64,
    image: Mapped,
}

/// What one generation holds in this worker, and who holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Its number.
    pub generation: u64,
    /// Requests that it decided and that are not over.
    pub requests: u32,
    /// Requests that it decided since it was mapped, those that it failed at included.
    pub decided: u64,
    /// Requests that it failed at.
    pub faults: u64,
    /// Bytes that its scripts have allocated and not given back.
    pub memory_bytes: u64,
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
    reply_fields: Vec<(&'static [u8], &'static [u8])>,
    client: (IpAddr, String),
}

impl Scripts {
    /// Makes the hook stack. `arena` is what the master reserved before it forked.
    pub fn new(arena: Arena) -> std::io::Result<Self> {
        let nobody = IpAddr::from([0, 0, 0, 0]);
        image::runtime::on_heap_fault(host::heap_fault);
        Ok(Self {
            arena,
            stack: HookStack::new()?,
            call: Box::new(Call::new()),
            generations: Vec::new(),
            standing_by: None,
            retired: Vec::new(),
            fields: Vec::new(),
            reply_fields: Vec::new(),
            client: (nobody, nobody.to_string()),
        })
    }

    /// Maps a sealed image, runs its initialisers and makes it the active generation; one that is
    /// still mapped is made active again. The one before it retires when the last request that holds
    /// it is done. What its scripts allocate has to fit `memory_bytes_max`.
    pub fn load(
        &mut self,
        generation: u64,
        slot: u8,
        file: OwnedFd,
        memory_bytes_max: u64,
    ) -> Result<Loaded, LoadError> {
        let started = Instant::now();
        if let Some(at) = self.generations.iter().position(|found| found.number == generation) {
            let found = self.generations.remove(at);
            self.generations.push(found);
            self.retire_unused();
            return Ok(Loaded { map_us: started.elapsed().as_micros() as u64 });
        }
        let new = self.map(generation, slot, file, memory_bytes_max)?;
        self.generations.push(new);
        self.retire_unused();
        Ok(Loaded { map_us: started.elapsed().as_micros() as u64 })
    }

    /// Maps a sealed image, runs its initialisers and keeps it beside the active one, in place of the
    /// one that stood by before.
    pub fn stand_by(
        &mut self,
        generation: u64,
        slot: u8,
        file: OwnedFd,
        memory_bytes_max: u64,
    ) -> Result<Loaded, LoadError> {
        let started = Instant::now();
        if !self.generations.iter().any(|found| found.number == generation) {
            let new = self.map(generation, slot, file, memory_bytes_max)?;
            self.generations.insert(self.generations.len().saturating_sub(1), new);
        }
        self.standing_by = Some(generation);
        self.retire_unused();
        Ok(Loaded { map_us: started.elapsed().as_micros() as u64 })
    }

    fn map(
        &self,
        number: u64,
        slot: u8,
        file: OwnedFd,
        memory_bytes_max: u64,
    ) -> Result<Generation, LoadError> {
        let image = Sealed::open(file, self.arena.slot(slot))?;
        let image = Mapped::new(image, memory_bytes_max)?;
        let on_request = image.hook(EntryPoint::OnRequest).ok_or(LoadError::NoHook)?;
        Ok(Generation { number, on_request, users: 0, decided: 0, faults: 0, image })
    }

    /// Calls `on_request` of the active generation; what it decided is valid until the next call.
    /// The request holds that generation until it is released.
    pub fn on_request(&mut self, request: &RequestView<'_>) -> (Held, Decision<'_>) {
        let Some(active) = self.generations.last_mut() else { return (Held(0), Decision::Failed) };
        active.users += 1;
        active.decided += 1;
        let (generation, hook) = (active.number, active.on_request);
        let mut frame = Frame {
            hook,
            request: describe(request, &mut self.fields, &mut self.client),
            action: abi::Action::NONE,
            thrown: Ok(()),
        };
        self.call.reset(generation);
        let stack = &self.stack;
        self.call.running(|| enter(stack, &mut frame));
        if let Err(exception) = frame.thrown {
            let path = String::from_utf8_lossy(request.path);
            tracing::error!(generation, hook = "on_request", %path, "the script threw {exception}");
            return (Held(generation), Decision::Failed);
        }
        let decision = self.decide(&frame.action);
        let decision = decision.unwrap_or_else(|wrong| {
            tracing::error!(generation, hook = "on_request", "the script's answer is {wrong}");
            Decision::Failed
        });
        (Held(generation), decision)
    }

    /// Ends a request's hold on its generation.
    pub fn release(&mut self, held: Held) {
        let mut generations = self.generations.iter_mut();
        if let Some(generation) = generations.find(|generation| generation.number == held.0) {
            generation.users -= 1;
            if generation.users == 0 {
                self.retire_unused();
            }
        }
    }

    /// Unmaps a generation although requests hold it. The active one stays.
    pub fn retire(&mut self, generation: u64) {
        let active = self.generations.last().map(|active| active.number);
        self.drop_generations(|found| found.number == generation && Some(generation) != active);
    }

    /// A generation that was unmapped since the last call, to be reported to the master.
    pub fn next_retired(&mut self) -> Option<u64> {
        self.retired.pop()
    }

    fn retire_unused(&mut self) {
        let active = self.generations.last().map(|active| active.number);
        let kept = [active, self.standing_by];
        self.drop_generations(|found| found.users == 0 && !kept.contains(&Some(found.number)));
    }

    fn drop_generations(&mut self, gone: impl Fn(&Generation) -> bool) {
        for Generation { number, image, .. } in self.generations.extract_if(.., |it| gone(it)) {
            image.retire(|thrown| {
                tracing::error!(
                    generation = number,
                    "at the end of the generation, a destructor or a function of atexit threw {thrown}"
                );
            });
            self.retired.push(number);
        }
    }

    /// The generations that are mapped, the active one last.
    pub fn holdings(&self) -> impl Iterator<Item = Holding> {
        self.generations.iter().map(|found| Holding {
            generation: found.number,
            requests: found.users,
            decided: found.decided,
            faults: found.faults,
            memory_bytes: found.image.heap_bytes_in_use(),
        })
    }

    /// Gives back memory that scripts no longer use; to be called now and then.
    pub fn settle(&mut self) {
        self.generations.iter_mut().for_each(|found| found.image.settle());
    }

    /// What a hook's answer means, or what is wrong with it.
    #[allow(unsafe_code)]
    fn decide(&mut self, action: &abi::Action) -> Result<Decision<'_>, &'static str> {
        match action.kind {
            abi::ACTION_NEXT => {
                Ok(Decision::Forward { upstream: b"", key: b"", edits: &self.call.edits })
            }
            abi::ACTION_FORWARD => {
                // SAFETY: `abi.h`: what an action points to lives until the host has read it.
                let upstream = unsafe { action.text.bytes(NAME_BYTES_MAX) };
                let upstream = upstream.filter(|name| !name.is_empty());
                let upstream = upstream.ok_or("a forward without the name of an upstream")?;
                // SAFETY: as above.
                let key = unsafe { action.key.bytes(NAME_BYTES_MAX) };
                let key = key.ok_or("a forward with an oversized key")?;
                Ok(Decision::Forward { upstream, key, edits: &self.call.edits })
            }
            abi::ACTION_REPLY => {
                let status = u16::try_from(action.status).ok();
                let status = status.filter(|status| (200..=599).contains(status));
                let status = status.ok_or("a reply whose status is not between 200 and 599")?;
                // SAFETY: as above.
                let body = unsafe { action.text.bytes(arena::REQUEST_BYTES_MAX) };
                let body = body.ok_or("a reply with more content than a request may make")?;
                collect_fields(action.fields, &mut self.reply_fields)?;
                Ok(Decision::Reply { status, fields: &self.reply_fields, body })
            }
            abi::ACTION_CLOSE => Ok(Decision::Close),
            _ => Err("not an action"),
        }
    }
}

/// What goes to the other stack and back.
struct Frame {
    hook: Hook,
    request: abi::Request,
    action: abi::Action,
    thrown: Result<(), String>,
}

#[allow(unsafe_code)]
fn enter(stack: &HookStack, frame: &mut Frame) {
    extern "C" fn on_hook_stack(frame: *mut c_void) {
        // SAFETY: `frame` is the one below; its hook is of a generation that the request holds, and
        // the structures are those of `abi.h`.
        unsafe {
            let frame = &mut *frame.cast::<Frame>();
            let (action, request) = (&raw mut frame.action, &raw mut frame.request);
            frame.thrown = frame.hook.call(action.cast(), request.cast());
        }
    }
    // SAFETY: hooks don't nest, and exceptions end in `Hook::call`.
    unsafe { stack.call(on_hook_stack, (&raw mut *frame).cast()) }
}

/// Writes a request down as `abi.h` has it. What it points to lives as long as the arguments.
fn describe(
    request: &RequestView<'_>,
    fields: &mut Vec<abi::Field>,
    client: &mut (IpAddr, String),
) -> abi::Request {
    let mut common = [0; abi::COMMON_FIELDS.len()];
    fields.clear();
    for (index, field) in request.fields.iter().enumerate() {
        fields.push(abi::Field { name: Str::lend(field.name), value: Str::lend(field.value) });
        let place = field::common_index(field.name).map(|place| &mut common[place]);
        if let Some(place) = place
            && *place == 0
        {
            *place = u16::try_from(index + 1).unwrap_or(0);
        }
    }
    // Requests of one client come together: its address is rarely written anew.
    if client.0 != request.client.ip() {
        *client = (request.client.ip(), request.client.ip().to_string());
    }
    abi::Request {
        method: Str::lend(request.method),
        target: Str::lend(request.target),
        path: Str::lend(request.path),
        query: Str::lend(request.query),
        authority: Str::lend(request.authority),
        client_address: Str::lend(client.1.as_bytes()),
        fields: fields.as_ptr(),
        fields_count: fields.len() as u32,
        client_port: request.client.port(),
        common,
    }
}

/// Collects a reply's fields in the order in which the script added them.
#[allow(unsafe_code)]
fn collect_fields(
    mut list: *const abi::ReplyField,
    fields: &mut Vec<(&'static [u8], &'static [u8])>,
) -> Result<(), &'static str> {
    fields.clear();
    // SAFETY: the list and its bytes are the script's, in the request's arena, and are read before
    // the next hook call; `fields` is emptied at the next reply and lent only until then.
    while let Some(item) = unsafe { list.as_ref() } {
        let (name, value) = (item.field.name, item.field.value);
        // SAFETY: as above.
        let (name, value) = unsafe { (name.bytes(NAME_BYTES_MAX), value.bytes(NAME_BYTES_MAX)) };
        let (Some(name), Some(value)) = (name, value) else {
            return Err("a reply with an oversized header");
        };
        if fields.len() == REPLY_FIELDS_MAX {
            return Err("a reply with too many headers");
        }
        if !field::may_set(name, value) {
            return Err("a reply with a header that is not valid, or that Kiln itself writes");
        }
        fields.push((name, value));
        list = item.next;
    }
    fields.reverse();
    Ok(())
}
