//! Runs a compiler or a program, within bounds.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Largest file that anything writes, for some programs print for ever. An image starts as large as
/// its slot, though most of it is holes.
const FILE_BYTES_MAX: u64 = 4 << 30;
/// Most bytes of output that are compared.
const OUTPUT_BYTES_MAX: u64 = 16 << 20;
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// What it wrote to standard output.
    pub(crate) stdout: Vec<u8>,
}

/// Limits what this process and its children write.
pub(crate) fn limit_files() -> anyhow::Result<()> {
    setrlimit(Resource::RLIMIT_FSIZE, FILE_BYTES_MAX, FILE_BYTES_MAX)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    Ok(())
}

/// Runs it to its end, in a folder, with what it says to standard error in a file there. `None` if
/// it takes longer than `limit`.
pub(crate) fn run(
    command: &mut Command,
    folder: &Path,
    errors: &Path,
    limit: Duration,
) -> anyhow::Result<Option<Ended>> {
    let output = tempfile::NamedTempFile::new()?;
    command.current_dir(folder).stdin(Stdio::null()).process_group(0);
    command.stdout(output.reopen()?).stderr(File::create(errors)?);
    let mut child = command.spawn()?;
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if Instant::now() > deadline {
            break None;
        }
        thread::sleep(LOOK_EVERY);
    };
    // What it has started ends with it.
    let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
    let Some(status) = status else {
        child.wait()?;
        return Ok(None);
    };
    Ok(Some(Ended { status, stdout: read(output.path())? }))
}

/// The start of a file.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    File::open(path)?.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}
