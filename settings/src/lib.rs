//! What an operator can set: each setting stands here once, with its name in `kiln.toml`, its type,
//! its default, its range, its unit and a sentence.
//!
//! Whoever checks, explains or documents settings reads [`Setting`]s ([`File::SETTINGS`] and what is
//! below); whoever serves reads the fields. Nothing here reads a file: that is the command line's
//! part. A value that was not checked against its range there is served as it is.
#![forbid(unsafe_code)]

mod address;
mod mistake;
mod network;
mod own;
mod setting;
mod statuses;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

pub use address::{canonical_server, check_listen, check_server, check_upstream_name};
pub use network::{Network, NotANetwork};
pub use own::own_listener;
use setting::table;
pub use setting::{Check, Kind, Setting};
pub use statuses::{NotStatuses, Statuses};

/// More than any machine has memory for, and few enough that sums of such numbers don't overflow.
const MANY: u64 = 1 << 20;
/// A day: what is meant to last longer should not hang on one connection.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Bytes of the largest head. Whoever needs more sends content.
pub const HEAD_BYTES_MAX: u64 = 1 << 20;
/// Field lines of the largest head (`http::FIELDS_MAX`).
pub const FIELDS_MAX: u64 = 4000;
/// Names of fields whose values are told: more than any list of them that a person writes.
const FIELDS_TOLD_MAX: usize = 100;
/// Workers: twice the cores of the largest machines that one load balancer is put on.
pub const WORKERS_MAX: u64 = 1024;
/// Upstreams: a large installation has some hundred.
pub const UPSTREAMS_MAX: usize = 1024;
/// Servers of one upstream. Beyond, a second tier of balancers is what helps.
pub const SERVERS_MAX: usize = 256;
/// Addresses to listen on: each is a socket in every worker.
pub const LISTEN_MAX: usize = 64;
/// Networks of trusted proxies: each request of an untrusted client is compared with all of them.
pub const TRUSTED_PROXIES_MAX: usize = 256;
/// Statuses and ranges of them in one list: each response is compared with all of them.
pub const STATUSES_MAX: usize = 32;
/// Folders of headers: Clang looks for each header in one after the other.
pub const INCLUDE_MAX: usize = 64;
/// Where Kiln listens when nobody says: on this machine only, on a port that needs no privilege.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:8080";

