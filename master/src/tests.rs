//! What the master does, with real forks, real sockets and real signals.

mod broker;
mod faults;
mod generations;
mod harness;
mod tainted;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::backoff::AT_ONCE;
use crate::control::{ControlReply, ControlRequest, GenerationState, Status, WorkerActivity, call};
use crate::supervisor::Supervisor;
use crate::{Settings, StartError};
use harness::*;

#[test]
fn workers_serve_and_a_fast_stop_leaves_nothing_behind() {
    let kiln = Kiln::start("stop", "fine", 2);
    let status = kiln.wait_for_workers(2);
    assert_eq!(kiln.master().as_raw(), status.master.pid);
    assert_eq!(ask(status.listen[0], "hello").unwrap()[2], 1);
    kiln.wait_for("the counters", |status| {
        status.workers.iter().map(|worker| worker.requests).sum::<u64>() == 1
    });
    kiln.signal(Signal::SIGTERM);
    kiln.expect_exit(0);
    assert!(!status.workers.iter().any(|worker| is_alive(worker.pid.unwrap())));
}

#[test]
fn a_reload_reaches_every_worker_and_the_generation_before_retires() {
    let kiln = Kiln::start("reload", "fine", 3);
    kiln.wait_for_workers(3);
    let load = kiln.load();
    for expect in 2..=40 {
        match kiln.reload("fine") {
            ControlReply::Reloaded { generation, workers, map_ms, .. } => {
                assert_eq!((generation, workers, map_ms), (expect, 3, 0.1));
            }
            other => panic!("expected a reload, got {other:?}"),
        }
    }
    load.expect_no_failure();
    let status = kiln.wait_for("retirement", |status| {
        let over = |state| matches!(state, GenerationState::Retired);
        status.generations.iter().filter(|known| !over(known.state)).count() == 1
    });
    assert!(status.workers.iter().all(|worker| worker.generation == 40 && worker.restarts == 0));
}

#[test]
fn whatever_is_wrong_with_a_compile_the_generation_before_serves_on() {
    let kiln = Kiln::start("refused", "fine", 2);
    let before = kiln.wait_for_workers(2);
    kiln.expect_refused("does-not-compile", "do not compile");
    kiln.expect_refused("crashes-the-compiler", "crashed (SIGABRT) while it compiled script");
    kiln.expect_refused(
        "compiles-for-ever",
        "took longer than 2 s (timeouts.compile_ms) while it compiled script",
    );
    kiln.expect_refused("reads-a-foreign-file", "crashed (SIGABRT) while it compiled script");
    kiln.expect_refused("calls-out", "SIGSYS");
    kiln.expect_refused("talks-without-end", "more than 1024 KiB");
    let after = kiln.wait_for_workers(2);
    assert_eq!(ask(after.listen[0], "hello").unwrap()[2], 1);
    let pids = |status: &Status| -> Vec<Option<i32>> {
        status.workers.iter().map(|worker| worker.pid).collect()
    };
    assert_eq!(pids(&before), pids(&after));
}

#[test]
fn a_generation_that_a_worker_cannot_load_is_taken_back_from_all() {
    let kiln = Kiln::start("unloadable", "fine", 3);
    kiln.wait_for_workers(3);
    kiln.expect_refused("cannot-be-loaded", "a static initialiser threw");
    kiln.expect_refused("fails-in-worker-1", "worker 1 cannot load it: not here");
    kiln.wait_for("the return", |status| {
        status.workers.iter().all(|worker| worker.generation == 1 && worker.restarts == 0)
    });
    // Slots of refused generations are free again: more of them than there are slots.
    for _ in 0..20 {
        kiln.expect_refused("fails-in-worker-1", "not here");
    }
    assert!(matches!(kiln.reload("fine"), ControlReply::Reloaded { workers: 3, .. }));
}

