//! From arguments and `kiln.toml` to settings: everything is checked here, before anything starts.
//!
//! The file says the same as the command line, and has limits and timeouts beside. What is given on
//! the command line wins.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use heritage::WORKERS_MAX;
use serde::Deserialize;
use worker::Upstream;

use crate::cli;

/// Where Kiln listens when nobody says: on this machine only, on a port that needs no privilege.
const LISTEN_DEFAULT: &str = "127.0.0.1:8080";

/// What `kiln.toml` may hold.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    /// Addresses and ports to listen on.
    listen: Vec<SocketAddr>,
    /// How many workers.
    workers: Option<usize>,
    /// A script, or a folder of scripts; relative to the file.
    script: Option<PathBuf>,
    /// File for the master's process id.
    pid_file: Option<PathBuf>,
    /// Unix socket for commands.
    control: Option<PathBuf>,
    /// Servers by the name of their upstream.
    upstreams: BTreeMap<String, Vec<String>>,
    limits: Limits,
    timeouts: Timeouts,
}

/// Limits on what peers may send. Units are last in the names.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Limits {
    connections: Option<usize>,
    head_bytes: Option<usize>,
    line_bytes: Option<usize>,
    fields: Option<usize>,
    request_body_bytes: Option<u64>,
    requests_per_connection: Option<u64>,
    idle_origins: Option<usize>,
}

/// How long Kiln waits for what.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Timeouts {
    connect_ms: Option<u64>,
    response_head_ms: Option<u64>,
    body_ms: Option<u64>,
    head_ms: Option<u64>,
    keep_alive_ms: Option<u64>,
    origin_idle_ms: Option<u64>,
    drain_ms: Option<u64>,
    compile_ms: Option<u64>,
}

/// Everything that `kiln serve` needs.
pub(crate) struct Config {
    pub(crate) script: PathBuf,
    pub(crate) master: master::Settings,
    pub(crate) worker: worker::Settings,
}

impl Config {
    /// Reads the file, if there is one, and lays the arguments over it.
    pub(crate) fn load(arguments: &cli::Serve) -> anyhow::Result<Self> {
        let file = match &arguments.config {
            Some(path) => read(path)?,
            None => File::default(),
        };
        let script = script(arguments, &file)?;
        let upstreams = upstreams(arguments, &file)?;
        let mut config = Self {
            script,
            master: master_settings(arguments, &file)?,
            worker: worker::Settings { upstreams, ..worker::Settings::default() },
        };
        config.set_limits(&file.limits)?;
        config.set_timeouts(&file.timeouts)?;
        Ok(config)
    }

    fn set_limits(&mut self, limits: &Limits) -> anyhow::Result<()> {
        let worker = &mut self.worker;
        let most = |name, value: Option<usize>, place: &mut usize, max| match value {
            Some(value) if value == 0 || value > max => {
                bail!("limits.{name} = {value} is not between 1 and {max}")
            }
            Some(value) => {
                *place = value;
                Ok(())
            }
            None => Ok(()),
        };
        most("connections", limits.connections, &mut worker.connections_max, 1 << 20)?;
        let (head_max, fields_max) = (worker.head_bytes_max, worker.fields_max);
        most("head_bytes", limits.head_bytes, &mut worker.head_bytes_max, head_max)?;
        most("line_bytes", limits.line_bytes, &mut worker.line_bytes_max, head_max)?;
        most("fields", limits.fields, &mut worker.fields_max, fields_max)?;
        most("idle_origins", limits.idle_origins, &mut worker.idle_origins_max, 1 << 16)?;
        let body = limits.request_body_bytes;
        worker.request_body_bytes_max = body.unwrap_or(worker.request_body_bytes_max);
        if let Some(requests) = limits.requests_per_connection {
            ensure!(requests > 0, "limits.requests_per_connection must be at least 1");
            worker.requests_per_connection_max = requests;
        }
        Ok(())
    }

