//! Scripts that fail: what the request gets, what is told, and what the others notice of it.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::{Checker, Client, FORWARDING, Kiln, Origin, until, until_true};

use crate::replying;

/// A path for each way to fail.
const FAILING: &str = include_str!("../faults/failing.cc");

/// A path, how its failure is called, and what is told of it: a part of the message, and the function
/// in which it is found.
type Case = (&'static str, &'static str, &'static str, &'static str);

#[rustfmt::skip] // A table.
const CASES: &[Case] = &[
    ("throw", "exception", "std::runtime_error: deep", "throw_deep"),
    ("throw-int", "exception", "it threw int", ""),
    ("throw-library", "exception", "std::out_of_range", ""),
    ("throw-coroutine", "exception", "from a coroutine", "throwing_coroutine"),
    ("throw-noexcept", "abort", "an exception met what throws none: int", ""),
    ("throw-twice", "abort", "std::runtime_error: from a destructor", ""),
    ("rethrow-nothing", "abort", "std::terminate", ""),
    ("segv", "segmentation-fault", "writes at address 0x0 (a null pointer)", "write_to"),
    ("segv-inlined", "segmentation-fault", "writes at address 0x0", "write_to"),
    ("segv-read", "segmentation-fault", "reads at address 0x1234567890", ""),
    ("segv-wild", "segmentation-fault", "address 0x8000000000000000, which can't exist", ""),
    ("segv-call", "segmentation-fault", "runs at address 0x0", ""),
    ("segv-constant", "segmentation-fault", "which it may not", ""),
    ("segv-memcpy", "segmentation-fault", "writes at address 0x0", ""),
    ("segv-strlen", "segmentation-fault", "reads at address 0x0", ""),
    ("segv-string", "segmentation-fault", "reads at address 0x10", ""),
    ("segv-coroutine", "segmentation-fault", "writes at address 0x0", "write_to"),
    ("segv-catching", "segmentation-fault", "writes at address 0x0", "write_to"),
    ("segv-log", "segmentation-fault", "reads at address 0x20", ""),
    ("wild-jump", "segmentation-fault", "an address that can't exist", ""),
    ("wild-return", "segmentation-fault", "returns to an address that can't exist", ""),
    ("wild-stack", "bus-error", ", which can't exist", ""),
    ("run-data", "segmentation-fault", "that is data and no code", ""),
    ("unaligned-vector", "segmentation-fault", "it uses 16 bytes at address 0x", ""),
    ("privileged", "segmentation-fault", "the instruction `hlt`, which is the kernel's alone", ""),
    ("interrupt", "segmentation-fault", "it raises the interrupt 0x20", ""),
    ("overflow-trap", "segmentation-fault", "an overflow is trapped", ""),
    ("fpe", "arithmetic-error", "divided by zero, or the quotient does not fit", ""),
    ("fpe-float", "arithmetic-error", "a floating-point number is divided by zero", ""),
    ("ill", "illegal-instruction", "__builtin_unreachable or __builtin_trap", ""),
    ("ill-check", "illegal-instruction", "a check of the compiler's failed", ""),
    ("ill-unknown", "illegal-instruction", "the processor does not have (06 ", ""),
    ("trap", "trap", "a breakpoint", ""),
    ("single-step", "trap", "the flag TF", ""),
    ("unaligned", "bus-error", "which is not aligned, while the flag AC", ""),
    ("abort", "abort", "it called abort", ""),
    ("terminate", "abort", "it called std::terminate", ""),
    ("assert", "failed-assertion", "assertion `zero == 1` failed", ""),
    ("pure", "pure-virtual-call", "a pure virtual function", "Base::Base"),
    ("overflow", "stack-overflow", "the stack of 8 MiB is used up", "recurse"),
    ("overflow-regex", "stack-overflow", "std::regex calls itself for each character", ""),
    ("overflow-pattern", "stack-overflow", "std::regex calls itself for each group", ""),
    ("overflow-list", "stack-overflow", "used up: each object that is destroyed", ""),
    ("overflow-shared", "stack-overflow", "used up: each object that is destroyed", ""),
    ("double-free", "heap-misuse", "it was freed before", ""),
    ("free-wild", "heap-misuse", "which is not memory of the scripts' heap", ""),
    ("overrun", "heap-misuse", "no block of the scripts' heap begins", ""),
    ("overrun-arena", "segmentation-fault", "which it may not", ""),
    ("ruin-arena", "heap-misuse", "what Kiln keeps of the request's memory", ""),
    ("deadlock", "deadlock", "it waits for a lock that is taken already", "lock"),
    ("deadlock-shared", "deadlock", "it waits for a lock that is taken already", ""),
    ("deadlock-once", "deadlock", "std::call_once waits for a call of the same", "call_again"),
    ("loop", "cpu-budget", "it has computed for 1000 ms", "spin"),
    ("loop-library", "cpu-budget", "it has computed for 1000 ms", ""),
    ("loop-regex", "cpu-budget", "was stopped: std::regex goes back", ""),
    ("loop-malloc", "cpu-budget", "it has computed for 1000 ms", ""),
    ("loop-throw", "cpu-budget", "it has computed for 1000 ms", ""),
    ("memory", "memory-budget", "have used up limits.script_memory_bytes", ""),
    ("bad-answer", "segmentation-fault", "reads at address 0x30", ""),
    ("bad-status", "invalid-answer", "a reply whose status", ""),
    ("bad-upstream", "segmentation-fault", "reads at address 0x40", ""),
    ("bad-edit", "segmentation-fault", "reads at address 0x50", ""),
];

