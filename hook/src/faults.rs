//! Catching what scripts do wrong: signals of the CPU and of the C library, calls of `abort`, budgets.
//!
//! A handler that finds a script on the hook stack takes note of what happened and where, and has the
//! interrupted code go on at the landing (`stack`): the call is abandoned. Whatever happens while no
//! script runs is the host's own, and ends the process as it would without handlers.
//!
//! ```text
//!   SIGSEGV SIGBUS SIGFPE SIGILL SIGTRAP SIGABRT SIGSYS --> on_fault: at once, wherever it surfaced
//!   SIGPROF, each 10 ms of CPU time                     --> on_tick: the same call for too long?
//!   SIGVTALRM, from a master that sees no progress      --> on_tick, by the clock
//!   abort(), a failed assertion, a ruined heap          --> raise
//! ```
//!
//! A call that has used up its budget is stopped only where that breaks nothing of the host's: not
//! in the heap or in an effect, and not in the unwinder, which may hold a lock. Then the next tick tries
//! again.
//!
//! Handlers run on a stack of their own. A fault in a handler, of the unwinder over a stack that the
//! script has ruined, ends in a landing as well, with what was noted until then.

use std::ffi::{c_int, c_void};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use fence::{Violation, strict};
use heritage::FaultKind;
use image::runtime::{Interrupted, Trace};
use libc::{siginfo_t, ucontext_t};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, Signal, sigaction};
use nix::time::ClockId;

use crate::clock::nanoseconds;
use crate::instruction::{self, Registers};
use crate::signals::SignalNote;
use crate::stack::{self, FLAGS, HookStack, OfThread};

/// CPU time between two looks at what runs. A signal costs some microseconds.
const TICK_MS: u64 = 10;

/// Looks at a call whose budget is up before the worker gives up on it and dies: each found it where it
/// cannot be stopped.
const LATE_TICKS_MAX: u64 = 200;

/// Bytes of the handlers' stack: the unwinder wants some 4 KiB, the CPU's state up to 11 KiB, and a
/// handler may be interrupted by a fault of its own.
const HANDLER_STACK_BYTES: usize = 128 << 10;

/// The least that the kernel maps.
const PAGE_BYTES: usize = 4096;

/// What was noted of a fault, before anything is made of it.
#[derive(Debug)]
pub(crate) struct Caught {
    pub(crate) kind: FaultKind,
    pub(crate) message: String,
    pub(crate) trace: Trace,
}

/// What a handler leaves for whoever lands.
struct Note {
    kind: FaultKind,
    signal: Option<SignalNote>,
    message: String,
    trace: Trace,
}

static NOTE: OfThread<Note> = OfThread::new(Note {
    kind: FaultKind::Abort,
    signal: None,
    message: String::new(),
    trace: Trace::EMPTY,
});

/// Whether a handler is at work: what it meets is then its own.
static HANDLING: AtomicBool = AtomicBool::new(false);

/// Whether a call is abandoned that a signal ends; else the process dies of it.
static RECOVERS: AtomicBool = AtomicBool::new(true);

/// What a call may use, and what was seen of the one that runs.
struct Budget {
    guard: Range<usize>,
    frames: Range<usize>,
    allowance: Allowance,
    /// The call that the last tick found, and how many in a row did.
    seen: u64,
    ticks: u64,
    /// The call that the master's last signal found, and when the first of these was.
    stood: u64,
    since_ns: u64,
    late: u64,
}

static BUDGET: OfThread<Budget> = OfThread::new(Budget {
    guard: 0..0,
    frames: 0..0,
    allowance: Allowance { cpu_ms: u64::MAX, wall_ms: u64::MAX },
    seen: 0,
    ticks: 0,
    stood: 0,
    since_ns: 0,
    late: 0,
});

const FAULTS: [Signal; 7] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGTRAP,
    Signal::SIGABRT,
    Signal::SIGSYS,
];

/// Catches faults from now on.
pub(crate) fn install(stack: &HookStack) -> io::Result<()> {
    // SAFETY: nobody is on a hook stack.
    let budget = unsafe { BUDGET.get() };
    (budget.guard, budget.frames) = (stack.guard(), stack.frames());
    make_handler_stack()?;
    let ticks = [Signal::SIGPROF, Signal::SIGVTALRM];
    // A fault in a handler has to be caught, and a tick is not to interrupt one.
    let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK | SaFlags::SA_NODEFER;
    let on_fault =
        SigAction::new(SigHandler::SigAction(on_fault), flags, ticks.into_iter().collect());
    let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK | SaFlags::SA_RESTART;
    let on_tick =
        SigAction::new(SigHandler::SigAction(on_tick), flags, ticks.into_iter().collect());
    for (signals, action) in [(&FAULTS[..], on_fault), (&ticks[..], on_tick)] {
        for signal in signals {
            // SAFETY: the handlers call nothing but what is safe in one, or what is abandoned with
            // the call.
            unsafe { sigaction(*signal, &action) }?;
        }
    }
    start_ticks()
}

