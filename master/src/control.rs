//! What goes over the control socket, and the client's side of it.
//!
//! A client connects, sends one request as a line of JSON, gets one reply as a line of JSON, and
//! the master closes. JSON, since a shell with `nc -U` should be enough when nothing else works.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use heritage::{CompileSteps, Diagnostic, Ejection, Fault};
use serde::{Deserialize, Serialize};

pub use crate::generations::GenerationState;

/// Bytes of the largest request; those that exist take 30.
pub(crate) const REQUEST_MAX: usize = 4 * 1024;

/// Bytes of the largest reply that a client reads: a status with every worker of a full scoreboard,
/// or the diagnostics of a compile, which the master takes up to this size.
const REPLY_MAX: u64 = 8 << 20;

/// What a client asks of the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase")]
pub enum ControlRequest {
    /// Compile the scripts, swap them in, and say what came of it.
    Reload,
    /// Say how master, generations and workers are.
    Status,
    /// Go back to a generation that served before, and say what came of it.
    Rollback {
        /// Its number; none is the last good one before the active one.
        #[serde(default)]
        generation: Option<u64>,
    },
    /// Say what comes of a generation's probation, once it is over.
    Probation {
        /// Its number.
        generation: u64,
    },
}

/// What the master answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "lowercase")]
pub enum ControlReply {
    /// Every worker serves the new generation.
    Reloaded {
        /// Its number.
        generation: u64,
        /// How long each step of the compile took.
        steps: CompileSteps,
        /// Milliseconds to map the image and initialise it, in the worker that took longest.
        map_ms: f64,
        /// Milliseconds from the start of the reload to the last worker's answer.
        total_ms: f64,
        /// How many workers took it.
        workers: usize,
        /// Warnings of the compile.
        diagnostics: Vec<Diagnostic>,
    },
    /// Every worker serves a generation that served before.
    RolledBack {
        /// Its number.
        generation: u64,
        /// The one that served until now.
        from: Option<u64>,
        /// Milliseconds to map the image and initialise it, in the worker that took longest.
        map_ms: f64,
        /// Milliseconds from the start of the rollback to the last worker's answer.
        total_ms: f64,
        /// How many workers took it.
        workers: usize,
        /// What of its configuration takes a restart.
        diagnostics: Vec<Diagnostic>,
    },
    /// What came of a generation's probation.
    Probation {
        /// Its number.
        generation: u64,
        /// What came of it.
        outcome: ProbationOutcome,
        /// The generation that serves now.
        serving: Option<u64>,
    },
    /// Nothing changed.
    Refused {
        /// The generation that serves on.
        generation_serving: Option<u64>,
        /// What the compiler said; may be empty.
        diagnostics: Vec<Diagnostic>,
        /// Why, in one sentence.
        reason: String,
    },
    /// How things are.
    Status(Box<Status>),
    /// The request is not one that the master knows.
    Invalid {
        /// Why, in one sentence.
        reason: String,
    },
}

/// What came of a generation's probation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum ProbationOutcome {
    /// It is over, or there was none to get through.
    Passed,
    /// The generation failed at too many requests and serves on, since there is none to go back to.
    Broken {
        /// Requests that it failed at.
        faults: u64,
        /// Seconds since it had become active.
        within_s: f64,
    },
    /// One before it came back.
    RolledBack {
        /// Whether the master did it by itself.
        by_itself: bool,
        /// Requests that it had failed at.
        faults: u64,
        /// Seconds for which it was active.
        within_s: f64,
    },
    /// It does not serve any more, and nothing was found out about it.
    Replaced,
}