/// Kinds after which the worker goes on.
const HARMLESS: [&str; 2] = ["exception", "invalid-answer"];

fn faults(kiln: &Kiln) -> Vec<Value> {
    kiln.status()["faults"].as_array().cloned().unwrap_or_default()
}

/// The only line of the script that has this text in it.
fn line_of(text: &str) -> u64 {
    let mut lines = FAILING.lines().enumerate().filter(|(_, line)| line.contains(text));
    let (index, _) = lines.next().expect("the script has it");
    assert_eq!(lines.next(), None, "{text} is there twice");
    index as u64 + 1
}

/// The fault whose request was for this path.
fn fault_of(kiln: &Kiln, target: &str) -> Value {
    until(&format!("the fault of {target} is told"), || {
        let is_it = |fault: &Value| fault["request"]["target"] == target;
        faults(kiln).into_iter().rev().find(is_it)
    })
}

#[test]
fn every_way_to_fail_costs_one_request_and_is_told_with_its_place() {
    let kiln = Kiln::builder().script(FAILING).workers(1).start();
    let mut wrong = Vec::new();
    for (path, kind, message, function) in CASES {
        let target = format!("/{path}");
        let before = kiln.worker_pids();
        kiln.get(&target).expect_status(500);
        kiln.get("/").expect(200, "fine");
        let fault = fault_of(&kiln, &target);
        let frames = fault["backtrace"].as_array().cloned().unwrap_or_default();
        let in_script =
            |frame: &&Value| frame["file"].as_str().is_some_and(|file| file.ends_with("site.cc"));
        let names =
            |frame: &Value| frame["function"].as_str().is_some_and(|it| it.contains(function));
        let is_right = fault["kind"] == *kind
            && fault["hook"] == "on_request"
            && fault["message"].as_str().is_some_and(|told| told.contains(message))
            && (*kind == "invalid-answer" || frames.iter().filter(in_script).any(names));
        if !is_right {
            wrong.push(format!("{path}: {fault:#}"));
        }
        if !HARMLESS.contains(kind) {
            until_true("another worker serves", || {
                let now = kiln.worker_pids();
                now.len() == 1 && now != before
            });
        } else {
            assert_eq!(kiln.worker_pids(), before, "{path} did not harm it");
        }
    }
    kiln.get("/leave-flags").expect(200, "fine");
    kiln.get("/").expect(200, "fine");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let deaths = kiln.status()["deaths"].as_array().cloned().unwrap_or_default();
    assert!(deaths.is_empty(), "nobody died of it: {deaths:?}");
}