// The alternate stack has no safe wrapper.
fn make_handler_stack() -> io::Result<()> {
    let memory = Box::leak(vec![0_u8; HANDLER_STACK_BYTES].into_boxed_slice());
    let stack = libc::stack_t {
        ss_sp: memory.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: HANDLER_STACK_BYTES,
    };
    // SAFETY: the memory is nobody else's, for as long as the process lives.
    match unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

// Nor has the timer.
fn start_ticks() -> io::Result<()> {
    let tick = libc::timeval { tv_sec: 0, tv_usec: (TICK_MS * 1000) as i64 };
    let timer = libc::itimerval { it_interval: tick, it_value: tick };
    // SAFETY: the structure is whole, and the signal has a handler.
    match unsafe { libc::setitimer(libc::ITIMER_PROF, &raw const timer, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Time that a call may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    pub(crate) cpu_ms: u64,
    pub(crate) wall_ms: u64,
}

impl Allowance {
    /// That of a hook.
    pub(crate) fn of(faults: &settings::Faults) -> Self {
        Allowance { cpu_ms: faults.hook_cpu_ms, wall_ms: faults.hook_wall_ms }
    }
}

/// Sets what the calls from now on may take.
pub(crate) fn allow(allowance: Allowance) {
    // SAFETY: nobody is on a hook stack: there is no call to look at, and handlers do no more than ask
    // for that.
    unsafe { BUDGET.get() }.allowance = allowance;
}

/// Sets whether a call is abandoned that a signal of the CPU or of abort(3) ends, or the process dies.
pub(crate) fn recover(is_wanted: bool) {
    RECOVERS.store(is_wanted, Ordering::Relaxed);
}

/// The host ends the call that runs, for a reason of its own; where none runs, the process.
pub(crate) fn raise(kind: FaultKind, message: &str) -> ! {
    strict::selector().store(strict::ALLOW, Ordering::Relaxed);
    if !stack::is_entered() || !RECOVERS.load(Ordering::Relaxed) {
        tracing::error!(target: "script", "{message}");
        std::process::abort();
    }
    // SAFETY: the call that runs ends here, and no handler is at work.
    let note = unsafe { NOTE.get() };
    note.kind = kind;
    note.signal = None;
    note.message.clear();
    note.message.push_str(message);
    HANDLING.store(true, Ordering::Relaxed);
    note.trace = Trace::EMPTY;
    note.trace.add_calls(None);
    // SAFETY: it was asked above; nobody up there holds what is missed.
    unsafe { stack::abandon() }
}

/// What happened to the call that was just abandoned.
pub(crate) fn take() -> Caught {
    HANDLING.store(false, Ordering::Relaxed);
    // SAFETY: the call is over.
    let note = unsafe { NOTE.get() };
    let message = match note.signal {
        Some(_) if note.kind == FaultKind::StackOverflow => {
            "the stack of 8 MiB is used up".to_owned()
        }
        Some(signal) => signal.sentence(),
        None => std::mem::take(&mut note.message),
    };
    Caught { kind: note.kind, message, trace: note.trace }
}

extern "C" fn on_fault(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    check_no_alignment();
    // SAFETY: the kernel passes both, for the length of the handler.
    let (info, context) = unsafe { (&*info, &mut *context.cast::<ucontext_t>()) };
    strict::allow_in_handler(context);
    // Of these signals only abort(3) sends its own; from anybody else they are meant to kill.
    // SAFETY: a code that is not positive means that a process has sent it, and is told.
    let is_sent = info.si_code <= 0 && unsafe { info.si_pid() } != std::process::id() as i32;
    let is_caught = !is_sent && RECOVERS.load(Ordering::Relaxed);
    let Some(landing) = stack::landing().filter(|_| is_caught) else { return die(signal, info) };
    // SAFETY: the call ends here. A handler that was interrupted does not go on.
    let note = unsafe { NOTE.get() };
    if !HANDLING.swap(true, Ordering::Relaxed) {
        note.signal = Some(signal_note(signal, info, &context.uc_mcontext.gregs));
        note.kind = kind_of(signal);
        // SAFETY: as above.
        let guard = &unsafe { BUDGET.get() }.guard;
        if note.kind == FaultKind::SegmentationFault && guard.contains(&address_of(info)) {
            note.kind = FaultKind::StackOverflow;
        }
        // SAFETY: as above.
        trace(note, &unsafe { BUDGET.get() }.frames, context);
    }
    land(context, landing);
}

extern "C" fn on_tick(signal: c_int, _: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes it, for the length of the handler.
    let context = unsafe { &mut *context.cast::<ucontext_t>() };
    let is_script = strict::allow_in_handler(context);
    if !ends_call(signal, is_script, context) && is_script {
        strict::block_after_handler(context);
    }
}

/// Whether it is time to stop the call that runs, and that can be done here: then it goes on at the
/// landing.
fn ends_call(signal: c_int, is_script: bool, context: &mut ucontext_t) -> bool {
    let Some(landing) = stack::landing() else { return false };
    // SAFETY: ticks don't interrupt each other, and the host touches the budget only where no call
    // runs.
    let budget = unsafe { BUDGET.get() };
    let call = stack::entered();
    let kind = match signal {
        libc::SIGPROF => budget.tick(call).then_some(FaultKind::CpuBudget),
        _ => budget
            .stand(call, nanoseconds(ClockId::CLOCK_MONOTONIC))
            .then_some(FaultKind::WallBudget),
    };
    let Some(kind) = kind else { return false };
    if !is_script || is_unwinding(&budget.frames, context) {
        budget.late += 1;
        if budget.late > LATE_TICKS_MAX {
            // SAFETY: ends the process, with a core where that is wanted.
            unsafe { libc::abort() };
        }
        return false;
    }
    budget.late = 0;
    if HANDLING.swap(true, Ordering::Relaxed) {
        return false;
    }
    // SAFETY: as in `on_fault`.
    let note = unsafe { NOTE.get() };
    note.kind = kind;
    note.signal = None;
    note.message.clear();
    trace(note, &budget.frames, context);
    land(context, landing);
    true
}

impl Budget {
    /// Another tick of CPU time in this call; whether that is one too many.
    fn tick(&mut self, call: u64) -> bool {
        if self.seen != call {
            (self.seen, self.ticks, self.late) = (call, 0, 0);
        }
        self.ticks += 1;
        // The first one may come right after the call has begun.
        self.ticks > self.allowance.cpu_ms.div_ceil(TICK_MS) + 1
    }

    /// The master sees no progress; whether this call is what takes so long.
    fn stand(&mut self, call: u64, now_ns: u64) -> bool {
        if self.stood != call {
            (self.stood, self.since_ns, self.late) = (call, now_ns, 0);
        }
        now_ns - self.since_ns >= self.allowance.wall_ms.saturating_mul(1_000_000)
    }
}

/// Whether the unwinder was interrupted, which holds a lock, or the library that it takes the lock of.
fn is_unwinding(frames: &Range<usize>, context: &ucontext_t) -> bool {
    let registers = &context.uc_mcontext.gregs;
    let at = registers[libc::REG_RIP as usize] as usize;
    let top = (registers[libc::REG_RSP as usize] as usize).next_multiple_of(size_of::<usize>());
    // Who has a stack of its own is not the unwinder.
    let top = if frames.contains(&top) { top } else { frames.end };
    let words = (frames.end - top) / size_of::<usize>();
    // SAFETY: so many words of the hook stack are above its pointer, and nobody writes them meanwhile.
    let stack = unsafe { std::slice::from_raw_parts(top as *const usize, words) };
    image::runtime::is_unwinding(at, stack)
}

/// Notes where the interrupted code is, and who called it.
fn trace(note: &mut Note, frames: &Range<usize>, context: &mut ucontext_t) {
    note.trace = Trace::EMPTY;
    if is_unwinding(frames, context) {
        return;
    }
    let registers = &mut context.uc_mcontext.gregs;
    let at = registers[libc::REG_RIP as usize] as usize;
    let mut from = Interrupted { at, is_call: false };
    if image::runtime::function_start(at).is_none() {
        // A call of what is no function: the caller's address is on top of its stack.
        note.trace = Trace::beginning_at(at);
        let top = registers[libc::REG_RSP as usize] as *const usize;
        // SAFETY: if it is not readable the landing is next.
        let caller = unsafe { top.read_volatile() };
        registers[libc::REG_RIP as usize] = caller as i64;
        registers[libc::REG_RSP as usize] += size_of::<usize>() as i64;
        from = Interrupted { at: caller, is_call: true };
    }
    note.trace.add_calls(Some(from));
}

/// A script may have set the flag by which the CPU refuses addresses that are not aligned: the kernel
/// leaves it set in handlers, and code of the host relies on its absence.
fn check_no_alignment() {
    // SAFETY: it changes one bit of this function's flags, and the stack by nothing.
    unsafe {
        std::arch::asm!("pushfq", "and dword ptr [rsp], {mask}", "popfq", mask = const !FLAGS);
    }
}

/// Has the interrupted code go on at the landing.
fn land(context: &mut ucontext_t, (at, stack_pointer): (usize, usize)) {
    let registers = &mut context.uc_mcontext.gregs;
    registers[libc::REG_RIP as usize] = at as i64;
    registers[libc::REG_RSP as usize] = stack_pointer as i64;
    registers[libc::REG_EFL as usize] &= !i64::from(FLAGS);
    // A fault in a handler would leave what the handler blocks blocked.
    // SAFETY: the set is this frame's, and the kernel reads it at the end of the handler.
    unsafe { libc::sigemptyset(&raw mut context.uc_sigmask) };
}

/// No script runs: as it would have been without a handler.
fn die(signal: c_int, info: &siginfo_t) {
    // SAFETY: sets the default, under which the instruction at fault ends the process.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // What was sent does not come again by itself, and neither does a refused system call.
    if info.si_code <= 0 || signal == libc::SIGSYS || signal == libc::SIGTRAP {
        // SAFETY: sends this thread a signal that is not blocked.
        unsafe { libc::raise(signal) };
    }
}

fn kind_of(signal: c_int) -> FaultKind {
    match signal {
        libc::SIGSEGV => FaultKind::SegmentationFault,
        libc::SIGBUS => FaultKind::BusError,
        libc::SIGFPE => FaultKind::ArithmeticError,
        libc::SIGILL => FaultKind::IllegalInstruction,
        libc::SIGTRAP => FaultKind::Trap,
        libc::SIGSYS => FaultKind::ForbiddenCall,
        _ => FaultKind::Abort,
    }
}

/// What the kernel and the CPU say of it.
fn signal_note(signal: c_int, info: &siginfo_t, registers: &Registers) -> SignalNote {
    let mut note = SignalNote {
        signal,
        code: info.si_code,
        address: address_of(info),
        registers: *registers,
        instruction: [0; instruction::BYTES_MAX],
        length: 0,
        violation: Violation::of(info),
    };
    let at = registers[libc::REG_RIP as usize] as usize;
    if note.is_about_instruction() && instruction::is_canonical(at) {
        // Of this page the CPU has just read: of the next one perhaps not.
        note.length = instruction::BYTES_MAX.min(PAGE_BYTES - at % PAGE_BYTES);
        for (index, byte) in note.instruction[..note.length].iter_mut().enumerate() {
            // SAFETY: as above; and if it can't be read after all, the landing is next.
            *byte = unsafe { (at as *const u8).add(index).read_volatile() };
        }
    }
    note
}

fn address_of(info: &siginfo_t) -> usize {
    // SAFETY: for the signals of the CPU the field is set, and for others it is a number all the same.
    unsafe { info.si_addr() as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> Budget {
        Budget {
            guard: 0..0,
            frames: 0..0,
            allowance: Allowance { cpu_ms: 15, wall_ms: 1 },
            seen: 0,
            ticks: 0,
            stood: 0,
            since_ns: 0,
            late: 0,
        }
    }

    #[test]
    fn a_call_has_its_ticks_and_the_next_one_has_them_anew() {
        let mut budget = budget();
        for call in 1..10 {
            let ticks: Vec<bool> = (0..5).map(|_| budget.tick(call)).collect();
            assert_eq!(ticks, [false, false, false, true, true]);
        }
    }

    #[test]
    fn a_call_stands_from_when_it_was_first_seen() {
        let mut budget = budget();
        assert!(!budget.stand(7, 1_000_000));
        assert!(!budget.stand(7, 1_999_999));
        assert!(budget.stand(7, 2_000_000));
        assert!(!budget.stand(8, 9_000_000), "another call");
        assert!(budget.stand(8, 10_000_000));
    }
}
