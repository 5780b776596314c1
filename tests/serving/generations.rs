//! Generations as operators use them: the table, going back to one that served, and a start whose
//! scripts are no good.

use std::thread;
use std::time::Duration;

use serde_json::Value;
use tests::{Checker, Finished, Kiln, Origin, Signal, until_true};

use crate::replying;

fn rollback(kiln: &Kiln, options: &[&str]) -> Finished {
    kiln.command("rollback", options)
}

/// Goes back, and checks which one came of it.
#[track_caller]
fn expect_back(kiln: &Kiln, options: &[&str], expect: u64) {
    let finished = rollback(kiln, &[options, &["--json"]].concat());
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    let json: Value = serde_json::from_str(&finished.stdout).expect("JSON");
    assert_eq!((&json["reply"], &json["generation"]), (&"rolledback".into(), &expect.into()));
}

#[track_caller]
fn generation(kiln: &Kiln, number: u64) -> Value {
    let finished = kiln.command("generations", &["--json"]);
    let known: Vec<Value> = serde_json::from_str(&finished.stdout).expect("JSON");
    let found = known.into_iter().find(|known| known["number"] == number);
    found.unwrap_or_else(|| panic!("{number} is not among them: {finished:?}"))
}

#[test]
fn a_rollback_brings_the_scripts_before_back_and_a_reload_those_on_disk() {
    let kiln = Kiln::start(&replying("one"));
    assert_eq!(kiln.reload_with(&replying("two")), 2);
    assert_eq!(kiln.reload_with(&replying("three")), 3);
    let before = kiln.worker_pids();
    let finished = rollback(&kiln, &[]);
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    assert!(finished.stdout.starts_with("generation 2 serves in 2 workers, 3 did before\n"));
    for _ in 0..20 {
        kiln.get("/").expect(200, "two");
    }
    assert_eq!(kiln.worker_pids(), before);
    expect_back(&kiln, &["1"], 1);
    kiln.get("/").expect(200, "one");
    let told = kiln.command("status", &[]).stdout;
    assert!(told.contains("\nrolled back  ") && told.contains("from generation 2 to 1"), "{told}");
    kiln.hup(4);
    kiln.get("/").expect(200, "three");
    assert!(kiln.status()["rollback"].is_null());
}

#[test]
fn a_rollback_takes_the_settings_along() {
    let kiln = Kiln::builder()
        .script(&replying("one"))
        .workers(1)
        .config("limits.line_bytes = 100\n")
        .start();
    let long = format!("/{}", "x".repeat(200));
    kiln.get(&long).expect_status(414);
    std::fs::write(kiln.folder().join("kiln.toml"), "").expect("a configuration is written");
    kiln.reload_with(&replying("two"));
    kiln.get(&long).expect(200, "two");
    expect_back(&kiln, &[], 1);
    kiln.get(&long).expect_status(414);
    kiln.get("/").expect(200, "one");
}

#[test]
fn rollbacks_under_load_lose_no_request() {
    let kiln = Kiln::start(&replying("one"));
    kiln.reload_with(&replying("two"));
    let before = kiln.worker_pids();
    let checker = Checker::start(
        kiln.address(),
        2,
        20,
        || {
            // It checks, and the commands need the CPU as well.
            thread::sleep(Duration::from_millis(1));
            0
        },
        |_, response| response.status == 200 && ["one", "two"].contains(&&*response.text()),
    );
    checker.until_answered(20);
    for turn in 0..20 {
        let number = 1 + turn % 2;
        expect_back(&kiln, &[&number.to_string()], number);
        kiln.get("/").expect(200, ["one", "two"][turn as usize % 2]);
        checker.until_answered(5);
    }
    checker.stop().expect_nothing_lost();
    assert_eq!(kiln.worker_pids(), before, "no worker died of it");
}

