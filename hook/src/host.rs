//! What scripts reach outside their image: the table of effects, and Kiln's own version of some C
//! and C++ library functions.
//!
//! Every effect goes through one table, to which `kiln_current` leads. The functions in it know which
//! request is running from the context that they find there.

use std::ffi::{c_char, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

use heritage::FaultKind;
use image::runtime::{Misdeed, as_host};
use nix::time::ClockId;

use crate::abi::{self, Context, Host, Str};
use crate::answer::NAME_BYTES_MAX;
use crate::arena::{Arena, Refusal};
use crate::clock::nanoseconds;
use crate::{Edit, faults};

/// Most changes that a script makes to one request.
const EDITS_MAX: usize = 256;
/// Longest line that a script logs; the rest is cut off.
const LOG_LINE_BYTES_MAX: usize = 8 << 10;

/// The running hook's context, or null: what `abi.h` declares as `kiln_current`.
static CURRENT: AtomicPtr<Context> = AtomicPtr::new(std::ptr::null_mut());

/// The effects of real traffic.
static HOST: Host = Host {
    abi_version: abi::ABI_VERSION,
    size: size_of::<Host>() as u32,
    allocate,
    edit,
    log,
    monotonic_ns,
    realtime_ns,
    random,
};

/// One hook call at work: the context that the script sees, and what the effects need.
#[repr(C)]
pub(crate) struct Call {
    context: Context,
    pub(crate) generation: u64,
    pub(crate) arena: Arena,
    /// They point into the arena, and are gone before it is reset.
    pub(crate) edits: Vec<Edit<'static>>,
    random: u64,
    /// Lines a second that scripts may log.
    pub(crate) log_lines_max: u64,
    log: LogBudget,
}

/// What was logged in one second.
#[derive(Default)]
struct LogBudget {
    second: u64,
    lines: u64,
    dropped: u64,
}

impl Call {
    pub(crate) fn new() -> std::io::Result<Self> {
        let mut arena = Arena::new()?;
        let context = Context { host: &HOST, arena: arena.reset() };
        let random = monotonic_ns() ^ (u64::from(std::process::id()) << 32);
        Ok(Self {
            context,
            generation: 0,
            arena,
            edits: Vec::new(),
            random,
            log_lines_max: settings::Faults::default().log_lines,
            log: LogBudget::default(),
        })
    }

    /// Makes room for another request.
    pub(crate) fn reset(&mut self, generation: u64) {
        self.edits.clear();
        self.generation = generation;
        self.context.arena = self.arena.reset();
    }

    /// Makes this the running call for as long as `run` takes.
    pub(crate) fn running<T>(&mut self, run: impl FnOnce() -> T) -> T {
        CURRENT.store((&raw mut *self).cast(), Ordering::Relaxed);
        let ended = run();
        CURRENT.store(std::ptr::null_mut(), Ordering::Relaxed);
        ended
    }

    /// Whether another line may be logged in this second. What was not is told when the next may be.
    fn may_log(&mut self) -> bool {
        let second = monotonic_ns() / 1_000_000_000;
        if self.log.second != second {
            let dropped = std::mem::take(&mut self.log.dropped);
            self.log = LogBudget { second, ..LogBudget::default() };
            if dropped > 0 {
                let (generation, limit) = (self.generation, self.log_lines_max);
                tracing::warn!(
                    target: "script",
                    generation,
                    dropped,
                    "scripts log more than faults.log_lines = {limit} lines a second: some were dropped"
                );
            }
        }
        let may = self.log.lines < self.log_lines_max;
        self.log.lines += u64::from(may);
        self.log.dropped += u64::from(!may);
        may
    }

    /// Memory of the arena, or null when the request has used up its share.
    fn allocate(&mut self, size: usize) -> *mut u8 {
        match self.arena.take(&mut self.context.arena, size) {
            Ok(place) => place,
            Err(Refusal::UsedUp) => std::ptr::null_mut(),
            Err(Refusal::Ruined) => faults::raise(
                FaultKind::HeapMisuse,
                "it has written over what Kiln keeps of the request's memory",
            ),
        }
    }

    /// A copy in the arena.
    fn keep(&mut self, bytes: &[u8]) -> Option<&'static [u8]> {
        let place = self.allocate(bytes.len());
        if place.is_null() {
            return None;
        }
        // SAFETY: the arena gave that many bytes, which live until it is reset; `edits` is emptied
        // before.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len());
            Some(std::slice::from_raw_parts(place, bytes.len()))
        }
    }
}

/// The running call.
fn current<'a>() -> &'a mut Call {
    let context = CURRENT.load(Ordering::Relaxed);
    assert!(!context.is_null(), "an effect is reached only through a running call's table");
    // SAFETY: `Call::running` put a `Call` there, whose first field the context is; a worker has one
    // thread, and each effect ends before the next begins.
    unsafe { &mut *context.cast::<Call>() }
}

extern "C" fn allocate(size: usize) -> *mut c_void {
    as_host(|| current().allocate(size).cast())
}

extern "C" fn edit(kind: u32, name: Str, value: Str) -> bool {
    as_host(|| edit_as_host(kind, name, value))
}

