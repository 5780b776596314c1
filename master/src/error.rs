//! Why the master did not start. Each variant names the culprit and says what to do.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use heritage::{Diagnostic, WORKERS_MAX};

use crate::listeners::LISTEN_MAX;

/// Why the master did not start. Nothing was left behind: no child, no socket, no file.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is nothing to listen on.
    #[error("no address to listen on: name one with --listen")]
    NoAddress,
    /// More addresses than the table of listeners holds.
    #[error("{0} addresses to listen on: at most {LISTEN_MAX} are possible")]
    TooManyAddresses(usize),
    /// The same address was given twice.
    #[error("the address {0} is given twice: remove one")]
    DuplicateAddress(SocketAddr),
    /// Zero, or more than the scoreboard has pages for.
    #[error("{0} workers: choose from 1 to {WORKERS_MAX}")]
    WorkerCount(usize),
    /// Another program listens there.
    #[error(
        "the address {0} is in use by another program: stop that program (`ss -ltnp` names it) or \
         listen on another port"
    )]
    AddressInUse(SocketAddr),
    /// The address is not one of this machine.
    #[error("the address {0} does not belong to this machine: `ip address` lists those that do")]
    AddressNotLocal(SocketAddr),
    /// A low port without the right to it.
    #[error(
        "no permission to listen on {0}: run as root, grant CAP_NET_BIND_SERVICE, or choose a port \
         from 1024"
    )]
    AddressForbidden(SocketAddr),
    /// Listening failed otherwise.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// Another Kiln answers on the control socket.
    #[error(
        "the control socket {0} is taken by a running kiln: stop it, or choose another path with \
         --control"
    )]
    ControlTaken(PathBuf),
    /// Something that is not a socket lies at the control path.
    #[error(
        "the control path {0} exists and is not a socket: remove it, or choose another path with \
         --control"
    )]
    ControlNotASocket(PathBuf),
    /// The control socket cannot be made.
    #[error(
        "cannot make the control socket {path}: {error}; choose a path in a folder that exists and \
         that you may write to, with --control"
    )]
    Control {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Another Kiln holds the pid file.
    #[error(
        "the pid file {path} belongs to a running kiln{}: stop it, or choose another file with \
         --pid-file", .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    PidFileTaken {
        /// Its path.
        path: PathBuf,
        /// The pid in it, if it names one.
        pid: Option<i32>,
    },
    /// The pid file cannot be written.
    #[error(
        "cannot write the pid file {path}: {error}; choose a path in a folder that exists and that \
         you may write to, with --pid-file"
    )]
    PidFile {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The scripts were refused. The caller shows the diagnostics.
    #[error("the scripts were refused: {reason}")]
    Refused {
        /// Why, in one sentence.
        reason: String,
        /// What the compiler said; may be empty.
        diagnostics: Vec<Diagnostic>,
    },
    /// The kernel refused a resource that the master itself needs.
    #[error("cannot make {what}: {error}")]
    System {
        /// The resource.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
}
