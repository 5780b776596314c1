//! Deaths: of workers, of the master, of compile children. What is lost, and what is not.

use std::thread;
use std::time::Instant;

use nix::sys::ptrace;
use nix::sys::signal::kill;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use tests::{Checker, Client, Kiln, Origin, Signal, is_alive, until, until_true};

use crate::{FORWARDING, replying, slow_to_compile};

/// Kills each worker in turn, twice, under load.
#[test]
fn a_killed_worker_loses_what_was_in_flight_in_it_and_refuses_no_connection() {
    const CLIENTS: usize = 6;
    let kiln = Kiln::builder().script(&replying("fine")).workers(3).start();
    let checker =
        Checker::start(kiln.address(), CLIENTS, 10, || 0, |_, response| response.body == b"fine");
    let mut deaths = Vec::new();
    for round in 0..2 {
        for index in 0..3 {
            checker.until_answered(50);
            let workers = kiln.until_workers(3);
            kiln.kill(workers[index]);
            until_true("it is dead", || !is_alive(workers[index]));
            deaths.push(Instant::now());
            until_true("another one serves in its place", || {
                let worker = &kiln.workers()[index];
                worker["state"] == "serving" && worker["restarts"] == round + 1
            });
        }
    }
    checker.until_answered(50);
    let checked = checker.stop();
    checked.expect_nothing_refused();
    // Each client has one connection at a time, so each death costs it one at most, and only one
    // that it had before.
    assert!(checked.lost.len() <= CLIENTS * deaths.len(), "{:?}", checked.lost);
    let last = deaths.last().expect("some died");
    assert!(checked.lost.iter().all(|lost| lost.connected_at < *last), "{:?}", checked.lost);
}

/// The shortest time in which a worker can be found stuck.
const IMPATIENT: &str = "[timeouts]\nworker_ms = 1000\n";

#[test]
fn a_worker_that_stands_still_is_replaced() {
    let kiln = Kiln::builder().script(&replying("fine")).config(IMPATIENT).workers(2).start();
    let before = kiln.until_workers(2);
    kill(Pid::from_raw(before[0]), Signal::SIGSTOP).expect("it lives");
    until_true("the stopped one is dead", || !is_alive(before[0]));
    let after = kiln.until_workers(2);
    assert!(after.iter().all(|pid| *pid != before[0]), "{before:?}, then {after:?}");
    kiln.until_logged("it does not turn its loop any more");
    kiln.get("/").expect(200, "fine");
}

#[test]
fn a_worker_that_stands_still_in_a_debugger_is_let_be() {
    let kiln = Kiln::builder().script(&replying("fine")).config(IMPATIENT).workers(1).start();
    let worker = Pid::from_raw(kiln.worker_pids()[0]);
    ptrace::attach(worker).expect("a test may trace its processes");
    waitpid(worker, None).expect("it stops");
    kiln.until_logged("a worker stands still in a debugger");
    ptrace::detach(worker, None).expect("it is stopped");
    kiln.get("/").expect(200, "fine");
    assert_eq!(kiln.worker_pids(), [worker.as_raw()]);
}

/// Which worker a connection belongs to shows in the status, when connections come one by one.
#[test]
fn connections_of_other_workers_do_not_notice_a_death() {
    let kiln = Kiln::start(&replying("fine"));
    let mut clients: Vec<Vec<Client>> = vec![Vec::new(), Vec::new()];
    let counts = || -> Vec<usize> {
        let counts = kiln
            .workers()
            .iter()
            .map(|it| it["connections"].as_u64().unwrap_or(0))
            .collect::<Vec<_>>();
        counts.into_iter().map(|count| count as usize).collect()
    };
    while clients.iter().any(|of_worker| of_worker.len() < 3) {
        let mut client = kiln.connect();
        client.get("/").expect(200, "fine");
        let index = until("the connection is counted", || {
            let counts = counts();
            (0..2).find(|index| counts[*index] > clients[*index].len())
        });
        clients[index].push(client);
    }
    let before = kiln.worker_pids();
    kiln.kill(before[0]);
    for client in &mut clients[0] {
        client.expect_closed();
    }
    for client in &mut clients[1] {
        client.get("/").expect(200, "fine");
    }
    let after = until("the dead one is replaced", || {
        let pids = kiln.worker_pids();
        (pids.len() == 2 && pids[0] != before[0]).then_some(pids)
    });
    assert_eq!(after[1], before[1]);
    kiln.until_logged("worker replaced");
}