#[test]
fn a_generation_has_its_own_settings_and_a_refused_one_changes_none() {
    let kiln = Kiln::start("settings", "fine", 3);
    let status = kiln.wait_for_workers(3);
    let settings_are = |expect: u64| {
        wait_until("every worker has the settings", || {
            (0..20).all(|_| ask(status.listen[0], "hello").unwrap()[3] == expect)
        });
    };
    settings_are(0);
    kiln.configure("1 3");
    assert!(matches!(kiln.reload("fine"), ControlReply::Reloaded { generation: 2, .. }));
    settings_are(1);
    kiln.configure("2 3");
    kiln.expect_refused("does-not-compile", "do not compile");
    kiln.expect_refused("fails-in-worker-1", "worker 1 cannot load it: not here");
    settings_are(1);
    for worker in kiln.status().workers {
        kill(Pid::from_raw(worker.pid.unwrap()), Signal::SIGKILL).unwrap();
    }
    kiln.wait_for("the replacements", |status| {
        status.workers.iter().all(|worker| worker.restarts == 1 && worker.generation == 2)
    });
    kiln.wait_for_workers(3);
    settings_are(1);
    kiln.configure("wrong 3");
    kiln.expect_refused("fine", "the configuration is wrong");
    settings_are(1);
    assert_eq!(kiln.status().generations.len(), 4, "a wrong configuration begins none");
}

#[test]
fn a_reload_changes_the_number_of_workers_and_says_what_it_cannot_change() {
    let kiln = Kiln::start("configured", "fine", 2);
    kiln.wait_for_workers(2);
    kiln.signal(Signal::SIGTTIN);
    kiln.wait_for_workers(3);
    // The number in the configuration is the same: the signal's stays.
    assert!(matches!(kiln.reload("fine"), ControlReply::Reloaded { .. }));
    kiln.wait_for_workers(3);
    kiln.configure("0 1 listen");
    match kiln.reload("fine") {
        ControlReply::Reloaded { diagnostics, .. } => {
            assert_eq!(diagnostics[0].message, "listen: needs a restart");
            assert_eq!(diagnostics[0].severity, heritage::Severity::Warning);
        }
        other => panic!("expected a reload, got {other:?}"),
    }
    kiln.wait_for_workers(1);
}

#[test]
fn a_generation_that_kills_its_first_workers_reaches_no_others() {
    let kiln = Kiln::start("deadly", "fine", 3);
    kiln.wait_for_workers(3);
    let load = kiln.load();
    kiln.expect_refused("kills-workers", "2 workers died while they loaded it");
    let status = kiln.wait_for_workers(3);
    assert_eq!(status.workers.iter().map(|worker| worker.restarts).sum::<u32>(), 2);
    assert!(status.workers.iter().all(|worker| worker.generation == 1));
    let (answered, failed) = load.stop();
    assert!(answered > 0);
    assert!(failed.iter().all(|error| error.kind() != ErrorKind::ConnectionRefused), "{failed:?}");
}

#[test]
fn a_worker_that_never_answers_an_order_to_load_is_replaced() {
    let kiln = Kiln::start("stuck", "fine", 2);
    kiln.wait_for_workers(2);
    let began = Instant::now();
    kiln.expect_refused("never-loads", "2 workers died while they loaded it");
    assert!(began.elapsed() >= 2 * ANSWER_TIMEOUT);
    assert!(kiln.wait_for_workers(2).workers.iter().all(|worker| worker.generation == 1));
}

#[test]
fn with_no_slot_free_the_oldest_generation_is_forced_out() {
    let kiln = Kiln::start("slots", "never-retires", 2);
    kiln.wait_for_workers(2);
    for expect in 2..=20 {
        match kiln.reload("never-retires") {
            ControlReply::Reloaded { generation, .. } => assert_eq!(generation, expect),
            other => panic!("expected a reload, got {other:?}"),
        }
    }
    let draining = kiln
        .status()
        .generations
        .into_iter()
        .filter(|known| known.state == GenerationState::Draining);
    assert_eq!(draining.count(), usize::from(image::Arena::SLOTS) - 1);
}

