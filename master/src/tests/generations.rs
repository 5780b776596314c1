//! Generations as an operator uses them: going back, by hand and by itself, standing by, and a start
//! with scripts that are no good.

use std::net::SocketAddr;
use std::thread;

use heritage::{Fault, FaultKind, Report};

use super::*;
use crate::control::{GenerationStatus, ProbationOutcome};

fn fault(generation: u64, untold: u64) -> Report {
    Report::Fault(Box::new(Fault {
        kind: FaultKind::Exception,
        message: "for the test".to_owned(),
        generation,
        hook: "on_request".to_owned(),
        at_unix_ms: 0,
        follows_another: false,
        backtrace: Vec::new(),
        request: None,
        untold,
    }))
}

fn rollback(kiln: &Kiln, generation: Option<u64>) -> ControlReply {
    kiln.call(ControlRequest::Rollback { generation })
}

fn expect_back(kiln: &Kiln, generation: Option<u64>, expect: u64) {
    match rollback(kiln, generation) {
        ControlReply::RolledBack { generation, .. } => assert_eq!(generation, expect),
        other => panic!("expected a rollback, got {other:?}"),
    }
}

fn expect_not_back(kiln: &Kiln, generation: Option<u64>, parts: &[&str]) {
    match rollback(kiln, generation) {
        ControlReply::Refused { reason, .. } => {
            assert!(parts.iter().all(|part| reason.contains(part)), "{reason}");
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn known(status: &Status, number: u64) -> &GenerationStatus {
    status.generations.iter().find(|known| known.number == number).expect("it is in the table")
}

fn serve(kiln: &Kiln, script: &str, expect: u64) {
    match kiln.reload(script) {
        ControlReply::Reloaded { generation, .. } => assert_eq!(generation, expect),
        other => panic!("expected a reload, got {other:?}"),
    }
}

fn wait_for_serving(kiln: &Kiln, generation: u64) -> Status {
    kiln.wait_for("the generation", |status| {
        status.generation_serving == Some(generation)
            && status.workers.iter().all(|worker| worker.generation == generation)
    })
}

#[test]
fn a_generation_that_served_comes_back_with_its_settings_and_without_a_compile() {
    let kiln = Kiln::start("rollback", "fine", 3);
    kiln.wait_for_workers(3);
    kiln.configure("1 3");
    serve(&kiln, "fine", 2);
    kiln.configure("2 3");
    serve(&kiln, "fine", 3);
    // What is on disk has no say.
    kiln.configure("wrong 3");
    kiln.write_script("does-not-compile");
    let load = kiln.load();
    expect_back(&kiln, None, 2);
    let status = wait_for_serving(&kiln, 2);
    assert_eq!(ask(status.listen[0], "hello").unwrap()[2..], [2, 1]);
    assert!(known(&status, 3).rolled_back.as_ref().is_some_and(|back| !back.by_itself));
    let told = status.rollback.as_ref().expect("the last change was one");
    assert_eq!((told.from, told.to), (Some(3), 2));
    // One that was gone back from is skipped, and can be had all the same.
    expect_back(&kiln, None, 1);
    expect_not_back(&kiln, None, &["no good generation before 1", "these can be had: 3, 2"]);
    expect_not_back(&kiln, Some(1), &["it serves"]);
    expect_not_back(&kiln, Some(9), &["there is no generation 9", "3, 2"]);
    expect_back(&kiln, Some(3), 3);
    let status = wait_for_serving(&kiln, 3);
    assert_eq!(ask(status.listen[0], "hello").unwrap()[2..], [3, 2]);
    assert!(known(&status, 1).is_good, "nothing is said against it by going forward");
    load.expect_no_failure();
    kiln.configure("4 3");
    serve(&kiln, "fine", 4);
    assert_eq!(kiln.status().rollback, None);
}

#[test]
fn a_generation_whose_place_was_needed_cannot_be_had_back_and_the_last_good_one_is_kept() {
    let kiln = Kiln::start("gone", "fine", 1);
    kiln.wait_for_workers(1);
    for number in 2..=20 {
        serve(&kiln, "fine", number);
    }
    expect_not_back(&kiln, Some(1), &["generation 1 cannot be had: it is gone", "19, 18"]);
    expect_back(&kiln, Some(5), 5);
    // However often somebody gets it wrong.
    for _ in 0..40 {
        kiln.expect_refused("does-not-compile", "do not compile");
    }
    let last = serve_next(&kiln);
    expect_back(&kiln, None, 5);
    assert!(last > 60);
}

fn serve_next(kiln: &Kiln) -> u64 {
    match kiln.reload("fine") {
        ControlReply::Reloaded { generation, .. } => generation,
        other => panic!("expected a reload, got {other:?}"),
    }
}

#[test]
fn a_rollback_that_a_worker_cannot_load_is_taken_back() {
    let kiln = Kiln::start("no-rollback", "fine", 2);
    kiln.wait_for_workers(2);
    serve(&kiln, "fails-the-second-time", 2);
    serve(&kiln, "fine", 3);
    expect_not_back(&kiln, None, &["cannot load it: once is enough"]);
    let status = wait_for_serving(&kiln, 3);
    assert!(status.workers.iter().all(|worker| worker.restarts == 0));
    // It is known to be of no use now.
    expect_back(&kiln, None, 1);
}

#[test]
fn a_rollback_overtakes_a_compile_and_reloads_that_come_later_wait() {
    let kiln = Kiln::start("overtakes", "fine", 2);
    kiln.wait_for_workers(2);
    serve(&kiln, "fine", 2);
    kiln.write_script("compiles-for-ever");
    let control = kiln.folder.join("control");
    let reload = thread::spawn(move || call(&control, &ControlRequest::Reload, PATIENCE).unwrap());
    kiln.wait_for("the compile", |status| status.generations.len() == 3);
    expect_back(&kiln, None, 1);
    match reload.join().unwrap() {
        ControlReply::Refused { reason, .. } => {
            assert!(reason.contains("a rollback to generation 1 overtook it"), "{reason}");
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
    serve(&kiln, "fine", 4);
}

#[test]
fn requests_and_faults_of_a_generation_are_counted_beyond_the_lives_of_workers() {
    let kiln = Kiln::start("counts", "fine", 2);
    let status = kiln.wait_for_workers(2);
    for _ in 0..30 {
        ask(status.listen[0], "hello").unwrap();
    }
    kiln.worker_says(&fault(1, 0)).unwrap();
    kiln.worker_says(&fault(1, 0)).unwrap();
    for worker in &status.workers {
        kill(Pid::from_raw(worker.pid.unwrap()), Signal::SIGKILL).unwrap();
    }
    kiln.wait_for("the replacements", |status| {
        status.workers.iter().all(|worker| worker.restarts == 1 && worker.generation == 1)
    });
    kiln.wait_for_workers(2);
    for _ in 0..10 {
        ask(status.listen[0], "hello").unwrap();
    }
    kiln.wait_for("all that was decided", |status| known(status, 1).decided == 42);
    serve(&kiln, "fine", 2);
    let status =
        kiln.wait_for("retirement", |status| known(status, 1).state == GenerationState::Retired);
    assert_eq!((known(&status, 1).decided, known(&status, 1).faults), (42, 2));
    assert_eq!((known(&status, 2).decided, known(&status, 2).faults), (0, 0));
}

#[test]
fn a_new_generation_that_fails_too_often_is_gone_back_from() {
    let kiln = Kiln::start("probation", "fine", 2);
    kiln.wait_for_workers(2);
    serve(&kiln, "fine", 2);
    let control = kiln.folder.join("control");
    let request = ControlRequest::Probation { generation: 2 };
    let waiting = thread::spawn(move || call(&control, &request, PATIENCE).unwrap());
    kiln.worker_says(&fault(2, 0)).unwrap();
    // Faults of another one are no concern of this.
    kiln.worker_says(&fault(1, 7)).unwrap();
    let status = kiln.wait_for("the count", |status| known(status, 1).faults == 8);
    assert_eq!(
        known(&status, 2).probation.as_ref().map(|it| (it.faults, it.faults_max)),
        Some((1, 3))
    );
    // Those that were not told count as well.
    kiln.worker_says(&fault(2, 1)).unwrap();
    let status = wait_for_serving(&kiln, 1);
    let back = known(&status, 2).rolled_back.clone().expect("it was");
    assert!(back.by_itself && back.record.faults == 3, "{back:?}");
    assert!(status.rollback.is_some_and(|told| told.by_itself && told.faults == 3));
    match waiting.join().unwrap() {
        ControlReply::Probation {
            outcome: ProbationOutcome::RolledBack { by_itself: true, faults: 3, .. },
            serving: Some(1),
            ..
        } => {}
        other => panic!("expected a broken probation, got {other:?}"),
    }
}

#[test]
fn a_generation_past_its_probation_is_new_no_more() {
    let kiln = Kiln::start("past-probation", "fine", 2);
    kiln.wait_for_workers(2);
    kiln.configure("0 2 probation_ms=50");
    serve(&kiln, "fine", 2);
    match kiln.call(ControlRequest::Probation { generation: 2 }) {
        ControlReply::Probation { outcome: ProbationOutcome::Passed, serving: Some(2), .. } => {}
        other => panic!("expected one that passed, got {other:?}"),
    }
    kiln.worker_says(&fault(2, 100)).unwrap();
    kiln.configure("0 2 probation_faults=0");
    serve(&kiln, "fine", 3);
    kiln.worker_says(&fault(3, 100)).unwrap();
    kiln.wait_for("the faults", |status| known(status, 3).faults == 101);
    // It comes back, and fails as it did before: there is no end to going back.
    expect_back(&kiln, None, 2);
    kiln.worker_says(&fault(2, 100)).unwrap();
    kiln.wait_for("the faults", |status| known(status, 2).faults == 202);
    assert_eq!(kiln.status().generation_serving, Some(2));
}

#[test]
fn without_a_good_generation_a_bad_one_serves_on_and_is_never_gone_back_to() {
    let kiln = Kiln::start("nowhere-to-go", "fine", 2);
    kiln.wait_for_workers(2);
    kiln.worker_says(&fault(1, 5)).unwrap();
    let status = kiln.wait_for("the verdict", |status| known(status, 1).broken.is_some());
    assert_eq!(status.generation_serving, Some(1));
    match kiln.call(ControlRequest::Probation { generation: 1 }) {
        ControlReply::Probation { outcome: ProbationOutcome::Broken { faults: 6, .. }, .. } => {}
        other => panic!("expected a broken probation, got {other:?}"),
    }
    serve(&kiln, "fine", 2);
    kiln.worker_says(&fault(2, 5)).unwrap();
    kiln.wait_for("the verdict", |status| known(status, 2).broken.is_some());
    assert_eq!(kiln.status().generation_serving, Some(2));
    expect_back(&kiln, Some(1), 1);
}

#[test]
fn the_master_goes_back_before_a_reload_that_may_mend_it() {
    let kiln = Kiln::start("back-first", "fine", 2);
    kiln.wait_for_workers(2);
    serve(&kiln, "fine", 2);
    kiln.write_script("compiles-slowly");
    let control = kiln.folder.join("control");
    let reload = thread::spawn(move || call(&control, &ControlRequest::Reload, PATIENCE).unwrap());
    kiln.wait_for("the compile", |status| status.generations.len() == 3);
    kiln.worker_says(&fault(2, 5)).unwrap();
    let reply = reload.join().unwrap();
    assert!(matches!(reply, ControlReply::Reloaded { generation: 4, .. }), "{reply:?}");
    let status = kiln.status();
    assert!(known(&status, 2).rolled_back.as_ref().is_some_and(|back| back.by_itself));
    assert!(known(&status, 1).is_good);
}

#[test]
fn the_last_good_generation_stands_by_where_the_policy_says_so() {
    use GenerationState::{Active, Retired, Standby};
    let kiln = Kiln::start("standby", "fine", 2);
    kiln.wait_for_workers(2);
    let until = |expect: &[(u64, GenerationState, usize)]| {
        kiln.wait_for("these generations", |status| {
            expect.iter().all(|(number, state, workers)| {
                let known = known(status, *number);
                (known.state, known.workers) == (*state, *workers)
            })
        });
    };
    kiln.configure("0 2 stands-by");
    serve(&kiln, "fine", 2);
    until(&[(1, Standby, 2), (2, Active, 2)]);
    // Refused ones change nothing.
    kiln.expect_refused("fails-in-worker-1", "not here");
    until(&[(1, Standby, 2), (2, Active, 2)]);
    serve(&kiln, "fine", 4);
    until(&[(1, Retired, 0), (2, Standby, 2), (4, Active, 2)]);
    // A new worker has it too.
    let victim = kiln.status().workers[0].pid.unwrap();
    kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
    kiln.wait_for("the replacement", |status| status.workers[0].restarts == 1);
    until(&[(2, Standby, 2), (4, Active, 2)]);
    expect_back(&kiln, None, 2);
    until(&[(1, Standby, 2), (2, Active, 2), (4, Retired, 0)]);
    kiln.configure("0 2");
    serve(&kiln, "fine", 5);
    until(&[(1, Retired, 0), (2, Retired, 0), (5, Active, 2)]);
}

#[test]
fn one_that_stands_by_is_not_forced_out_for_a_slot() {
    let kiln = Kiln::start("standby-slots", "fine", 2);
    kiln.wait_for_workers(2);
    kiln.configure("0 2 stands-by");
    for number in 2..=40 {
        serve(&kiln, "never-retires", number);
        if number % 8 == 0 {
            let status = kiln.wait_for("the one before", |status| {
                known(status, number - 1).state == GenerationState::Standby
            });
            assert_eq!(known(&status, number - 1).workers, 2);
        }
    }
}

#[test]
fn a_start_with_bad_scripts_serves_without_any_until_a_reload_brings_good_ones() {
    for (test, script) in
        [("bad-start", "does-not-compile"), ("crashing-start", "crashes-the-compiler")]
    {
        let kiln = Kiln::start(test, script, 2);
        let status = kiln.wait_for_workers(2);
        assert_eq!(status.generation_serving, None);
        assert!(status.refused.is_some());
        assert_eq!(ask(status.listen[0], "hello").unwrap()[2..], [0, 0]);
        kiln.expect_refused(script, "compile");
        kiln.expect_refused("fails-in-worker-1", "worker 1 cannot load it: not here");
        kiln.wait_for_workers(2);
        kiln.configure("7 2");
        let expect = kiln.status().generations.len() as u64 + 1;
        serve(&kiln, "fine", expect);
        let status = wait_for_serving(&kiln, expect);
        assert_eq!(ask(status.listen[0], "hello").unwrap()[2..], [expect, 7]);
        assert_eq!(status.refused, None);
        expect_not_back(&kiln, None, &["no good generation", "none that can be had"]);
    }
}

#[test]
fn a_first_generation_that_cannot_be_loaded_is_given_up() {
    for (test, script) in [("start-kills", "kills-workers"), ("start-fails", "cannot-be-loaded")] {
        let kiln = Kiln::start(test, script, 2);
        let status = kiln.wait_for_workers(2);
        assert_eq!(status.generation_serving, None);
        assert_eq!(known(&status, 1).state, GenerationState::Refused);
        assert_eq!(ask(status.listen[0], "hello").unwrap()[2], 0);
        serve(&kiln, "fine", 2);
        kiln.wait_for_workers(2);
        wait_for_serving(&kiln, 2);
    }
}

/// Each time, there is nobody left who could try the new one.
#[test]
fn a_generation_that_comes_while_all_workers_are_dead_is_tried_by_the_next_ones() {
    let scenario = Scenario { respawn_delay_min: Duration::from_secs(1), ..Scenario::default() };
    let kiln = Kiln::start_with("all-dead", "fine", scenario);
    wait_for_serving(&kiln, 1);
    for (script, reason) in [
        ("cannot-be-loaded", "cannot load it: a static initialiser threw"),
        ("fails-in-worker-1", "worker 1 cannot load it: not here"),
        ("kills-workers", "2 workers died while they loaded it"),
    ] {
        kill_until_vacant(&kiln);
        kiln.expect_refused(script, reason);
        let status = kiln.wait_for_workers(2);
        assert_eq!(status.generation_serving, Some(1));
        assert_eq!(ask(status.listen[0], "hello").unwrap()[2], 1);
    }
    kill_until_vacant(&kiln);
    assert!(matches!(kiln.reload("fine"), ControlReply::Reloaded { workers: 2, .. }));
}

#[test]
fn one_that_hangs_in_a_refused_generation_is_not_waited_for() {
    let scenario = Scenario { respawn_delay_min: PATIENCE, ..Scenario::default() };
    let kiln = Kiln::start_with("hanging", "fine", scenario);
    wait_for_serving(&kiln, 1);
    kill_until_vacant(&kiln);
    let began = Instant::now();
    kiln.expect_refused("fails-or-never-loads", "worker 0 cannot load it: not here");
    kiln.wait_for_workers(2);
    assert!(began.elapsed() < ANSWER_TIMEOUT);
}

#[test]
fn at_a_start_one_worker_that_serves_is_enough() {
    let kiln = Kiln::start("start-one-fails", "fails-late-in-worker-1", 2);
    let restarted = kiln.wait_for("another try", |status| status.workers[1].restarts >= 2);
    assert_eq!((restarted.generation_serving, restarted.workers[0].restarts), (Some(1), 0));
    assert_eq!(restarted.workers[0].state, WorkerActivity::Serving);
}

#[test]
fn a_drain_while_the_first_generation_is_loaded_lets_requests_finish() {
    let kiln = Kiln::start("start-drain", "slow-in-worker-1", 2);
    let status = kiln.wait_for("the first worker", |status| {
        let states: Vec<_> = status.workers.iter().map(|worker| worker.state).collect();
        states == [WorkerActivity::Serving, WorkerActivity::Starting]
    });
    // What the second one is to have waits in the queue of its socket.
    let mut clients: Vec<TcpStream> = (0..16).map(|_| begin_hold(status.listen[0])).collect();
    let answered = |client: &mut TcpStream| client.read(&mut [0; 64]).is_ok();
    let at = clients.iter_mut().position(answered).expect("one is at the first");
    kiln.signal(Signal::SIGQUIT);
    assert!(still_open(&mut clients[at]), "it was cut off");
    drop(clients);
    kiln.expect_exit(0);
}

/// Opens a request that is in flight until the connection is dropped.
fn begin_hold(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    client.write_all(b"hold").unwrap();
    client
}

/// Kills both workers until nobody is in the place of either.
fn kill_until_vacant(kiln: &Kiln) {
    kiln.wait_for("no worker", |status| {
        let pids = status.workers.iter().filter_map(|worker| worker.pid);
        let pids: Vec<Pid> = pids.map(Pid::from_raw).collect();
        pids.iter().for_each(|pid| kill(*pid, Signal::SIGKILL).unwrap_or(()));
        pids.is_empty()
    });
}

#[test]
fn a_wrong_configuration_ends_the_start() {
    let kiln = Kiln::start_configured("wrong-start", "fine", "wrong 2");
    kiln.expect_exit(EXIT_REFUSED);
}
