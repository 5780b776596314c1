//! Servers that this program starts, each pinned to a core, and none of which outlives it.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Time for a server to end once it is told to, before it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// A server process; dropping it ends it and its children.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` on these cores, as taskset takes them. It gets TERM if this program dies,
    /// however it dies.
    pub(crate) fn start(
        cores: &str,
        log: &Path,
        program: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> anyhow::Result<Self> {
        let output = File::create(log).with_context(|| log.display().to_string())?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "taskset", "--cpu-list", cores])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("{} does not start", program.display()))?;
        Ok(Process { child, log: log.to_owned() })
    }

    /// setpriv and taskset become the program, so its pid is theirs.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Fails, with what the server wrote, if it has ended.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        bail!("the server ended with {status}; it wrote:\n{log}")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Each step fails only if the process has ended already.
        let _ = kill(self.pid(), Signal::SIGTERM);
        let until = Instant::now() + END_TIMEOUT;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > until {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The only child of a process.
pub(crate) fn child_of(parent: Pid) -> anyhow::Result<Pid> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let mut children = children.split_whitespace();
    let (Some(child), None) = (children.next(), children.next()) else {
        bail!("process {parent} has not one child but {:?}", std::fs::read_to_string(&path)?);
    };
    Ok(Pid::from_raw(child.parse().context(path)?))
}