/// How master, generations and workers are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The master.
    pub master: MasterStatus,
    /// Addresses that are listened on.
    pub listen: Vec<SocketAddr>,
    /// The generation that new requests go to; none where they get what the failure policy says.
    #[serde(default)]
    pub generation_serving: Option<u64>,
    /// Generations, oldest first: those that occupy a slot, and some before them.
    pub generations: Vec<GenerationStatus>,
    /// Workers by index; those that a change of scale lets drain too.
    pub workers: Vec<WorkerStatus>,
    /// Processes that a script's failure has tainted: they finish what they have, and others of the
    /// same indices are among the workers. What they count is their own.
    #[serde(default)]
    pub tainted: Vec<WorkerStatus>,
    /// The broker; none if no name is to be resolved and no server to be checked.
    #[serde(default)]
    pub broker: Option<BrokerStatus>,
    /// What the master knows of upstreams' servers.
    #[serde(default)]
    pub upstreams: UpstreamsStatus,
    /// How often workers answered a request by themselves or cut one off, since the master started, by
    /// [`heritage::Reason`]; those that never occurred are left out.
    #[serde(default)]
    pub reasons: BTreeMap<String, u64>,
    /// What scripts failed at lately, oldest first.
    #[serde(default)]
    pub faults: Vec<FaultStatus>,
    /// Workers that died lately, oldest first.
    #[serde(default)]
    pub deaths: Vec<DeathStatus>,
    /// The last change, if it was a rollback: what is on disk is not what serves.
    #[serde(default)]
    pub rollback: Option<RollbackStatus>,
    /// The last reload, if it was refused: what is on disk is not what serves.
    #[serde(default)]
    pub refused: Option<RefusalStatus>,
}

/// A rollback since which no reload has succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackStatus {
    /// The generation that served before.
    pub from: Option<u64>,
    /// The one that it went back to.
    pub to: u64,
    /// Whether the master did it by itself.
    pub by_itself: bool,
    /// Seconds since then.
    pub age_s: u64,
    /// Requests that the one before had failed at while it was active.
    pub faults: u64,
    /// Seconds for which that was.
    pub active_s: u64,
}

/// A reload that was refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefusalStatus {
    /// Seconds since then.
    pub age_s: u64,
    /// Why, in one sentence.
    pub reason: String,
    /// What the compiler said; may be empty.
    pub diagnostics: Vec<Diagnostic>,
}

/// A script's failure, and the worker that told it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultStatus {
    /// Seconds since then.
    pub age_s: u64,
    /// Index of the worker.
    pub worker: usize,
    /// Its process.
    pub pid: i32,
    /// What went wrong, and where.
    #[serde(flatten)]
    pub fault: Fault,
}

/// The end of a worker that was none of its own will.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeathStatus {
    /// Seconds since then.
    pub age_s: u64,
    /// Milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Index of the worker.
    pub worker: usize,
    /// The process that it was.
    pub pid: i32,
    /// How it ended.
    pub how: String,
    /// Whether there is a core file.
    pub core_dumped: bool,
    /// Why the master killed it, if it did.
    pub killed_since: Option<String>,
    /// The generation that new requests went to.
    pub generation: u64,
    /// The beginning of the target of the request that a script was deciding on, if one was: the script
    /// is what to look at first.
    pub target: Option<String>,
}

/// The master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterStatus {
    /// Its process.
    pub pid: i32,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Its version.
    pub version: String,
}

/// One generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerationStatus {
    /// Its number, from 1.
    pub number: u64,
    /// What it does.
    pub state: GenerationState,
    /// Seconds since its compile began.
    pub age_s: u64,
    /// How long each step of its compile took; zeroes before it is over.
    pub build: CompileSteps,
    /// Workers that have it mapped.
    pub workers: usize,
    /// What it holds in each of them, as they said last, about half a second ago.
    #[serde(default)]
    pub held: Vec<HeldStatus>,
    /// Build-id of its image, in hexadecimal; none before it is sealed.
    #[serde(default)]
    pub digest: Option<String>,
    /// Requests that it decided, as workers said last, about half a second ago.
    #[serde(default)]
    pub decided: u64,
    /// Requests that it failed at.
    #[serde(default)]
    pub faults: u64,
    /// Bytes of memory of its image; 0 where it is kept no longer.
    #[serde(default)]
    pub image_bytes: u64,
    /// Whether it can be rolled back to.
    #[serde(default)]
    pub can_return: bool,
    /// Why not.
    #[serde(default)]
    pub cannot_return: Option<String>,
    /// Whether the master would go back to it by itself: it has served, and nothing is known against
    /// it.
    #[serde(default)]
    pub is_good: bool,
    /// Why it was refused, or could not be rolled back to when that was tried last.
    #[serde(default)]
    pub refusal: Option<String>,
    /// How far its probation is; none if it is on none.
    #[serde(default)]
    pub probation: Option<ProbationStatus>,
    /// What it had come to when it had failed too often to get through its probation.
    #[serde(default)]
    pub broken: Option<RecordStatus>,
    /// How it was rolled back from, if that ended its time as the active one.
    #[serde(default)]
    pub rolled_back: Option<RolledBackStatus>,
}