/// Deaths in a row are no reason to let anybody wait, up to a point; and until the next worker is there,
/// a neighbour accepts.
#[test]
fn one_that_dies_again_and_again_is_replaced_at_once_while_a_neighbour_accepts() {
    let kiln = Kiln::start(&replying("fine"));
    for death in 1..=8 {
        let pid = until("the first worker serves", || {
            let worker = &kiln.workers()[0];
            let pid = worker["pid"].as_i64().filter(|_| worker["state"] == "serving")?;
            i32::try_from(pid).ok()
        });
        kiln.kill(pid);
        kiln.until_logged_times("worker died worker=0", death);
        for _ in 0..10 {
            kiln.get("/").expect(200, "fine");
        }
    }
    kiln.until_serving();
    let log = kiln.log();
    let deaths = log.lines().filter(|line| line.contains("worker died worker=0"));
    let delays: Vec<&str> =
        deaths.filter_map(|line| Some(line.rsplit_once("delay_ms=")?.1.trim())).collect();
    assert_eq!(delays, ["0"; 8], "{log}");
}

#[test]
fn connections_wait_for_a_new_worker_when_all_are_dead() {
    let kiln = Kiln::start(&replying("fine"));
    let before = kiln.worker_pids();
    for pid in &before {
        kiln.kill(*pid);
    }
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let mut client = kiln.connect();
            thread::spawn(move || client.get("/").status)
        })
        .collect();
    for client in clients {
        assert_eq!(client.join().expect("it is answered"), 200);
    }
    let after = kiln.until_workers(2);
    assert!(before.iter().all(|pid| !after.contains(pid)), "{before:?} {after:?}");
}

#[test]
fn a_worker_that_replaces_another_serves_the_newest_scripts() {
    let kiln = Kiln::start(&replying("one"));
    kiln.reload_with(&replying("two"));
    // What lies on the disk by now is nobody's business: workers start from the image.
    kiln.write_script("site.cc", "nonsense");
    for pid in kiln.worker_pids() {
        kiln.kill(pid);
    }
    kiln.until_logged_times("worker replaced", 2);
    for _ in 0..20 {
        kiln.get("/").expect(200, "two");
    }
    assert_eq!(kiln.log().matches(" compiling ").count(), 2, "{}", kiln.log());
}

#[test]
fn a_killed_master_leaves_nothing_behind() {
    let mut kiln = Kiln::start(&replying("fine"));
    let mut idle = kiln.connect();
    idle.get("/").expect(200, "fine");
    assert_eq!(kiln.processes().len(), 3);
    kiln.signal(Signal::SIGKILL);
    kiln.until_ended();
    until_true("every worker has ended", || kiln.processes().is_empty());
    idle.expect_closed();
    assert!(Client::try_connect(kiln.address()).is_err());
}

#[test]
fn workers_of_a_killed_master_finish_their_requests_and_end() {
    let origin = Origin::holding();
    let mut kiln =
        Kiln::builder().script(FORWARDING).workers(2).upstream("web", &[origin.address()]).start();
    let mut client = kiln.connect();
    client.send_get("/");
    origin.until_requests(1);
    kiln.signal(Signal::SIGKILL);
    kiln.until_ended();
    until_true("the idle worker has ended", || kiln.processes().len() == 1);
    until_true("nobody listens", || Client::try_connect(kiln.address()).is_err());
    origin.release_all();
    client.response().expect(200, "held\n");
    until_true("the other one has ended too", || kiln.processes().is_empty());
}