#[test]
fn a_backtrace_has_lines_and_inlined_functions() {
    let kiln = Kiln::builder().script(FAILING).workers(1).start();
    kiln.get("/segv-inlined?token=secret").expect_status(500);
    let fault = fault_of(&kiln, "/segv-inlined");
    let frames = fault["backtrace"].as_array().expect("it has one");
    let first: Vec<(&str, u64, bool)> = frames
        .iter()
        .take(3)
        .map(|frame| {
            let text = |name: &str| frame[name].as_str().unwrap_or_default();
            (text("function"), frame["line"].as_u64().unwrap_or(0), frame["is_inlined"] == true)
        })
        .collect();
    assert!(first[0].0.contains("write_to(int*)"), "{first:?}");
    assert_eq!(first[0].1, line_of("// line: write"), "{first:?}");
    assert!(first[1].0.contains("inlined(int*)") && first[1].2, "{first:?}");
    assert_eq!(first[1].1, line_of("return write_to(place) + 1"), "{first:?}");
    assert_eq!(first[2].1, line_of("= inlined(nowhere)"), "{first:?}");
    let outer = frames
        .iter()
        .any(|frame| frame["function"].as_str().is_some_and(|it| it.starts_with("on_request")));
    assert!(outer, "{frames:#?}");
    assert_eq!(fault["request"]["method"], "GET");
    kiln.until_logged("segmentation-fault");
    assert!(!kiln.log().contains("secret"), "a query may hold what nobody is to see");
}

/// Requests of a pipeline and of other connections are answered by the worker that a script has just
/// failed in.
#[test]
fn everyone_else_on_that_worker_is_served_to_the_end() {
    const CLIENTS: usize = 999;
    let origin = Origin::holding();
    let kiln = Kiln::builder()
        .script(
            r#"#include <kiln.h>
            kiln::Action on_request(kiln::Request& request) {
                if (request.path() == "/fail") *(volatile int*)nullptr = 1;
                if (request.path() == "/fine") return kiln::reply(200, "fine");
                return kiln::forward("web");
            }"#,
        )
        .workers(1)
        .upstream("web", &[origin.address()])
        .start();
    let before = kiln.worker_pids();
    let mut waiting: Vec<Client> = (0..CLIENTS).map(|_| kiln.connect()).collect();
    for client in &mut waiting {
        client.send_get("/slow");
    }
    origin.until_requests(CLIENTS);
    let mut pipeline = kiln.connect();
    pipeline.send("GET /fine HTTP/1.1\r\nHost: a\r\n\r\nGET /fail HTTP/1.1\r\nHost: a\r\n\r\nGET /fine HTTP/1.1\r\nHost: a\r\n\r\n");
    pipeline.response().expect(200, "fine");
    pipeline.response().expect_status(500);
    pipeline.response().expect(200, "fine");
    until_true("another worker takes what is new", || {
        let now = kiln.worker_pids();
        !now.is_empty() && now.iter().all(|pid| !before.contains(pid))
    });
    kiln.get("/fine").expect(200, "fine");
    origin.release_all();
    for client in &mut waiting {
        client.response().expect_status(200);
    }
}

#[test]
fn a_script_that_fails_now_and_then_loses_nobody_else_a_request() {
    let kiln = Kiln::builder().script(FAILING).workers(2).start();
    let checker =
        Checker::start(kiln.address(), 6, 20, || 0, |_, response| response.body == b"fine");
    for path in ["segv", "overflow", "abort", "double-free", "throw", "fpe", "loop", "segv", "ill"]
    {
        checker.until_answered(50);
        kiln.get(&format!("/{path}")).expect_status(500);
    }
    checker.until_answered(50);
    let checked = checker.stop();
    checked.expect_nothing_refused();
    assert!(checked.lost.is_empty(), "{:?}", checked.lost);
}

#[test]
fn the_policy_decides_what_the_request_gets() {
    let origin = Origin::replying("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\norigin");
    let failing = r#"#include <kiln.h>
        kiln::Action on_request(kiln::Request& request) {
            request.set_header("x-edited", "yes");
            if (request.path() == "/throw") throw 1;
            *(volatile int*)nullptr = 1;
            return kiln::reply(200, "never");
        }"#;
    for (policy, status, body) in [("closed", 500, ""), ("open", 200, "origin")] {
        let kiln = Kiln::builder()
            .script(failing)
            .config(&format!("[faults]\npolicy = \"{policy}\"\n"))
            .workers(1)
            .upstream("web", &[origin.address()])
            .start();
        for target in ["/throw", "/segv", "/throw", "/segv"] {
            let answer = kiln.get(target);
            assert_eq!(answer.status, status, "{policy} {target}");
            assert!(body.is_empty() || answer.body == body.as_bytes(), "{policy} {target}");
        }
    }
}