table! {
    /// The file. Paths in it are relative to its folder.
    File {}
    {
        /// Addresses and ports to listen on. [::] is every IPv6 address and no IPv4 one, as in nginx: list 0.0.0.0 beside it.
        /// By default only this machine reaches Kiln, on a port that needs no privilege.
        listen: Vec<SocketAddr> = vec![LISTEN_DEFAULT.parse().expect("an address")], Kind::List {
            default: "[\"127.0.0.1:8080\"]",
            takes: "addresses with ports",
            check: check_listen,
            table: &[],
            length_max: LISTEN_MAX,
        };
        /// How many workers: processes of one thread each.
        workers: Option<u64> = None, Kind::OptionalNumber {
            default: "one for each CPU",
            range: 1..=WORKERS_MAX,
            unit: "workers",
        };
        /// A script, or a folder of scripts that are asked in the order of their names.
        /// In a folder their names end in .cc, .cpp or .cxx; those of their tests, in _test.cc and the like, are left out.
        script: Option<PathBuf> = None, Kind::Text {
            default: "none: --script must name it",
            takes: "a path",
            check: setting::path,
        };
        /// Folders where headers of scripts are looked for, after the folder of the file that includes them and before the standard headers.
        /// Beside their own folder scripts read nothing else: a script may be a link to a file anywhere, and a header a link into one of these.
        include: Vec<PathBuf> = Vec::new(), Kind::List {
            default: "[]",
            takes: "paths of folders",
            check: setting::not_empty,
            table: &[],
            length_max: INCLUDE_MAX,
        };
        /// File for the master's process id, locked while it runs.
        pid_file: Option<PathBuf> = None, Kind::Text {
            default: "none",
            takes: "a path",
            check: setting::path,
        };
        /// Unix socket of `kiln reload` and `kiln status`.
        control: Option<PathBuf> = None, Kind::Text {
            default: "/run/kiln.sock, or kiln.sock in $XDG_RUNTIME_DIR when not root",
            takes: "a path",
            check: setting::path,
        };
        /// Networks whose X-Forwarded-Host, -Port and -Proto and Forwarded are kept.
        /// Those of everybody else are replaced, since anybody can write them; X-Forwarded-For is added to in either case.
        trusted_proxies: Vec<String> = Vec::new(), Kind::List {
            default: "[]",
            takes: "networks in CIDR notation",
            check: check_network,
            table: &[],
            length_max: TRUSTED_PROXIES_MAX,
        };
        /// Whether fields of requests with a `_` in their names are passed on. By default they are dropped, and scripts do not see them.
        /// Origins that make variables of fields (CGI, WSGI, Rack, PHP) take `X_User` for `X-User`. So fields that they would take for one that Kiln or a script writes are dropped in either case.
        underscores_in_headers: bool = false, Kind::Flag { default: false };
        /// How Kiln names itself in `Via`, in requests and in responses: "on" is "kiln", anything else a name of your own, "off" leaves the field out.
        /// Gateways have to send it (RFC 9110, section 7.6.3), and Kiln knows a request by it that comes back to where it was sent, and answers 508. nginx with its defaults compresses no answer to a request that has it: set `gzip_proxied any` there, or remove it for that upstream (`request.remove_header("via")`).
        via: String = VIA_ON.to_owned(), Kind::Text {
            default: "\"on\"",
            takes: "\"on\", \"off\" or a name",
            check: check_via,
        };
        /// Limits on what clients may send and hold.
        limits: Limits = Limits::default(), Kind::Table {
            default: "the defaults in it",
            settings: Limits::SETTINGS,
        };
        /// How long Kiln waits for whom.
        timeouts: Timeouts = Timeouts::default(), Kind::Table {
            default: "the defaults in it",
            settings: Timeouts::SETTINGS,
        };
        /// How scripts are compiled, and what a compile may take.
        compile: Compile = Compile::default(), Kind::Table {
            default: "the defaults in it",
            settings: Compile::SETTINGS,
        };
        /// What happens when a script fails, and when it counts as having failed.
        faults: Faults = Faults::default(), Kind::Table {
            default: "the defaults in it",
            settings: Faults::SETTINGS,
        };
        /// Who Kiln's processes are. A change takes a restart.
        process: Process = Process::default(), Kind::Table {
            default: "the defaults in it",
            settings: Process::SETTINGS,
        };
        /// Servers that scripts forward to, under the name that they use.
        #[serde(deserialize_with = "upstreams")]
        upstreams: BTreeMap<String, Upstream> = BTreeMap::new(), Kind::Named {
            settings: Upstream::SETTINGS,
            short_for: "servers",
            length_max: UPSTREAMS_MAX,
        };
    }
}

/// `via` that stands for [`VIA_NAME`], and the one for no field.
const VIA_ON: &str = "on";
const VIA_OFF: &str = "off";

/// How Kiln is called in `Via` unless told otherwise.
const VIA_NAME: &str = "kiln";

/// Bytes of a name of the operator's own in `Via`: that of a host, which it may be.
const VIA_BYTES_MAX: usize = 255;

/// A pseudonym is a token (RFC 9110, sections 5.6.2 and 7.6.3).
fn check_via(text: &str) -> Result<(), String> {
    let is_token_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match (1..=VIA_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_token_byte) {
        true => Ok(()),
        false => Err(format!(
            "is not a name of 1 to {VIA_BYTES_MAX} letters, digits and hyphens, as in edge-1.example"
        )),
    }
}

fn check_network(text: &str) -> Result<(), String> {
    text.parse::<Network>().map(drop).map_err(|wrong| wrong.to_string())
}

