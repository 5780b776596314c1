//! What a request costs in system calls, as strace counts them: one read and one write on each side.
//!
//! Time says little on a busy machine; these counts are the same on every one.

mod harness;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use harness::{Origin, Worker};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const REQUESTS: usize = 1000;

/// Calls that belong to no request: a heartbeat, an accept, what was under way when strace came.
const OTHERS_MAX: usize = REQUESTS / 50;

/// System calls of the worker while `run` runs, by name.
fn calls_during(worker: &Worker, run: impl FnOnce()) -> BTreeMap<String, usize> {
    let mut strace = Command::new("strace")
        .args(["--summary-only", "--summary-columns=calls,name", "--attach"])
        .arg(worker.thread_id.to_string())
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace is installed");
    let mut said = BufReader::new(strace.stderr.take().expect("it was asked for")).lines();
    let mut line = || said.next().transpose().expect("strace writes text");
    let begun = line().expect("strace says that it has begun");
    assert!(begun.ends_with("attached"), "strace says: {begun}");
    run();
    kill(Pid::from_raw(strace.id() as i32), Signal::SIGINT).expect("strace is running");
    let mut calls = BTreeMap::new();
    while let Some(line) = line() {
        if let [count, name] = line.split_whitespace().collect::<Vec<_>>()[..]
            && let Ok(count) = count.parse()
            && name != "total"
        {
            calls.insert(name.to_owned(), count);
        }
    }
    strace.wait().expect("it was started here");
    calls
}

/// `sides` is how many connections a request touches.
fn check(target: &str, sides: usize) {
    let origin = Origin::start();
    let worker = Worker::start(&origin, |_| {});
    let mut client = worker.connect();
    for _ in 0..10 {
        client.get(target);
    }
    let mut calls = calls_during(&worker, || {
        for _ in 0..REQUESTS {
            assert_eq!(client.get(target).status(), 200);
        }
    });
    let all = format!("{target}: {calls:?} for {REQUESTS} requests");
    let mut took =
        |names: &[&str]| -> usize { names.iter().filter_map(|&it| calls.remove(it)).sum() };
    let reads = took(&["recvfrom", "read", "readv", "recvmsg"]);
    let writes = took(&["sendto", "write", "writev", "sendmsg"]);
    // One client that waits for its answer makes every event a wait of its own; in traffic a wait
    // brings many.
    let waits = took(&["epoll_wait", "epoll_pwait"]);
    let limit = REQUESTS * sides + OTHERS_MAX;
    assert!(reads <= limit && writes <= limit && waits <= limit, "{all}");
    // The client has its last answer before the call that wrote it has returned to strace.
    let seen_min = REQUESTS - 1;
    assert!(reads >= seen_min && writes >= seen_min, "strace saw too little: {all}");
    assert!(calls.values().sum::<usize>() <= OTHERS_MAX, "{all}");
}

#[test]
fn a_reply_takes_one_read_and_one_write() {
    check("/fixed", 1);
}

#[test]
fn a_proxied_request_takes_one_read_and_one_write_on_each_side() {
    check("/edited", 2);
}