/// How far a probation is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbationStatus {
    /// Requests that the generation has failed at.
    pub faults: u64,
    /// As many, and the last good one comes back.
    pub faults_max: u64,
    /// Seconds until it is over.
    pub left_s: u64,
}

/// What a generation came to while it was active.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordStatus {
    /// Requests that it failed at.
    pub faults: u64,
    /// Seconds for which it was active until then.
    pub active_s: f64,
}

/// How a generation was rolled back from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolledBackStatus {
    /// Seconds since then.
    pub age_s: u64,
    /// Whether the master did it by itself.
    pub by_itself: bool,
    /// What it had come to.
    #[serde(flatten)]
    pub record: RecordStatus,
}

/// What one generation holds in one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldStatus {
    /// Index of the worker.
    pub worker: usize,
    /// Requests that the generation decided and that are not over. While it drains, these keep it.
    pub requests: u64,
    /// Bytes that its scripts have allocated and not given back.
    pub memory_bytes: u64,
    /// While it drains: the age of the oldest of these requests.
    pub oldest_ms: Option<u64>,
    /// While it drains: the beginning of that request's target.
    pub oldest_target: Option<String>,
}

/// What a worker does, as the master sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerActivity {
    /// Dead; the next is forked when its delay is over.
    Vacant,
    /// Forked, and not yet ready.
    Starting,
    /// Accepting and serving.
    Serving,
    /// New connections go elsewhere; it serves what it has, and then ends.
    Leaving,
    /// Finishing what it has, and then ends.
    Draining,
}

/// One worker index and the process that has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Index, from 0.
    pub index: usize,
    /// Process; none while it is vacant.
    pub pid: Option<i32>,
    /// What it does.
    pub state: WorkerActivity,
    /// The generation that new requests go to; 0 before the first.
    pub generation: u64,
    /// Requests answered by this index since the master started: by this process and by those that
    /// it replaced.
    pub requests: u64,
    /// Client connections open now.
    pub connections: u64,
    /// Requests that this process sent to origins, each time that one was sent.
    pub forwarded: u64,
    /// Connections to origins that this process opened; the fewer for its requests, the better its
    /// pools work.
    pub origin_connections: u64,
    /// Requests that this process sent again after a failure.
    pub retries: u64,
    /// Requests and connections that this process answered 503, for want of a server, of room in a
    /// queue or of a place.
    pub turned_away: u64,
    /// How often the process of this index was replaced.
    pub restarts: u32,
    /// Seconds since this process was forked.
    pub uptime_s: u64,
}

/// The process that resolves names and checks servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerStatus {
    /// Process; none while the next waits to be forked.
    pub pid: Option<i32>,
    /// How often it was replaced after it had died.
    pub restarts: u32,
}

/// What is known of upstreams' servers beside the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamsStatus {
    /// Servers that are configured by name.
    pub names: Vec<NameStatus>,
    /// Servers that get no requests.
    pub out: Vec<OutStatus>,
}

/// A name and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameStatus {
    /// With its port, as configured.
    pub name: String,
    /// Empty if it has never resolved.
    pub addresses: Vec<SocketAddr>,
}