table! {
    /// Limits on what clients may send and hold. Each is of one worker.
    Limits {
        /// Client connections open at once; one more is answered 503.
        /// With a descriptor for each and one for its origin, the default is half of the usual hard limit of 65536.
        connections: 16 * 1024, 1..=MANY, "connections";
        /// Connections of one client address (of one /64 for IPv6); one more is answered 503.
        /// Many users may share an address, so that the default is no limit of its own.
        client_connections: 16 * 1024, 1..=MANY, "connections";
        /// Requests on one client connection before it is closed.
        /// Often enough for connections to spread over workers again after their number has changed.
        requests_per_connection: 100_000, 1..=1 << 40, "requests";
        /// Bytes of a request head; more is answered 431.
        /// Some sites have 20 KB of cookies. What is beyond 16 KiB comes out of large_heads_bytes.
        head_bytes: 64 * 1024, 1024..=HEAD_BYTES_MAX, "bytes";
        /// Bytes of a request line; more is answered 414.
        /// RFC 9112, section 3, asks for at least 8000, and some sites have URLs of 16 KB.
        line_bytes: 32 * 1024, 64..=HEAD_BYTES_MAX, "bytes";
        /// Field lines of a request head; more is answered 431.
        /// Browsers send about 20, gateways add a few; beyond 100 a head takes more time to parse.
        fields: 200, 1..=FIELDS_MAX, "lines";
        /// Bytes of a response head; a response with more becomes a 502.
        /// The head of a script's reply may have as many, and 16 KiB in any case; one with more becomes a 500.
        response_head_bytes: 64 * 1024, 1024..=HEAD_BYTES_MAX, "bytes";
        /// Field lines of a response head; a response with more becomes a 502.
        response_fields: 200, 1..=FIELDS_MAX, "lines";
        /// Bytes of all buffers that hold a head of more than 16 KiB: while it arrives, while an origin may still need it again, while it is written.
        /// Requests that arrive may take half of it, so that slow senders leave the rest; beyond, a request is answered 431 and a response becomes a 502. The default is room for some thousand such heads, and the least is room for one of the largest.
        large_heads_bytes: 256 << 20, 8 * HEAD_BYTES_MAX..=1 << 36, "bytes";
        /// Bytes of a request body; more is answered 413.
        /// Bodies stream through bounded memory, so this stops a sender without end and nobody else.
        request_body_bytes: 16 << 30, 0..=1 << 50, "bytes";
        /// Bytes a second that a request body must bring on average, once body_grace_ms is over; 0 is any rate.
        /// Low enough for the slowest links, and a sender that dribbles does not hold a connection for days.
        request_body_rate: 128, 0..=1 << 40, "bytes a second";
        /// Bytes of a request body that are read and thrown away to keep the connection, after an answer that did not need it.
        /// Beyond that a new connection costs less.
        discard_bytes: 64 * 1024, 0..=1 << 30, "bytes";
        /// Bytes that the scripts of one generation may allocate; beyond, `malloc` returns null and `new` throws std::bad_alloc.
        /// Generations that end give all of it back. What keeping blocks apart costs, 32 bytes each and more, counts too.
        script_memory_bytes: 256 << 20, 1 << 20..=1 << 36, "bytes";
    }
}

table! {
    /// How long Kiln waits for whom.
    Timeouts {
        /// For a request head to arrive, from its first byte or from the connection.
        /// A head is a few packets, and slow senders hold a buffer each.
        head_ms: 10_000, 1..=DAY_MS, "ms";
        /// For another request on a client connection.
        /// Browsers keep theirs for about a minute.
        keep_alive_ms: 75_000, 1..=DAY_MS, "ms";
        /// For a byte in the middle of a body that somebody is to send or to take: a request's, by the client and then by the origin; a response's, by the client.
        /// What an origin sends has response_body_ms.
        body_ms: 30_000, 1..=DAY_MS, "ms";
        /// Before limits.request_body_rate counts.
        body_grace_ms: 20_000, 1..=DAY_MS, "ms";
        /// For a connection to an origin to open.
        /// One lost SYN is sent again after 1 s.
        connect_ms: 3_000, 1..=DAY_MS, "ms";
        /// For the head of a response, from the end of the request.
        response_head_ms: 60_000, 1..=DAY_MS, "ms";
        /// For a whole exchange with an origin, from the script's decision to the end of the response.
        /// Long downloads and streams of events are usual, so the default is a day; response_body_ms finds out which of them are dead.
        exchange_ms: DAY_MS, 1..=7 * DAY_MS, "ms";
        /// For a place in the queue of an upstream whose servers are all busy; after that the answer is 503.
        queue_ms: 5_000, 1..=DAY_MS, "ms";
        /// For a byte in either direction of a tunnel (an upgraded connection, or CONNECT).
        tunnel_ms: 3_600_000, 1..=7 * DAY_MS, "ms";
        /// That an idle connection to an origin is kept.
        /// Common servers close theirs after 60 to 75 s, and the race between close and reuse should be rare.
        origin_idle_ms: 55_000, 1..=DAY_MS, "ms";
        /// For an origin to answer Expect: 100-continue, before Kiln itself tells the client to go on.
        /// curl waits as long.
        continue_ms: 1_000, 1..=DAY_MS, "ms";
        /// To read and throw away what a client still sends after its last answer.
        linger_ms: 2_000, 1..=DAY_MS, "ms";
        /// For requests to finish once a worker drains.
        drain_ms: 60_000, 0..=DAY_MS, "ms";
        /// For a worker to get ready, to load or retire a generation, or to turn its loop once. One that takes longer is stuck, perhaps in a script: it is killed and replaced, unless a debugger has it.
        worker_ms: 10_000, 1_000..=DAY_MS, "ms";
        /// For the scripts to compile.
        compile_ms: 60_000, 1..=DAY_MS, "ms";
    }
    {
        /// For a byte in the middle of a response's body that the origin is to send.
        /// A stream of events may have nothing to say; its heartbeats usually come every 15 to 60 s, so that the default is 5 minutes.
        response_body_ms: Option<u64> = None, Kind::OptionalNumber {
            default: "ten times body_ms",
            range: 1..=DAY_MS,
            unit: "ms",
        };
    }
}