#[test]
fn a_generation_that_is_gone_is_refused_with_those_that_can_be_had() {
    let kiln = Kiln::builder().script(&replying("0")).workers(1).start();
    for number in 2..=18 {
        assert_eq!(kiln.reload_with(&replying(&number.to_string())), number);
    }
    for (number, parts) in [
        ("1", ["generation 1 cannot be had: it is gone", "these can be had: 17, 16, 15"]),
        ("99", ["there is no generation 99", "generation 18 serves on"]),
        ("18", ["generation 18 cannot be had: it serves", "these can be had: 17, 16, 15"]),
    ] {
        let finished = rollback(&kiln, &[number]);
        assert_eq!(finished.code(), Some(1), "{finished:?}");
        assert!(parts.iter().all(|part| finished.stdout.contains(part)), "{finished:?}");
    }
    kiln.get("/").expect(200, "18");
    expect_back(&kiln, &["3"], 3);
    kiln.get("/").expect(200, "3");
}

#[test]
fn the_generations_are_a_table_with_what_each_did() {
    let kiln = Kiln::start(&replying("one"));
    for _ in 0..10 {
        kiln.get("/").expect(200, "one");
    }
    kiln.reload_with(&replying("two"));
    kiln.write_script("site.cc", "nonsense");
    kiln.reload().expect_refused();
    for _ in 0..5 {
        kiln.get("/").expect(200, "two");
    }
    until_true("all requests are counted", || {
        (generation(&kiln, 1)["decided"].as_u64(), generation(&kiln, 2)["decided"].as_u64())
            == (Some(10), Some(5))
    });
    let [first, second, third] = [1, 2, 3].map(|number| generation(&kiln, number));
    assert_eq!((&first["can_return"], &first["is_good"]), (&true.into(), &true.into()));
    assert_eq!(second["cannot_return"], "it serves");
    assert_eq!(third["cannot_return"], "it never served");
    assert_eq!(third["refusal"], "the scripts do not compile");
    let digest = |known: &Value| known["digest"].as_str().expect("it was compiled").to_owned();
    assert_eq!(digest(&first).len(), 40);
    assert_ne!(digest(&first), digest(&second));
    let bytes = first["image_bytes"].as_u64().expect("a number");
    assert!((8 << 10..8 << 20).contains(&bytes), "{bytes} bytes");
    let table = kiln.command("generations", &[]).stdout;
    for part in [&digest(&second)[..12], "active", "refused: the scripts do not compile", "yes"] {
        assert!(table.contains(part), "expected {part:?} in:\n{table}");
    }
}

#[test]
fn a_start_with_bad_scripts_answers_by_the_policy_until_a_reload_brings_good_ones() {
    let kiln = Kiln::builder().script("nonsense").workers(2).start_without_scripts();
    kiln.expect_logged(&["site.cc:1:1: error: unknown type name 'nonsense'"]);
    let told = kiln.command("status", &[]).stdout;
    assert!(told.contains("no generation serves: requests get the failure policy"), "{told}");
    let before = kiln.worker_pids();
    kiln.reload().expect_refused();
    kiln.get("/").expect_status(500);
    let mut client = kiln.connect();
    client.get("/").expect_status(500);
    kiln.write_script("site.cc", &replying("good"));
    kiln.signal(Signal::SIGHUP);
    kiln.until_logged(" generation active generation=3 ");
    kiln.get("/").expect(200, "good");
    client.get("/").expect(200, "good");
    assert_eq!(kiln.worker_pids(), before, "the same workers take the scripts");
    let finished = rollback(&kiln, &[]);
    assert_eq!(finished.code(), Some(1), "{finished:?}");
    assert!(finished.stdout.contains("no good generation before 3 is kept"), "{finished:?}");
}

/// What runs before the first request must not keep Kiln from answering.
#[test]
fn a_first_generation_whose_initialiser_kills_workers_is_given_up() {
    let script = format!(
        "{}static const int dead = [] {{ __builtin_trap(); return 0; }}();\n",
        replying("never")
    );
    let kiln = Kiln::builder().script(&script).workers(2).spawn();
    kiln.until_logged("the scripts were refused");
    kiln.until_workers(2);
    kiln.get("/").expect_status(500);
    kiln.reload_with(&replying("good"));
    kiln.get("/").expect(200, "good");
}

