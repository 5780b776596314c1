//! The broker: who hears its news, and what becomes of everybody when it dies.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use heritage::{ADDRESSES_MAX, Ejection, Report, ServerNews};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::harness::*;
use crate::control::{NameStatus, OutStatus, Status, WorkerActivity};

fn server(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn resolved(name: &str, ports: &[u16]) -> ServerNews {
    let addresses = ports.iter().map(|port| server(*port)).collect();
    ServerNews::Resolved { name: name.to_owned(), addresses }
}

fn down(port: u16) -> ServerNews {
    ServerNews::Checked { upstream: "web".to_owned(), server: server(port), is_well: false }
}

fn start(test: &str, broker: FakeBroker) -> Kiln {
    Kiln::start_with(test, "fine", Scenario { broker, ..Scenario::default() })
}

fn broker_of(status: &Status) -> Option<i32> {
    status.broker.as_ref()?.pid
}

fn is_generation_active(status: &Status) -> bool {
    status.generations.iter().any(|known| known.state == crate::control::GenerationState::Active)
}

#[test]
fn workers_start_once_each_name_was_looked_up_and_know_them_from_their_first_request() {
    let kiln = start("names", FakeBroker::Obedient);
    let status = kiln.wait_for("the broker", |status| broker_of(status).is_some());
    assert!(!is_generation_active(&status));
    assert!(status.workers.iter().all(|worker| worker.state == WorkerActivity::Vacant));
    let first = resolved("origin.internal:80", &[1, 2]);
    kiln.broker_says(&[Report::News(first.clone()), Report::NamesResolved]);
    kiln.wait_for_workers(2);
    for index in [0, 1] {
        assert_eq!(kiln.news_of(index), std::slice::from_ref(&first));
    }
    let later = resolved("origin.internal:80", &[3]);
    kiln.broker_says(&[Report::News(later.clone()), Report::News(down(3))]);
    for index in [0, 1] {
        let expect = [first.clone(), later.clone(), down(3)];
        wait_until("it was told", || kiln.news_of(index) == expect);
    }
}

#[test]
fn workers_do_not_wait_for_names_for_long() {
    let kiln = start("silent", FakeBroker::Obedient);
    let began = Instant::now();
    kiln.wait_for_workers(2);
    assert!(began.elapsed() > Duration::from_secs(4), "{:?}", began.elapsed());
}

#[test]
fn a_replaced_worker_knows_what_the_one_before_it_knew() {
    let kiln = start("replay", FakeBroker::Obedient);
    let known = [resolved("origin.internal:80", &[1]), down(1)];
    let said = known.iter().cloned().map(Report::News).chain([Report::NamesResolved]);
    kiln.broker_says(&said.collect::<Vec<_>>());
    let status = kiln.wait_for_workers(2);
    kill(Pid::from_raw(status.workers[1].pid.unwrap()), Signal::SIGKILL).unwrap();
    kiln.wait_for("the death", |status| status.workers[1].restarts == 1);
    kiln.wait_for_workers(2);
    assert_eq!(kiln.news_of(1), known);
}

#[test]
fn an_ejection_reaches_the_other_workers_and_not_the_one_that_reports_it() {
    let kiln = Kiln::start("ejected", "fine", 3);
    kiln.wait_for_workers(3);
    let (upstream, server) = ("web".to_owned(), server(1));
    let ejected = ServerNews::Ejected {
        upstream: upstream.clone(),
        server,
        why: Ejection::Unreachable,
        for_ms: 60_000,
    };
    let teller = kiln.worker_says(&Report::News(ejected)).expect("it serves on");
    for index in (0..3).filter(|index| *index != teller) {
        wait_until("it was told", || !kiln.news_of(index).is_empty());
        let news = kiln.news_of(index);
        assert!(matches!(news[..], [ServerNews::Ejected { for_ms: 50_000..=60_000, .. }]));
    }
    assert_eq!(kiln.news_of(teller), []);
    let out = kiln.status().upstreams.out;
    assert!(matches!(out[..], [OutStatus { is_down: false, ejected_ms: Some(_), .. }]), "{out:?}");
}

#[test]
fn a_worker_that_speaks_for_the_broker_is_replaced() {
    let kiln = Kiln::start("liar", "fine", 1);
    kiln.wait_for_workers(1);
    for report in [Report::News(resolved("origin.internal:80", &[1])), Report::NamesResolved] {
        let before = kiln.wait_for_workers(1).workers[0].restarts;
        kiln.worker_says(&report);
        kiln.wait_for("its death", |status| status.workers[0].restarts == before + 1);
    }
    assert!(kiln.status().upstreams.names.is_empty());
}

#[test]
fn a_broker_that_dies_is_replaced_and_told_what_the_one_before_it_found_out() {
    let kiln = start("broker-killed", FakeBroker::Obedient);
    let known = [resolved("origin.internal:80", &[1, 2]), down(2)];
    let said = known.iter().cloned().map(Report::News).chain([Report::NamesResolved]);
    kiln.broker_says(&said.collect::<Vec<_>>());
    let before = kiln.wait_for_workers(2);
    let load = kiln.load();
    fs::remove_file(kiln.folder.join("broker")).unwrap();
    kill(Pid::from_raw(broker_of(&before).unwrap()), Signal::SIGKILL).unwrap();
    let after = kiln.wait_for("its replacement", |status| {
        status.broker.as_ref().is_some_and(|broker| broker.restarts == 1 && broker.pid.is_some())
    });
    wait_until("it was told", || kiln.broker_heard() == known);
    load.expect_no_failure();
    let addresses = vec![server(1), server(2)];
    let names = [NameStatus { name: "origin.internal:80".to_owned(), addresses }];
    assert_eq!(after.upstreams.names, names);
    assert!(matches!(after.upstreams.out[..], [OutStatus { is_down: true, ejected_ms: None, .. }]));
    // It has another name now, and says so.
    let other = resolved("other.internal:80", &[1]);
    kiln.broker_says(&[Report::News(other.clone()), Report::NamesResolved]);
    kiln.wait_for("the names", |status| status.upstreams.names[0].name == "other.internal:80");
    let expect = [&known[..], &[other]].concat();
    wait_until("the worker was told", || kiln.news_of(0) == expect);
}

#[test]
fn a_broker_that_always_dies_is_forked_again_ever_less_often_and_hurts_nobody() {
    let kiln = start("broker-dies", FakeBroker::Dies);
    kiln.wait_for_workers(2);
    let load = kiln.load();
    // Some are over by now, since workers have waited for its names.
    let before = kiln.status().broker.unwrap().restarts;
    kiln.wait_for("another death", |status| {
        status.broker.as_ref().unwrap().restarts > before.max(4)
    });
    let restarts = kiln.status().broker.unwrap().restarts;
    assert!(restarts < 20, "{restarts} brokers in a few seconds");
    load.expect_no_failure();
}

#[test]
fn a_broker_whose_settings_change_is_replaced_and_that_is_no_accident() {
    let kiln = start("broker-replaced", FakeBroker::Obedient);
    kiln.broker_says(&[Report::NamesResolved]);
    kiln.wait_for_workers(2);
    kiln.reload("fine");
    assert_eq!(kiln.brokers().len(), 1, "its settings are the same");
    kiln.configure("1 2");
    kiln.reload("fine");
    let status = kiln.status().broker.unwrap();
    let brokers = kiln.brokers();
    let [(first, _), (second, settings)] = &brokers[..] else { panic!("{brokers:?}") };
    assert_eq!((status.pid, status.restarts), (Some(*second), 0));
    assert_eq!(settings, "1");
    wait_until("the first is gone", || !is_alive(*first));
    // A reload that comes to nothing leaves the settings that serve to the broker.
    kiln.configure("2 2");
    kiln.expect_refused("does-not-compile", "do not compile");
    // Whether one began to work with those that were refused is a matter of how soon they were.
    wait_until("it works for what serves", || {
        let brokers = kiln.brokers();
        let (last, settings) = brokers.last().unwrap();
        last != second && settings == "1" && kiln.status().broker.unwrap().pid == Some(*last)
    });
}

/// The names of other settings are known before these settings serve.
#[test]
fn a_worker_is_told_of_servers_again_when_it_gets_other_settings() {
    let kiln = start("told-again", FakeBroker::Obedient);
    let news = [Report::News(down(1)), Report::NamesResolved];
    kiln.broker_says(&news);
    kiln.wait_for_workers(2);
    assert_eq!(kiln.news_of(0), [down(1)]);
    kiln.configure("1 2");
    kiln.reload("fine");
    wait_until("it was told", || kiln.news_of(0) == [down(1), down(1)]);
}

#[test]
fn a_broker_that_somebody_stops_is_replaced_unless_it_goes_on() {
    let kiln = start("broker-stopped", FakeBroker::Obedient);
    let before = kiln.wait_for("a broker", |status| broker_of(status).is_some());
    let pid = Pid::from_raw(broker_of(&before).unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
    kill(pid, Signal::SIGSTOP).unwrap();
    let after = kiln
        .wait_for("another", |status| broker_of(status).is_some_and(|after| after != pid.as_raw()));
    assert_eq!(after.broker.unwrap().restarts, 1);
    assert_eq!(after.workers.iter().map(|worker| worker.restarts).sum::<u32>(), 0);
}

#[test]
fn a_broker_that_talks_nonsense_is_replaced() {
    let kiln = start("nonsense", FakeBroker::Obedient);
    kiln.broker_says(&[Report::NamesResolved, Report::Retired { generation: 1 }]);
    kiln.wait_for_workers(2);
    kiln.wait_for("its death", |status| status.broker.as_ref().unwrap().restarts > 0);
}

#[test]
fn news_that_no_configuration_brings_about_are_not_taken() {
    let kiln = start("hostile", FakeBroker::Obedient);
    let ports: Vec<u16> = (0..=ADDRESSES_MAX as u16).collect();
    let fit = resolved("fit.internal:80", &ports[1..]);
    let said = [resolved("large.internal:80", &ports), fit.clone()];
    kiln.broker_says(&said.map(Report::News));
    kiln.broker_says(&[Report::NamesResolved]);
    kiln.wait_for_workers(2);
    assert_eq!(kiln.news_of(0), [fit]);
}

#[test]
fn the_broker_outlives_a_drain_and_ends_with_it() {
    for (test, signal) in [("broker-drains", Signal::SIGQUIT), ("broker-stops", Signal::SIGTERM)] {
        let kiln = start(test, FakeBroker::Obedient);
        kiln.broker_says(&[Report::NamesResolved]);
        let status = kiln.wait_for_workers(2);
        let broker = broker_of(&status).unwrap();
        if signal == Signal::SIGQUIT {
            let held = hold(&status);
            kiln.signal(signal);
            wait_until("it drains", || TcpStream::connect(status.listen[0]).is_err());
            assert!(is_alive(broker));
            drop(held);
        } else {
            kiln.signal(signal);
        }
        kiln.expect_exit(0);
        assert!(!is_alive(broker));
    }
}

#[test]
fn the_broker_dies_with_its_master_and_holds_no_descriptor_but_its_channel() {
    let kiln = start("broker-orphan", FakeBroker::Obedient);
    kiln.broker_says(&[Report::NamesResolved]);
    let broker = broker_of(&kiln.wait_for_workers(2)).unwrap();
    let own = fs::read_dir(format!("/proc/{broker}/fd")).unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        Some(name.parse::<u32>().unwrap()).filter(|fd| *fd > 2)
    });
    assert!(own.count() <= 2, "its channel, and a file that it reads just now");
    kiln.signal(Signal::SIGKILL);
    wait_until("it is gone", || !is_alive(broker));
}

/// A connection that a worker finishes only when it is dropped.
fn hold(status: &Status) -> TcpStream {
    use std::io::{Read, Write};
    let mut client = TcpStream::connect(status.listen[0]).unwrap();
    client.write_all(b"hold").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    client
}