/// How much longer an origin may be silent in a response's body than others in the middle of one.
const SILENCE_FACTOR: u64 = 10;

table! {
    /// How scripts are compiled, and what a compile may take.
    Compile {
        /// Memory that a compile may allocate; one that needs more is refused.
        /// Clang needs some 300 MB for a usual script, and a template gone wild must not take the machine's memory.
        memory_bytes: 4 << 30, 256 << 20..=1 << 40, "bytes";
        /// What earlier compiles left and later ones use again, all files together; 0 is nothing.
        /// A usual generation is some 2 MB, so that the default remembers about a hundred.
        cache_bytes: 256 << 20, 0..=1 << 40, "bytes";
    }
    {
        /// Folder of what earlier compiles left. Nobody else may be able to write to it.
        cache: Option<PathBuf> = None, Kind::Text {
            default: "$CACHE_DIRECTORY (systemd's CacheDirectory=), /var/cache/kiln for root, kiln in $XDG_CACHE_HOME or ~/.cache for others",
            takes: "a path",
            check: setting::path,
        };
        /// What debuggers and profilers see: with "lines" files and lines, with "full" variables and types as well.
        /// Lines alone compile faster; backtraces and profiles are the same.
        debug: Debug = Debug::Full, Kind::Word { default: "full", words: &["full", "lines"] };
        /// What the code is made for: "host" is this machine, anything else an x86-64 processor by LLVM's name for it, as in "x86-64-v3" or "znver3".
        cpu: String = "host".to_owned(), Kind::Text {
            default: "\"host\"",
            takes: "a processor",
            check: check_cpu,
        };
    }
}

