//! Tainted workers: replaced at once, and let drain beside their replacement.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use heritage::Report;

use super::*;

/// Opens a request that is in flight until the connection is dropped; answers in which worker.
fn hold(address: SocketAddr) -> (TcpStream, u64) {
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"hold").unwrap();
    let mut answer = [0; 2];
    client.read_exact(&mut answer).unwrap();
    let index = u64::from(answer[0] - b'0');
    (client, index)
}

/// Its workers are replaced at once however often.
fn tireless() -> Scenario {
    Scenario { respawn_delay_min: Duration::ZERO, ..Scenario::default() }
}

#[test]
fn a_tainted_worker_finishes_its_requests_beside_its_replacement() {
    let kiln = Kiln::start_with("tainted", "fine", Scenario { workers: 1, ..tireless() });
    let before = kiln.wait_for_workers(1);
    let address = before.listen[0];
    let (held, _) = hold(address);
    assert_eq!(kiln.worker_says(&Report::Tainted), Some(0));
    let status = kiln.wait_for("both", |status| {
        let serves = status.workers.iter().any(|it| it.state == WorkerActivity::Serving);
        serves && status.tainted.len() == 1
    });
    let (old, new) = (&status.tainted[0], &status.workers[0]);
    assert_eq!(old.pid, before.workers[0].pid);
    assert_ne!(new.pid, old.pid);
    assert_eq!((old.index, old.state), (0, WorkerActivity::Draining));
    assert_eq!((new.index, new.restarts), (0, 1));
    assert_eq!((old.requests, new.requests), (2, 0), "each counts on a page of its own");
    assert_eq!(ask(address, "hello").unwrap()[1], new.pid.unwrap() as u64);
    // It keeps its generation, and a reload does without it.
    assert!(matches!(kiln.reload("fine"), ControlReply::Reloaded { workers: 1, .. }));
    assert_eq!(kiln.status().generations[0].state, GenerationState::Draining);
    drop(held);
    let status = kiln.wait_for("its end", |status| status.tainted.is_empty());
    assert_eq!(status.workers[0].requests, 3, "what it answered counts on");
    assert_eq!(status.generations[0].state, GenerationState::Retired);
}

#[test]
fn no_connection_is_refused_or_lost_while_worker_after_worker_is_tainted() {
    let kiln = Kiln::start_with("taints", "fine", Scenario { workers: 2, ..tireless() });
    kiln.wait_for_workers(2);
    let load = kiln.load();
    for taints in 1..=20 {
        kiln.worker_says(&Report::Tainted).expect("it is answered");
        kiln.wait_for("the replacement", |status| {
            status.workers.iter().map(|worker| worker.restarts).sum::<u32>() == taints
        });
    }
    load.expect_no_failure();
    let status = kiln.wait_for_workers(2);
    let restarts: u32 = status.workers.iter().map(|worker| worker.restarts).sum();
    assert_eq!(restarts, 20, "one that is replaced already is not replaced again when it ends");
}

#[test]
fn a_tainted_worker_that_does_not_finish_in_time_is_killed() {
    let drain_timeout = Duration::from_millis(300);
    // One worker: among several, whoever is tainted may not be the one that has something to finish.
    let scenario = Scenario { workers: 1, drain_timeout, ..tireless() };
    let kiln = Kiln::start_with("tainted-late", "fine", scenario);
    let _held = hold(kiln.wait_for_workers(1).listen[0]);
    let began = Instant::now();
    assert_eq!(kiln.worker_says(&Report::Tainted), Some(0));
    kiln.wait_for("the replacement", |status| status.workers[0].restarts == 1);
    kiln.wait_for("the end", |status| status.tainted.is_empty());
    assert!(began.elapsed() >= drain_timeout);
}

#[test]
fn where_too_many_drain_the_oldest_is_killed() {
    let kiln = Kiln::start_with("tainted-many", "fine", Scenario { workers: 1, ..tireless() });
    let address = kiln.wait_for_workers(1).listen[0];
    let mut held = Vec::new();
    let mut pids = Vec::new();
    for taints in 1..=6 {
        held.push(hold(address));
        kiln.worker_says(&Report::Tainted).unwrap();
        let status = kiln.wait_for("the replacement", |status| {
            let worker = &status.workers[0];
            worker.restarts == taints && worker.state == WorkerActivity::Serving
        });
        pids.push(status.tainted.last().unwrap().pid);
    }
    let status = kiln.wait_for("the oldest are gone", |status| status.tainted.len() == 4);
    let left: Vec<Option<i32>> = status.tainted.iter().map(|one| one.pid).collect();
    assert_eq!(left, pids[2..]);
}

#[test]
fn workers_that_are_tainted_again_and_again_do_not_make_a_storm_of_forks() {
    let respawn_delay_min = Duration::from_millis(200);
    let scenario = Scenario { workers: 1, respawn_delay_min, ..Scenario::default() };
    let kiln = Kiln::start_with("tainted-storm", "fine", scenario);
    let address = kiln.wait_for_workers(1).listen[0];
    let began = Instant::now();
    for _ in 0..AT_ONCE + 3 {
        // It waits in the queue of the socket while there is nobody.
        let tainted = serde_json::to_string(&Report::Tainted).unwrap();
        assert_eq!(ask(address, &tainted).unwrap()[0], 0);
    }
    ask(address, "hello").unwrap();
    assert!(began.elapsed() >= 3 * respawn_delay_min, "those after the first few are delayed");
    kiln.wait_for("the ends", |status| status.tainted.is_empty());
}

#[test]
fn a_worker_that_leaves_is_not_replaced_when_it_is_tainted() {
    let kiln = Kiln::start_with("tainted-leaving", "fine", Scenario { workers: 2, ..tireless() });
    let address = kiln.wait_for_workers(2).listen[0];
    let mut held = Vec::new();
    while held.iter().all(|(_, index)| *index != 1) {
        held.push(hold(address));
    }
    kiln.signal(Signal::SIGTTOU);
    kiln.wait_for("the departure", |status| status.workers[1].state != WorkerActivity::Serving);
    for _ in 0..4 {
        let _ = kiln.worker_says(&Report::Tainted);
        kiln.wait_for("a worker", |status| status.workers[0].state == WorkerActivity::Serving);
    }
    drop(held);
    kiln.wait_for_workers(1);
}

#[test]
fn a_drain_and_a_stop_wait_for_tainted_workers_as_for_others() {
    for (test, finishes) in [("tainted-drain", true), ("tainted-stop", false)] {
        let kiln = Kiln::start_with(test, "fine", Scenario { workers: 1, ..tireless() });
        let address = kiln.wait_for_workers(1).listen[0];
        let (held, _) = hold(address);
        kiln.worker_says(&Report::Tainted).unwrap();
        let status = kiln.wait_for("both", |status| status.tainted.len() == 1);
        let pid = status.tainted[0].pid.unwrap();
        kiln.signal(if finishes { Signal::SIGQUIT } else { Signal::SIGTERM });
        if finishes {
            wait_until("nobody listens", || TcpStream::connect(address).is_err());
            assert!(is_alive(pid));
            drop(held);
        }
        kiln.expect_exit(0);
        assert!(!is_alive(pid));
    }
}
