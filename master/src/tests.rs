//! The master with real forks, real sockets and real signals, but with roles that are a page long.
//!
//! A "script" is a word in a file. The compile child puts it into the image or misbehaves as it says;
//! a worker answers each connection with its index, pid and generation, or misbehaves likewise.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use heritage::{
    Channel, CompileOutcome, Inheritance, ListenerId, Order, Received, Report, WorkerState,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use serde::{Deserialize, Serialize};

use crate::compile::diagnostic;
use crate::control::{
    ControlReply, ControlRequest, GenerationState, GenerationStatus, Status, WorkerActivity,
    WorkerStatus, call,
};
use crate::supervisor::Supervisor;
use crate::{CompileJob, Control, Roles, Settings, StartError, Stopped};

/// Longer than anything here takes on a busy machine; reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(10);

/// Exit code of a test's master that did not start.
const EXIT_REFUSED: i32 = 2;

/// Exit code of a test's master whose drain took too long.
const EXIT_CUT_OFF: i32 = 1;

/// Where a test's master finds its folder and its [`Scenario`].
const FOLDER: &str = "KILN_TEST_FOLDER";
const SCENARIO: &str = "KILN_TEST_SCENARIO";

/// The settings that tests choose.
#[derive(Serialize, Deserialize)]
struct Scenario {
    workers: usize,
    young_worker: Duration,
    respawn_delay_min: Duration,
    drain_timeout: Duration,
}

