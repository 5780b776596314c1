//! Generations that are not over: who keeps them, as `kiln status` and the log say.

use serde_json::Value;
use tests::{Kiln, Origin, until, until_true};

use crate::FORWARDING;

fn generation(kiln: &Kiln, number: u64) -> Option<Value> {
    let status = kiln.try_status()?;
    status["generations"].as_array()?.iter().find(|known| known["number"] == number).cloned()
}

#[test]
fn a_generation_that_drains_is_shown_with_what_keeps_it() {
    let origin = Origin::holding();
    let kiln =
        Kiln::builder().script(FORWARDING).workers(1).upstream("web", &[origin.address()]).start();
    let mut first = kiln.connect();
    first.send_get("/first?a=%1B[2J");
    origin.until_requests(1);
    let mut second = kiln.connect();
    second.send_get("/second");
    origin.until_requests(2);
    kiln.reload().expect_taken();
    let mut third = kiln.connect();
    third.send_get("/third");
    origin.until_requests(3);

    let held = until("the worker has said what it holds", || {
        let held = generation(&kiln, 1)?["held"].get(0)?.clone();
        (held["requests"] == 2 && !held["oldest_target"].is_null()).then_some(held)
    });
    assert_eq!((&held["worker"], &held["oldest_target"]), (&0.into(), &"/first?a=%1B[2J".into()));
    assert!(held["oldest_ms"].as_u64().is_some_and(|age_ms| age_ms < 60_000), "{held}");
    let text = kiln.command("status", &[]).stdout;
    assert!(text.contains("kept in worker 0 by 2 requests, for "), "{text}");
    assert!(text.contains(" now: /first?a=%1B[2J\n"), "{text}");

    let log = kiln.until_logged("a generation still drains");
    let line = log.lines().find(|line| line.contains("a generation still drains")).expect("it is");
    for part in ["WARN", "generation=1 ", "workers=1 ", "requests=2 ", "/first?a=%1B[2J"] {
        assert!(line.contains(part), "expected {part:?} in {line}");
    }
    // The generation that is active waits for nothing.
    let active = generation(&kiln, 2).expect("it is active");
    assert_eq!(
        (&active["held"][0]["requests"], &active["held"][0]["oldest_ms"]),
        (&1.into(), &Value::Null)
    );

    origin.release_all();
    for client in [&mut first, &mut second, &mut third] {
        client.response().expect(200, "held\n");
    }
    until_true("the generation is retired", || {
        generation(&kiln, 1).is_some_and(|known| {
            known["state"] == "retired" && known["held"] == Value::Array(Vec::new())
        })
    });
    assert_eq!(kiln.log().matches("a generation still drains").count(), 1, "it is said once");
}
