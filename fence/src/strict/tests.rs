//! In processes of their own, since tests share one.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::*;
use crate::trial::{self, Outcome, check};
use crate::{Violated, Violation};

const TRIAL: &str = "strict::tests::trial_in_a_process_of_its_own";

/// What the handler of SIGSYS saw: number of the call, or -1.
static SEEN: AtomicU64 = AtomicU64::new(u64::MAX);
/// How often SIGALRM came in the middle of a script.
static TICKS: AtomicU64 = AtomicU64::new(0);

#[test]
fn trial_in_a_process_of_its_own() {
    let Some(trial) = trial::asked() else { return };
    enable(true).expect("this kernel has it");
    let selector = selector();
    match trial.as_str() {
        "allowed" => drop(nix::unistd::getpid()),
        "blocked" => {
            selector.store(BLOCK, Ordering::Relaxed);
            make_a_call();
        }
        "caught" => {
            handle(Signal::SIGSYS, on_violation);
            selector.store(BLOCK, Ordering::Relaxed);
            make_a_call();
            assert_eq!(SEEN.load(Ordering::Relaxed), libc::SYS_getppid as u64);
        }
        "ticked" => tick(selector, true),
        "ticked once" => tick(selector, false),
        other => panic!("what is {other}?"),
    }
    trial::end(Ok(()))
}

fn make_a_call() {
    nix::unistd::getppid();
}

fn handle(
    signal: Signal,
    handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void),
) {
    let action =
        SigAction::new(SigHandler::SigAction(handler), SaFlags::SA_SIGINFO, SigSet::empty());
    // SAFETY: the handlers below store numbers, and nothing else.
    unsafe { sigaction(signal, &action) }.expect("a handler");
}

extern "C" fn on_violation(
    _signal: libc::c_int,
    information: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes both to a handler with SA_SIGINFO.
    let (information, context) = unsafe { (&*information, &*context.cast()) };
    assert!(allow_in_handler(context), "it was blocked");
    if let Some(Violation { call, violated: Violated::Strict, .. }) = Violation::of(information) {
        SEEN.store(call as u64, Ordering::Relaxed);
    }
}

extern "C" fn on_tick(
    _signal: libc::c_int,
    _information: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes it to a handler with SA_SIGINFO, and it is this handler's alone.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    if allow_in_handler(context) {
        TICKS.fetch_add(1, Ordering::Relaxed);
        block_after_handler(context);
    }
}

/// A script that computes is interrupted many times, and its fence is up after each; with
/// `is_innocent` it makes no call, and otherwise it makes one in the end.
fn tick(selector: &AtomicU8, is_innocent: bool) {
    handle(Signal::SIGALRM, on_tick);
    // A timer's signal is for any thread, and only this one is behind the fence. It gets its own.
    // SAFETY: the thread lives as long as the process, which ends with this trial.
    let this = unsafe { libc::pthread_self() };
    std::thread::spawn(move || {
        loop {
            // SAFETY: as above.
            unsafe { libc::pthread_kill(this, libc::SIGALRM) };
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
    });
    selector.store(BLOCK, Ordering::Relaxed);
    let (mut sum, mut count) = (0u64, 0u64);
    while TICKS.load(Ordering::Relaxed) < 1000 {
        sum = std::hint::black_box(sum.wrapping_add(count));
        count = std::hint::black_box(count + 1);
    }
    if !is_innocent {
        make_a_call();
    }
    selector.store(ALLOW, Ordering::Relaxed);
    assert_eq!(sum, count.wrapping_mul(count - 1) / 2, "no register was lost");
}

#[test]
fn a_call_is_made_where_it_is_allowed_and_ends_the_process_where_it_is_not() {
    assert!(is_available(), "since Linux 5.11");
    let folder = std::env::temp_dir();
    check(TRIAL, &folder, &["allowed"], Outcome::Done);
    check(TRIAL, &folder, &["blocked"], Outcome::Killed(libc::SIGSYS));
}

#[test]
fn a_handler_is_told_which_call_it_was_and_may_go_on() {
    check(TRIAL, &std::env::temp_dir(), &["caught"], Outcome::Done);
}

#[test]
fn a_script_that_is_interrupted_goes_on_behind_its_fence() {
    let folder = std::env::temp_dir();
    check(TRIAL, &folder, &["ticked"], Outcome::Done);
    check(TRIAL, &folder, &["ticked once"], Outcome::Killed(libc::SIGSYS));
}

/// `cargo test --release -p fence -- --ignored --nocapture costs`
#[test]
#[ignore = "prints figures"]
fn costs_of_calls_without_and_with_strict_mode() {
    eprintln!("a call without it {:.0} ns", trial::best_ns(make_a_call));
    let with_it = || {
        enable(true).expect("this kernel has it");
        let selector = selector();
        let flips = trial::best_ns(|| {
            selector.store(std::hint::black_box(BLOCK), Ordering::Relaxed);
            selector.store(std::hint::black_box(ALLOW), Ordering::Relaxed);
        });
        let call = trial::best_ns(make_a_call);
        eprintln!("both flips of a hook {flips:.1} ns, a call with it on {call:.0} ns");
    };
    std::thread::spawn(with_it).join().expect("it ends");
}