/// A server that gets no requests, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutStatus {
    /// Name of its upstream.
    pub upstream: String,
    /// The server.
    pub server: SocketAddr,
    /// Whether its health check says so.
    pub is_down: bool,
    /// Milliseconds for which workers still send it nothing for its failures.
    pub ejected_ms: Option<u64>,
    /// What it is ejected for.
    pub ejected_why: Option<Ejection>,
}

/// Why a call over the control socket came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens there.
    #[error("no kiln answers at {path} ({error}): is it running, and is this its --control path?")]
    Connect {
        /// The socket's path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The reply did not come in time.
    #[error("the kiln at {0} did not answer in time")]
    TimedOut(PathBuf),
    /// The connection broke.
    #[error("lost the connection to the kiln at {path}: {error}")]
    Lost {
        /// The socket's path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The reply does not parse: another version answers.
    #[error("the kiln at {path} answers in a way that this version does not know: {error}")]
    Incompatible {
        /// The socket's path.
        path: PathBuf,
        /// What does not parse.
        error: serde_json::Error,
    },
}

/// Sends a request and waits for the reply, for `timeout` at most.
pub fn call(
    path: &Path,
    request: &ControlRequest,
    timeout: Duration,
) -> Result<ControlReply, ControlError> {
    let deadline = Instant::now() + timeout;
    let stream = UnixStream::connect(path)
        .map_err(|error| ControlError::Connect { path: path.to_owned(), error })?;
    let reply = exchange(stream, request, deadline).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            ControlError::TimedOut(path.to_owned())
        }
        _ => ControlError::Lost { path: path.to_owned(), error },
    })?;
    serde_json::from_slice(&reply)
        .map_err(|error| ControlError::Incompatible { path: path.to_owned(), error })
}

fn exchange(
    mut stream: UnixStream,
    request: &ControlRequest,
    deadline: Instant,
) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.set_write_timeout(Some(remaining(deadline)?))?;
    stream.write_all(&line)?;
    let mut reply = Vec::new();
    let mut part = [0; 16 * 1024];
    loop {
        stream.set_read_timeout(Some(remaining(deadline)?))?;
        match stream.read(&mut part)? {
            0 if reply.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            0 => return Ok(reply),
            length => reply.extend_from_slice(&part[..length]),
        }
        if reply.len() as u64 > REPLY_MAX {
            return Err(io::Error::other("the reply is too long"));
        }
    }
}

fn remaining(deadline: Instant) -> io::Result<Duration> {
    let remaining = deadline.saturating_duration_since(Instant::now());
    if remaining.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(remaining) }
}

/// Reads one request line, without its newline.
pub(crate) fn parse(line: &[u8]) -> Result<ControlRequest, String> {
    serde_json::from_slice(line).map_err(|error| {
        format!(
            "not a request ({error}); send {{\"command\":\"reload\"}}, {{\"command\":\"status\"}} or \
             {{\"command\":\"rollback\"}}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expect: Option<ControlRequest>) {
        assert_eq!(parse(line.as_bytes()).ok(), expect, "{line}");
    }

    #[test]
    fn a_request_names_its_command() {
        check(r#"{"command":"reload"}"#, Some(ControlRequest::Reload));
        check(r#" { "command" : "status" } "#, Some(ControlRequest::Status));
        let rollback = |generation| Some(ControlRequest::Rollback { generation });
        check(r#"{"command":"rollback"}"#, rollback(None));
        check(r#"{"command":"rollback","generation":3}"#, rollback(Some(3)));
        check(r#"{"command":"rollback","generation":"last"}"#, None);
        check(r#"{"command":"halt"}"#, None);
        check(r#"{"command":"reload"} {"command":"status"}"#, None);
        check("reload", None);
        check("", None);
    }

    #[test]
    fn a_reply_is_one_line_that_reads_back() {
        let reply = ControlReply::Refused {
            generation_serving: Some(3),
            diagnostics: Vec::new(),
            reason: "two\nlines".to_owned(),
        };
        let line = serde_json::to_string(&reply).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<ControlReply>(&line).unwrap(), reply);
    }
}