    fn set_timeouts(&mut self, timeouts: &Timeouts) -> anyhow::Result<()> {
        let (worker, master) = (&mut self.worker, &mut self.master);
        if let Some(drain_ms) = timeouts.drain_ms {
            worker.drain_timeout = Duration::from_millis(drain_ms);
        }
        master.drain_timeout = worker.drain_timeout;
        for (name, value, place) in [
            ("connect_ms", timeouts.connect_ms, &mut worker.connect_timeout),
            ("response_head_ms", timeouts.response_head_ms, &mut worker.response_head_timeout),
            ("body_ms", timeouts.body_ms, &mut worker.body_timeout),
            ("head_ms", timeouts.head_ms, &mut worker.head_timeout),
            ("keep_alive_ms", timeouts.keep_alive_ms, &mut worker.keep_alive_timeout),
            ("origin_idle_ms", timeouts.origin_idle_ms, &mut worker.origin_idle_timeout),
            ("compile_ms", timeouts.compile_ms, &mut master.compile_timeout),
        ] {
            let Some(value_ms) = value else { continue };
            ensure!(value_ms > 0, "timeouts.{name} must be at least 1");
            *place = Duration::from_millis(value_ms);
        }
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<File> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration {}", path.display()))?;
    let mut file: File = toml::from_str(&text)
        .with_context(|| format!("in the configuration {}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    file.script = file.script.map(|script| folder.join(script));
    Ok(file)
}

fn script(arguments: &cli::Serve, file: &File) -> anyhow::Result<PathBuf> {
    let script = arguments.script.clone().or_else(|| file.script.clone());
    let script = script.context(
        "no script: name one with --script PATH, or `script = \"...\"` in kiln.toml; \
         `kiln demo` shows what one does",
    )?;
    let found = fs::metadata(&script).with_context(|| {
        format!("cannot read the script {}: does --script name the right path?", script.display())
    })?;
    let opened = if found.is_dir() {
        fs::read_dir(&script).map(drop)
    } else {
        fs::File::open(&script).map(drop)
    };
    opened.with_context(|| format!("cannot read the script {}", script.display()))?;
    Ok(script)
}

fn master_settings(arguments: &cli::Serve, file: &File) -> anyhow::Result<master::Settings> {
    let listen = match (&arguments.listen[..], &file.listen[..]) {
        ([], []) => vec![LISTEN_DEFAULT.parse().expect("it is an address")],
        ([], listen) | (listen, _) => listen.to_vec(),
    };
    let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let workers = arguments.workers.or(file.workers).unwrap_or(cpus.min(WORKERS_MAX));
    ensure!(
        (1..=WORKERS_MAX).contains(&workers),
        "{workers} workers are not possible: choose from 1 to {WORKERS_MAX}; one for each CPU is usual"
    );
    let named = arguments.control.path.clone().or_else(|| file.control.clone());
    let required = named.is_some();
    let path = named.unwrap_or_else(control_default);
    Ok(master::Settings {
        listen,
        workers,
        pid_file: arguments.pid_file.clone().or_else(|| file.pid_file.clone()),
        control: Some(master::Control { path, required }),
        ..master::Settings::default()
    })
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

fn upstreams(arguments: &cli::Serve, file: &File) -> anyhow::Result<Vec<Upstream>> {
    let mut named: BTreeMap<String, Vec<String>> = file.upstreams.clone();
    let mut given = BTreeMap::new();
    for upstream in &arguments.upstream {
        let (name, servers) = upstream.split_once('=').with_context(|| {
            format!(
                "--upstream {upstream}: expected NAME=ADDRESS[,ADDRESS...], as in web=10.0.0.1:80"
            )
        })?;
        let servers: Vec<String> = servers.split(',').map(str::to_owned).collect();
        if given.insert(name.to_owned(), servers).is_some() {
            bail!("--upstream {name} is given twice: list all its servers in one, with commas");
        }
    }
    named.extend(given);
    named.into_iter().map(|(name, servers)| upstream(name, &servers)).collect()
}

fn upstream(name: String, servers: &[String]) -> anyhow::Result<Upstream> {
    ensure!(!name.is_empty(), "an upstream needs a name, as in web=10.0.0.1:80");
    ensure!(!servers.is_empty(), "upstream {name} has no server");
    let resolve = |server: &String| -> anyhow::Result<SocketAddr> {
        // Names are resolved here, once: workers resolve nothing.
        let mut found = server.to_socket_addrs().with_context(|| {
            format!("upstream {name}: {server:?} is not an address with a port, as in 10.0.0.1:80")
        })?;
        found.next().with_context(|| format!("upstream {name}: {server:?} has no address"))
    };
    let servers = servers.iter().map(resolve).collect::<anyhow::Result<_>>()?;
    Ok(Upstream { name, servers })
}