fn edit_as_host(kind: u32, name: Str, value: Str) -> bool {
    // SAFETY: a script lends what it passes for the length of the call.
    let (name, value) = unsafe { (name.bytes(NAME_BYTES_MAX), value.bytes(NAME_BYTES_MAX)) };
    let (Some(name), Some(value)) = (name, value) else { return false };
    let value = value.trim_ascii();
    let call = current();
    let Some(edit) = edit_of(kind, name, value) else { return false };
    if !edit.is_valid() || call.edits.len() == EDITS_MAX {
        return false;
    }
    let (Some(name), Some(value)) = (call.keep(name), call.keep(value)) else { return false };
    call.edits.extend(edit_of(kind, name, value));
    true
}

fn edit_of<'a>(kind: u32, name: &'a [u8], value: &'a [u8]) -> Option<Edit<'a>> {
    match kind {
        abi::EDIT_SET => Some(Edit::Set(name, value)),
        abi::EDIT_ADD => Some(Edit::Add(name, value)),
        abi::EDIT_REMOVE => Some(Edit::Remove(name)),
        _ => None,
    }
}

extern "C" fn log(level: u32, text: Str) {
    as_host(|| log_as_host(level, text));
}

fn log_as_host(level: u32, text: Str) {
    if !current().may_log() {
        return;
    }
    // SAFETY: as in `edit`. It is read before anything is locked.
    let text = unsafe { text.bytes(usize::MAX >> 1) }.unwrap_or_default();
    let text = String::from_utf8_lossy(&text[..text.len().min(LOG_LINE_BYTES_MAX)]);
    let generation = current().generation;
    match level {
        0 => tracing::error!(target: "script", generation, "{text}"),
        1 => tracing::warn!(target: "script", generation, "{text}"),
        2 => tracing::info!(target: "script", generation, "{text}"),
        _ => tracing::debug!(target: "script", generation, "{text}"),
    }
}

extern "C" fn monotonic_ns() -> u64 {
    as_host(|| nanoseconds(ClockId::CLOCK_MONOTONIC))
}

extern "C" fn realtime_ns() -> u64 {
    as_host(|| nanoseconds(ClockId::CLOCK_REALTIME))
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
extern "C" fn random() -> u64 {
    let state = &mut current().random;
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// `std::chrono::steady_clock::now()` and `system_clock::now()`: the table's clocks where a request
/// is running, the machine's in static initialisers.
extern "C" fn steady_clock_now() -> i64 {
    clock_of(|host| host.monotonic_ns, monotonic_ns)
}

extern "C" fn system_clock_now() -> i64 {
    clock_of(|host| host.realtime_ns, realtime_ns)
}

fn clock_of(effect: fn(&Host) -> extern "C" fn() -> u64, otherwise: extern "C" fn() -> u64) -> i64 {
    let context = CURRENT.load(Ordering::Relaxed);
    // SAFETY: a running call's context leads to a table that lives as long as the process.
    let clock =
        unsafe { context.as_ref() }.map_or(otherwise, |context| effect(unsafe { &*context.host }));
    clock() as i64
}

/// `__assert_fail`.
extern "C" fn assert_fail(
    condition: *const c_char,
    file: *const c_char,
    line: u32,
    function: *const c_char,
) -> ! {
    let message = as_host(|| {
        let text = |pointer: *const c_char| {
            // SAFETY: the compiler passes literals.
            unsafe { std::ffi::CStr::from_ptr(pointer) }.to_string_lossy()
        };
        let (condition, file, function) = (text(condition), text(file), text(function));
        format!("{file}:{line}: {function}: assertion `{condition}` failed")
    });
    faults::raise(FaultKind::FailedAssertion, &message)
}

/// `abort`, and what ends like it.
extern "C" fn abort() -> ! {
    faults::raise(FaultKind::Abort, "it called abort")
}

/// The canary of a frame was overwritten (`-fstack-protector`).
extern "C" fn stack_smashed() -> ! {
    faults::raise(FaultKind::Abort, "it wrote beyond the end of a local array")
}

/// What the runtime of images cannot let a script go on after.
pub(crate) fn misdeed(what: Misdeed, sentence: &str) -> ! {
    let kind = match what {
        Misdeed::HeapMisuse => FaultKind::HeapMisuse,
        Misdeed::Exhaustion => FaultKind::MemoryBudget,
        Misdeed::Termination => FaultKind::Abort,
        Misdeed::Deadlock => FaultKind::Deadlock,
    };
    faults::raise(kind, sentence)
}

extern "C" fn pure_virtual() -> ! {
    faults::raise(FaultKind::PureVirtualCall, "a pure virtual function was called")
}

/// Kiln's own version of symbols that scripts link against, beside those of the image's runtime.
pub fn script_bindings() -> Vec<(&'static str, u64)> {
    let mut bindings = image::runtime::script_bindings();
    bindings.extend([
        ("kiln_current", CURRENT.as_ptr() as u64),
        ("abort", abort as *const () as u64),
        ("__assert_fail", assert_fail as *const () as u64),
        ("__cxa_pure_virtual", pure_virtual as *const () as u64),
        ("__cxa_deleted_virtual", pure_virtual as *const () as u64),
        ("__stack_chk_fail", stack_smashed as *const () as u64),
        ("_ZNSt6chrono3_V212steady_clock3nowEv", steady_clock_now as *const () as u64),
        ("_ZNSt6chrono3_V212system_clock3nowEv", system_clock_now as *const () as u64),
    ]);
    bindings
}
