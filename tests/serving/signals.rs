//! TERM, INT, QUIT, TTIN and TTOU. HUP is in `reload`.

use std::thread;
use std::time::Duration;

use nix::sys::signal::killpg;
use nix::unistd::Pid;
use tests::{Checker, Client, Kiln, Origin, Signal, Wrk, until_true};

use crate::{FORWARDING, replying};

fn with_a_request_in_flight(origin: &Origin, config: &str) -> (Kiln, Client) {
    let kiln = Kiln::builder()
        .script(FORWARDING)
        .workers(2)
        .upstream("web", &[origin.address()])
        .config(config)
        .start();
    let mut client = kiln.connect();
    client.send_get("/");
    origin.until_requests(1);
    (kiln, client)
}

#[test]
fn term_and_int_stop_at_once_and_leave_no_process() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let origin = Origin::holding();
        let (mut kiln, mut client) = with_a_request_in_flight(&origin, "");
        let mut idle = kiln.connect();
        kiln.signal(signal);
        assert_eq!(kiln.until_ended().code(), Some(0), "{signal}");
        assert_eq!(kiln.processes(), [0; 0], "{signal}");
        client.expect_closed();
        idle.expect_closed();
        assert!(Client::try_connect(kiln.address()).is_err(), "{signal}");
    }
}

/// Ctrl-C in a terminal reaches every process of the group, and the workers must not mind.
#[test]
fn ctrl_c_in_a_terminal_stops_in_order() {
    use std::os::unix::process::CommandExt;
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("site.cc");
    std::fs::write(&script, replying("fine")).expect("a script");
    let control = folder.path().join("control");
    let mut command = tests::kiln_command();
    command.arg("serve").args(["--workers=2", "--listen=127.0.0.1:0", "--script"]).arg(&script);
    command.arg("--control").arg(&control).process_group(0);
    let stderr = std::fs::File::create(folder.path().join("log")).expect("a file");
    let mut master = command.stderr(stderr).spawn().expect("it starts");
    let log = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    until_true("both workers are ready", || log().matches("worker ready").count() == 2);
    let group = Pid::from_raw(i32::try_from(master.id()).expect("a pid fits"));
    killpg(group, Signal::SIGINT).expect("it lives");
    assert_eq!(master.wait().expect("it ends").code(), Some(0));
    let log = log();
    assert_eq!(log.matches("exited with code 0").count(), 2, "{log}");
}

#[test]
fn quit_finishes_what_has_begun_and_takes_nothing_new() {
    let origin = Origin::holding();
    let (mut kiln, mut client) = with_a_request_in_flight(&origin, "");
    let address = kiln.address();
    let mut idle = kiln.connect();
    idle.send("GET / HTTP/1.1\r\nHost: test\r\nExpect: nothing\r\n\r\n")
        .response()
        .expect_status(417);
    kiln.signal(Signal::SIGQUIT);
    until_true("nobody listens any more", || Client::try_connect(address).is_err());
    idle.expect_closed();
    origin.release_all();
    let answer = client.response().expect(200, "held\n");
    assert_eq!(answer.field("connection"), Some("close"));
    client.expect_closed();
    assert_eq!(kiln.until_ended().code(), Some(0));
    assert_eq!(kiln.processes(), [0; 0]);
}

/// Sent before the client could know of the drain: it is answered, and told.
#[test]
fn a_request_that_crosses_the_order_to_drain_is_answered() {
    let mut kiln = Kiln::start(&replying("fine"));
    let address = kiln.address();
    let mut clients: Vec<Client> = (0..4).map(|_| kiln.connect()).collect();
    for client in &mut clients {
        client.get("/").expect(200, "fine");
    }
    kiln.signal(Signal::SIGQUIT);
    until_true("every worker has heard of it", || Client::try_connect(address).is_err());
    for client in &mut clients {
        let answer = client.get("/").expect(200, "fine");
        assert_eq!(answer.field("connection"), Some("close"));
        client.expect_closed();
    }
    assert_eq!(kiln.until_ended().code(), Some(0));
}

#[test]
fn a_drain_that_takes_too_long_is_cut_off_and_its_exit_code_says_so() {
    let origin = Origin::holding();
    let (mut kiln, mut client) = with_a_request_in_flight(&origin, "timeouts.drain_ms = 200");
    kiln.signal(Signal::SIGQUIT);
    let ended = kiln.until_ended();
    client.expect_closed();
    assert_eq!(kiln.processes(), [0; 0]);
    assert_eq!(ended.code(), Some(1), "{}", kiln.log());
}

#[test]
fn term_ends_a_drain() {
    let origin = Origin::holding();
    let (mut kiln, mut client) = with_a_request_in_flight(&origin, "");
    kiln.signal(Signal::SIGQUIT);
    kiln.until_logged(" draining ");
    // No reload any more, and no harm in asking.
    kiln.signal(Signal::SIGHUP);
    kiln.until_logged("no reload: the master stops");
    kiln.signal(Signal::SIGTERM);
    assert_eq!(kiln.until_ended().code(), Some(0));
    client.expect_closed();
    assert_eq!(kiln.processes(), [0; 0]);
}