table! {
    /// What happens when a script fails, and when it counts as having failed.
    Faults {
        /// CPU time of one hook call; one that takes more is stopped.
        /// A usual call takes some microseconds, and one that fills tables some hundred milliseconds; it is looked at every 10 ms.
        hook_cpu_ms: 1_000, 10..=60_000, "ms";
        /// Time of one hook call, whatever it is spent on; one that takes more is stopped.
        /// More than the CPU time, since other processes may have the CPU.
        hook_wall_ms: 5_000, 100..=60_000, "ms";
        /// Bytes that one hook call may allocate and not give back; beyond, the call is stopped.
        /// The default is what limits.script_memory_bytes allows a generation by default, and so no limit of its own.
        request_memory_bytes: 256 << 20, 64 << 10..=1 << 36, "bytes";
        /// Lines a second that the scripts of a generation may log in one worker; more are counted and dropped.
        log_lines: 1000, 0..=1 << 20, "lines a second";
        /// Failed requests of a new generation, in all workers together, after which the one before it comes back by itself; 0 is never.
        probation_faults: 5, 0..=MANY, "requests";
        /// How long a generation is new.
        probation_s: 60, 1..=24 * 60 * 60, "s";
    }
    {
        /// What the client gets whose request a script failed at: "closed" is 500, "open" forwards the request as it came, "previous" asks the generation before, and is "closed" where that fails too.
        policy: Policy = Policy::Closed, Kind::Word {
            default: "closed",
            words: &["closed", "open", "previous"],
        };
        /// Where "open" forwards to.
        upstream: Option<String> = None, Kind::Text {
            default: "the only upstream; it has to be named where there are several",
            takes: "the name of an upstream",
            check: check_upstream_name,
        };
        /// Fields of a request whose values are told when a script fails at it; of others only the names are.
        fields: Vec<String> = SHOWN_FIELDS.map(str::to_owned).to_vec(), Kind::List {
            default: "[\"host\", \"user-agent\", \"accept\", \"accept-encoding\", \"content-type\", \"content-length\"]",
            takes: "names of fields",
            check: setting::field_name,
            table: &[],
            length_max: FIELDS_TOLD_MAX,
        };
        /// Whether a worker survives when a script crashes in it. Where it does not, it dies with all that it was at, and leaves a core file of up to process.core_bytes: for those who look for a bug.
        recover: bool = true, Kind::Flag { default: true };
        /// Whether the queries of targets are told as well.
        queries: bool = false, Kind::Flag { default: false };
        /// Whether a system call that a script makes is a fault, whichever it is; those that Kiln makes for it (its effects, its memory) are none.
        /// Without it only calls that no worker needs are. It takes Linux 5.11 (Syscall User Dispatch), and makes each call of a worker some 40 ns slower.
        strict: bool = false, Kind::Flag { default: false };
    }
}

table! {
    /// Who Kiln's processes are. A change takes a restart.
    Process {
        /// Bytes of the core file that a worker leaves when it dies; 0 is none.
        /// A core holds whatever the worker had in memory, requests and keys too. The kernel writes it where /proc/sys/kernel/core_pattern says, with the rights of the worker's user.
        core_bytes: 0, 0..=1 << 50, "bytes";
    }
    {
        /// User that workers, broker, keeper and compile children become, by name or number; the master stays who it is.
        /// It has to be able to read the scripts. What an earlier user left in the cache is not used.
        user: Option<String> = None, Kind::Text {
            default: "none: all are who started Kiln",
            takes: "a user",
            check: setting::identity,
        };
        /// Group that they become, by name or number. They are in no other.
        group: Option<String> = None, Kind::Text {
            default: "the group of process.user",
            takes: "a group",
            check: setting::identity,
        };
        /// Group whose members may use the control socket, beside whoever started Kiln.
        control_group: Option<String> = None, Kind::Text {
            default: "none",
            takes: "a group",
            check: setting::identity,
        };
    }
}

/// Fields whose values say what kind of request it was and not whose.
const SHOWN_FIELDS: [&str; 6] =
    ["host", "user-agent", "accept", "accept-encoding", "content-type", "content-length"];

/// What is done with a request that a script failed at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// It is answered 500.
    #[default]
    Closed,
    /// It is forwarded as it came.
    Open,
    /// The generation before decides on it.
    Previous,
}

/// How much debug information scripts are compiled with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Debug {
    /// Variables and types, beside files and lines.
    #[default]
    Full,
    /// Files and lines of all code, inlined functions included.
    Lines,
}

/// Only the form: which names there are LLVM knows, and the compile says so.
fn check_cpu(text: &str) -> Result<(), String> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    match text.len() {
        1..=64 if text.bytes().all(is_name) => Ok(()),
        _ => Err("is not the name of a processor, as in host, x86-64-v3 or znver3".to_owned()),
    }
}

/// How the server for a request is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// Each in its turn, as often as its weight says.
    #[default]
    RoundRobin,
    /// The one with the fewest requests for its weight.
    LeastRequests,
    /// Of two at random, the one that answers sooner and has fewer requests (power of two choices, over
    /// an exponentially weighted moving average of latency).
    TwoChoices,
    /// By a key (Maglev): the same key goes to the same server while that is there.
    Hash,
}

