//! The harness: a master in a process of its own, with roles that are a page long.
//!
//! A "script" is a word in a file. The compile child puts it into the image or misbehaves as it
//! says; a worker answers each connection with its index, pid and generation, or misbehaves
//! likewise; the broker says what a file holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use heritage::{
    Channel, CompileNews, CompileOutcome, Diagnostic, Inheritance, ListenerId, Order, Received,
    Report, ServerNews, WorkerState,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use serde::{Deserialize, Serialize};

use crate::compile::diagnostic;
use crate::control::{
    ControlReply, ControlRequest, GenerationState, GenerationStatus, Status, WorkerActivity,
    WorkerStatus, call,
};
use crate::generations::SealedImage;
use crate::pulse::monotonic_ms;
use crate::supervisor::Supervisor;
use crate::{CompileJob, Configured, Control, Roles, Settings, Stopped};

/// Longer than anything here takes on a busy machine; reached only by a failure.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Exit code of a test's master that did not start.
pub(super) const EXIT_REFUSED: i32 = 2;

/// How long a test's master waits for an answer of a worker.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Exit code of a test's master whose drain took too long.
pub(super) const EXIT_CUT_OFF: i32 = 1;

/// Where a test's master finds its folder and its [`Scenario`].
pub(super) const FOLDER: &str = "KILN_TEST_FOLDER";
pub(super) const SCENARIO: &str = "KILN_TEST_SCENARIO";

/// The settings that tests choose.
#[derive(Serialize, Deserialize)]
pub(super) struct Scenario {
    pub(super) workers: usize,
    pub(super) respawn_delay_min: Duration,
    pub(super) drain_timeout: Duration,
    /// What its broker does; see [`FakeRoles`].
    pub(super) broker: FakeBroker,
}

/// What a test's broker does beside passing on what the test says, see [`Kiln::broker_says`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum FakeBroker {
    /// There is none.
    None,
    /// Nothing.
    Obedient,
    /// It dies at once.
    Dies,
}

impl Default for Scenario {
    fn default() -> Self {
        Scenario {
            workers: 2,
            respawn_delay_min: Duration::from_millis(100),
            drain_timeout: Duration::from_secs(5),
            broker: FakeBroker::None,
        }
    }
}

impl Scenario {
    pub(super) fn settings(self, folder: &Path) -> Settings {
        Settings {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            workers: self.workers,
            pid_file: Some(folder.join("pid")),
            control: Some(Control { path: folder.join("control"), required: true, group: None }),
            compile_timeout: Duration::from_secs(2),
            answer_timeout: ANSWER_TIMEOUT,
            drain_timeout: self.drain_timeout,
            respawn_delay_min: self.respawn_delay_min,
            steer_settle: Duration::from_millis(50),
            ..Settings::default()
        }
    }
}

pub(super) struct FakeRoles {
    pub(super) folder: PathBuf,
    pub(super) broker: FakeBroker,
    pub(super) drain_timeout: Duration,
}

impl Roles for FakeRoles {
    /// A "configuration" is a number in a file beside the script, which workers add to their
    /// answers, and a number of workers; or it is wrong. `name=number` and `stands-by` set what is
    /// the master's; any other word takes a restart.
    fn configure(&mut self) -> Result<Configured, Vec<Diagnostic>> {
        let text = fs::read_to_string(self.folder.join("configuration")).unwrap();
        let mut words = text.split_whitespace();
        let (settings, workers) = (words.next().unwrap(), words.next().unwrap());
        if settings == "wrong" {
            return Err(vec![diagnostic("no such setting")]);
        }
        let (known, unknown): (Vec<&str>, Vec<&str>) =
            words.partition(|word| word.contains('=') || *word == "stands-by");
        let number = |name: &str, default: u64| {
            let of = |word: &&str| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok();
            known.iter().find_map(of).unwrap_or(default)
        };
        Ok(Configured {
            settings: settings.as_bytes().to_vec(),
            workers: workers.parse().unwrap(),
            compile_timeout: Duration::from_secs(2),
            compile_memory_max: 1 << 30,
            drain_timeout: self.drain_timeout,
            answer_timeout: Duration::from_secs(1),
            hook_time_max: Duration::from_millis(200),
            probation: Duration::from_millis(number("probation_ms", 60_000)),
            probation_faults: number("probation_faults", 3),
            stands_by: known.contains(&"stands-by"),
            unchanged: unknown.iter().map(|name| format!("{name}: needs a restart")).collect(),
        })
    }