#[test]
fn a_master_killed_under_load_leaves_nothing_behind() {
    let mut kiln = Kiln::start(&replying("fine"));
    let checker =
        Checker::start(kiln.address(), 4, 20, || 0, |_, response| response.body == b"fine");
    checker.until_answered(100);
    kiln.signal(Signal::SIGKILL);
    kiln.until_ended();
    until_true("every process has ended", || kiln.processes().is_empty());
    let checked = checker.stop();
    assert!(checked.wrong.is_empty(), "{:?}", checked.wrong);
}

/// Pid of the compile child that runs now.
fn compile_child(kiln: &Kiln, generation: u64) -> i32 {
    let log = kiln.until_logged(&format!(" compiling generation={generation} pid="));
    let (_, rest) =
        log.rsplit_once(&format!("compiling generation={generation} pid=")).expect("it");
    rest.lines().next().and_then(|pid| pid.trim().parse().ok()).expect("a pid")
}

#[test]
fn a_compile_child_dies_with_its_master() {
    let mut kiln = Kiln::start(&replying("fine"));
    kiln.write_script("site.cc", &slow_to_compile());
    kiln.signal(Signal::SIGHUP);
    let child = compile_child(&kiln, 2);
    assert!(is_alive(child));
    kiln.signal(Signal::SIGKILL);
    kiln.until_ended();
    until_true("the compile child is gone", || !kiln.processes().contains(&child));
    until_true("every process has ended", || kiln.processes().is_empty());
}

/// As by the kernel when memory runs out.
#[test]
fn a_compile_child_that_is_killed_costs_one_refused_reload() {
    let kiln = Kiln::start(&replying("fine"));
    kiln.write_script("site.cc", &slow_to_compile());
    thread::scope(|scope| {
        let reload = scope.spawn(|| kiln.reload());
        let child = compile_child(&kiln, 2);
        // While it compiles, everything goes on.
        kiln.get("/").expect(200, "fine");
        kill(Pid::from_raw(child), Signal::SIGKILL).expect("it compiles for long");
        let reloaded = reload.join().expect("it is answered");
        reloaded.expect_refused();
        let reason = reloaded.json["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("SIGKILL"), "{:#}", reloaded.json);
    });
    kiln.get("/").expect(200, "fine");
    assert_eq!(kiln.reload_with(&replying("new")), 3);
    kiln.get("/").expect(200, "new");
}

#[test]
fn a_compile_that_takes_too_long_is_refused_with_the_limit() {
    let kiln = Kiln::builder()
        .script(&replying("fine"))
        .workers(1)
        .config("timeouts.compile_ms = 5000")
        .start();
    kiln.write_script("site.cc", "constexpr int endless() { while (true) {} }\nint x[endless()];");
    // Clang itself counts the steps of a constant expression.
    let diagnostics = kiln.reload().expect_refused();
    assert!(diagnostics.contains("constexpr"), "{diagnostics}");
    kiln.get("/").expect(200, "fine");

    let late = Kiln::builder().script(&slow_to_compile()).config("timeouts.compile_ms = 100");
    late.start_without_scripts().expect_logged(&["the compile took longer than 0.1 s"]);
}

/// Terminated from outside, and not only by signals that cannot be caught.
#[test]
fn a_worker_that_is_told_to_end_by_anybody_is_replaced() {
    let kiln = Kiln::start(&replying("fine"));
    let before = kiln.worker_pids();
    kill(Pid::from_raw(before[0]), Signal::SIGTERM).expect("it lives");
    kiln.until_logged("worker replaced");
    let after = kiln.until_workers(2);
    assert!(!after.contains(&before[0]));
    // What a terminal sends to the whole group is for the master to decide about.
    for signal in [Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGPIPE] {
        kill(Pid::from_raw(after[0]), signal).expect("it lives");
    }
    kiln.get("/").expect(200, "fine");
    assert_eq!(kiln.until_workers(2), after);
}