table! {
    /// One upstream: servers that answer the same requests. Limits are of one worker.
    Upstream {
        /// Connections to each server at once; requests beyond wait in the queue.
        connections: 1024, 1..=MANY, "connections";
        /// Requests that wait while all servers are busy; one more is answered 503.
        queue: 1024, 0..=MANY, "requests";
        /// Idle connections kept to each server.
        /// More than the usual concurrency of one worker to one server.
        idle: 64, 0..=65_536, "connections";
        /// Servers that one request is sent to at most, one after the other, while that is safe; 1 is never another one.
        /// A third failure says more about the network than about the servers. One that refuses the connection at once is passed over and not counted.
        tries: 3, 1..=10, "servers";
        /// Requests in a hundred that may be sent again after a server had some of them; beyond, a failure is told to the client at once.
        /// So servers that are overloaded don't get more load for it. Where no connection could be opened, going on costs them nothing and is not counted.
        retry_percent: 20, 0..=100, "%";
        /// Failures in a row (no connection, no valid answer in time, a status of eject_statuses) after which a server gets no requests for eject_ms, as long as another one is there; 0 is never.
        eject_failures: 5, 0..=1000, "failures";
        /// For how long a server is out at first; longer each time that it fails again at once, up to ten times that.
        eject_ms: 10_000, 1..=DAY_MS, "ms";
        /// Servers in a hundred that may be out at once for what they answer, or for being too slow.
        /// When most fail, the fault is likely elsewhere. Servers that can't be connected to may be out beyond that, as long as one is left.
        eject_percent: 50, 0..=100, "%";
        /// Time in which a server that comes back gets its share of requests little by little; 0 is at once.
        slow_start_ms: 0, 0..=DAY_MS, "ms";
        /// How often the names of its servers are resolved again.
        resolve_ms: 10_000, 100..=DAY_MS, "ms";
    }
    {
        /// Its servers: `"ADDRESS:PORT"`, `"NAME:PORT"`, or a table, as below.
        /// A name stands for every address that it resolves to.
        #[serde(deserialize_with = "servers")]
        servers: Vec<Server> = Vec::new(), Kind::List {
            default: "[]",
            takes: "addresses with ports or tables",
            check: check_server,
            table: Server::SETTINGS,
            length_max: SERVERS_MAX,
        };
        /// Statuses of responses that count as failures for eject_failures: one, or a range as in "500-599".
        /// By default those by which a server says that it can't serve. Others come with requests rather than with servers: a client that knows how to cause a 500 could take servers out.
        eject_statuses: Vec<Statuses> = eject_statuses(), Kind::List {
            default: "[502, 503, 504]",
            takes: "statuses or ranges of them",
            check: check_statuses,
            table: &[],
            length_max: STATUSES_MAX,
        };
        /// How the server for a request is chosen.
        balance: Balance = Balance::RoundRobin, Kind::Word {
            default: "round-robin",
            words: &["round-robin", "least-requests", "two-choices", "hash"],
        };
        /// Whether `CONNECT` requests that a script forwards here become tunnels to a server of this upstream.
        connect: bool = false, Kind::Flag { default: false };
        /// Whether a request is given up once its client has closed its side of the connection; one that waits in the queue always is.
        /// A client that only shuts its side and still reads looks the same and gets no answer then (RFC 9112, section 9.6, lets it expect one), so the default is false. Turn it on where users close tabs on slow pages and nobody sends requests by `nc`, as nginx and HAProxy (from 3.3) do by default.
        abort_on_close: bool = false, Kind::Flag { default: false };
        /// Asks each server whether it is well; without it every server counts as well.
        health: Option<Health> = None, Kind::Table { default: "none", settings: Health::SETTINGS };
        /// Instead of timeouts.connect_ms.
        connect_ms: Option<u64> = None, Kind::OptionalNumber {
            default: "timeouts.connect_ms",
            range: 1..=DAY_MS,
            unit: "ms",
        };
        /// Instead of timeouts.response_head_ms.
        response_head_ms: Option<u64> = None, Kind::OptionalNumber {
            default: "timeouts.response_head_ms",
            range: 1..=DAY_MS,
            unit: "ms",
        };
        /// Instead of timeouts.response_body_ms.
        response_body_ms: Option<u64> = None, Kind::OptionalNumber {
            default: "timeouts.response_body_ms, or ten times the body_ms of this upstream",
            range: 1..=DAY_MS,
            unit: "ms",
        };
        /// Instead of timeouts.body_ms, for what the origin takes of a request's body.
        body_ms: Option<u64> = None, Kind::OptionalNumber {
            default: "timeouts.body_ms",
            range: 1..=DAY_MS,
            unit: "ms",
        };
        /// Instead of timeouts.exchange_ms.
        exchange_ms: Option<u64> = None, Kind::OptionalNumber {
            default: "timeouts.exchange_ms",
            range: 1..=7 * DAY_MS,
            unit: "ms",
        };
    }
}

