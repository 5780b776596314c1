//! The servers that are compared, and how each is started.
//!
//! A peer is a value: its name, its command for a duty, and where its worker is to be found. Each
//! has a file in `peers/` with its configuration; everything else treats all alike.

mod floor;
mod haproxy;
mod kiln;
mod nginx;

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::unistd::Pid;

use crate::load;
use crate::process::{Process, child_of};

pub(crate) use floor::FLOOR;
pub(crate) use haproxy::HAPROXY;
pub(crate) use kiln::{KILN, control, reload, remember};
pub(crate) use nginx::{NGINX, STATUS_PATH};

/// Time for a server to answer after its start.
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// A kind of server.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// What makes it reply, in its own words.
    pub(crate) replies_by: &'static str,
    /// What makes it forward.
    pub(crate) forwards_by: &'static str,
    /// What makes it forward large bodies.
    pub(crate) moves_by: &'static str,
    worker: Worker,
    command: fn(&Site) -> anyhow::Result<Line>,
}

/// Which process serves.
#[derive(Clone, Copy, Debug)]
enum Worker {
    /// The one that was started.
    Itself,
    /// The only child of the one that was started.
    OnlyChild,
}

/// What a server does with a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Duty {
    /// Answers by itself.
    Reply,
    /// Passes it on to this origin.
    Forward(SocketAddr),
    /// The same, tuned for large bodies.
    Move(SocketAddr),
}

/// Where and as what a server is to run.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    /// Binary of Kiln.
    pub(crate) kiln: &'a Path,
    /// Where it may run, as taskset takes it.
    pub(crate) cores: String,
    /// A folder of its own.
    pub(crate) folder: PathBuf,
    pub(crate) duty: Duty,
    pub(crate) workers: u32,
    pub(crate) address: SocketAddr,
}

/// A program and its arguments.
#[derive(Debug)]
struct Line {
    program: PathBuf,
    arguments: Vec<OsString>,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    worker: Worker,
}

impl Peer {
    /// Starts a server, and waits until it answers.
    pub(crate) fn serve(&self, site: &Site) -> anyhow::Result<Server> {
        let mut server = self.start(site)?;
        server.await_answer(Duration::from_millis(5)).context(self.name)?;
        Ok(server)
    }

    /// Starts a server, and does not wait.
    pub(crate) fn start(&self, site: &Site) -> anyhow::Result<Server> {
        let Line { program, arguments } = (self.command)(site).context(self.name)?;
        let log = site.folder.join("log");
        let process = Process::start(&site.cores, &log, &program, arguments)?;
        Ok(Server { process, address: site.address, worker: self.worker })
    }

    /// What makes it do its duty.
    pub(crate) fn does_by(&self, duty: Duty) -> &'static str {
        match duty {
            Duty::Reply => self.replies_by,
            Duty::Forward(_) => self.forwards_by,
            Duty::Move(_) => self.moves_by,
        }
    }
}

impl<'a> Site<'a> {
    /// One worker, on a port that was free a moment ago.
    pub(crate) fn new(
        kiln: &'a Path,
        cores: String,
        folder: PathBuf,
        duty: Duty,
    ) -> anyhow::Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        Ok(Site { kiln, cores, folder, duty, workers: 1, address })
    }

    /// Writes a file into the folder.
    fn file(&self, name: &str, content: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(name);
        std::fs::write(&path, content).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

impl Line {
    fn new(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Line { program: program.into(), arguments }
    }
}

impl Server {
    /// Asks until there is an answer.
    pub(crate) fn await_answer(&mut self, pause: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + READY_TIMEOUT;
        loop {
            self.process.check_alive()?;
            match load::ask(self.address) {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > until => {
                    return Err(error).context("the server does not answer");
                }
                Err(_) => std::thread::sleep(pause),
            }
        }
    }

    /// The process that serves, of a server with one worker.
    pub(crate) fn worker(&self) -> anyhow::Result<Pid> {
        match self.worker {
            Worker::Itself => Ok(self.process.pid()),
            Worker::OnlyChild => child_of(self.process.pid()),
        }
    }
}
