//! Servers that are configured by name, health checks, and the broker that sees to both.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;
use tests::{Kiln, Origin, until, until_true};

use crate::FORWARDING;

/// A Kiln whose upstream `web` is this table of `kiln.toml`.
fn kiln(web: &str) -> Kiln {
    let config = format!("[upstreams.web]\n{web}\n");
    Kiln::builder().script(FORWARDING).workers(2).config(&config).start()
}

/// Asks every 20 ms, and changes its mind after two answers.
const EAGER: &str =
    "health = { path = \"/health\", interval_ms = 20, timeout_ms = 5000, rise = 2, fall = 2 }";

fn broker(kiln: &Kiln) -> Option<i32> {
    kiln.status()["broker"]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok())
}

/// Servers that get no requests, as the status lists them.
fn out(kiln: &Kiln) -> Vec<Value> {
    kiln.status()["upstreams"]["out"].as_array().expect("a list").clone()
}

/// An origin that says whether it is well, and how many requests of others it has answered.
struct Patient {
    origin: Origin,
    is_ill: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
}

impl Patient {
    fn new() -> Self {
        let (is_ill, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (ill, count) = (is_ill.clone(), served.clone());
        let origin = Origin::answering(move |request, stream| {
            let is_check = request.line().starts_with("GET /health ");
            count.fetch_add(usize::from(!is_check), Ordering::Relaxed);
            let is_bad = is_check && ill.load(Ordering::Relaxed);
            let status = if is_bad { "503 Service Unavailable" } else { "200 OK" };
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").map(|()| true)
        });
        Patient { origin, is_ill, served }
    }

    /// Requests that came to it while `kiln` answered so many.
    fn share_of(&self, kiln: &Kiln, requests: usize) -> usize {
        let before = self.served.load(Ordering::Relaxed);
        for _ in 0..requests {
            kiln.get("/").expect_status(200);
        }
        self.served.load(Ordering::Relaxed) - before
    }
}

#[test]
fn the_first_request_reaches_a_server_that_is_configured_by_name() {
    let origin = Origin::echoing();
    let port = origin.address().port();
    let kiln = kiln(&format!("servers = [\"localhost:{port}\"]"));
    kiln.get("/").expect_status(200);
    let names = &kiln.status()["upstreams"]["names"];
    assert_eq!(names[0]["name"], format!("localhost:{port}"));
    let addresses = names[0]["addresses"].as_array().expect("a list");
    assert!(addresses.contains(&origin.address().to_string().into()), "{names}");
}

#[test]
fn a_name_that_does_not_resolve_is_a_warning_and_no_reason_not_to_start() {
    let kiln = kiln("servers = [\"no-such-host.invalid:80\"]");
    kiln.get("/").expect_status(503);
    assert!(kiln.log().contains("a name does not resolve"), "{}", kiln.log());
}

#[test]
fn without_names_and_checks_there_is_no_broker() {
    let origin = Origin::echoing();
    let kiln = kiln(&format!("servers = [\"{}\"]", origin.address()));
    assert_eq!(broker(&kiln), None);
    // Who keeps what the compile left may take a moment.
    until_true("the master and two workers", || kiln.processes().len() == 3);
    assert_eq!(broker(&kiln), None);
}

#[test]
fn a_server_that_fails_its_check_gets_no_requests_until_it_is_well() {
    let (well, patient) = (Patient::new(), Patient::new());
    let [first, second] = [&well, &patient].map(|one| one.origin.address());
    let kiln = kiln(&format!("servers = [\"{first}\", \"{second}\"]\n{EAGER}"));
    until_true("both get requests", || patient.share_of(&kiln, 10) > 0);

    patient.is_ill.store(true, Ordering::Relaxed);
    until_true("the server is out", || out(&kiln).len() == 1);
    assert_eq!(out(&kiln)[0]["server"], second.to_string());
    until_true("workers know it", || patient.share_of(&kiln, 10) == 0);
    assert_eq!(patient.share_of(&kiln, 50), 0);
    // Nor does a worker that is forked only now.
    for pid in kiln.worker_pids() {
        kiln.kill(pid);
    }
    until_true("others serve", || {
        let workers = kiln.workers();
        workers.iter().all(|worker| worker["restarts"] == 1 && worker["state"] == "serving")
    });
    assert_eq!(patient.share_of(&kiln, 50), 0);

    patient.is_ill.store(false, Ordering::Relaxed);
    until_true("the server is back", || patient.share_of(&kiln, 10) > 0);
    assert_eq!(out(&kiln), [] as [Value; 0]);
}

#[test]
fn nobody_notices_that_a_broker_is_killed() {
    let (well, patient) = (Patient::new(), Patient::new());
    patient.is_ill.store(true, Ordering::Relaxed);
    let port = well.origin.address().port();
    let second = patient.origin.address();
    let kiln = kiln(&format!("servers = [\"localhost:{port}\", \"{second}\"]\n{EAGER}"));
    until_true("the server is out and workers know it", || {
        out(&kiln).iter().any(|out| out["server"] == second.to_string())
            && patient.share_of(&kiln, 10) == 0
    });
    let first = broker(&kiln).expect("it is needed");
    kiln.kill(first);
    until("another broker", || broker(&kiln).filter(|pid| *pid != first));
    assert_eq!(kiln.status()["broker"]["restarts"], 1);
    assert_eq!(patient.share_of(&kiln, 50), 0);
    // The new one goes on where the one before it was.
    patient.is_ill.store(false, Ordering::Relaxed);
    until_true("the server is back", || patient.share_of(&kiln, 10) > 0);
}