#[test]
fn a_drain_under_load_loses_no_request() {
    let mut kiln = Kiln::start(&replying("fine"));
    let address = kiln.address();
    let checker = Checker::start(address, 4, 1000, || 0, |_, response| response.status == 200);
    checker.until_answered(100);
    kiln.signal(Signal::SIGQUIT);
    assert_eq!(kiln.until_ended().code(), Some(0));
    let checked = checker.stop();
    assert!(checked.lost.iter().all(|lost| lost.answered_before > 0), "{:?}", checked.lost);
    assert!(checked.wrong.is_empty(), "{:?}", checked.wrong);
}

#[test]
fn ttin_and_ttou_add_and_remove_workers_without_losing_anything() {
    let kiln = Kiln::start(&replying("fine"));
    let wrk = Wrk::start(kiln.address(), "/", 16);
    let checker =
        Checker::start(kiln.address(), 3, 5, || 0, |_, response| response.body == b"fine");
    checker.until_answered(50);
    for _ in 0..2 {
        for (signal, workers) in [
            (Signal::SIGTTIN, 3),
            (Signal::SIGTTIN, 4),
            (Signal::SIGTTOU, 3),
            (Signal::SIGTTOU, 2),
            (Signal::SIGTTOU, 1),
            (Signal::SIGTTIN, 2),
        ] {
            kiln.signal(signal);
            until_workers_serve(&kiln, workers);
            checker.until_answered(50);
        }
    }
    checker.stop().expect_nothing_lost();
    // Workers that leave finish the request and close the connection; wrk counts that as an error of
    // reading when its next request crossed the close, so only what it was refused counts here.
    let report = wrk.stop();
    assert!(report.requests > 0, "{report:?}");
    assert_eq!((report.socket_errors[0], report.error_statuses), (0, 0), "{report:?}");
}

/// Clients that think before each request have idle connections most of the time, and a request may
/// be on its way just when a worker begins to leave.
#[test]
fn a_worker_that_leaves_loses_no_request_that_was_on_its_way() {
    const THINKING: Duration = Duration::from_millis(1);
    let kiln = Kiln::start(&replying("fine"));
    let think = || {
        thread::sleep(THINKING);
        0
    };
    let checker =
        Checker::start(kiln.address(), 16, 10_000, think, |_, response| response.body == b"fine");
    for _ in 0..5 {
        kiln.signal(Signal::SIGTTIN);
        until_workers_serve(&kiln, 3);
        checker.until_answered(200);
        kiln.signal(Signal::SIGTTOU);
        kiln.until_workers(2);
        checker.until_answered(200);
    }
    checker.stop().expect_nothing_lost();
}

/// Workers that still drain do not serve; nobody else is missing.
#[track_caller]
fn until_workers_serve(kiln: &Kiln, count: usize) {
    until_true(&format!("{count} workers serve"), || kiln.worker_pids().len() == count);
}

#[test]
fn a_new_worker_takes_its_share_and_serves_the_newest_scripts() {
    let kiln = Kiln::builder().script(&replying("one")).workers(1).start();
    kiln.reload_with(&replying("two"));
    kiln.signal(Signal::SIGTTIN);
    kiln.until_workers(2);
    let served = |index: usize| kiln.workers()[index]["requests"].as_u64().unwrap_or(0);
    until_true("both have served", || {
        kiln.get("/").expect(200, "two");
        served(0) > 0 && served(1) > 0
    });
}

#[test]
fn the_last_worker_stays() {
    let kiln = Kiln::builder().script(&replying("fine")).workers(1).start();
    let before = kiln.worker_pids();
    kiln.signal(Signal::SIGTTOU);
    kiln.until_logged("scaling workers=1");
    assert_eq!(kiln.until_workers(1), before);
    kiln.get("/").expect(200, "fine");
}

#[test]
fn an_idle_connection_of_a_worker_that_leaves_is_closed_and_one_in_flight_is_answered() {
    let origin = Origin::holding();
    let kiln =
        Kiln::builder().script(FORWARDING).workers(2).upstream("web", &[origin.address()]).start();
    // Enough for each worker to have some.
    let mut clients: Vec<Client> = (0..12).map(|_| kiln.connect()).collect();
    for client in &mut clients {
        client.send_get("/");
    }
    origin.until_requests(12);
    kiln.signal(Signal::SIGTTOU);
    until_workers_serve(&kiln, 1);
    until_true("the other drains", || {
        kiln.workers().iter().any(|worker| worker["state"] == "draining")
    });
    origin.release_all();
    for client in &mut clients {
        client.response().expect(200, "held\n");
    }
    kiln.until_workers(1);
    kiln.get("/").expect(200, "held\n");
}
