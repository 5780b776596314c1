//! From arguments and `kiln.toml` to settings: everything is checked here, before anything starts
//! and again before a reload changes anything.
//!
//! `settings` declares what there is; `document`, `check` and `together` read a file and say what is
//! wrong with it, `machine` what this machine does not have of it; `command` is `kiln config`, with `reference` and `show`. What is given on the command line
//! wins over the file. No name is looked up here, so that a reload never waits for a resolver.

mod check;
pub(crate) mod command;
mod document;
mod machine;
mod reference;
mod show;
mod together;

use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use fence::{Identity, Unreadable};
use heritage::{Diagnostic, WORKERS_MAX};
use settings::{File, Server, Upstream};

use crate::cli;
use document::{about, about_arguments};

const _: () = assert!(settings::WORKERS_MAX as usize == WORKERS_MAX, "one number, said twice");

/// Bytes of the largest file: every upstream with every server at their most, in long lines.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Which Kiln this is, by chance: all workers of one master have the same, whatever they are
/// configured with, and no other Kiln has.
static IDENTITY: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));

/// Everything that `kiln serve` needs.
pub(crate) struct Config {
    pub(crate) script: PathBuf,
    pub(crate) include: Vec<PathBuf>,
    pub(crate) compile: settings::Compile,
    pub(crate) process: settings::Process,
    pub(crate) master: master::Settings,
    pub(crate) worker: settings::Worker,
}

impl Config {
    /// Reads the file, if one is named, and puts what the arguments say in the place of what it
    /// says.
    pub(crate) fn load(arguments: &cli::Serve) -> Result<Self, Vec<Diagnostic>> {
        let mut file = match &arguments.config {
            // Nor would it end: the master would wait for somebody to write.
            Some(path) if fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo()) => {
                return Err(vec![about(
                    path,
                    "a pipe cannot be read again at a reload".to_owned(),
                )]);
            }
            Some(path) => load(path, &Given::by(arguments))?,
            None => File::default(),
        };
        override_with(arguments, &mut file)
            .and_then(|()| Self::from(file))
            .map_err(|error| vec![about_arguments(format!("{error:#}"))])
    }

    fn from(file: File) -> anyhow::Result<Self> {
        let script = file.script.clone().context(
            "no script: name one with --script PATH, or `script = \"...\"` in kiln.toml; \
             `kiln demo` shows what one does",
        )?;
        let master = master_settings(&file);
        let include = file.include.clone();
        let compile = file.compile.clone();
        let process = file.process.clone();
        let worker = settings::Worker { identity: Some(*IDENTITY), ..file.into() };
        Ok(Config { script, include, compile, process, master, worker })
    }

    /// Finds out who children become and who may use the control socket. Once, since it may wait for
    /// whatever the system keeps its users in.
    pub(crate) fn find_identities(&mut self) -> Result<(), fence::NoIdentity> {
        let settings::Process { user, group, control_group, .. } = &self.process;
        self.master.identity = Identity::find(user.as_deref(), group.as_deref())?;
        if let (Some(name), Some(control)) = (control_group, &mut self.master.control) {
            control.group = Some(fence::find_group("process.control_group", name)?);
        }
        Ok(())
    }

    /// Whether the script is there, in words that fit a start; a compile that misses it later says
    /// so.
    pub(crate) fn look_for_script(&self) -> anyhow::Result<()> {
        let script = &self.script;
        let path = script.display();
        if let Some(why) = Unreadable::of(script, |_| true)
            && why != Unreadable::NoFile
        {
            bail!("cannot read the script {path}: it {}", why.predicate(script, "scripts"));
        }
        let found = fs::metadata(script).with_context(|| {
            format!("cannot read the script {path}: does --script name the right path?")
        })?;
        let opened = if found.is_dir() {
            fs::read_dir(script).map(drop)
        } else {
            fs::File::open(script).map(drop)
        };
        opened.with_context(|| format!("cannot read the script {path}"))
    }

    /// What a running master cannot take over from the next configuration, each in a sentence.
    pub(crate) fn needs_restart(&self, next: &Config) -> Vec<String> {
        let process = self.process_needs_restart(&next.process);
        let (now, next) = (&self.master, &next.master);
        let mut sentences = Vec::new();
        if now.listen != next.listen {
            let listen: Vec<String> = now.listen.iter().map(ToString::to_string).collect();
            sentences.push(format!("listen: needs a restart, still {listen:?}"));
        }
        if now.pid_file != next.pid_file {
            let still = now.pid_file.as_ref().map_or("none".to_owned(), |path| format!("{path:?}"));
            sentences.push(format!("pid_file: needs a restart, still {still}"));
        }
        let path =
            |settings: &master::Settings| settings.control.clone().map(|control| control.path);
        if path(now) != path(next) {
            let still = path(now).map_or("none".to_owned(), |path| format!("{path:?}"));
            sentences.push(format!("control: needs a restart, still {still}"));
        }
        sentences.extend(process);
        sentences
    }

    fn process_needs_restart(&self, next: &settings::Process) -> Vec<String> {
        let now = &self.process;
        let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        let bytes = |process: &settings::Process| process.core_bytes.to_string();
        let values = [
            ("user", word(&now.user), word(&next.user)),
            ("group", word(&now.group), word(&next.group)),
            ("control_group", word(&now.control_group), word(&next.control_group)),
            ("core_bytes", bytes(now), bytes(next)),
        ];
        let changed = values.into_iter().filter(|(_, now, next)| now != next);
        let tell = |(name, still, _)| format!("process.{name}: needs a restart, still {still}");
        changed.map(tell).collect()
    }
}

