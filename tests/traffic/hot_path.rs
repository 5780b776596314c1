//! What a request costs the worker in instructions and system calls, scripts included.
//!
//! The limits lie a quarter above what was measured when they were set; what depends on the time that
//! stepping takes (a new date, the ticks of timers) is that much where it is slow. A change that needs more should
//! say what it bought; one that needs less should lower them.

use tests::{Client, Kiln, Nginx, Stepped, Steps};

use crate::alone;

/// Requests of one count; the figures are of one.
const REQUESTS: u64 = 5;

const SCRIPT: &str = r#"#include <kiln.h>
kiln::Action on_request(kiln::Request& request) {
    if (request.path() == "/hello") return kiln::reply(200, "hello world\n");
    return kiln::forward("web");
}
"#;

fn start(origin: &Nginx) -> Kiln {
    Kiln::builder().script(SCRIPT).workers(1).upstream("web", &[origin.address()]).start()
}

/// What `text`, which holds `requests` requests, costs once the connection has carried the same before.
fn cost(kiln: &Kiln, client: &mut Client, text: &str, requests: usize) -> Steps {
    for _ in 0..3 {
        client.send(text);
        (0..requests).for_each(|_| drop(client.response().expect_status(200)));
    }
    let stepped = Stepped::attach(kiln.worker_pids()[0]);
    let mut total = Steps::default();
    // The least of all, since the date is written anew for the first request of each second.
    let mut least = u64::MAX;
    for _ in 0..REQUESTS {
        client.send(text);
        let mut answered = 0;
        let steps = stepped.count(|| {
            while answered < requests && client.has_response() {
                client.response().expect_status(200);
                answered += 1;
            }
            answered == requests
        });
        least = least.min(steps.instructions);
        total.system_calls += steps.system_calls;
        total.waits += steps.waits;
    }
    total.instructions = least * REQUESTS;
    total
}

/// `calls` are those beside waits; a wait brings one event here, and many under load.
fn check(what: &str, steps: Steps, requests: u64, instructions_max: u64, calls: u64) {
    let instructions = steps.instructions / requests;
    let calls_made = steps.system_calls - steps.waits;
    println!("{what}: {instructions} instructions a request, {calls_made} calls for {requests}");
    assert!(
        instructions <= instructions_max,
        "{what}: {instructions} instructions a request, and {instructions_max} are allowed"
    );
    // The clock that tells the date is read once a second, by a call on some machines.
    assert!(
        (calls..=calls + 2).contains(&calls_made),
        "{what}: {calls_made} calls for {requests} requests, {calls} expected"
    );
}

#[test]
fn a_reply_costs_so_many_instructions_one_read_and_one_write() {
    let _alone = alone();
    let origin = Nginx::start();
    let kiln = start(&origin);
    let steps = cost(&kiln, &mut kiln.connect(), &get("/hello"), 1);
    check("reply", steps, REQUESTS, 7000, REQUESTS * 2);
}

#[test]
fn a_proxied_request_costs_so_many_instructions_two_reads_and_two_writes() {
    let _alone = alone();
    let origin = Nginx::start();
    origin.write("small", "hello world\n");
    let kiln = start(&origin);
    let steps = cost(&kiln, &mut kiln.connect(), &get("/files/small"), 1);
    check("proxied", steps, REQUESTS, 22_500, REQUESTS * 4);
}

#[test]
fn a_pipeline_of_sixteen_costs_one_read_and_one_write() {
    let _alone = alone();
    let origin = Nginx::start();
    let kiln = start(&origin);
    let steps = cost(&kiln, &mut kiln.connect(), &get("/hello").repeat(16), 16);
    check("pipelined", steps, REQUESTS * 16, 5000, REQUESTS * 2);
}

/// As wrk asks.
fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n")
}
