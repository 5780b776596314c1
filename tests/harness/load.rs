//! Load: wrk, for how much, and a checking client, for what exactly.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::client::{Client, Response};
use crate::command::{create, text, wait};
use crate::{PATIENCE, until_true};

/// wrk with one thread, running until [`Wrk::stop`].
pub struct Wrk {
    process: Child,
    folder: TempDir,
}

/// What wrk counted.
#[derive(Debug)]
pub struct WrkReport {
    /// Responses that came whole.
    pub requests: u64,
    /// Connections refused, and errors of reading and writing, and timeouts.
    pub socket_errors: [u64; 4],
    /// Responses of status 400 and above.
    pub error_statuses: u64,
}

impl WrkReport {
    /// Checks that nothing was lost, and that anything was asked at all.
    #[track_caller]
    pub fn expect_nothing_lost(&self) {
        assert!(self.requests > 0, "{self:?}");
        assert_eq!((self.socket_errors, self.error_statuses), ([0; 4], 0), "{self:?}");
    }
}

impl Wrk {
    /// Starts it on so many connections.
    #[track_caller]
    pub fn start(address: SocketAddr, target: &str, connections: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let process = Command::new("wrk")
            .args(["-t1", &format!("-c{connections}"), "-d600s", "--timeout", "30s"])
            .arg(format!("http://{address}{target}"))
            .stdin(Stdio::null())
            .stdout(create(&folder.path().join("stdout")))
            .stderr(create(&folder.path().join("stderr")))
            .spawn()
            .expect("wrk is installed");
        Wrk { process, folder }
    }

    /// Stops it and gives what it counted.
    #[track_caller]
    pub fn stop(mut self) -> WrkReport {
        let pid = i32::try_from(self.process.id()).expect("a pid fits");
        // Its way to end early: it still prints its summary.
        kill(Pid::from_raw(pid), Signal::SIGINT).expect("it was not waited for");
        let ended = wait(&mut self.process, PATIENCE);
        let printed = text(&self.folder.path().join("stdout"));
        assert!(ended.is_some_and(|status| status.success()), "wrk failed:\n{printed}");
        // The line of its errors is there only if it had some; what stands before it has their names in
        // it, too.
        let errors = printed.split_once("Socket errors: ").map_or("", |(_, errors)| errors);
        let number = |text: &str, after: &str| -> u64 {
            let rest = text.split_once(after).map_or("", |(_, rest)| rest).trim_start();
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest[..digits].parse().unwrap_or(0)
        };
        let requests = printed
            .lines()
            .find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())
            .unwrap_or_else(|| panic!("wrk says not how many requests:\n{printed}"));
        WrkReport {
            requests,
            socket_errors: ["connect ", "read ", "write ", "timeout "]
                .map(|kind| number(errors, kind)),
            error_statuses: number(&printed, "Non-2xx or 3xx responses: "),
        }
    }
}

impl Drop for Wrk {
    fn drop(&mut self) {
        // It was waited for already, unless the test failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A request that got no answer.
#[derive(Clone, Debug)]
pub struct Lost {
    /// When its connection was begun.
    pub connected_at: Instant,
    /// When that was noticed.
    pub at: Instant,
    /// Requests that were answered on that connection before.
    pub answered_before: usize,
    /// What went wrong.
    pub kind: ErrorKind,
    /// The same in words.
    pub error: String,
}

#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    stops: AtomicBool,
    refused: Mutex<Vec<String>>,
    lost: Mutex<Vec<Lost>>,
    wrong: Mutex<Vec<String>>,
}

/// Clients that look at every answer. Each has one connection at a time and asks one thing at a time.
pub struct Checker {
    tally: Arc<Tally>,
    clients: Vec<JoinHandle<()>>,
}

/// What a checker's clients saw.
#[derive(Debug)]
pub struct Checked {
    /// Requests that were answered.
    pub answered: usize,
    /// Connections that were refused.
    pub refused: Vec<String>,
    /// Requests that got no answer.
    pub lost: Vec<Lost>,
    /// Answers that were not allowed.
    pub wrong: Vec<String>,
}

impl Checked {
    /// Checks that every request got an allowed answer.
    #[track_caller]
    pub fn expect_nothing_lost(&self) {
        assert!(self.answered > 0, "{self:?}");
        assert!(self.lost.is_empty(), "{self:?}");
        self.expect_nothing_refused();
    }

    /// Checks that no connection was refused, and that no answer was wrong.
    #[track_caller]
    pub fn expect_nothing_refused(&self) {
        assert!(self.refused.is_empty() && self.wrong.is_empty(), "{self:?}");
    }
}

impl Checker {
    /// Starts so many clients, each of which takes a new connection after so many requests. Each
    /// answer goes to `check`, together with what `before` gave just before its request was sent.
    pub fn start<B, C>(
        address: SocketAddr,
        clients: usize,
        requests_per_connection: usize,
        before: B,
        check: C,
    ) -> Self
    where
        B: Fn() -> usize + Send + Sync + 'static,
        C: Fn(usize, &Response) -> bool + Send + Sync + 'static,
    {
        let tally = Arc::new(Tally::default());
        let (before, check) = (Arc::new(before), Arc::new(check));
        let clients = (0..clients)
            .map(|_| {
                let (tally, before, check) = (tally.clone(), before.clone(), check.clone());
                std::thread::spawn(move || {
                    while !tally.stops.load(Ordering::Relaxed) {
                        let client = Client::try_connect(address);
                        match client {
                            Ok(client) => {
                                tally.ask(client, requests_per_connection, &*before, &*check);
                            }
                            Err(error) => {
                                tally.refused.lock().expect("no panic").push(error.to_string());
                            }
                        }
                    }
                })
            })
            .collect();
        Checker { tally, clients }
    }

    /// How many requests were answered so far.
    pub fn answered(&self) -> usize {
        self.tally.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many more requests are answered.
    #[track_caller]
    pub fn until_answered(&self, more: usize) {
        let before = self.answered();
        until_true(&format!("{more} more answers"), || self.answered() >= before + more);
    }

    /// Stops the clients, each after the answer that it waits for.
    pub fn stop(mut self) -> Checked {
        self.tally.stops.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.join().expect("a client does not panic");
        }
        let tally = &self.tally;
        Checked {
            answered: self.answered(),
            refused: std::mem::take(&mut tally.refused.lock().expect("no panic")),
            lost: std::mem::take(&mut tally.lost.lock().expect("no panic")),
            wrong: std::mem::take(&mut tally.wrong.lock().expect("no panic")),
        }
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.tally.stops.store(true, Ordering::Relaxed);
    }
}

impl Tally {
    /// Asks on one connection.
    fn ask(
        &self,
        mut client: Client,
        requests: usize,
        before: &dyn Fn() -> usize,
        check: &dyn Fn(usize, &Response) -> bool,
    ) {
        let connected_at = Instant::now();
        for answered_before in 0..requests {
            if self.stops.load(Ordering::Relaxed) {
                return;
            }
            let seen = before();
            let asked = client.try_send("GET /checked HTTP/1.1\r\nHost: test\r\n\r\n");
            match asked.and_then(|()| client.try_response()) {
                Ok(response) => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    if !check(seen, &response) {
                        self.wrong.lock().expect("no panic").push(format!("{response:?}"));
                    }
                    if response.field("connection") == Some("close") {
                        return;
                    }
                }
                Err(error) => {
                    let (kind, error) = (error.kind(), error.to_string());
                    let at = Instant::now();
                    let lost = Lost { connected_at, at, answered_before, kind, error };
                    return self.lost.lock().expect("no panic").push(lost);
                }
            }
        }
    }
}
