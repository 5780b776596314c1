//! What is told of a script that failed and of a worker that died: which script, which line, which
//! request.

use serde_json::Value;
use tests::{FORWARDING, Kiln, Origin, is_alive, until, until_true};

/// Fails at `/null`, in a function of its own; loops at `/loop`; forwards the rest.
const FAILING: &str = r#"#include <kiln.h>
int* volatile null = nullptr;
[[gnu::noinline]] int write_to(int* place) {
  *place = 1;
  return *place;
}
kiln::Action on_request(kiln::Request& request) {
  if (request.path() == "/null") return kiln::reply(write_to(null));
  if (request.path() == "/loop") for (volatile int i = 0;; i = i + 1) {}
  if (request.path() == "/held") return kiln::forward("web");
  return kiln::reply(200, "fine");
}
"#;

/// Hooks may loop until somebody kills the worker.
const PATIENT: &str = "[faults]\nhook_cpu_ms = 60000\nhook_wall_ms = 60000\n";

fn last(status: &Value, list: &str) -> Option<Value> {
    status[list].as_array()?.last().cloned()
}

#[test]
fn a_fault_is_in_the_status_and_the_log_with_line_function_and_request() {
    let kiln = Kiln::start(FAILING);
    kiln.get("/null").expect_status(500);
    let fault = until("the fault", || last(&kiln.status(), "faults"));
    assert_eq!(fault["kind"], "segmentation-fault", "{fault:#}");
    assert_eq!(fault["request"]["target"], "/null", "{fault:#}");
    assert_eq!(fault["generation"], 1, "{fault:#}");
    let frame = &fault["backtrace"][0];
    assert!(frame["function"].as_str().is_some_and(|name| name.contains("write_to")), "{fault:#}");
    assert_eq!(frame["line"], 4, "{fault:#}");
    let log = kiln.until_logged("a script failed");
    let line = log.lines().find(|line| line.contains("a script failed")).expect("it is there");
    for part in ["site.cc:4", "GET /null", "segmentation-fault", "write_to", " < on_request"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let table = kiln.command("status", &[]).stdout;
    let row = table.lines().find(|line| line.starts_with("segmentation-fault")).expect("a row");
    assert!(row.contains("site.cc:4"), "{table}");
    assert!(table.contains(" at GET /null"), "{table}");
}

#[test]
fn a_tainted_worker_finishes_its_requests_while_the_next_one_serves() {
    let origin = Origin::holding();
    let kiln =
        Kiln::builder().script(FAILING).workers(1).upstream("web", &[origin.address()]).start();
    let before = kiln.worker_pids();
    let mut held = kiln.connect();
    held.send_get("/held");
    origin.until_requests(1);
    kiln.get("/null").expect_status(500);
    kiln.get("/").expect(200, "fine");
    let after = kiln.until_workers(1);
    assert_ne!(before, after);
    assert_eq!(kiln.status()["tainted"][0]["pid"], before[0]);
    assert!(kiln.command("status", &[]).stdout.contains("tainted"));
    origin.release_all();
    held.response().expect(200, "held\n");
    until_true("it has ended", || !is_alive(before[0]));
    assert!(last(&kiln.status(), "deaths").is_none(), "it ended as it was to");
    kiln.until_logged("worker replaced");
}

#[test]
fn a_worker_that_dies_in_a_script_is_told_with_the_request_and_the_generation() {
    let kiln = Kiln::builder().script(FAILING).config(PATIENT).workers(1).start();
    kiln.reload_with(FAILING);
    let pid = kiln.worker_pids()[0];
    let mut client = kiln.connect();
    client.send_get("/loop?with=query");
    // The master says what is at work only of the dead, so it is asked for again and again.
    let busy = || {
        std::thread::sleep(std::time::Duration::from_millis(10));
        tests::state(pid) == Some('R')
    };
    until_true("the hook runs", || (0..30).all(|_| busy()));
    kiln.kill(pid);
    client.expect_closed();
    let death = until("the death", || last(&kiln.status(), "deaths"));
    assert_eq!(death["pid"], pid, "{death:#}");
    assert_eq!(death["how"], "killed by SIGKILL", "{death:#}");
    assert_eq!(death["generation"], 2, "{death:#}");
    let target = death["target"].as_str().unwrap_or_default();
    assert!(target.starts_with("/loop"), "{death:#}");
    let log = kiln.until_logged("worker died worker=0");
    assert!(
        log.lines().any(|line| line.contains("worker died") && line.contains("/loop")),
        "{log}"
    );
    assert!(kiln.command("status", &[]).stdout.contains("in a script at /loop"));
}

#[test]
fn a_worker_that_dies_between_requests_blames_none() {
    let origin = Origin::holding();
    let kiln =
        Kiln::builder().script(FORWARDING).workers(1).upstream("web", &[origin.address()]).start();
    let mut client = kiln.connect();
    client.send_get("/");
    origin.until_requests(1);
    kiln.kill(kiln.worker_pids()[0]);
    client.expect_closed();
    let death = until("the death", || last(&kiln.status(), "deaths"));
    assert_eq!(death["target"], Value::Null, "{death:#}");
}

#[test]
fn a_hook_that_runs_past_its_time_is_stopped_whatever_cpu_time_it_has_left() {
    let config = "[faults]\nhook_cpu_ms = 60000\nhook_wall_ms = 300\n";
    let kiln = Kiln::builder().script(FAILING).config(config).workers(1).start();
    kiln.get("/loop").expect_status(500);
    let fault = until("the fault", || last(&kiln.status(), "faults"));
    assert_eq!(fault["kind"], "wall-budget", "{fault:#}");
    kiln.get("/").expect(200, "fine");
    assert!(last(&kiln.status(), "deaths").is_none());
}