#[test]
fn a_reload_can_wait_for_the_end_of_the_probation() {
    let kiln = Kiln::builder()
        .script(&replying("one"))
        .workers(1)
        .config("faults.probation_s = 1\n")
        .start();
    kiln.write_script("site.cc", &replying("two"));
    let finished = kiln.command("reload", &["--probation"]);
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    assert!(finished.stdout.ends_with("generation 2 is past its probation\n"), "{finished:?}");
    kiln.get("/").expect(200, "two");
}

/// A script that answers with this text, and fails at `/bad`.
fn failing_at_bad(text: &str) -> String {
    format!(
        "#include <kiln.h>
#include <stdexcept>
kiln::Action on_request(kiln::Request& request) {{
    if (request.path() == \"/bad\") throw std::runtime_error(\"no\");
    return kiln::reply(200, \"{text}\");
}}
"
    )
}

#[test]
fn a_new_generation_that_fails_too_often_is_rolled_back_from() {
    let kiln = Kiln::builder()
        .script(&replying("one"))
        .workers(2)
        .config("faults.probation_faults = 3\n")
        .start();
    kiln.write_script("site.cc", &failing_at_bad("two"));
    thread::scope(|scope| {
        let reload = scope.spawn(|| kiln.command("reload", &["--probation"]));
        kiln.until_logged(" generation active generation=2 ");
        for _ in 0..3 {
            kiln.get("/bad").expect_status(500);
        }
        let finished = reload.join().expect("it is answered");
        assert_eq!(finished.code(), Some(3), "{finished:?}");
        assert!(finished.stdout.contains("generation 2 was rolled back from: 3 faults in "));
        assert!(finished.stdout.ends_with("; generation 1 serves again\n"), "{finished:?}");
    });
    kiln.get("/bad").expect(200, "one");
    let [first, second] = [1, 2].map(|number| generation(&kiln, number));
    assert_eq!((&first["state"], &second["faults"]), (&"active".into(), &3.into()));
    assert_eq!(second["rolled_back"]["by_itself"], true);
    for command in ["status", "generations"] {
        let told = kiln.command(command, &[]).stdout;
        assert!(told.contains("by the master itself"), "{told}");
    }
    let log = kiln.log();
    assert!(log.contains("ERROR") && log.contains("a new generation fails at too many requests"));
    // What is on disk is tried again when somebody says so.
    assert_eq!(kiln.reload().expect_taken(), 3);
    kiln.get("/").expect(200, "two");
}

#[test]
fn the_generation_before_answers_where_the_active_one_fails_if_the_policy_says_so() {
    let kiln = Kiln::builder()
        .script(&replying("one"))
        .workers(2)
        .config("faults.policy = \"previous\"\nfaults.probation_faults = 0\n")
        .start();
    kiln.reload_with(&failing_at_bad("two"));
    until_true("the first stands by in every worker", || {
        let first = generation(&kiln, 1);
        (&first["state"], &first["workers"]) == (&"standby".into(), &2.into())
    });
    for _ in 0..20 {
        kiln.get("/").expect(200, "two");
        kiln.get("/bad").expect(200, "one");
    }
    kiln.reload_with(&failing_at_bad("three"));
    until_true("the second stands by in its place", || {
        generation(&kiln, 1)["state"] == "retired" && generation(&kiln, 2)["state"] == "standby"
    });
    kiln.get("/bad").expect_status(500);
    expect_back(&kiln, &["1"], 1);
    kiln.get("/bad").expect(200, "one");
}

#[test]
fn a_start_with_bad_scripts_forwards_where_the_policy_is_open() {
    let origin = Origin::mirroring();
    let kiln = Kiln::builder()
        .script("nonsense")
        .workers(1)
        .upstream("web", &[origin.address()])
        .config("faults.policy = \"open\"\n")
        .start();
    kiln.get("/").expect(200, "");
    assert_eq!(origin.requests().len(), 1);
    kiln.reload_with(&replying("good"));
    kiln.get("/").expect(200, "good");
}
