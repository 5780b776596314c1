//! `kiln reload` and `kiln status`, as people and as programs read them.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use serde_json::Value;
use tests::{Kiln, Origin, PATIENCE, until_true};

use crate::{FORWARDING, replying};

const STEPS: [&str; 4] = ["front_end_ms", "optimise_ms", "code_ms", "link_ms"];

#[test]
fn a_reload_says_which_generation_serves_and_how_long_each_step_took() {
    let kiln = Kiln::start(&replying("one"));
    kiln.write_script("site.cc", &replying("two"));
    let finished = kiln.command("reload", &[]);
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert_eq!(lines[0], "generation 2 serves in 2 workers");
    assert_eq!(lines[1], "  compiled the script");
    let steps = ["front end", "optimise", "code", "link", "map", "total"];
    assert_eq!(lines.len(), 2 + steps.len(), "{lines:?}");
    for (line, step) in lines[2..].iter().zip(steps) {
        let rest = line.trim().strip_prefix(step).unwrap_or_else(|| panic!("{step}: {line}"));
        let milliseconds = rest.trim().strip_suffix(" ms").map(str::parse::<f64>);
        assert!(matches!(milliseconds, Some(Ok(value)) if value > 0.0), "{line}");
    }
    // Whoever waited for it may rely on it.
    for _ in 0..20 {
        kiln.get("/").expect(200, "two");
    }
}