fn eject_statuses() -> Vec<Statuses> {
    vec!["502-504".parse().expect("a range")]
}

fn check_statuses(text: &str) -> Result<(), String> {
    text.parse::<Statuses>().map(drop).map_err(|wrong| wrong.to_string())
}

impl Upstream {
    /// For how long its servers may be silent in a response's body.
    pub fn response_body_ms(&self, timeouts: &Timeouts) -> u64 {
        let ten_times = |body_ms: u64| body_ms.saturating_mul(SILENCE_FACTOR);
        let own = self.response_body_ms.or(self.body_ms.map(ten_times));
        own.or(timeouts.response_body_ms).unwrap_or(ten_times(timeouts.body_ms))
    }

    /// Whether a response of this status is a failure of its server.
    pub fn is_failure(&self, status: u16) -> bool {
        self.eject_statuses.iter().any(|statuses| statuses.contains(status))
    }
}

table! {
    /// How a server is asked whether it is well: `GET path`, from one process for all workers.
    Health {
        /// Time between two questions to one server.
        interval_ms: 2_000, 10..=DAY_MS, "ms";
        /// Time for the whole answer, with its body.
        timeout_ms: 1_000, 1..=DAY_MS, "ms";
        /// Good answers in a row after which a server gets requests again.
        rise: 2, 1..=1000, "answers";
        /// Bad answers in a row after which a server gets no more requests.
        fall: 3, 1..=1000, "answers";
        /// The lowest status that is a good answer.
        status_min: 200, 100..=599, "status";
        /// The highest status that is a good answer.
        status_max: 399, 100..=599, "status";
    }
    {
        /// Target of the request. An answer of more than 1 MiB is a bad one.
        path: String = "/".to_owned(), Kind::Text {
            default: "\"/\"",
            takes: "a path",
            check: address::check_path,
        };
        /// `Host` of the request.
        host: Option<String> = None, Kind::Text {
            default: "the upstream's name",
            takes: "a host",
            check: address::check_host_field,
        };
    }
}

table! {
    /// One server, where more is to be said of it than its address.
    Server {
        /// Its share of requests, beside the weights of the others.
        weight: 1, 1..=1000, "parts";
    }
    {
        /// Address or name, with the port. It has no default.
        address: String = String::new(), Kind::Text {
            default: "none",
            takes: "an address or a name, with a port",
            check: check_server,
        };
        /// Whether it gets no new requests.
        drain: bool = false, Kind::Flag { default: false };
    }
}

impl Server {
    /// A server of usual weight.
    pub fn new(address: impl Into<String>) -> Self {
        Server { address: address.into(), ..Server::default() }
    }
}

/// What a worker needs. It travels as JSON to workers that run when the configuration changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// Limits on clients.
    pub limits: Limits,
    /// Whom to wait for how long.
    pub timeouts: Timeouts,
    /// What to do when a script fails.
    pub faults: Faults,
    /// Where requests can be forwarded to, by name.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Networks, each a [`Network`], whose X-Forwarded-* fields are kept.
    pub trusted_proxies: Vec<String>,
    /// Whether fields of requests with a `_` in their names are passed on.
    pub underscores_in_headers: bool,
    /// How Kiln names itself, as in the file.
    pub via: String,
    /// A number that no other Kiln has, by which it knows requests of its own; none where loops are not
    /// looked for.
    pub identity: Option<u64>,
}

impl Worker {
    /// The name that goes into `Via`, if there is to be one.
    pub fn via_name(&self) -> Option<&str> {
        match self.via.as_str() {
            VIA_OFF => None,
            VIA_ON => Some(VIA_NAME),
            name => Some(name),
        }
    }
}

