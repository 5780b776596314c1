//! Where log lines go: standard error, coloured on a terminal, and without ever waiting for it.
//!
//! A pipe whose reader has stopped, a terminal that is held, a full disk: each would stop the master in
//! the middle of its loop, and workers in the middle of a request. So a line that standard error does
//! not take at once is lost, and the next one that it takes says how many were.
//!
//! Whether writing waits is a property of the open file, which others share that know nothing of it. So
//! the master opens the same file once more, for itself and its children, as descriptor 2, where a
//! script or a library would write as well. A file on a disk is left as it is: it takes a line or refuses
//! it. A disk that hangs without saying so is waited for: that could only be left to a thread, and there
//! is none.

use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{dup2_stderr, write};
use tracing_subscriber::EnvFilter;

/// Variable that chooses levels, in the form of tracing's `EnvFilter`: `debug`, `info,script=debug`.
const LEVELS: &str = "KILN_LOG";

/// Bytes that a pipe takes as a whole or not at all: PIPE_BUF of Linux.
const WHOLE_BYTES_MAX: usize = 4096;

/// Lines of this process that were lost, since one last said so.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Whether the last line ends in its middle.
static IS_TORN: AtomicBool = AtomicBool::new(false);

/// The log. While it is there, nothing that is written to standard error is waited for.
pub(crate) struct Logs {
    /// Standard error as it was, if it is another file now.
    before: Option<OwnedFd>,
}

/// How to write without waiting.
#[derive(Clone, Copy)]
enum Way {
    /// The file says so of itself.
    Write,
    /// A socket: each message says so. It cannot be opened once more.
    Send,
    /// By looking first whether there is room: what may not be opened once more.
    Look,
}

/// Starts logging. One write a line, from whichever process it is in; no thread.
pub(crate) fn start() -> Logs {
    let levels = EnvFilter::try_from_env(LEVELS).unwrap_or_else(|_| EnvFilter::new("info"));
    let (way, logs) = take_over();
    tracing_subscriber::fmt()
        .with_env_filter(levels)
        .with_writer(move || Line(way))
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
    logs
}

/// Opens standard error anew, where that can be done.
fn take_over() -> (Way, Logs) {
    let kind = fstat(io::stderr()).map_or(0, |found| found.st_mode & SFlag::S_IFMT.bits());
    if kind == SFlag::S_IFSOCK.bits() {
        return (Way::Send, Logs { before: None });
    }
    // Others write to it too, from where the last one of them ended.
    if kind == SFlag::S_IFREG.bits() {
        return (Way::Write, Logs { before: None });
    }
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let before = io::stderr().as_fd().try_clone_to_owned();
    let anew = open("/proc/self/fd/2", flags, Mode::empty());
    match (before, anew) {
        (Ok(before), Ok(anew)) if dup2_stderr(&anew).is_ok() => {
            (Way::Write, Logs { before: Some(before) })
        }
        _ => (Way::Look, Logs { before: None }),
    }
}

impl Drop for Logs {
    /// What is printed from now on is not lost, however long it takes.
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // Where that fails, what is printed is lost if there is no room for it.
            let _ = dup2_stderr(before);
        }
    }
}

/// Takes one line, which may be long.
struct Line(Way);

impl Write for Line {
    /// Always takes it all: nobody could do anything about a line that is lost.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let lost = LOST.load(Ordering::Relaxed);
        let mut text = Vec::new();
        if IS_TORN.load(Ordering::Relaxed) {
            text.push(b'\n');
        }
        if lost > 0 {
            let pid = std::process::id();
            let note = format!("kiln[{pid}]: {lost} lines of the log were lost for want of room\n");
            text.extend(note.as_bytes());
        }
        text.extend(line);
        let mut written = 0;
        for part in text.chunks(WHOLE_BYTES_MAX) {
            match self.0.write(part) {
                Ok(bytes) if bytes == part.len() => written += bytes,
                Ok(bytes) => {
                    written += bytes;
                    break;
                }
                Err(_) => break,
            }
        }
        if written > 0 {
            LOST.fetch_sub(lost, Ordering::Relaxed);
            IS_TORN.store(written < text.len(), Ordering::Relaxed);
        }
        if written < text.len() {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Way {
    fn write(self, part: &[u8]) -> nix::Result<usize> {
        let stderr = io::stderr();
        loop {
            let written = match self {
                Way::Write => write(&stderr, part),
                Way::Send => {
                    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                    match send(stderr.as_raw_fd(), part, flags) {
                        // That of a compile child is a pipe.
                        Err(Errno::ENOTSOCK) => Way::Look.write(part),
                        sent => sent,
                    }
                }
                Way::Look => {
                    let mut file = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
                    match poll(&mut file, PollTimeout::ZERO)? {
                        0 => Err(Errno::EAGAIN),
                        _ => write(&stderr, part),
                    }
                }
            };
            match written {
                Err(Errno::EINTR) => continue,
                written => return written,
            }
        }
    }
}
