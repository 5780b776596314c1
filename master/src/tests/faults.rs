//! What the master tells of scripts that failed and of workers that died.

use std::io::ErrorKind;

use heritage::{Fault, FaultKind, Frame, Report};

use super::*;
use crate::control::{DeathStatus, FaultStatus};

fn fault(message: &str) -> Fault {
    let frame = Frame {
        address: 0x10,
        function: "on_request".to_owned(),
        file: Some("site.cc".to_owned()),
        line: 3,
        ..Frame::default()
    };
    Fault {
        kind: FaultKind::SegmentationFault,
        message: message.to_owned(),
        generation: 1,
        hook: "on_request".to_owned(),
        at_unix_ms: 1,
        follows_another: false,
        backtrace: vec![frame],
        request: None,
        untold: 0,
    }
}

#[test]
fn the_last_faults_are_told_whole_with_their_workers() {
    let kiln = Kiln::start("faults", "fine", 1);
    let pid = kiln.wait_for_workers(1).workers[0].pid;
    for number in 1..=40 {
        kiln.worker_says(&Report::Fault(Box::new(fault(&number.to_string())))).unwrap();
    }
    let status = kiln.wait_for("the last", |status| {
        status.faults.last().is_some_and(|told| told.fault.message == "40")
    });
    assert_eq!(status.faults.len(), 32);
    let FaultStatus { worker, pid: told_by, fault: told, .. } = &status.faults[0];
    assert_eq!((*worker, Some(*told_by)), (0, pid));
    assert_eq!(*told, fault("9"));
}

#[test]
fn a_death_is_told_with_the_request_that_a_script_was_at() {
    let kiln = Kiln::start("death", "fine", 2);
    let status = kiln.wait_for_workers(2);
    let failed = ask(status.listen[0], "/dies").unwrap_err();
    assert_ne!(failed.kind(), ErrorKind::ConnectionRefused);
    let status = kiln.wait_for("the death", |status| !status.deaths.is_empty());
    let DeathStatus { pid, how, generation, target, killed_since, .. } = &status.deaths[0];
    assert!(how.starts_with("killed by SIGABRT"), "{how}");
    assert_eq!((*generation, target.as_deref()), (1, Some("/dies")));
    assert_eq!(*killed_since, None);
    assert!(!is_alive(*pid));
    // Whoever is killed by the master is told with the reason, and one that drains is not told.
    kiln.worker_says(&Report::NamesResolved);
    let status = kiln.wait_for("the second", |status| status.deaths.len() == 2);
    let reason = status.deaths[1].killed_since.as_deref();
    assert_eq!(reason, Some("it says what only the broker knows"));
    kiln.wait_for_workers(2);
    kiln.signal(Signal::SIGTTOU);
    assert_eq!(kiln.wait_for_workers(1).deaths.len(), 2);
}

#[test]
fn a_worker_whose_hook_runs_past_its_time_is_signalled() {
    let kiln = Kiln::start("overrun", "fine", 1);
    let status = kiln.wait_for_workers(1);
    let answer = ask(status.listen[0], "/loops").unwrap();
    assert_eq!(Some(answer[1] as i32), status.workers[0].pid);
    assert!(kiln.status().deaths.is_empty());
}