#[test]
fn a_reload_in_json_has_the_same_and_adds_up() {
    let kiln = Kiln::start(&replying("one"));
    // What has not changed comes from the cache, in steps that take no time.
    kiln.write_script("site.cc", &replying("two"));
    let json = kiln.reload().json;
    assert_eq!(json["reply"], "reloaded", "{json:#}");
    assert_eq!((&json["generation"], &json["workers"]), (&Value::from(2), &Value::from(2)));
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{json:#}"));
    let parts: f64 = STEPS.iter().map(|step| number(&json["steps"][step])).sum();
    assert!(STEPS.iter().all(|step| number(&json["steps"][step]) > 0.0), "{json:#}");
    let whole = parts + number(&json["map_ms"]);
    assert!(whole > 0.0 && whole <= number(&json["total_ms"]), "{json:#}");
}

#[test]
fn a_refused_reload_shows_what_clang_says_and_exits_with_1() {
    let kiln = Kiln::start(&replying("one"));
    kiln.write_script("site.cc", "#include <kiln.h>\nnonsense\n");
    let finished = kiln.command("reload", &[]);
    assert_eq!(finished.code(), Some(1), "{finished:?}");
    for part in [
        "site.cc:2:1: error: unknown type name 'nonsense'\n    2 | nonsense\n      | ^\n",
        "refused: the scripts do not compile\n",
        "generation 1 serves on\n",
    ] {
        assert!(finished.stdout.contains(part), "expected {part:?} in {}", finished.stdout);
    }
    let json = kiln.reload().json;
    let first = &json["diagnostics"][0];
    assert_eq!((&first["severity"], &first["line"]), (&"error".into(), &2.into()), "{json:#}");
    assert_eq!(
        (&first["column"], &first["message"]),
        (&1.into(), &"unknown type name 'nonsense'".into())
    );
    assert_eq!(json["generation_serving"], 1);
}

#[test]
fn a_refusal_is_in_the_status_until_a_reload_succeeds() {
    let kiln = Kiln::start(&replying("one"));
    assert_eq!(kiln.status()["refused"], Value::Null);
    kiln.write_script("site.cc", "int main() {}\n");
    let refused = kiln.reload().json;
    let status = kiln.status();
    assert_eq!(status["refused"]["diagnostics"], refused["diagnostics"], "{status:#}");
    assert_eq!(status["refused"]["reason"], "the scripts do not compile");
    assert!(status["refused"]["age_s"].is_u64(), "{status:#}");
    let table = kiln.command("status", &[]).stdout;
    for part in [
        "\nlast reload refused  ",
        "site.cc:1:5: error: a script has no main()",
        "| int main() {}\n",
    ] {
        assert!(table.contains(part), "expected {part:?} in:\n{table}");
    }
    kiln.reload_with(&replying("two"));
    assert_eq!(kiln.status()["refused"], Value::Null);
}

#[test]
fn a_reload_in_json_has_the_parts_of_each_diagnostic() {
    let kiln = Kiln::start(&replying("one"));
    let script = format!("static int unused;\n{}", replying("two"));
    kiln.write_script("site.cc", &script);
    let json = kiln.reload().json;
    let warning = &json["diagnostics"][0];
    assert_eq!(
        (&warning["severity"], &warning["option"]),
        (&"warning".into(), &"-Wunused-variable".into())
    );
    assert_eq!(warning["end"], serde_json::json!({"line": 1, "column": 18}), "{json:#}");
    assert!(warning["notes"].is_array() && warning["edits"].is_array(), "{json:#}");
}

#[test]
fn warnings_do_not_refuse_a_script_and_are_shown() {
    let kiln = Kiln::start(&replying("one"));
    kiln.write_script("site.cc", &format!("#warning mind the gap\n{}", replying("two")));
    let finished = kiln.command("reload", &[]);
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    assert!(finished.stdout.contains("site.cc:1:2: warning: mind the gap"), "{finished:?}");
    kiln.until_logged("warning: mind the gap");
    kiln.get("/").expect(200, "two");
}

#[test]
fn the_status_is_a_table_of_master_generations_and_workers() {
    let kiln = Kiln::start(&replying("one"));
    kiln.reload().expect_taken();
    kiln.write_script("site.cc", "nonsense");
    kiln.reload().expect_refused();
    let finished = kiln.command("status", &[]);
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    let table = finished.stdout;
    let words =
        |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
    let lines: Vec<Vec<String>> = table.lines().map(words).collect();
    let first = table.lines().next().expect("there is a line");
    for part in [format!("master {}", kiln.pid()), format!("listening on {}", kiln.address())] {
        assert!(first.contains(&part), "expected {part:?} in {first}");
    }
    for (number, state) in [("1", "retired"), ("2", "active"), ("3", "refused")] {
        let has = lines.iter().any(|line| line.len() > 2 && line[0] == number && line[1] == state);
        assert!(has, "generation {number} is not {state}:\n{table}");
    }
    for pid in kiln.worker_pids() {
        let line = lines.iter().find(|line| line.get(1) == Some(&pid.to_string()));
        let line = line.unwrap_or_else(|| panic!("{pid} is missing:\n{table}"));
        assert_eq!(line[2..4], ["serving", "2"], "{table}");
    }
    assert!(!table.contains('\u{1b}'), "colours are for terminals: {table:?}");
}

#[test]
fn the_status_in_json_counts_requests_connections_and_restarts() {
    let kiln = Kiln::start(&replying("one"));
    let printed = kiln.command("status", &["--json"]);
    assert_eq!(printed.code(), Some(0), "{printed:?}");
    let status: Value = serde_json::from_str(&printed.stdout).expect("JSON");
    assert_eq!(status["master"]["pid"], kiln.pid());
    assert!(status["master"]["version"].is_string() && status["master"]["uptime_s"].is_u64());
    assert_eq!(status["listen"][0], kiln.address().to_string());
    let generation = &status["generations"][0];
    assert_eq!((&generation["number"], &generation["state"]), (&1.into(), &"active".into()));
    assert!(generation["age_s"].is_u64(), "{status:#}");
    for worker in status["workers"].as_array().expect("a list") {
        for field in
            ["index", "pid", "generation", "requests", "connections", "restarts", "uptime_s"]
        {
            assert!(worker[field].is_u64(), "{field}: {status:#}");
        }
    }
    let sum = |field: &str| -> u64 {
        kiln.workers().iter().map(|worker| worker[field].as_u64().expect("a number")).sum()
    };
    let mut clients: Vec<_> = (0..10).map(|_| kiln.connect()).collect();
    for client in &mut clients {
        client.get("/").expect(200, "one");
        client.get("/").expect(200, "one");
    }
    until_true("20 requests on 10 connections are counted", || {
        (sum("requests"), sum("connections")) == (20, 10)
    });
    drop(clients);
    until_true("the connections are gone", || sum("connections") == 0);
    // A worker takes its counts along, and its index keeps them.
    kiln.kill(kiln.worker_pids()[0]);
    until_true("it is replaced", || sum("restarts") == 1);
    kiln.until_serving();
    assert_eq!(sum("requests"), 20);
}

#[test]
fn a_generation_drains_while_a_request_of_it_lives() {
    let origin = Origin::holding();
    let kiln =
        Kiln::builder().script(FORWARDING).workers(1).upstream("web", &[origin.address()]).start();
    let state = |number: usize| kiln.status()["generations"][number - 1]["state"].clone();
    let mut client = kiln.connect();
    client.send_get("/");
    origin.until_requests(1);
    assert_eq!(kiln.reload_with(&replying("two")), 2);
    assert_eq!((state(1), state(2)), ("draining".into(), "active".into()));
    kiln.get("/").expect(200, "two");
    origin.release_all();
    client.response().expect(200, "held\n");
    until_true("the first generation is retired", || state(1) == "retired");
    client.get("/").expect(200, "two");
}

/// Two reloads at once: the second may be about newer sources, so it is not answered by the first.
#[test]
fn reloads_at_the_same_time_are_each_answered() {
    let kiln = Kiln::start(&replying("one"));
    std::thread::scope(|scope| {
        let reloads: Vec<_> =
            (0..6).map(|_| scope.spawn(|| kiln.reload().expect_taken())).collect();
        for reload in reloads {
            let generation = reload.join().expect("it was taken");
            assert!((2..=7).contains(&generation), "generation {generation}");
        }
    });
    kiln.get("/").expect(200, "one");
}

#[test]
fn the_control_socket_is_for_its_owner_alone() {
    let kiln = Kiln::start(&replying("one"));
    let mode = std::fs::metadata(kiln.control_path()).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn nonsense_on_the_control_socket_is_answered_and_harms_nobody() {
    let kiln = Kiln::start(&replying("one"));
    let connect = || {
        let stream = UnixStream::connect(kiln.control_path()).expect("it is there");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    };
    for nonsense in ["nonsense\n", "{}\n", "{\"command\":\"halt\"}\n", "\n"] {
        let mut stream = connect();
        stream.write_all(nonsense.as_bytes()).expect("it reads");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("it answers and closes");
        assert!(reply.contains("invalid") && reply.contains("status"), "{reply:?}");
    }
    // Clients that say nothing, or half of something, and one that never ends a line.
    let silent: Vec<UnixStream> = (0..4).map(|_| connect()).collect();
    let mut endless = connect();
    let part = [b'x'; 4096];
    let mut refused = false;
    for _ in 0..1000 {
        refused |= endless.write_all(&part).is_err();
    }
    assert!(refused, "it takes any amount of bytes");
    drop(silent);
    assert_eq!(kiln.status()["master"]["pid"], kiln.pid());
    kiln.get("/").expect(200, "one");
}