impl Default for Scenario {
    fn default() -> Self {
        Scenario {
            workers: 2,
            young_worker: Duration::from_secs(1),
            respawn_delay_min: Duration::from_millis(100),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

impl Scenario {
    fn settings(self, folder: &Path) -> Settings {
        Settings {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            workers: self.workers,
            pid_file: Some(folder.join("pid")),
            control: Some(Control { path: folder.join("control"), required: true }),
            compile_timeout: Duration::from_secs(2),
            answer_timeout: Duration::from_secs(1),
            drain_timeout: self.drain_timeout,
            young_worker: self.young_worker,
            respawn_delay_min: self.respawn_delay_min,
            steer_settle: Duration::from_millis(50),
            ..Settings::default()
        }
    }
}

struct FakeRoles {
    script: PathBuf,
}

impl Roles for FakeRoles {
    fn compile(&mut self, job: &CompileJob) -> CompileOutcome {
        let script = fs::read_to_string(&self.script).unwrap();
        match script.as_str() {
            "does-not-compile" => {
                let diagnostics = vec![diagnostic("expected ';'")];
                return CompileOutcome { diagnostics, ..CompileOutcome::default() };
            }
            "crashes-the-compiler" => std::process::abort(),
            "compiles-for-ever" => std::thread::sleep(PATIENCE),
            "compiles-slowly" => std::thread::sleep(Duration::from_millis(500)),
            "talks-without-end" => {
                let diagnostics = vec![diagnostic(&"x".repeat(2 << 20))];
                return CompileOutcome { diagnostics, ..CompileOutcome::default() };
            }
            _ => {}
        }
        File::from(job.image.try_clone().unwrap()).write_all(script.as_bytes()).unwrap();
        CompileOutcome { compiled: true, ..CompileOutcome::default() }
    }

    fn work(&mut self, inheritance: Inheritance) -> i32 {
        FakeWorker::new(inheritance).run()
    }
}

/// What a worker must do for the master, and no more.
struct FakeWorker {
    inheritance: Inheritance,
    listeners: BTreeMap<ListenerId, TcpListener>,
    generations: Vec<u64>,
    /// Clients that sent `hold`: their requests are in flight until they hang up.
    held: Vec<TcpStream>,
    never_retires: bool,
    draining: bool,
}

impl FakeWorker {
    fn new(mut inheritance: Inheritance) -> Self {
        let listeners = std::mem::take(&mut inheritance.listeners);
        FakeWorker {
            listeners: listeners.into_iter().map(|(id, file)| (id, file.into())).collect(),
            generations: Vec::new(),
            held: Vec::new(),
            never_retires: false,
            draining: false,
            inheritance,
        }
    }

    fn run(mut self) -> i32 {
        let file = File::from(self.inheritance.image.file.try_clone().unwrap());
        let generation = self.inheritance.image.generation;
        if self.load(generation, file).is_err() {
            return 3;
        }
        self.inheritance.page.enter(WorkerState::Serving);
        self.say(&Report::Ready { generation, map_us: 100 });
        loop {
            self.wait();
            self.accept();
            match self.inheritance.channel.receive().unwrap() {
                Received::Message(order, mut files) => match order {
                    Order::Stop => return 0,
                    Order::Drain => self.draining = true,
                    Order::Load { generation, .. } => {
                        let file = File::from(files.remove(0));
                        match self.load(generation, file) {
                            Ok(()) => self.say(&Report::Loaded { generation, map_us: 100 }),
                            Err(reason) => self.say(&Report::LoadFailed { generation, reason }),
                        }
                        self.retire();
                    }
                    Order::Retire { generation } => {
                        self.generations.retain(|known| *known != generation);
                        self.say(&Report::Retired { generation });
                    }
                    Order::Adopt { listener } => {
                        let socket = TcpListener::from(files.remove(0));
                        assert!(self.listeners.insert(listener, socket).is_none(), "held already");
                    }
                    Order::Release { listener } => {
                        self.accept();
                        self.listeners.remove(&listener).expect("held");
                        self.say(&Report::Released { listener });
                    }
                },
                Received::Empty => {}
                Received::Closed => self.draining = true,
            }
            self.held.retain_mut(|client| {
                !matches!(client.read(&mut [0; 64]), Ok(0) | Err(_)) || still_open(client)
            });
            if self.draining {
                self.accept();
                self.listeners.clear();
                if self.held.is_empty() {
                    return 0;
                }
            }
        }
    }

    fn wait(&self) {
        let mut files = vec![PollFd::new(self.inheritance.channel.as_fd(), PollFlags::POLLIN)];
        if self.draining {
            files.clear();
        }
        let listeners = self.listeners.values().map(|listener| listener.as_fd());
        let held = self.held.iter().map(|client| client.as_fd());
        files.extend(listeners.chain(held).map(|file| PollFd::new(file, PollFlags::POLLIN)));
        let _ = poll(&mut files, PollTimeout::from(100u8));
    }

    fn load(&mut self, generation: u64, image: File) -> Result<(), String> {
        // Not `read`: every worker has the same open file, and so the same position in it.
        let mut script = [0; 64];
        let length = image.read_at(&mut script, 0).unwrap();
        match str::from_utf8(&script[..length]).unwrap() {
            "cannot-be-loaded" => return Err("a static initialiser threw".to_owned()),
            "kills-workers" => std::process::abort(),
            "kills-worker-1" if self.inheritance.index == 1 => std::process::abort(),
            "fails-in-worker-1" if self.inheritance.index == 1 => return Err("not here".to_owned()),
            "never-loads" => std::thread::sleep(PATIENCE),
            "never-retires" => self.never_retires = true,
            _ => {}
        }
        self.generations.retain(|known| *known != generation);
        self.generations.push(generation);
        self.inheritance.page.generation.store(generation, Ordering::Relaxed);
        Ok(())
    }

    fn retire(&mut self) {
        while self.generations.len() > 1 && !self.never_retires {
            let generation = self.generations.remove(0);
            self.say(&Report::Retired { generation });
        }
    }

    fn accept(&mut self) {
        let generation = self.generations.last().copied().unwrap_or_default();
        for listener in self.listeners.values() {
            while let Ok((mut client, _)) = listener.accept() {
                let mut request = [0; 16];
                let length = client.read(&mut request).unwrap_or(0);
                let index = self.inheritance.index;
                self.inheritance.page.requests.fetch_add(1, Ordering::Relaxed);
                let _ = writeln!(client, "{index} {} {generation}", std::process::id());
                if request[..length].starts_with(b"hold") {
                    client.set_nonblocking(true).unwrap();
                    self.held.push(client);
                }
            }
        }
    }

    fn say(&self, report: &Report) {
        let channel: &Channel = &self.inheritance.channel;
        let _ = channel.send(report, &[]);
    }
}

fn still_open(client: &mut TcpStream) -> bool {
    matches!(client.read(&mut [0; 64]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// A running master and its folder.
struct Kiln {
    /// The process around the master, which dies with it and ends like it.
    process: Pid,
    folder: PathBuf,
}

impl Kiln {
    fn start(test: &str, script: &str, workers: usize) -> Kiln {
        Self::start_with(test, script, Scenario { workers, ..Scenario::default() })
    }

    /// The master runs in a process of its own: this one has a thread a test, and a fork of it would
    /// inherit what they hold.
    fn start_with(test: &str, script: &str, scenario: Scenario) -> Kiln {
        let folder = std::env::temp_dir().join(format!("kiln-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("script"), script).unwrap();
        let scenario = serde_json::to_string(&scenario).unwrap();
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["tests::master_process", "--exact", "--ignored", "--nocapture"])
            .envs([(FOLDER, folder.as_os_str()), (SCENARIO, scenario.as_ref())])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Kiln { process: Pid::from_raw(process.id().try_into().unwrap()), folder }
    }

    fn write_script(&self, script: &str) {
        fs::write(self.folder.join("script"), script).unwrap();
    }

    fn call(&self, request: ControlRequest) -> ControlReply {
        call(&self.folder.join("control"), &request, PATIENCE).unwrap()
    }

    fn reload(&self, script: &str) -> ControlReply {
        self.write_script(script);
        self.call(ControlRequest::Reload)
    }

    fn expect_refused(&self, script: &str, expect: &str) {
        let active = |known: &&GenerationStatus| known.state == GenerationState::Active;
        let serving = self.status().generations.iter().find(active).map(|known| known.number);
        match self.reload(script) {
            ControlReply::Refused { generation_serving, reason, .. } => {
                assert!(reason.contains(expect), "{reason}");
                assert_eq!(generation_serving, serving);
            }
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    fn status(&self) -> Status {
        match self.call(ControlRequest::Status) {
            ControlReply::Status(status) => status,
            other => panic!("expected a status, got {other:?}"),
        }
    }

    /// Waits until the status is as the condition wants it.
    fn wait_for(&self, what: &str, condition: impl Fn(&Status) -> bool) -> Status {
        let deadline = Instant::now() + PATIENCE;
        let control = self.folder.join("control");
        loop {
            let reply = call(&control, &ControlRequest::Status, PATIENCE);
            match reply {
                Ok(ControlReply::Status(status)) if condition(&status) => return status,
                // It may not listen yet.
                _ => assert!(Instant::now() < deadline, "waited for {what}: {reply:#?}"),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn wait_for_workers(&self, count: usize) -> Status {
        self.wait_for("the workers", |status| {
            let serving = |worker: &WorkerStatus| worker.state == WorkerActivity::Serving;
            status.workers.len() == count && status.workers.iter().all(serving)
        })
    }

    fn master(&self) -> Pid {
        let named = fs::read_to_string(self.folder.join("pid")).unwrap();
        Pid::from_raw(named.trim().parse().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill(self.master(), signal).unwrap();
    }

    fn expect_exit(self, code: i32) {
        let ended = waitpid(self.process, None).unwrap();
        assert_eq!(ended, WaitStatus::Exited(self.process, code));
        assert!(!self.folder.join("control").exists(), "the control socket is removed");
        assert!(!self.folder.join("pid").exists(), "the pid file is removed");
    }

    /// Connections, one after another, until the load is dropped.
    fn load(&self) -> Load {
        let address = self.status().listen[0];
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let clients = std::thread::spawn(move || {
            let mut outcome = (0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                match ask(address, "hello") {
                    Ok(_) => outcome.0 += 1,
                    Err(error) => outcome.1.push(error),
                }
            }
            outcome
        });
        Load { stop, clients }
    }
}

impl Drop for Kiln {
    fn drop(&mut self) {
        // The master has asked to die with it.
        let _ = kill(self.process, Signal::SIGKILL);
        let _ = waitpid(self.process, None);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinHandle<(usize, Vec<std::io::Error>)>,
}

impl Load {
    fn stop(self) -> (usize, Vec<std::io::Error>) {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.join().unwrap()
    }

    fn expect_no_failure(self) {
        let (answered, failed) = self.stop();
        assert!(answered > 0);
        assert!(failed.is_empty(), "{} failed of {}: {:?}", failed.len(), answered, failed[0]);
    }
}

/// Not a test: the master of one, and the process around it.
///
/// The harness runs this beside a thread of its own, and a master has one thread: so it forks first,
/// where nothing else happens, and passes the master's exit code on.
#[test]
#[ignore = "run by the other tests"]
// The fork below.
#[allow(unsafe_code)]
fn master_process() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("run by another test"));
    let scenario: Scenario =
        serde_json::from_str(&std::env::var(SCENARIO).expect("run by another test")).unwrap();
    // SAFETY: the harness's thread only waits for this one, and holds no lock that the child needs.
    match unsafe { nix::unistd::fork() }.unwrap() {
        ForkResult::Child => {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).unwrap();
            std::process::exit(run_master(scenario.settings(&folder), folder.join("script")))
        }
        ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
            WaitStatus::Exited(_, code) => std::process::exit(code),
            // Killed by its test.
            _ => std::process::exit(EXIT_REFUSED),
        },
    }
}

fn run_master(settings: Settings, script: PathBuf) -> i32 {
    let arena = image::Arena::reserve().unwrap();
    let mut roles = FakeRoles { script };
    let mut supervisor = match Supervisor::start(settings, arena, &mut roles) {
        Ok(supervisor) => supervisor,
        Err(_) => return EXIT_REFUSED,
    };
    supervisor.seal = |_, _| Ok(());
    match supervisor.run() {
        Ok(Stopped::Fast | Stopped::Drained) => 0,
        Ok(Stopped::DrainTimedOut) => EXIT_CUT_OFF,
        Err(_) => EXIT_REFUSED,
    }
}

/// One connection: answers the worker's index, pid and generation.
fn ask(address: SocketAddr, request: &str) -> std::io::Result<Vec<u64>> {
    let mut client = TcpStream::connect(address)?;
    client.write_all(request.as_bytes())?;
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    match answer.split_whitespace().map(str::parse).collect() {
        Ok(words) if !answer.is_empty() => Ok(words),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}

fn is_alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

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
fn a_script_that_is_refused_at_the_start_ends_the_start() {
    Kiln::start("bad-start", "does-not-compile", 2).expect_exit(EXIT_REFUSED);
    Kiln::start("crashing-start", "crashes-the-compiler", 2).expect_exit(EXIT_REFUSED);
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
    kiln.expect_refused("crashes-the-compiler", "crashed with SIGABRT");
    kiln.expect_refused("compiles-for-ever", "took longer than 2 s");
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
    kiln.expect_refused("never-loads", "2 workers died while they loaded it");
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
    let scenario = Scenario { workers: 3, young_worker: Duration::ZERO, ..Scenario::default() };
    let kiln = Kiln::start_with("killed", "fine", scenario);
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
    let scenario = Scenario {
        young_worker: PATIENCE,
        respawn_delay_min: Duration::from_millis(500),
        ..Scenario::default()
    };
    let kiln = Kiln::start_with("adopted", "fine", scenario);
    let status = kiln.wait_for_workers(2);
    kill(Pid::from_raw(status.workers[1].pid.unwrap()), Signal::SIGKILL).unwrap();
    kiln.wait_for("the death", |status| status.workers[1].state == WorkerActivity::Vacant);
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
        let mut roles = FakeRoles { script: kiln.folder.join("script") };
        Supervisor::start(settings, arena, &mut roles).map(drop).unwrap_err()
    };
    assert!(matches!(start(|_| {}), StartError::ControlTaken(_)));
    let pid_file = start(|settings| settings.control.as_mut().unwrap().required = false);
    assert!(matches!(pid_file, StartError::PidFileTaken { .. }));
    assert!(matches!(start(|settings| settings.workers = 0), StartError::WorkerCount(0)));
    kiln.wait_for_workers(1);
}
