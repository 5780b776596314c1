//! A real server as an origin that says what it saw: started on a free port in a folder of its own,
//! ended with its value. Each kind has a file with its configuration (`apache`, `haproxy`, `node`).

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::command::{create, text, wait};
use crate::origin::Origin;
use crate::{PATIENCE, until};

/// Times that another port is tried when somebody took the chosen one first.
const ATTEMPTS_MAX: usize = 5;

/// A server in the foreground, which leaves its log in the file `access` of its folder.
pub struct Server {
    name: &'static str,
    process: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Server {
    /// Starts one: `command` makes its configuration in the folder and says how to run it there.
    #[track_caller]
    pub(crate) fn start(
        name: &'static str,
        command: impl Fn(SocketAddr, &Path) -> Command,
    ) -> Self {
        let mut said = String::new();
        for _ in 0..ATTEMPTS_MAX {
            match Self::try_start(name, Origin::nowhere(), &command) {
                Ok(server) => return server,
                Err(stderr) => said = stderr,
            }
        }
        panic!("{name} does not start: {said}");
    }

    fn try_start(
        name: &'static str,
        address: SocketAddr,
        command: &impl Fn(SocketAddr, &Path) -> Command,
    ) -> Result<Self, String> {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path();
        let process = command(address, path)
            .current_dir(path)
            .stdin(Stdio::null())
            // What logs to its standard output does so there.
            .stdout(create(&path.join("access")))
            .stderr(create(&path.join("stderr")))
            .spawn()
            .unwrap_or_else(|error| panic!("{name} is not installed: {error}"));
        let mut server = Server { name, process, address, folder };
        let answers = until(&format!("{name} listens"), || match server.process.try_wait() {
            Ok(Some(_)) => Some(false),
            _ => TcpStream::connect(address).ok().map(|_| true),
        });
        match answers {
            true => Ok(server),
            false => Err(text(&server.folder.path().join("stderr"))),
        }
    }

    /// What people call it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Request lines that it saw, or what it logs where it could not read one.
    pub fn requests(&self) -> Vec<String> {
        text(&self.folder.path().join("access")).lines().map(str::to_owned).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            let pid = i32::try_from(self.process.id()).expect("a pid fits");
            // Its own way to stop, which takes its children along.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            wait(&mut self.process, PATIENCE);
        }
    }
}

/// Writes a file of a server's configuration.
pub(crate) fn write(folder: &Path, name: &str, content: &str) {
    fs::write(folder.join(name), content).expect("a configuration is written");
}