    fn cache_folder(&self) -> Option<std::path::PathBuf> {
        None
    }

    fn keep(&mut self, _leavings: File) -> i32 {
        0
    }

    fn compile_reads(&self) -> Vec<PathBuf> {
        vec![self.folder.join("script")]
    }

    fn compile(&mut self, job: &CompileJob) -> CompileOutcome {
        let begun = job.report.say(&CompileNews::Began("script".to_owned()));
        begun.expect("the master reads it");
        let script = fs::read_to_string(self.folder.join("script")).unwrap();
        match script.as_str() {
            "does-not-compile" => {
                let diagnostics = vec![diagnostic("expected ';'")];
                return CompileOutcome { diagnostics, ..CompileOutcome::default() };
            }
            "crashes-the-compiler" => std::process::abort(),
            "compiles-for-ever" => std::thread::sleep(PATIENCE),
            "reads-a-foreign-file" => {
                fs::read(self.folder.join("configuration")).expect("it may");
            }
            "calls-out" => _ = TcpStream::connect("127.0.0.1:1"),
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

    /// Says what the test has written, and leaves what it was told for the test to read.
    fn broker(&mut self, settings: &[u8], channel: Channel) -> i32 {
        if self.broker == FakeBroker::Dies {
            return 3;
        }
        let line = format!("{} {}\n", std::process::id(), String::from_utf8_lossy(settings));
        let brokers = File::options().create(true).append(true).open(self.folder.join("brokers"));
        brokers.unwrap().write_all(line.as_bytes()).unwrap();
        let (mut said, mut heard) = (0, Vec::new());
        loop {
            match channel.receive::<Order>().unwrap() {
                Received::Message(Order::News(news), _) => {
                    heard.extend(news);
                    let heard = serde_json::to_vec(&heard).unwrap();
                    fs::write(self.folder.join("heard"), heard).unwrap();
                }
                Received::Message(order, _) => panic!("{order:?} is for workers"),
                Received::Closed => return 0,
                Received::Empty => std::thread::sleep(Duration::from_millis(2)),
            }
            // What is half written does not parse, and will be whole the next time.
            let text = fs::read(self.folder.join("broker")).unwrap_or_default();
            let reports: Vec<Report> = serde_json::from_slice(&text).unwrap_or_default();
            for report in reports.iter().skip(said) {
                channel.send(report, &[]).unwrap();
            }
            said = said.max(reports.len());
        }
    }

    fn needs_broker(&self, _: &[u8]) -> bool {
        self.broker != FakeBroker::None
    }
}

/// What a worker must do for the master, and no more.
pub(super) struct FakeWorker {
    inheritance: Inheritance,
    listeners: BTreeMap<ListenerId, TcpListener>,
    generations: Vec<u64>,
    stands_by: Option<u64>,
    /// Those that it was told to load, ever.
    loaded_before: BTreeSet<u64>,
    /// Connections that each generation has answered.
    decided: BTreeMap<u64, u64>,
    /// What it was told of servers, in the order of arrival.
    news: Vec<ServerNews>,
    settings: String,
    /// Clients that sent `hold`: their requests are in flight until they hang up.
    held: Vec<TcpStream>,
    never_retires: bool,
    draining: bool,
    /// It has said so, and accepts nothing any more.
    tainted: bool,
}

impl FakeWorker {
    fn new(mut inheritance: Inheritance) -> Self {
        let listeners = std::mem::take(&mut inheritance.listeners);
        FakeWorker {
            listeners: listeners.into_iter().map(|(id, file)| (id, file.into())).collect(),
            generations: Vec::new(),
            stands_by: None,
            loaded_before: BTreeSet::new(),
            decided: BTreeMap::new(),
            news: Vec::new(),
            settings: String::from_utf8(inheritance.settings.clone()).unwrap(),
            held: Vec::new(),
            never_retires: false,
            draining: false,
            tainted: false,
            inheritance,
        }
    }

    fn run(mut self) -> i32 {
        let mut generation = 0;
        if let Some(image) = self.inheritance.image.take() {
            generation = image.generation;
            if let Err(reason) = self.load(generation, File::from(image.file)) {
                self.say(&Report::LoadFailed { generation, reason });
                return 1;
            }
        }
        // What is known of servers comes before the first request.
        if let Some(code) = self.obey_all() {
            return code;
        }
        self.inheritance.page.enter(WorkerState::Serving);
        self.beat();
        self.say(&Report::Ready { generation, map_us: 100 });
        loop {
            self.wait();
            self.beat();
            self.accept();
            if let Some(code) = self.obey_all() {
                return code;
            }
            self.held.retain_mut(|client| {
                !matches!(client.read(&mut [0; 64]), Ok(0) | Err(_)) || still_open(client)
            });
            if self.draining {
                self.accept();
            }
            if self.draining || self.tainted {
                self.listeners.clear();
                if self.held.is_empty() {
                    return 0;
                }
            }
        }
    }

    fn beat(&self) {
        self.inheritance.page.heartbeat_ms.store(monotonic_ms(), Ordering::Relaxed);
    }

    /// Does what the master says; gives the exit code if that is to end.
    fn obey_all(&mut self) -> Option<i32> {
        loop {
            match self.inheritance.channel.receive().unwrap() {
                Received::Message(Order::Stop, _) => return Some(0),
                Received::Message(order, files) => self.obey(order, files),
                Received::Empty => return None,
                Received::Closed => {
                    self.draining = true;
                    return None;
                }
            }
        }
    }

    fn obey(&mut self, order: Order, mut files: Vec<OwnedFd>) {
        match order {
            Order::Stop => unreachable!("it was told apart"),
            Order::Drain => self.draining = true,
            Order::Load { generation, .. } => {
                let file = File::from(files.remove(0));
                match self.load(generation, file) {
                    Ok(()) => {
                        let settings = heritage::read_settings(files.remove(0)).unwrap();
                        self.settings = String::from_utf8(settings).unwrap();
                        self.say(&Report::Loaded { generation, map_us: 100 });
                    }
                    Err(reason) => self.say(&Report::LoadFailed { generation, reason }),
                }
                self.retire();
            }
            Order::StandBy { generation, .. } => self.stand_by(generation),
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
            Order::News(news) => self.news.extend(news),
        }
    }

    fn stand_by(&mut self, generation: u64) {
        if !self.generations.contains(&generation) {
            self.generations.insert(self.generations.len().saturating_sub(1), generation);
        }
        self.stands_by = Some(generation);
        self.say(&Report::StandsBy { generation });
        self.retire();
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

    pub(super) fn load(&mut self, generation: u64, image: File) -> Result<(), String> {
        // Not `read`: every worker has the same open file, and so the same position in it.
        let mut script = [0; 64];
        let is_new = self.loaded_before.insert(generation);
        let length = image.read_at(&mut script, 0).unwrap();
        match str::from_utf8(&script[..length]).unwrap() {
            "cannot-be-loaded" => return Err("a static initialiser threw".to_owned()),
            "kills-workers" => std::process::abort(),
            "kills-worker-1" if self.inheritance.index == 1 => std::process::abort(),
            "fails-in-worker-1" if self.inheritance.index == 1 => return Err("not here".to_owned()),
            "never-loads" => spin(PATIENCE),
            "slow-in-worker-1" if self.inheritance.index == 1 => spin(ANSWER_TIMEOUT / 2),
            "fails-late-in-worker-1" if self.inheritance.index == 1 => {
                spin(ANSWER_TIMEOUT / 2);
                return Err("not here".to_owned());
            }
            "fails-or-never-loads" if self.inheritance.index == 1 => spin(PATIENCE),
            "fails-or-never-loads" => return Err("not here".to_owned()),
            "never-retires" => self.never_retires = true,
            "fails-the-second-time" if !is_new => {
                return Err("once is enough".to_owned());
            }
            _ => {}
        }
        self.generations.retain(|known| *known != generation);
        self.generations.push(generation);
        self.inheritance.page.generation.store(generation, Ordering::Relaxed);
        Ok(())
    }

    fn retire(&mut self) {
        let kept = [self.generations.last().copied(), self.stands_by];
        let is_over = |known: &mut u64| !self.never_retires && !kept.contains(&Some(*known));
        for generation in self.generations.extract_if(.., is_over).collect::<Vec<u64>>() {
            self.decided.remove(&generation);
            self.say(&Report::Retired { generation });
        }
    }

    /// Says at once what real workers say twice a second.
    fn tell_holdings(&self) {
        let holdings = self.generations.iter().map(|generation| heritage::Holding {
            generation: *generation,
            decided: self.decided.get(generation).copied().unwrap_or_default(),
            ..heritage::Holding::default()
        });
        self.inheritance.page.holdings.publish(holdings);
    }

    fn accept(&mut self) {
        let generation = self.generations.last().copied().unwrap_or_default();
        let mut tainted = self.tainted;
        let listeners: Vec<ListenerId> = self.listeners.keys().copied().collect();
        for listener in listeners {
            while !tainted && let Ok((mut client, _)) = self.listeners[&listener].accept() {
                let mut request = [0; 1024];
                let length = client.read(&mut request).unwrap_or(0);
                let index = self.inheritance.index;
                self.inheritance.page.requests.fetch_add(1, Ordering::Relaxed);
                *self.decided.entry(generation).or_default() += 1;
                self.tell_holdings();
                // A request that is a report is one that this worker makes.
                if let Ok(report) = serde_json::from_slice::<Report>(&request[..length]) {
                    tainted |= report == Report::Tainted;
                    self.say(&report);
                }
                match request.split(|byte| *byte == 0).next() {
                    Some(b"/dies") => {
                        self.inheritance.page.at_work.begin(b"/dies");
                        std::process::abort();
                    }
                    Some(b"/loops") => {
                        self.inheritance.page.at_work.begin(b"/loops");
                        run_until_signalled();
                        self.inheritance.page.at_work.end();
                    }
                    _ => {}
                }
                if request.starts_with(b"news") {
                    let _ = serde_json::to_writer(&client, &(index, &self.news));
                    continue;
                }
                let (pid, settings) = (std::process::id(), &self.settings);
                let _ = writeln!(client, "{index} {pid} {generation} {settings}");
                if request[..length].starts_with(b"hold") {
                    client.set_nonblocking(true).unwrap();
                    self.held.push(client);
                }
            }
        }
        self.tainted = tainted;
    }

    fn say(&self, report: &Report) {
        let channel: &Channel = &self.inheritance.channel;
        let _ = channel.send(report, &[]);
    }
}

static IS_SIGNALLED: AtomicBool = AtomicBool::new(false);

extern "C" fn note_signal(_signal: i32) {
    IS_SIGNALLED.store(true, Ordering::Relaxed);
}

/// A hook that runs until the master says that its time may be up.
// sigaction() is unsafe because of what a handler may do.
#[allow(unsafe_code)]
fn run_until_signalled() {
    let handler = SigHandler::Handler(note_signal);
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler stores to an atomic.
    unsafe { sigaction(Signal::SIGVTALRM, &action) }.unwrap();
    while !IS_SIGNALLED.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}

/// A worker may not sleep.
fn spin(duration: Duration) {
    let began = Instant::now();
    while began.elapsed() < duration {
        std::hint::spin_loop();
    }
}

pub(super) fn still_open(client: &mut TcpStream) -> bool {
    matches!(client.read(&mut [0; 64]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// A running master and its folder.
pub(super) struct Kiln {
    /// The process around the master, which dies with it and ends like it.
    process: Child,
    pub(super) folder: PathBuf,
}

impl Kiln {
    pub(super) fn start(test: &str, script: &str, workers: usize) -> Kiln {
        Self::start_with(test, script, Scenario { workers, ..Scenario::default() })
    }

    /// The master runs in a process of its own: this one has a thread a test, and a fork of it
    /// would inherit what they hold.
    pub(super) fn start_with(test: &str, script: &str, scenario: Scenario) -> Kiln {
        let configuration = format!("0 {}", scenario.workers);
        Self::start_in(test, script, &configuration, scenario)
    }

    /// One with this configuration.
    pub(super) fn start_configured(test: &str, script: &str, configuration: &str) -> Kiln {
        Self::start_in(test, script, configuration, Scenario::default())
    }

    fn start_in(test: &str, script: &str, configuration: &str, scenario: Scenario) -> Kiln {
        let folder = std::env::temp_dir().join(format!("kiln-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("script"), script).unwrap();
        fs::write(folder.join("configuration"), configuration).unwrap();
        let scenario = serde_json::to_string(&scenario).unwrap();
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["tests::harness::master_starts_and_stops", "--exact", "--nocapture"])
            .envs([(FOLDER, folder.as_os_str()), (SCENARIO, scenario.as_ref())])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Kiln { process, folder }
    }

    pub(super) fn configure(&self, configuration: &str) {
        fs::write(self.folder.join("configuration"), configuration).unwrap();
    }

    pub(super) fn write_script(&self, script: &str) {
        fs::write(self.folder.join("script"), script).unwrap();
    }

    /// Has the broker make these reports, after those that it has made.
    pub(super) fn broker_says(&self, reports: &[Report]) {
        let path = self.folder.join("broker");
        let before = fs::read(&path).unwrap_or_default();
        let mut all: Vec<Report> = serde_json::from_slice(&before).unwrap_or_default();
        all.extend_from_slice(reports);
        fs::write(path, serde_json::to_vec(&all).unwrap()).unwrap();
    }

    /// Has some worker make a report; answers its index, if it is not killed for that first.
    pub(super) fn worker_says(&self, report: &Report) -> Option<u64> {
        let report = serde_json::to_string(report).unwrap();
        Some(ask(self.status().listen[0], &report).ok()?[0])
    }

    /// What the worker of this index was told.
    pub(super) fn news_of(&self, index: u64) -> Vec<ServerNews> {
        let address = self.status().listen[0];
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(b"news").unwrap();
            let (answered, news): (u64, Vec<ServerNews>) =
                serde_json::from_reader(&client).unwrap();
            if answered == index {
                return news;
            }
            assert!(Instant::now() < deadline, "worker {index} gets no connection");
        }
    }

    /// The brokers that there have been: the pid of each, and the settings that it worked with.
    pub(super) fn brokers(&self) -> Vec<(i32, String)> {
        let text = fs::read_to_string(self.folder.join("brokers")).unwrap_or_default();
        let pair = |line: &str| {
            let (pid, settings) = line.split_once(' ').unwrap();
            (pid.parse().unwrap(), settings.to_owned())
        };
        text.lines().map(pair).collect()
    }

    /// What the broker was told.
    pub(super) fn broker_heard(&self) -> Vec<ServerNews> {
        let text = fs::read(self.folder.join("heard")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    pub(super) fn call(&self, request: ControlRequest) -> ControlReply {
        call(&self.folder.join("control"), &request, PATIENCE).unwrap()
    }

    pub(super) fn reload(&self, script: &str) -> ControlReply {
        self.write_script(script);
        self.call(ControlRequest::Reload)
    }

    pub(super) fn expect_refused(&self, script: &str, expect: &str) {
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

    pub(super) fn status(&self) -> Status {
        match self.call(ControlRequest::Status) {
            ControlReply::Status(status) => *status,
            other => panic!("expected a status, got {other:?}"),
        }
    }

    /// Waits until the status is as the condition wants it.
    pub(super) fn wait_for(&self, what: &str, condition: impl Fn(&Status) -> bool) -> Status {
        let deadline = Instant::now() + PATIENCE;
        let control = self.folder.join("control");
        loop {
            let reply = call(&control, &ControlRequest::Status, PATIENCE);
            match reply {
                Ok(ControlReply::Status(status)) if condition(&status) => return *status,
                // It may not listen yet.
                _ => assert!(Instant::now() < deadline, "waited for {what}: {reply:#?}"),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(super) fn wait_for_workers(&self, count: usize) -> Status {
        self.wait_for("the workers", |status| {
            let serving = |worker: &WorkerStatus| worker.state == WorkerActivity::Serving;
            status.workers.len() == count && status.workers.iter().all(serving)
        })
    }

    pub(super) fn master(&self) -> Pid {
        let named = fs::read_to_string(self.folder.join("pid")).unwrap();
        Pid::from_raw(named.trim().parse().unwrap())
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill(self.master(), signal).unwrap();
    }

    pub(super) fn expect_exit(mut self, code: i32) {
        assert_eq!(self.process.wait().unwrap().code(), Some(code));
        assert!(!self.folder.join("control").exists(), "the control socket is removed");
        assert!(!self.folder.join("pid").exists(), "the pid file is removed");
    }

    /// Connections, one after another, until the load is dropped. One is over when this returns, so
    /// that what a test does next happens under load.
    pub(super) fn load(&self) -> Load {
        let address = self.status().listen[0];
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (begin, begun) = mpsc::channel();
        let clients = std::thread::spawn(move || {
            let mut outcome = (0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                match ask(address, "hello") {
                    Ok(_) => outcome.0 += 1,
                    Err(error) => outcome.1.push(error),
                }
                // Only the first is waited for.
                let _ = begin.send(());
            }
            outcome
        });
        begun.recv_timeout(PATIENCE).expect("a first connection");
        Load { stop, clients }
    }
}

impl Drop for Kiln {
    fn drop(&mut self) {
        // The master has asked to die with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub(super) struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinHandle<(usize, Vec<std::io::Error>)>,
}

impl Load {
    pub(super) fn stop(self) -> (usize, Vec<std::io::Error>) {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.join().unwrap()
    }

    pub(super) fn expect_no_failure(self) {
        let (answered, failed) = self.stop();
        assert!(failed.is_empty(), "{} failed beside {answered}: {:?}", failed.len(), failed[0]);
        assert!(answered > 0);
    }
}

/// The simplest test, and the process in which every test's master runs: told so by its
/// environment, it becomes that master.
#[test]
fn master_starts_and_stops() {
    match std::env::var_os(FOLDER) {
        Some(folder) => become_master(&PathBuf::from(folder)),
        None => {
            let kiln = Kiln::start("starts", "fine", 1);
            kiln.wait_for_workers(1);
            kiln.signal(Signal::SIGTERM);
            kiln.expect_exit(0);
        }
    }
}

/// The harness runs this beside a thread of its own, and a master has one thread: so it forks
/// first, where nothing else happens, and passes the master's exit code on.
// The fork.
#[allow(unsafe_code)]
fn become_master(folder: &Path) -> ! {
    let scenario: Scenario =
        serde_json::from_str(&std::env::var(SCENARIO).expect("run by another test")).unwrap();
    // SAFETY: the harness's thread only waits for this one, and holds no lock that the child needs.
    match unsafe { nix::unistd::fork() }.unwrap() {
        ForkResult::Child => {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).unwrap();
            std::process::exit(run_master(scenario, folder.to_owned()))
        }
        ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
            WaitStatus::Exited(_, code) => std::process::exit(code),
            // Killed by its test.
            _ => std::process::exit(EXIT_REFUSED),
        },
    }
}

pub(super) fn run_master(scenario: Scenario, folder: PathBuf) -> i32 {
    let arena = image::Arena::reserve().unwrap();
    let broker = scenario.broker;
    let settings = scenario.settings(&folder);
    let drain_timeout = settings.drain_timeout;
    let mut roles = FakeRoles { folder, broker, drain_timeout };
    let mut supervisor = match Supervisor::start(settings, arena, &mut roles) {
        Ok(supervisor) => supervisor,
        Err(_) => return EXIT_REFUSED,
    };
    supervisor.fence_broker = |_| Ok(());
    supervisor.seal = |_, _| Ok(SealedImage { digest: None, bytes: 4096 });
    match supervisor.run() {
        Ok(Stopped::Fast | Stopped::Drained) => 0,
        Ok(Stopped::DrainTimedOut) => EXIT_CUT_OFF,
        Err(_) => EXIT_REFUSED,
    }
}

/// One connection: answers the worker's index, pid, generation and settings.
pub(super) fn ask(address: SocketAddr, request: &str) -> std::io::Result<Vec<u64>> {
    let mut client = TcpStream::connect(address)?;
    client.write_all(request.as_bytes())?;
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    match answer.split_whitespace().map(str::parse).collect() {
        Ok(words) if !answer.is_empty() => Ok(words),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}

pub(super) fn is_alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

pub(super) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
