//! Clients that leave before their answers: what they asked for is given up, and nobody else waits for it.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tests::{Client, FORWARDING, Kiln, Origin, until_true};

/// A Kiln with one worker whose upstream `web` is this origin, with these settings.
fn kiln(origin: &Origin, settings: &str) -> Kiln {
    let address = origin.address();
    let config = format!("[upstreams.web]\nservers = [\"{address}\"]\n{settings}\n");
    Kiln::builder().script(FORWARDING).workers(1).config(&config).start()
}

fn connections(kiln: &Kiln) -> u64 {
    kiln.workers()[0]["connections"].as_u64().expect("a number")
}

/// A reset may come with the request, while it is read, or after; it must be noticed in any case.
#[test]
fn clients_that_reset_right_after_sending_keep_no_place() {
    for delay in [Duration::ZERO, Duration::from_millis(2), Duration::from_millis(20)] {
        let origin = Origin::holding();
        let kiln = kiln(&origin, "connections = 1000");
        for _ in 0..200 {
            let mut client = kiln.connect();
            client.send_get("/held");
            thread::sleep(delay / 10);
            client.reset();
        }
        until_true("nobody is left", || connections(&kiln) == 0);
        until_true("no request is in flight", || {
            kiln.status()["generations"][0]["held"][0]["requests"] == 0
        });
        origin.release_all();
        kiln.get("/").expect(200, "held\n");
    }
}

/// Whoever closes while it waits in the queue leaves it, whatever the settings.
#[test]
fn clients_that_close_leave_the_queue() {
    let origin = Origin::holding();
    let kiln = kiln(&origin, "connections = 1\nqueue = 1000");
    let mut first = kiln.connect();
    first.send_get("/first");
    origin.until_requests(1);
    for shuts in [false, true] {
        for _ in 0..50 {
            let mut client = kiln.connect();
            client.send_get("/impatient");
            if shuts {
                // It is told so, if it still reads.
                client.shut();
                client.response().expect_status(503);
            }
        }
        until_true("they have left", || connections(&kiln) == 1);
    }
    let mut patient = kiln.connect();
    patient.send_get("/patient");
    origin.release_all();
    first.response().expect(200, "held\n");
    patient.response().expect(200, "held\n");
    let lines: Vec<String> =
        origin.requests().iter().map(|request| request.line().to_owned()).collect();
    assert_eq!(lines, ["GET /first HTTP/1.1", "GET /patient HTTP/1.1"]);
    until_true("each is counted", || kiln.status()["reasons"]["client-left-queue"] == 100);
}

/// Clients that give up on `/slow` and ask again must not take the places of those that wait for
/// `/fast`.
#[test]
fn clients_that_give_up_hold_up_nobody_else() {
    let slow = Arc::new(AtomicUsize::new(0));
    let count = slow.clone();
    let origin = Origin::answering(move |request, stream| {
        if request.line().starts_with("GET /slow ") {
            count.fetch_add(1, Ordering::SeqCst);
            // It never answers; it ends with its connection.
            let _ = std::io::Read::read(stream, &mut [0]);
            count.fetch_sub(1, Ordering::SeqCst);
            return Ok(false);
        }
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").map(|()| true)
    });
    let kiln = kiln(&origin, "connections = 4\nabort_on_close = true");
    let address = kiln.address();
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let mut client = Client::connect(address);
                    client.send_get("/slow");
                    // Its patience: what is tested is that it has an end.
                    thread::sleep(Duration::from_millis(30));
                }
            });
        }
        let mut patient = kiln.connect();
        for _ in 0..50 {
            patient.get("/fast").expect_status(200);
        }
    });
    until_true("the origin has nothing to do", || slow.load(Ordering::SeqCst) == 0);
}

/// A client that has shut its side may still read (RFC 9112, section 9.6): the setting says what it is
/// taken for.
#[test]
fn a_client_that_shuts_its_side_gets_its_answer_unless_a_setting_says_that_it_has_gone() {
    for aborts in [false, true] {
        let origin = Origin::holding();
        let kiln = kiln(&origin, &format!("abort_on_close = {aborts}"));
        let mut client = kiln.connect();
        client.send_get("/");
        origin.until_requests(1);
        client.shut();
        if aborts {
            client.expect_closed();
            origin.release_all();
        } else {
            // A request of somebody else that is over says that the first one's end was seen.
            origin.release(1);
            client.response().expect(200, "held\n");
            client.expect_closed();
        }
    }
}