/// What the command line says in the place of a file, or beside it.
#[derive(Default)]
struct Given<'a> {
    /// Where to listen, if it says so.
    listen: &'a [SocketAddr],
    /// Names of upstreams that it adds or replaces.
    upstreams: Vec<&'a str>,
}

impl<'a> Given<'a> {
    fn by(arguments: &'a cli::Serve) -> Self {
        let names = arguments.upstream.iter().filter_map(|argument| argument.split_once('='));
        Given { listen: &arguments.listen, upstreams: names.map(|(name, _)| name).collect() }
    }
}

/// Reads a file and checks everything in it.
fn load(path: &Path, given: &Given<'_>) -> Result<File, Vec<Diagnostic>> {
    let text = text_of(path)?;
    Ok(check::read(path, &text, given)?.file)
}

/// The text of a file that is not longer than any has to be.
fn text_of(path: &Path) -> Result<String, Vec<Diagnostic>> {
    let unreadable = |error| vec![about(path, format!("cannot read the configuration: {error}"))];
    let mut text = String::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    let length = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if length as u64 > FILE_BYTES_MAX {
        return Err(vec![about(path, format!("it has more than {} MiB", FILE_BYTES_MAX >> 20))]);
    }
    Ok(text)
}

fn override_with(arguments: &cli::Serve, file: &mut File) -> anyhow::Result<()> {
    if !arguments.listen.is_empty() {
        file.listen = arguments.listen.clone();
    }
    if let Some(workers) = arguments.workers {
        ensure!(
            (1..=WORKERS_MAX).contains(&workers),
            "{workers} workers are not possible: choose from 1 to {WORKERS_MAX}; \
             one for each CPU is usual"
        );
        file.workers = Some(workers as u64);
    }
    for (said, place) in [
        (&arguments.script, &mut file.script),
        (&arguments.pid_file, &mut file.pid_file),
        (&arguments.control.path, &mut file.control),
    ] {
        if said.is_some() {
            place.clone_from(said);
        }
    }
    if !arguments.include.is_empty() {
        file.include.clone_from(&arguments.include);
    }
    if let Some(cpu) = &arguments.cpu {
        file.compile.cpu.clone_from(cpu);
    }
    let given = upstreams(&arguments.upstream)?;
    refuse_own(&given, &file.listen)?;
    file.upstreams.extend(given);
    Ok(())
}