#[test]
fn hang_ups_during_a_compile_become_one_more_reload() {
    let kiln = Kiln::start("coalesce", "fine", 1);
    kiln.wait_for_workers(1);
    kiln.write_script("compiles-slowly");
    kiln.signal(Signal::SIGHUP);
    kiln.wait_for("the compile", |status| status.generations.len() == 2);
    for _ in 0..5 {
        kiln.signal(Signal::SIGHUP);
        kiln.status();
    }
    let control = kiln.folder.join("control");
    let waiting: Vec<JoinHandle<ControlReply>> = (0..3)
        .map(|_| {
            let control = control.clone();
            std::thread::spawn(move || call(&control, &ControlRequest::Reload, PATIENCE).unwrap())
        })
        .collect();
    for client in waiting {
        let reply = client.join().unwrap();
        assert!(matches!(reply, ControlReply::Reloaded { generation: 3, .. }), "{reply:?}");
    }
    assert_eq!(kiln.status().generations.len(), 3);
}

#[test]
fn a_killed_worker_is_replaced_without_refusing_a_connection() {
    let kiln = Kiln::start("killed", "fine", 3);
    let mut status = kiln.wait_for_workers(3);
    let load = kiln.load();
    for round in 1..=20 {
        let victim = &status.workers[round % 3];
        kill(Pid::from_raw(victim.pid.unwrap()), Signal::SIGKILL).unwrap();
        let restarts = u32::try_from(round).unwrap();
        kiln.wait_for("the replacement", |status| {
            status.workers.iter().map(|worker| worker.restarts).sum::<u32>() == restarts
        });
        status = kiln.wait_for_workers(3);
    }
    let (answered, failed) = load.stop();
    assert!(failed.len() <= 20, "each death loses at most the request in flight: {failed:?}");
    assert!(failed.iter().all(|error| error.kind() != ErrorKind::ConnectionRefused), "{failed:?}");
    let counted: u64 = kiln.status().workers.iter().map(|worker| worker.requests).sum();
    assert!(counted >= answered as u64, "{counted} requests counted of {answered} answered");
}

#[test]
fn a_neighbour_stands_in_while_the_replacement_is_delayed() {
    let scenario = Scenario { respawn_delay_min: Duration::from_secs(2), ..Scenario::default() };
    let kiln = Kiln::start_with("adopted", "fine", scenario);
    for _ in 0..=AT_ONCE {
        let status = kiln.wait_for_workers(2);
        kill(Pid::from_raw(status.workers[1].pid.unwrap()), Signal::SIGKILL).unwrap();
        kiln.wait_for("the death", |now| now.workers[1].pid != status.workers[1].pid);
    }
    let status = kiln.status();
    assert_eq!(status.workers[1].state, WorkerActivity::Vacant);
    let began = Instant::now();
    for _ in 0..50 {
        assert_eq!(ask(status.listen[0], "hello").unwrap()[0], 0);
    }
    assert!(began.elapsed() < Duration::from_millis(400), "answered while nobody replaced it");
    kiln.wait_for_workers(2);
    wait_until("the neighbour released the sockets", || {
        (0..20).any(|_| ask(status.listen[0], "hello").unwrap()[0] == 1)
    });
}

#[test]
fn scaling_under_load_refuses_and_resets_no_connection() {
    let kiln = Kiln::start("scale", "fine", 2);
    kiln.wait_for_workers(2);
    let loads = [kiln.load(), kiln.load(), kiln.load()];
    for _ in 0..3 {
        for count in [3, 4] {
            kiln.signal(Signal::SIGTTIN);
            kiln.wait_for_workers(count);
        }
        for count in [3, 2, 1, 1] {
            kiln.signal(Signal::SIGTTOU);
            kiln.wait_for_workers(count);
        }
        kiln.signal(Signal::SIGTTIN);
        kiln.wait_for_workers(2);
    }
    loads.into_iter().for_each(Load::expect_no_failure);
}

#[test]
fn a_worker_that_leaves_finishes_its_requests_and_reloads_go_on() {
    let kiln = Kiln::start("leave", "fine", 2);
    let status = kiln.wait_for_workers(2);
    let mut held: Vec<TcpStream> = Vec::new();
    let mut indices = Vec::new();
    while !indices.contains(&'1') {
        let mut client = TcpStream::connect(status.listen[0]).unwrap();
        client.write_all(b"hold").unwrap();
        let mut answer = [0; 1];
        client.read_exact(&mut answer).unwrap();
        indices.push(char::from(answer[0]));
        held.push(client);
    }
    kiln.signal(Signal::SIGTTOU);
    kiln.wait_for("the drain", |status| status.workers[1].state == WorkerActivity::Draining);
    assert!(matches!(kiln.reload("fine"), ControlReply::Reloaded { workers: 1, .. }));
    // The index is taken while its worker drains, so a new worker gets another.
    kiln.signal(Signal::SIGTTIN);
    kiln.wait_for("the next", |status| status.workers.iter().any(|worker| worker.index == 2));
    drop(held);
    let status = kiln.wait_for_workers(2);
    assert_eq!(status.workers[1].index, 2);
}