impl Default for Worker {
    fn default() -> Self {
        File::default().into()
    }
}

impl From<File> for Worker {
    fn from(file: File) -> Self {
        Worker {
            limits: file.limits,
            timeouts: file.timeouts,
            faults: file.faults,
            upstreams: file.upstreams,
            trusted_proxies: file.trusted_proxies,
            underscores_in_headers: file.underscores_in_headers,
            via: file.via,
            identity: None,
        }
    }
}

/// Reads what may be written short: a list of servers in place of a table, a string in place of a
/// server's table.
fn upstreams<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Upstream>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Short(#[serde(deserialize_with = "servers")] Vec<Server>),
        Whole(Box<Upstream>),
    }
    let written = BTreeMap::<String, Written>::deserialize(deserializer)?;
    let whole = |written| match written {
        Written::Short(servers) => Upstream { servers, ..Upstream::default() },
        Written::Whole(upstream) => *upstream,
    };
    Ok(written.into_iter().map(|(name, written)| (name, whole(written))).collect())
}

fn servers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Server>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Short(String),
        Whole(Server),
    }
    let whole = |written| match written {
        Written::Short(address) => Server::new(address),
        Written::Whole(server) => server,
    };
    Ok(Vec::<Written>::deserialize(deserializer)?.into_iter().map(whole).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(settings: &[Setting]) {
        for setting in settings {
            let name = setting.name;
            assert!(setting.sentence.ends_with('.'), "{name} has a sentence");
            match &setting.kind {
                Kind::Number { default, range, .. } => assert!(range.contains(default), "{name}"),
                Kind::Word { default, words } => assert!(words.contains(default), "{name}"),
                Kind::Table { settings, .. } | Kind::Named { settings, .. } => check(settings),
                Kind::List { table, .. } => check(table),
                Kind::OptionalNumber { .. } | Kind::Flag { .. } | Kind::Text { .. } => {}
            }
        }
    }

    #[test]
    fn every_default_is_one_of_the_values_and_every_setting_has_a_sentence() {
        check(File::SETTINGS);
    }

    #[test]
    fn via_is_on_off_or_a_token() {
        for (via, expect) in [("on", Some("kiln")), ("off", None), ("cdn-1.a_b", Some("cdn-1.a_b"))]
        {
            assert_eq!(check_via(via), Ok(()));
            let worker = Worker { via: via.to_owned(), ..Worker::default() };
            assert_eq!(worker.via_name(), expect);
        }
        for via in ["", "a b", "a:80", "a,b", "a(b)", "a\r\nX: y", "\u{e9}", &"x".repeat(256)] {
            assert!(check_via(via).is_err(), "{via:?}");
        }
        assert_eq!(Worker::default().via_name(), Some("kiln"));
    }

    #[test]
    fn a_user_is_no_number_that_changes_nothing() {
        for right in ["www-data", "0", "65534", "4294967294"] {
            assert_eq!(setting::identity(right), Ok(()), "{right}");
        }
        for wrong in ["", "4294967295"] {
            assert!(setting::identity(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_written_short_is_what_is_written_in_full() {
        let short = r#"{"upstreams": {"web": ["a:1", {"address": "b:2", "weight": 3}]}}"#;
        let full = r#"{"upstreams": {"web": {"servers": [{"address": "a:1"}, {"address": "b:2",
            "weight": 3, "drain": false}], "balance": "round-robin"}}}"#;
        let [short, full] = [short, full].map(|text| serde_json::from_str::<File>(text).unwrap());
        assert_eq!(short, full);
        assert_eq!(short.upstreams["web"].servers[0], Server::new("a:1"));
    }

    #[test]
    fn settings_of_a_worker_arrive_as_they_were() {
        let mut worker = Worker { trusted_proxies: vec!["::1".to_owned()], ..Worker::default() };
        let health = Some(Health { host: Some("web".to_owned()), ..Health::default() });
        let upstream = Upstream { health, balance: Balance::Hash, ..Upstream::default() };
        worker.upstreams.insert("web".to_owned(), upstream);
        let json = serde_json::to_vec(&worker).unwrap();
        assert_eq!(serde_json::from_slice::<Worker>(&json).unwrap(), worker);
    }
}