/// A leak of a megabyte a request is stopped by the memory of a generation, and goes on from nothing
/// in another process.
#[test]
fn a_leak_is_stopped_and_named() {
    let config = "[limits]\nscript_memory_bytes = 8388608\n";
    let kiln = Kiln::builder().script(FAILING).config(config).workers(1).start();
    let statuses: Vec<u16> = (0..30).map(|_| kiln.get("/leak").status).collect();
    assert!(statuses.contains(&200) && statuses.contains(&500), "{statuses:?}");
    let fault = fault_of(&kiln, "/leak");
    assert_eq!(fault["kind"], "memory-budget", "{fault:#}");
    assert!(fault["message"].as_str().is_some_and(|it| it.contains("script_memory_bytes")));
    kiln.get("/").expect(200, "fine");
}

#[test]
fn a_request_that_takes_more_memory_than_it_may_is_stopped() {
    let config = "[faults]\nrequest_memory_bytes = 8388608\n";
    let kiln = Kiln::builder().script(FAILING).config(config).workers(1).start();
    kiln.get("/leak").expect(200, "fine");
    kiln.get("/memory").expect_status(500);
    let fault = fault_of(&kiln, "/memory");
    assert_eq!(fault["kind"], "memory-budget", "{fault:#}");
    assert_eq!(fault["message"], "it has allocated more than one call may", "{fault:#}");
}

#[test]
fn a_script_that_logs_without_end_is_cut_short_and_counted() {
    let config = "[faults]\nlog_lines = 10\n";
    let kiln = Kiln::builder().script(FAILING).config(config).workers(1).start();
    kiln.get("/log-flood").expect(200, "fine");
    let again = || kiln.log().matches("again").count();
    assert!(again() <= 20, "{} lines", again());
    until_true("what was dropped is told", || {
        kiln.get("/log-flood").expect(200, "fine");
        kiln.log().contains("some were dropped")
    });
}

/// Telling of a fault costs more than answering it: a script that fails at every request must not get
/// away with it, and neither must its worker.
#[test]
fn faults_in_a_flood_are_counted_and_some_are_told() {
    const REQUESTS: u64 = 500;
    let kiln = Kiln::builder().script(FAILING).workers(1).start();
    let mut client = kiln.connect();
    for _ in 0..REQUESTS {
        client.get("/throw").expect_status(500);
    }
    until_true("all are counted", || {
        let told = kiln.command("generations", &["--json"]);
        let told: Value = serde_json::from_str(&told.stdout).expect("JSON");
        told[0]["faults"] == REQUESTS
    });
}

