//! A running Kiln.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Client, Response};
use crate::command::{self, Finished, create, text};
use crate::process::processes_marked;
use crate::{PATIENCE, until};

/// Variable that marks the processes of one test's Kiln.
const MARK: &str = "KILN_TEST";

/// Name of the folder for scripts, and of the script where there is one.
const SCRIPTS: &str = "scripts";
const SCRIPT: &str = "site.cc";

/// A script that passes everything on to the upstream `web`.
pub const FORWARDING: &str = "#include <kiln.h>
kiln::Action on_request(kiln::Request&) { return kiln::forward(\"web\"); }
";

/// How a Kiln is to be started.
pub struct Builder {
    folder: TempDir,
    working_folder: Option<PathBuf>,
    script: Option<PathBuf>,
    workers: Option<usize>,
    listens: bool,
    names_control: bool,
    upstreams: Vec<String>,
    config: Option<String>,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    inherits: Option<PathBuf>,
    stderr: Option<Stdio>,
    user: Option<u32>,
}

impl Builder {
    /// Its only script has this text, in the file `site.cc`.
    pub fn script(mut self, text: &str) -> Self {
        let path = self.scripts_folder().join(SCRIPT);
        fs::write(&path, text).expect("a script is written");
        self.script = Some(path);
        self
    }

    /// Its scripts are a folder of these files.
    pub fn scripts(mut self, scripts: &[(&str, &str)]) -> Self {
        let folder = self.scripts_folder();
        for (name, text) in scripts {
            fs::write(folder.join(name), text).expect("a script is written");
        }
        self.script = Some(folder);
        self
    }

    /// Its script is this file or folder, as it is.
    pub fn script_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.script = Some(path.into());
        self
    }

    /// How many workers. Without this nothing is said about them on the command line.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Servers that scripts forward to by this name.
    pub fn upstream(mut self, name: &str, servers: &[SocketAddr]) -> Self {
        let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
        self.upstreams.push(format!("{name}={}", servers.join(",")));
        self
    }

    /// Text of its `kiln.toml`, given with `-c`.
    pub fn config(mut self, text: &str) -> Self {
        self.config = Some(text.to_owned());
        self
    }

    /// One more argument, after all others.
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// A variable of its environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// It runs in this folder, rather than in [`Builder::folder`].
    pub fn working_folder(mut self, path: impl Into<PathBuf>) -> Self {
        self.working_folder = Some(path.into());
        self
    }

    /// Whoever starts it leaves this file open for it, as descriptor 9.
    pub fn inheriting(mut self, file: impl Into<PathBuf>) -> Self {
        self.inherits = Some(file.into());
        self
    }

    /// Its log goes there, and not into a file: [`Kiln::log`] has nothing.
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stderr = Some(stderr.into());
        self
    }

    /// It runs as this user, to whom its folder belongs then. Needs root.
    pub fn user(mut self, user: u32) -> Self {
        self.user = Some(user);
        self
    }

    /// No `--listen`: its configuration or its default says where.
    pub fn without_listen(mut self) -> Self {
        self.listens = false;
        self
    }

    /// No `--control`: its configuration says where, as [`Builder::control_path`].
    pub fn without_control(mut self) -> Self {
        self.names_control = false;
        self
    }

    /// The folder for all that is its own, which ends with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where its control socket is expected.
    pub fn control_path(&self) -> PathBuf {
        self.folder().join("control")
    }

    /// Starts it, and waits until every worker serves.
    #[track_caller]
    pub fn start(self) -> Kiln {
        let kiln = self.spawn();
        kiln.until_serving();
        kiln
    }

    /// Starts it in the expectation that its scripts are refused: every worker serves without any, and
    /// answers as `faults.policy` says by default.
    #[track_caller]
    pub fn start_without_scripts(self) -> Kiln {
        let kiln = self.start();
        kiln.until_logged("the scripts were refused");
        assert!(kiln.status()["generation_serving"].is_null(), "{:#}", kiln.status());
        kiln.get("/").expect_status(500);
        kiln
    }

    /// Starts one for many tests, which may stand in a static and so is never dropped: it ends, and its
    /// folder with it, when this process does, however that comes about.
    #[track_caller]
    pub fn start_shared(self) -> Kiln {
        let mut kiln = self.spawn();
        let mut leash = Command::new("sh");
        // It waits for the end of its input, which is when nobody holds the other end any more.
        leash.args(["-c", "read -r _; kill -TERM \"$1\"; sleep 1; rm -rf -- \"$2\"", "sh"]);
        leash.arg(kiln.pid().to_string()).arg(kiln.folder());
        leash.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        kiln.leash = Some(leash.spawn().expect("there is a shell"));
        kiln.until_serving();
        kiln
    }

    /// Starts it and waits for nothing.
    #[track_caller]
    pub fn spawn(mut self) -> Kiln {
        let log = self.folder().join("log");
        let mut command = self.command();
        let stderr = self.stderr.take().unwrap_or_else(|| create(&log).into());
        command.stdout(create(&self.folder().join("stdout"))).stderr(stderr);
        if let Some(user) = self.user {
            let folder = self.folder();
            let owned = Command::new("chown").arg("-R").arg(user.to_string()).arg(folder).status();
            assert!(owned.is_ok_and(|status| status.success()), "it takes root");
            command.uid(user).gid(user);
        }
        let master = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mark = self.mark();
        Kiln {
            master,
            mark,
            log,
            ended: None,
            leash: None,
            script: self.script,
            folder: self.folder,
        }
    }

    /// Runs it in the expectation that it does not start.
    #[track_caller]
    pub fn refused(self) -> Refusal {
        let finished = command::run(&mut self.command());
        assert!(!finished.status.success(), "it started: {finished:?}");
        let left = processes_marked(&self.mark());
        assert!(left.is_empty(), "processes are left: {left:?}");
        Refusal { finished, folder: self.folder }
    }

    /// `kiln serve` as described.
    pub fn command(&self) -> Command {
        let mut command = match &self.inherits {
            Some(file) => command::kiln_command_inheriting(file),
            None => command::kiln_command(),
        };
        let (name, value) = mark_of(self.folder());
        command.arg("serve").env(name, value).env("CACHE_DIRECTORY", self.folder().join("cache"));
        command.envs(self.environment.iter().cloned());
        let working_folder = self.working_folder.as_deref().unwrap_or(self.folder());
        command.current_dir(working_folder).stdin(Stdio::null());
        if self.listens {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        if self.names_control {
            command.arg("--control").arg(self.control_path());
        }
        if let Some(config) = &self.config {
            let path = self.folder().join("kiln.toml");
            fs::write(&path, config).expect("a configuration is written");
            command.arg("-c").arg(path);
        }
        if let Some(script) = &self.script {
            command.arg("--script").arg(script);
        }
        if let Some(workers) = self.workers {
            command.args(["--workers", &workers.to_string()]);
        }
        for upstream in &self.upstreams {
            command.args(["--upstream", upstream]);
        }
        command.args(&self.arguments);
        command
    }

    fn scripts_folder(&self) -> PathBuf {
        let folder = self.folder().join(SCRIPTS);
        fs::create_dir_all(&folder).expect("a folder for scripts");
        folder
    }

    fn mark(&self) -> String {
        let (name, value) = mark_of(self.folder());
        format!("{name}={value}")
    }
}

fn mark_of(folder: &Path) -> (&'static str, String) {
    (MARK, folder.display().to_string())
}

/// A Kiln that did not start.
pub struct Refusal {
    /// How it ended and what it said.
    pub finished: Finished,
    /// Its folder.
    pub folder: TempDir,
}

impl Refusal {
    /// Checks that it ended with exit code 2, and that what it said has each of these parts.
    #[track_caller]
    pub fn expect(&self, parts: &[&str]) -> &Self {
        let Finished { stdout, stderr, .. } = &self.finished;
        let said = format!("{stdout}{stderr}");
        assert_eq!(self.finished.code(), Some(2), "{said}");
        for part in parts {
            assert!(said.contains(part), "expected {part:?} in:\n{said}");
        }
        self
    }
}

/// What `kiln reload --json` came to.
#[derive(Debug)]
pub struct Reloaded {
    /// Exit code of the command.
    pub code: Option<i32>,
    /// What it printed.
    pub json: Value,
}

impl Reloaded {
    /// Checks that the scripts were taken, and gives the number of the generation.
    #[track_caller]
    pub fn expect_taken(&self) -> u64 {
        assert_eq!(self.code, Some(0), "{:#}", self.json);
        self.json["generation"].as_u64().unwrap_or_else(|| panic!("{:#}", self.json))
    }

    /// Checks that the scripts were refused; gives all diagnostics as Clang prints them.
    #[track_caller]
    pub fn expect_refused(&self) -> String {
        assert_eq!(self.code, Some(1), "{:#}", self.json);
        assert_eq!(self.json["reply"], "refused", "{:#}", self.json);
        let diagnostics = self.json["diagnostics"].as_array().cloned().unwrap_or_default();
        diagnostics.iter().filter_map(|diagnostic| diagnostic["rendered"].as_str()).collect()
    }
}

/// A Kiln with its master in a process of its own.
pub struct Kiln {
    master: Child,
    mark: String,
    log: PathBuf,
    ended: Option<ExitStatus>,
    /// Ends it with this process; only a shared one has it.
    leash: Option<Child>,
    script: Option<PathBuf>,
    folder: TempDir,
}

impl Kiln {
    /// One with a single worker that passes everything on to these servers.
    #[track_caller]
    pub fn forwarding_to(servers: &[SocketAddr]) -> Self {
        Self::builder().script(FORWARDING).workers(1).upstream("web", servers).start()
    }

    /// One that listens on a port of the system's choice and says nothing about workers.
    pub fn builder() -> Builder {
        Builder {
            folder: tempfile::Builder::new().prefix("kiln-").tempdir().expect("a folder"),
            working_folder: None,
            script: None,
            workers: None,
            listens: true,
            names_control: true,
            upstreams: Vec::new(),
            config: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            inherits: None,
            stderr: None,
            user: None,
        }
    }

    /// Starts one with this script and two workers.
    #[track_caller]
    pub fn start(script: &str) -> Kiln {
        Kiln::builder().script(script).workers(2).start()
    }

    /// The folder for all that is its own.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its control socket.
    pub fn control_path(&self) -> PathBuf {
        self.folder().join("control")
    }

    /// Where it listens, first of all.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        self.addresses()[0]
    }

    /// Everywhere it listens, as its log says.
    #[track_caller]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let log = self.log();
        let lines = log.lines().filter(|line| line.contains(" listening address="));
        let found: Vec<SocketAddr> = lines
            .filter_map(|line| line.rsplit_once('=')?.1.trim().parse().ok())
            .filter(|address: &SocketAddr| address.port() != 0)
            .collect();
        assert!(!found.is_empty(), "it listens nowhere:\n{log}");
        found
    }

    /// Where it listens first of all, as its status says: for one whose log is no file.
    #[track_caller]
    pub fn address_in_status(&self) -> SocketAddr {
        let status = self.status();
        let listen = status["listen"][0].as_str().and_then(|address| address.parse().ok());
        listen.unwrap_or_else(|| panic!("it listens nowhere: {status:#}"))
    }

    /// Everything it has logged so far.
    pub fn log(&self) -> String {
        text(&self.log)
    }

    /// Checks that what it has logged has each of these parts.
    #[track_caller]
    pub fn expect_logged(&self, parts: &[&str]) -> &Self {
        let log = self.log();
        for part in parts {
            assert!(log.contains(part), "expected {part:?} in:\n{log}");
        }
        self
    }

    /// Waits until the log has this text, and gives the whole log.
    #[track_caller]
    pub fn until_logged(&self, part: &str) -> String {
        self.until_logged_times(part, 1)
    }

    /// Waits until the log has this text so many times.
    #[track_caller]
    pub fn until_logged_times(&self, part: &str, times: usize) -> String {
        until(&format!("{part:?} in the log of {}", self.log.display()), || {
            let log = self.log();
            (log.matches(part).count() >= times).then_some(log)
        })
    }

    /// Process id of the master.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.master.id()).expect("a pid fits")
    }

    /// Every process of this Kiln: the master and all its living children, orphans too.
    pub fn processes(&self) -> Vec<i32> {
        processes_marked(&self.mark)
    }

    /// Sends the master a signal.
    pub fn signal(&self, signal: Signal) {
        assert!(self.ended.is_none(), "its pid may be another's by now");
        kill(Pid::from_raw(self.pid()), signal).expect("the master was not waited for yet");
    }

    /// Kills one of its processes.
    #[track_caller]
    pub fn kill(&self, pid: i32) {
        assert!(self.processes().contains(&pid), "{pid} is no process of this Kiln");
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it was there above");
    }

    /// What `kiln status --json` prints, asked over the control socket: an exec for each look at it
    /// would cost more than what most tests look at.
    #[track_caller]
    pub fn status(&self) -> Value {
        self.try_status().unwrap_or_else(|| panic!("the master does not answer:\n{}", self.log()))
    }

    /// The same, or nothing if the master does not answer (yet).
    pub fn try_status(&self) -> Option<Value> {
        let mut stream = UnixStream::connect(self.control_path()).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(b"{\"command\":\"status\"}\n").ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        serde_json::from_str(&reply).ok()
    }

    /// The workers, as the status lists them.
    #[track_caller]
    pub fn workers(&self) -> Vec<Value> {
        self.status()["workers"].as_array().expect("a list of workers").clone()
    }

    /// Pids of the workers that serve.
    #[track_caller]
    pub fn worker_pids(&self) -> Vec<i32> {
        let serving = self.workers().into_iter().filter(|worker| worker["state"] == "serving");
        serving.map(|worker| pid_of(&worker).expect("it serves")).collect()
    }

    /// Waits until every worker serves; gives their pids.
    #[track_caller]
    pub fn until_serving(&self) -> Vec<i32> {
        until(&format!("every worker serves; log:\n{}", self.log()), || {
            // A master that refused to start has said why.
            if let Some(code) = self.log().lines().find(|line| line.starts_with("kiln: ")) {
                panic!("it did not start: {code}\n{}", self.log());
            }
            let status = self.try_status()?;
            let workers = status["workers"].as_array()?;
            let serves = |worker: &&Value| worker["state"] == "serving";
            let pids: Vec<i32> = workers.iter().filter(serves).filter_map(pid_of).collect();
            (!pids.is_empty() && pids.len() == workers.len()).then_some(pids)
        })
    }

    /// Waits until so many workers serve, and there are no others.
    #[track_caller]
    pub fn until_workers(&self, count: usize) -> Vec<i32> {
        until(&format!("{count} workers serve"), || {
            let workers = self.workers();
            let serving = self.worker_pids();
            (workers.len() == count && serving.len() == count).then_some(serving)
        })
    }

    /// Number of the generation that new requests go to in every serving worker.
    #[track_caller]
    pub fn generation(&self) -> u64 {
        let workers = self.workers();
        let mut numbers = workers.iter().filter_map(|worker| worker["generation"].as_u64());
        let first = numbers.next().expect("there is a worker");
        assert!(numbers.all(|number| number == first), "they differ: {workers:?}");
        first
    }

    /// Runs `kiln reload --json`.
    #[track_caller]
    pub fn reload(&self) -> Reloaded {
        let finished = self.command("reload", &["--json"]);
        let json = serde_json::from_str(&finished.stdout)
            .unwrap_or_else(|error| panic!("{error}: {finished:?}\n{}", self.log()));
        Reloaded { code: finished.code(), json }
    }

    /// Sends SIGHUP, and waits until every worker serves the generation that comes of it.
    #[track_caller]
    pub fn hup(&self, generation: u64) {
        self.signal(Signal::SIGHUP);
        self.until_logged(&format!(" generation active generation={generation} "));
    }

    /// Replaces its script and reloads; gives the number of the new generation.
    #[track_caller]
    pub fn reload_with(&self, script: &str) -> u64 {
        self.write_script(SCRIPT, script);
        self.reload().expect_taken()
    }

    /// Writes a script into its folder of scripts; `site.cc` is the one of [`Builder::script`].
    pub fn write_script(&self, name: &str, text: &str) {
        // By rename, so that no compile reads half of it.
        let (path, new) = (self.script_path(name), self.script_path(".new"));
        fs::write(&new, text).expect("a script is written");
        fs::rename(new, path).expect("a script is moved");
    }

    /// Path of one of its scripts.
    pub fn script_path(&self, name: &str) -> PathBuf {
        let script = self.script.as_deref().expect("it was started with a script");
        let folder = if script.is_dir() { script } else { script.parent().expect("a folder") };
        folder.join(name)
    }

    /// Runs a command on its control socket.
    #[track_caller]
    pub fn command(&self, name: &str, options: &[&str]) -> Finished {
        let control = self.control_path();
        let mut command = command::kiln_command();
        command::run(command.arg(name).args(options).arg("--control").arg(control))
    }

    /// A new connection.
    #[track_caller]
    pub fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    /// `GET` on a connection of its own.
    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.connect().get(target)
    }

    /// Waits for the master to end.
    #[track_caller]
    pub fn until_ended(&mut self) -> ExitStatus {
        let ended = command::wait(&mut self.master, PATIENCE);
        self.ended = ended;
        ended.unwrap_or_else(|| panic!("it does not end:\n{}", self.log()))
    }
}

/// Pid in a worker's part of the status.
fn pid_of(worker: &Value) -> Option<i32> {
    i32::try_from(worker["pid"].as_i64()?).ok()
}

impl Drop for Kiln {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let master = Pid::from_raw(self.pid());
            // It may have ended by itself; it was not waited for, so the pid is still its own.
            let _ = kill(master, Signal::SIGTERM);
            command::wait(&mut self.master, PATIENCE);
        }
        // Nothing, unless the test killed the master or failed.
        for pid in self.processes() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if std::thread::panicking() {
            eprintln!("--- log of {}:\n{}---", self.folder().display(), self.log());
        }
    }
}