#[test]
fn a_drain_waits_for_requests_in_flight_and_a_second_signal_does_not() {
    for (test, finishes, code) in [("drain", true, 0), ("drain-cut", false, 0)] {
        let kiln = Kiln::start(test, "fine", 2);
        let status = kiln.wait_for_workers(2);
        let mut client = TcpStream::connect(status.listen[0]).unwrap();
        client.write_all(b"hold").unwrap();
        client.read_exact(&mut [0; 1]).unwrap();
        kiln.signal(Signal::SIGQUIT);
        wait_until("nobody listens", || TcpStream::connect(status.listen[0]).is_err());
        assert!(is_alive(kiln.master().as_raw()));
        if finishes {
            drop(client);
        } else {
            kiln.signal(Signal::SIGINT);
        }
        kiln.expect_exit(code);
    }
}

#[test]
fn a_drain_that_takes_too_long_is_cut_off() {
    let scenario = Scenario { drain_timeout: Duration::from_millis(300), ..Scenario::default() };
    let kiln = Kiln::start_with("drain-timeout", "fine", scenario);
    let status = kiln.wait_for_workers(2);
    let mut client = TcpStream::connect(status.listen[0]).unwrap();
    client.write_all(b"hold").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    kiln.signal(Signal::SIGQUIT);
    kiln.expect_exit(EXIT_CUT_OFF);
}

#[test]
fn nothing_outlives_a_killed_master() {
    let kiln = Kiln::start("orphans", "fine", 3);
    let status = kiln.wait_for_workers(3);
    kiln.write_script("compiles-for-ever");
    kiln.signal(Signal::SIGHUP);
    kiln.wait_for("the compile", |status| status.generations.len() == 2);
    let children = format!("/proc/{0}/task/{0}/children", kiln.master());
    let children = fs::read_to_string(children).unwrap();
    let children: Vec<i32> = children.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(children.len(), 4, "three workers and a compile child");
    kiln.signal(Signal::SIGKILL);
    wait_until("every child is gone", || !children.iter().any(|pid| is_alive(*pid)));
    assert!(TcpStream::connect(status.listen[0]).is_err(), "the port is free");
}

#[test]
fn children_hold_no_descriptor_that_is_not_theirs() {
    let kiln = Kiln::start("hygiene", "fine", 3);
    let status = kiln.wait_for_workers(3);
    for worker in &status.workers {
        let folder = format!("/proc/{}/fd", worker.pid.unwrap());
        let own = fs::read_dir(folder).unwrap().filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            Some(name.parse::<u32>().unwrap()).filter(|fd| *fd > 2)
        });
        assert!(own.count() <= 4, "its channel, its listener, its image and a copy of that");
    }
}

#[test]
fn a_second_master_with_the_same_files_is_refused() {
    let kiln = Kiln::start("second", "fine", 1);
    kiln.wait_for_workers(1);
    let arena = image::Arena::reserve().unwrap();
    let start = |change: fn(&mut Settings)| {
        let mut settings = Scenario::default().settings(&kiln.folder);
        change(&mut settings);
        let mut roles = FakeRoles {
            folder: kiln.folder.clone(),
            broker: FakeBroker::None,
            drain_timeout: PATIENCE,
        };
        Supervisor::start(settings, arena, &mut roles).map(drop).unwrap_err()
    };
    assert!(matches!(start(|_| {}), StartError::ControlTaken(_)));
    let pid_file = start(|settings| settings.control.as_mut().unwrap().required = false);
    assert!(matches!(pid_file, StartError::PidFileTaken { .. }));
    assert!(matches!(start(|settings| settings.workers = 0), StartError::WorkerCount(0)));
    kiln.wait_for_workers(1);
}