#[test]
fn an_initialiser_that_fails_refuses_the_generation_and_the_one_before_serves_on() {
    let kiln = Kiln::builder().script(&replying("fine")).workers(2).start();
    for (initialiser, told) in [
        ("*(volatile int*)nullptr = 1; return 1;", "writes at address 0x0"),
        ("throw 7; return 1;", "it threw int"),
        ("for (volatile int i = 0;; i = 1) {} return 1;", "computed for 2000 ms"),
        ("std::abort(); return 1;", "it called abort"),
    ] {
        let script = format!(
            "{}\n#include <cstdlib>\nstatic int broken = [] {{ {initialiser} }}();\n\
             int* keep() {{ return &broken; }}",
            replying("never")
        );
        kiln.write_script("site.cc", &script);
        let refused = kiln.reload();
        refused.expect_refused();
        let reason = refused.json["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(told), "{initialiser}: {reason}");
        kiln.get("/").expect(200, "fine");
    }
    // Those that it tainted are replaced.
    kiln.until_serving();
    assert_eq!(kiln.generation(), 1);
    let last = faults(&kiln).pop().expect("they are told");
    assert_eq!(last["hook"], "initialiser", "{last:#}");
}

#[test]
fn a_destructor_that_fails_at_the_end_of_a_generation_is_told_and_harms_nobody() {
    let script = format!(
        "{}\nstruct Last {{ ~Last() {{ *(volatile int*)nullptr = 1; }} }} last;",
        replying("first")
    );
    let kiln = Kiln::builder().script(&script).workers(2).start();
    kiln.get("/").expect(200, "first");
    kiln.reload_with(&replying("second"));
    until_true("it is told", || faults(&kiln).iter().any(|it| it["hook"] == "destructor"));
    kiln.get("/").expect(200, "second");
}

/// What a worker has left in the middle holds its locks as long as that worker lives.
#[test]
fn a_lock_that_a_failed_call_holds_is_told_to_whoever_wants_it_next() {
    let kiln = Kiln::builder().script(FAILING).workers(1).start();
    let mut waiting = kiln.connect();
    // The second head arrives in part with the first request, and so at the same worker.
    waiting.send("GET / HTTP/1.1\r\nHost: test\r\n\r\nGET /lock-kept HTTP/1.1\r\n");
    assert_eq!(waiting.response().status, 200);
    kiln.get("/segv-with-lock").expect_status(500);
    waiting.send("Host: test\r\n\r\n");
    assert_eq!(waiting.response().status, 500);
    let fault = fault_of(&kiln, "/lock-kept");
    assert_eq!(fault["kind"], "deadlock", "{fault:#}");
    assert_eq!(fault["follows_another"], true, "{fault:#}");
    let told = fault["message"].as_str().unwrap_or_default();
    assert!(told.contains("by itself or by a call before"), "{told}");
    kiln.get("/lock-kept").expect(200, "fine");
}

/// The clock runs for a hook that the CPU is taken from, too.
#[test]
fn a_hook_that_stands_still_is_stopped_by_the_clock() {
    let config = "[faults]\nhook_cpu_ms = 60000\nhook_wall_ms = 300\n";
    let kiln = Kiln::builder().script(FAILING).config(config).workers(1).start();
    let begun = Instant::now();
    kiln.get("/loop").expect_status(500);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let fault = fault_of(&kiln, "/loop");
    assert_eq!(fault["kind"], "wall-budget", "{fault:#}");
}

/// The unwinder takes locks, and each tick finds it at another place.
#[test]
fn a_loop_of_exceptions_is_stopped_wherever_the_unwinder_is() {
    let config = "[faults]\nhook_cpu_ms = 10\nprobation_faults = 0\n";
    let kiln = Kiln::builder().script(FAILING).config(config).workers(2).start();
    for _ in 0..40 {
        kiln.get("/loop-throw").expect_status(500);
    }
    assert_eq!(kiln.status()["deaths"], Value::Array(Vec::new()));
}

/// Most of the time is spent in the C++ library, which Kiln has compiled.
#[test]
fn a_regular_expression_that_backtracks_for_ever_is_stopped() {
    let script = r#"#include <kiln.h>
        #include <regex>
        kiln::Action on_request(kiln::Request&) {
            static const std::regex slow("(a*)*b");
            return kiln::reply(std::regex_match(std::string(64, 'a'), slow) ? 200 : 404, "never");
        }"#;
    let kiln = Kiln::builder().script(script).workers(1).start();
    kiln.get("/").expect_status(500);
    let fault = fault_of(&kiln, "/");
    assert_eq!(fault["kind"], "cpu-budget", "{fault:#}");
}

/// What the fault of such a regular expression says to do.
#[test]
fn a_regular_expression_that_does_not_recurse_matches_what_the_other_fails_at() {
    let kiln = Kiln::builder().script(FAILING).workers(1).start();
    kiln.get("/regex-remedy").expect(200, "fine");
    assert!(faults(&kiln).is_empty());
}

/// What kills a worker from outside is no fault of a script.
#[test]
fn a_signal_that_somebody_sends_kills_as_ever() {
    let kiln = Kiln::builder().script(FORWARDING).workers(1).start();
    let worker = kiln.worker_pids()[0];
    let mut idle = TcpStream::connect(kiln.address()).expect("it listens");
    idle.write_all(b"GET").expect("it is open");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(worker), tests::Signal::SIGSEGV)
        .expect("it lives");
    until_true("another one serves", || {
        let now = kiln.worker_pids();
        now.len() == 1 && now[0] != worker
    });
    assert!(faults(&kiln).is_empty());
}
