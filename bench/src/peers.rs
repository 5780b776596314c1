//! The servers that are compared, and the origin behind them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::unistd::Pid;

use crate::load::{self, BODY};
use crate::process::{Process, child_of};

/// Time for a server to answer after its start.
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// What a server does with a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Duty {
    /// Answers by itself.
    Reply,
    /// Passes it on to this origin.
    Forward(SocketAddr),
}

/// A running server with one worker.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    /// Control socket, if it is Kiln.
    pub(crate) control: PathBuf,
}

impl Server {
    /// Starts Kiln with a script that does the duty, and waits until it answers.
    pub(crate) fn kiln(
        binary: &Path,
        core: usize,
        folder: &Path,
        duty: Duty,
    ) -> anyhow::Result<Self> {
        let mut server = Self::start_kiln(binary, core, folder, duty)?;
        server.await_answer(Duration::from_millis(5))?;
        Ok(server)
    }

    /// Starts Kiln, and does not wait.
    pub(crate) fn start_kiln(
        binary: &Path,
        core: usize,
        folder: &Path,
        duty: Duty,
    ) -> anyhow::Result<Self> {
        let address = free_address()?;
        let body = BODY.escape_default();
        let (action, upstream) = match duty {
            Duty::Reply => (format!("kiln::reply(200, \"{body}\")"), None),
            Duty::Forward(origin) => {
                ("kiln::forward(\"origin\")".to_owned(), Some(format!("origin={origin}")))
            }
        };
        let script = folder.join("script.cc");
        let text = format!(
            "#include <kiln.h>\n\nkiln::Action on_request(kiln::Request&) {{ return {action}; }}\n"
        );
        std::fs::write(&script, text)?;
        let control = folder.join("kiln.sock");
        let mut arguments = vec![
            "serve".into(),
            "--workers".into(),
            "1".into(),
            "--listen".into(),
            address.to_string().into(),
            "--script".into(),
            script.into_os_string(),
            "--control".into(),
            control.clone().into_os_string(),
        ];
        if let Some(upstream) = upstream {
            arguments.extend(["--upstream".into(), upstream.into()]);
        }
        let process = Process::start(core, &folder.join("kiln.log"), binary, arguments)?;
        Ok(Server { process, address, control })
    }

    /// Starts nginx doing the same, and waits until it answers.
    pub(crate) fn nginx(core: usize, folder: &Path, duty: Duty) -> anyhow::Result<Self> {
        let address = free_address()?;
        let configuration = folder.join("nginx.conf");
        std::fs::write(&configuration, nginx_configuration(address, duty, folder))?;
        let process = Process::start(
            core,
            &folder.join("nginx.log"),
            Path::new("nginx"),
            [Path::new("-c"), &configuration, Path::new("-e"), Path::new("stderr")],
        )?;
        let mut server = Server { process, address, control: PathBuf::new() };
        server.await_answer(Duration::from_millis(5))?;
        Ok(server)
    }

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

    /// The process that serves: the one child of the master.
    pub(crate) fn worker(&self) -> anyhow::Result<Pid> {
        child_of(self.process.pid())
    }
}

/// nginx as its documentation advises: connections kept on both sides, no access log.
fn nginx_configuration(address: SocketAddr, duty: Duty, folder: &Path) -> String {
    let body = BODY.escape_default();
    let folder = folder.display();
    let (upstream, location) = match duty {
        Duty::Reply => (String::new(), format!("default_type text/plain; return 200 \"{body}\";")),
        Duty::Forward(origin) => (
            format!(
                "upstream origin {{ server {origin}; keepalive 64; keepalive_requests 1000000000; }}"
            ),
            "proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\";"
                .to_owned(),
        ),
    };
    format!(
        "daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {upstream}
    server {{
        listen {address} backlog=1024;
        location / {{ {location} }}
    }}
}}
"
    )
}

/// A port that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
