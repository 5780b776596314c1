//! `kiln demo`: the example scripts with origins of their own, so that there is something to see.

use std::env;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::Context;

use crate::{cli, serve};

/// Upstreams of the example scripts, and how many servers each has.
const UPSTREAMS: [(&str, usize); 3] = [("web", 2), ("api", 1), ("static", 1)];

/// Starts the origins as processes of their own and serves until told to stop.
pub(crate) fn demo(arguments: &cli::Demo) -> anyhow::Result<ExitCode> {
    let mut origins = Vec::new();
    let mut upstreams = Vec::new();
    for (upstream, servers) in UPSTREAMS {
        let mut addresses = Vec::new();
        for server in 1..=servers {
            let (origin, address) = start_origin(&format!("{upstream}-{server}"))?;
            origins.push(Origin(origin));
            addresses.push(address);
        }
        upstreams.push(format!("{upstream}={}", addresses.join(",")));
    }
    print_suggestions(arguments);
    serve::serve(&cli::Serve {
        workers: Some(arguments.workers),
        listen: vec![arguments.listen],
        script: Some(arguments.script.clone()),
        upstream: upstreams,
        control: arguments.control.clone(),
        ..cli::Serve::default()
    })
}

/// Serves one origin until the process ends.
pub(crate) fn origin(arguments: &cli::Origin) -> anyhow::Result<ExitCode> {
    if arguments.with_parent {
        tools::origin::end_with_parent()?;
    }
    let listener = TcpListener::bind(arguments.listen)
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    println!("{}", listener.local_addr()?);
    tools::origin::serve(&listener, &arguments.name)?;
    Ok(ExitCode::SUCCESS)
}

/// An origin that ends with the demo.
struct Origin(Child);

impl Drop for Origin {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_origin(name: &str) -> anyhow::Result<(Child, String)> {
    let program = env::current_exe().context("cannot find this program")?;
    let mut origin = Command::new(program)
        .args(["origin", "--with-parent", "--name", name])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start an origin")?;
    let mut address = String::new();
    let output = origin.stdout.take().expect("it is a pipe");
    BufReader::new(output).read_line(&mut address).context("an origin did not start")?;
    Ok((origin, address.trim().to_owned()))
}

fn print_suggestions(arguments: &cli::Demo) {
    let (listen, script) = (arguments.listen, arguments.script.display());
    println!(
        "Try, in another terminal:\n
  curl http://{listen}/hello                           a script answers by itself
  curl 'http://{listen}/user?url=/profile/42'          a script parses a URL and tells the origin
  curl http://{listen}/api/orders                      by path, to the upstream `api`
  curl -H 'X-Beta: yes' http://{listen}/               by header, to another upstream
  kiln status                                              workers and generations
\nThen edit a script in {script}/ and run `kiln reload`.\n"
    );
}
