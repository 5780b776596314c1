//! Many clients at once: what an idle one costs, what the slow ones cost the others, and what the death
//! of a server costs anybody.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tests::{Checker, Client, Kiln, Nginx, until_true};

use crate::{FORWARDING, alone};

const REPLYING: &str = "#include <kiln.h>
kiln::Action on_request(kiln::Request&) { return kiln::reply(200, \"ok\"); }
";

/// Clients that wait for nothing in particular.
const IDLE_CLIENTS: usize = 10_000;

/// What one of them may cost a worker, in memory of its own.
const IDLE_BYTES_MAX: u64 = 2048;

/// Connections whose requests never come to an end.
const SLOW_WRITERS: usize = 4000;

/// Connections that ask for much and read nothing.
const SLOW_READERS: usize = 1000;

/// Lets this process, and the Kiln that it starts next, have as many descriptors as it may.
#[track_caller]
fn raise_descriptor_limit(needed: u64) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit that there is");
    assert!(hard >= needed, "{needed} descriptors are needed, and the limit is {hard}: ulimit -n");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("up to the hard limit");
}

/// Bytes that a process does not share with another: what its own writes have cost.
fn private_bytes(pid: i32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it is alive");
    let kb = rollup.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
    let kb = kb.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kb.expect("a line of numbers") << 10
}

/// So many connections, each of which has asked for something and got it.
fn idle_clients(address: SocketAddr, count: usize) -> Vec<Client> {
    (0..count)
        .map(|_| {
            let mut client = Client::connect(address);
            client.get("/").expect_status(200);
            client
        })
        .collect()
}

#[test]
fn ten_thousand_idle_connections_cost_a_worker_two_kilobytes_each_at_most() {
    let _alone = alone();
    raise_descriptor_limit(IDLE_CLIENTS as u64 + 500);
    let kiln = Kiln::builder().script(REPLYING).workers(1).start();
    let (address, pid) = (kiln.address(), kiln.worker_pids()[0]);
    // What the first ones cost is the worker's own start.
    let mut clients = idle_clients(address, 100);
    let before = private_bytes(pid);
    clients.extend(idle_clients(address, IDLE_CLIENTS - clients.len()));
    let grown = private_bytes(pid).saturating_sub(before);
    let each = grown / (IDLE_CLIENTS as u64 - 100);
    println!("an idle connection costs {each} bytes");
    assert!(each <= IDLE_BYTES_MAX, "{each} bytes");
    // Every one of them is still served.
    for client in &mut clients {
        client.get("/").expect_status(200);
    }
    let grown = private_bytes(pid).saturating_sub(before);
    assert!(grown / (IDLE_CLIENTS as u64 - 100) <= IDLE_BYTES_MAX, "{grown} bytes later");
}

/// How long the slowest but one of a hundred requests takes: the least of several windows, since
/// what else runs on the machine only ever adds to it.
fn p99(client: &mut Client, windows: usize) -> Duration {
    let window = |client: &mut Client| {
        let mut taken: Vec<Duration> = (0..400)
            .map(|_| {
                let begun = Instant::now();
                client.get("/").expect_status(200);
                begun.elapsed()
            })
            .collect();
        taken.sort();
        taken[taken.len() * 99 / 100]
    };
    (0..windows).map(|_| window(client)).min().expect("there is a window")
}

#[test]
fn thousands_of_slow_clients_do_not_slow_down_the_others() {
    let _alone = alone();
    raise_descriptor_limit(2 * (SLOW_WRITERS + SLOW_READERS) as u64 + 500);
    let nginx = Nginx::start();
    nginx.write("large", vec![b'x'; 8 << 20]);
    let script = "#include <kiln.h>
        kiln::Action on_request(kiln::Request& request) {
            if (request.path() == \"/files/large\") return kiln::forward(\"web\");
            return kiln::reply(200, \"ok\");
        }";
    let kiln =
        Kiln::builder().script(script).workers(1).upstream("web", &[nginx.address()]).start();
    let mut client = kiln.connect();
    p99(&mut client, 1);
    let quiet = p99(&mut client, 8);

    let mut writers: Vec<Client> = (0..SLOW_WRITERS).map(|_| kiln.connect()).collect();
    for writer in &mut writers {
        writer.send("GET / HTTP/1.1\r\nHost: test\r\nX-Slow: ");
    }
    let mut readers: Vec<Client> = (0..SLOW_READERS).map(|_| kiln.connect()).collect();
    for reader in &mut readers {
        reader.send_get("/files/large");
        reader.head().expect_status(200);
    }
    let is_over = AtomicBool::new(false);
    let (loaded, sent) = thread::scope(|scope| {
        let dribbling = scope.spawn(|| {
            let mut sent = 0;
            let mut streams: Vec<_> = writers.iter().map(Client::writer).collect();
            while !is_over.load(Ordering::Relaxed) {
                for stream in &mut streams {
                    // The head's timeout may have closed it by now.
                    sent += usize::from(stream.write_all(b"a").is_ok());
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    // A byte of somebody every half millisecond; nothing depends on it.
                    thread::sleep(Duration::from_micros(500));
                }
            }
            sent
        });
        let loaded = p99(&mut client, 8);
        is_over.store(true, Ordering::Relaxed);
        (loaded, dribbling.join().expect("no panic"))
    });
    println!(
        "p99: {quiet:?} quiet, {loaded:?} with {SLOW_WRITERS} slow writers and {SLOW_READERS} readers"
    );
    assert!(sent > 0, "somebody dribbled");
    let bound = (quiet * 2).max(quiet + Duration::from_millis(1));
    assert!(loaded <= bound, "{loaded:?} beside {quiet:?}");
}

#[test]
fn the_death_of_a_server_under_load_costs_no_get() {
    let _alone = alone();
    let servers = [Nginx::start(), Nginx::start()];
    let [first, second] = servers;
    let kiln = Kiln::builder()
        .script(FORWARDING)
        .workers(2)
        .upstream("web", &[first.address(), second.address()])
        .start();
    // The target of a checker is none of nginx's files.
    let checker = Checker::start(kiln.address(), 8, 1000, || 0, |_, answer| answer.status == 404);
    checker.until_answered(2000);
    first.kill();
    checker.until_answered(2000);
    checker.stop().expect_nothing_lost();
}

/// A client that asks and asks and takes no answer is read no further than its answers have room.
#[test]
fn a_client_that_pipelines_without_reading_is_read_no_further() {
    let _alone = alone();
    let kiln = Kiln::builder()
        .script(REPLYING)
        .workers(1)
        .config("limits.requests_per_connection = 100000000")
        .start();
    let pid = kiln.worker_pids()[0];
    kiln.get("/").expect_status(200);
    let before = private_bytes(pid);
    let mut client = kiln.connect();
    let mut writer = client.writer();
    writer.set_write_timeout(Some(Duration::from_millis(300))).expect("a socket");
    let request = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    let block = request.repeat(1000);
    let mut sent = 0;
    let stalled = loop {
        // Whole blocks from where the last write ended.
        match writer.write(&block.as_bytes()[sent % block.len()..]) {
            Ok(count) => sent += count,
            Err(error) => break error,
        }
        assert!(sent < 1 << 30, "a gigabyte of requests was taken");
    };
    assert_eq!(stalled.kind(), ErrorKind::WouldBlock);
    let grown = private_bytes(pid).saturating_sub(before);
    assert!(grown < 2 << 20, "the worker grew by {grown} bytes");
    // Others are served meanwhile, and every whole request is answered once it reads.
    kiln.get("/").expect_status(200);
    client.shut();
    for number in 0..sent / request.len() {
        let answer = client.try_response();
        let answer = answer.unwrap_or_else(|error| panic!("of {sent} bytes, {number}: {error}"));
        answer.expect(200, "ok");
    }
    client.expect_closed();
}

/// Wherever in an exchange a client breaks off, nothing of it stays: no connection, no descriptor, no
/// memory, and its origin is asked by others as before.
#[test]
fn thousands_of_clients_that_break_off_leave_nothing_behind() {
    let _alone = alone();
    let nginx = Nginx::start();
    nginx.write("large", vec![b'x'; 1 << 20]);
    let kiln =
        Kiln::builder().script(FORWARDING).workers(1).upstream("web", &[nginx.address()]).start();
    let pid = kiln.worker_pids()[0];
    let rounds = |count: usize| {
        for number in 0..count {
            let mut client = kiln.connect();
            match number % 6 {
                0 => {}
                1 => drop(client.send("GET /files/large HTT")),
                2 => drop(client.send_get("/files/large")),
                3 => drop(client.send_get("/files/large").head()),
                4 => drop(client.send(
                    "PUT /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\nabc",
                )),
                _ => drop(client.send(
                    "PUT /upload HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
                )),
            }
            client.reset();
        }
        until_true("the worker has no connection", || kiln.workers()[0]["connections"] == 0);
    };
    rounds(600);
    let (memory, descriptors) = (private_bytes(pid), tests::descriptors(pid).len());
    rounds(3000);
    let grown = private_bytes(pid).saturating_sub(memory);
    assert!(grown < 1 << 20, "the worker grew by {grown} bytes");
    // Idle connections to the origin may come and go.
    let now = tests::descriptors(pid).len();
    assert!(now <= descriptors + 64, "{descriptors} descriptors became {now}");
    for _ in 0..20 {
        assert_eq!(kiln.get("/files/large").expect_status(200).body.len(), 1 << 20);
    }
}