/// Refuses upstreams of the command line that lead here; those of the file were looked at there.
fn refuse_own(upstreams: &BTreeMap<String, Upstream>, listen: &[SocketAddr]) -> anyhow::Result<()> {
    let local = machine::local_addresses();
    for (name, upstream) in upstreams {
        for Server { address, .. } in &upstream.servers {
            if let Some(listener) = settings::own_listener(address, listen, &local) {
                bail!("--upstream: {}", together::own_server(name, address, listener));
            }
        }
    }
    Ok(())
}

fn upstreams(arguments: &[String]) -> anyhow::Result<BTreeMap<String, Upstream>> {
    let mut upstreams = BTreeMap::new();
    for argument in arguments {
        let (name, servers) = argument.split_once('=').with_context(|| {
            format!(
                "--upstream {argument}: expected NAME=ADDRESS[,ADDRESS...], as in web=10.0.0.1:80"
            )
        })?;
        ensure!(!name.is_empty(), "an upstream needs a name, as in web=10.0.0.1:80");
        if let Err(wrong) = settings::check_upstream_name(name) {
            bail!("--upstream: {name:?} {wrong}");
        }
        for server in servers.split(',') {
            if let Err(wrong) = settings::check_server(server) {
                bail!("--upstream {name}: {server:?} {wrong}");
            }
        }
        let servers = servers.split(',').map(Server::new).collect();
        let upstream = Upstream { servers, ..Upstream::default() };
        if upstreams.insert(name.to_owned(), upstream).is_some() {
            bail!("--upstream {name} is given twice: list all its servers in one, with commas");
        }
    }
    Ok(upstreams)
}

fn master_settings(file: &File) -> master::Settings {
    let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let workers = file.workers.and_then(|workers| usize::try_from(workers).ok());
    let control = master::Control {
        path: file.control.clone().unwrap_or_else(control_default),
        required: file.control.is_some(),
        group: None,
    };
    master::Settings {
        listen: file.listen.clone(),
        workers: workers.unwrap_or(cpus.min(WORKERS_MAX)),
        pid_file: file.pid_file.clone(),
        control: Some(control),
        core_bytes_max: file.process.core_bytes,
        compile_timeout: Duration::from_millis(file.timeouts.compile_ms),
        answer_timeout: Duration::from_millis(file.timeouts.worker_ms),
        compile_memory_max: file.compile.memory_bytes,
        compile_threads: cpus,
        drain_timeout: Duration::from_millis(file.timeouts.drain_ms),
        ..master::Settings::default()
    }
}

/// Where a master listens for commands unless told otherwise: a folder that its user may write to.
pub(crate) fn control_default() -> PathBuf {
    let user = nix::unistd::geteuid();
    if user.is_root() {
        return PathBuf::from("/run/kiln.sock");
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(folder) => PathBuf::from(folder).join("kiln.sock"),
        None => std::env::temp_dir().join(format!("kiln-{user}.sock")),
    }
}

/// Where what earlier compiles left is, unless told otherwise; none for a user without a home.
pub(crate) fn cache_default() -> Option<PathBuf> {
    let of = |variable, below: &str| {
        let folder = std::env::var_os(variable).map(PathBuf::from);
        folder.filter(|folder| folder.is_absolute()).map(|folder| folder.join(below))
    };
    // systemd's CacheDirectory= says so (systemd.exec(5)).
    if let Some(folder) = of("CACHE_DIRECTORY", "") {
        return Some(folder);
    }
    if nix::unistd::geteuid().is_root() {
        return Some(PathBuf::from("/var/cache/kiln"));
    }
    of("XDG_CACHE_HOME", "kiln").or_else(|| of("HOME", ".cache/kiln"))
}

/// Shows what is wrong, as compilers do.
pub(crate) fn print_errors(errors: &[Diagnostic]) {
    tools::print::to_stderr(errors);
}
