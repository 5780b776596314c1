//! Load of small requests: wrk, pinned to its core, and a strict reading of what it says.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use crate::head;

/// Keep-alive connections of the load.
pub(crate) const CONNECTIONS: u32 = 64;

/// What every server answers with.
pub(crate) const BODY: &str = "hello world\n";

/// Requests that are sent at once in the pipelined case.
pub(crate) const PIPELINE_DEPTH: usize = 16;

/// Silence after which a request has failed: a server that waits for its core is only slow.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Printed at the end as one line, since wrk's own text rounds.
const DONE: &str = r#"
done = function(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,' ..
        '"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
"#;

const PIPELINED: &str = r#"
init = function()
    local one = wrk.format()
    local all = {}
    for i = 1, DEPTH do all[i] = one end
    batch = table.concat(all)
end
request = function() return batch end
"#;

/// Has each connection wait for a millisecond between two requests: with all connections that is about
/// half of what one core answers.
const PAUSING: &str = "delay = function() return 1 end\n";

/// How a connection of the load sends its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// One after the other, as soon as there is an answer.
    Saturating,
    /// Several at a time.
    Pipelined,
    /// One after the other, with pauses: the server and the load have time left.
    Pausing,
}

/// A load of one kind.
#[derive(Debug)]
pub(crate) struct Load {
    core: usize,
    /// Where wrk's script is.
    script: PathBuf,
}

/// What wrk counted.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Counted {
    pub(crate) requests: u64,
    pub(crate) duration_us: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    connect: u64,
    read: u64,
    write: u64,
    status: u64,
    timeout: u64,
}

impl Load {
    pub(crate) fn new(core: usize, folder: &std::path::Path, pace: Pace) -> anyhow::Result<Self> {
        let (name, requests) = match pace {
            Pace::Saturating => ("load.lua", String::new()),
            Pace::Pipelined => {
                ("pipelined.lua", PIPELINED.replace("DEPTH", &PIPELINE_DEPTH.to_string()))
            }
            Pace::Pausing => ("pausing.lua", PAUSING.to_owned()),
        };
        let path = folder.join(name);
        std::fs::write(&path, DONE.to_owned() + &requests)?;
        Ok(Load { core, script: path })
    }

    /// The command line of a load.
    pub(crate) fn arguments(&self, address: SocketAddr, duration: Duration) -> Vec<String> {
        [
            "--cpu-list",
            &self.core.to_string(),
            "wrk",
            "--threads",
            "1",
            "--connections",
            &CONNECTIONS.to_string(),
            "--duration",
            &format!("{}s", duration.as_secs()),
            "--timeout",
            &format!("{}s", TIMEOUT.as_secs()),
            "--script",
            &self.script.to_string_lossy(),
            &format!("http://{address}/"),
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// Loads a server. Any error that wrk counted, and any answer that is none, fails the run.
    pub(crate) fn run(&self, address: SocketAddr, duration: Duration) -> anyhow::Result<Counted> {
        let output = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "taskset"])
            .args(self.arguments(address, duration))
            .output()
            .context("setpriv does not start")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("wrk ended with {}:\n{text}{errors}", output.status);
        }
        parse(&text)
    }
}

fn parse(text: &str) -> anyhow::Result<Counted> {
    let line = text.lines().last().unwrap_or_default();
    let counted: Counted =
        serde_json::from_str(line).with_context(|| format!("wrk said: {text}"))?;
    let Counted { connect, read, write, status, timeout, .. } = counted;
    ensure!(
        (connect, read, write, status, timeout) == (0, 0, 0, 0, 0),
        "wrk counted errors: {connect} of connect, {read} of read, {write} of write, \
         {status} answers of another status, {timeout} timeouts"
    );
    // wrk's own count of statuses knows only those above 399.
    ensure!(!text.contains("Non-2xx"), "answers that are no success:\n{text}");
    ensure!(counted.requests > 0, "no request was answered");
    Ok(counted)
}

/// Asks once, and fails unless the answer is the expected one.
pub(crate) fn ask(address: SocketAddr) -> anyhow::Result<()> {
    let body = fetch(address, "/")?;
    ensure!(body == BODY, "not the expected body: {body:?}");
    Ok(())
}

/// The body of a success, over a connection of its own.
pub(crate) fn fetch(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let head = head::read(&mut reader)?.context("closed in the place of an answer")?;
    ensure!(head.first_line == "HTTP/1.1 200 OK", "answered {:?}", head.first_line);
    let mut body = String::new();
    reader.take(head.body_bytes).read_to_string(&mut body)?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Running\n{\"requests\":10,\"duration_us\":5,\"p50_us\":1,\"p99_us\":2,\
        \"connect\":0,\"read\":0,\"write\":0,\"status\":0,\"timeout\":0}\n";

    #[test]
    fn counts_are_read() {
        let counted = parse(GOOD).expect("it is well-formed");
        assert_eq!((counted.requests, counted.duration_us), (10, 5));
        assert_eq!((counted.p50_us, counted.p99_us), (1.0, 2.0));
    }

    #[test]
    fn every_error_fails_the_run() {
        for kind in ["connect", "read", "write", "status", "timeout"] {
            let text = GOOD.replace(&format!("\"{kind}\":0"), &format!("\"{kind}\":1"));
            assert!(parse(&text).is_err(), "{kind}");
        }
        assert!(parse(&GOOD.replace("\"requests\":10", "\"requests\":0")).is_err());
        assert!(parse("Running\n").is_err());
    }
}
