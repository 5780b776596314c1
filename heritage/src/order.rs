//! The closed enums that the master and its children speak.
//!
//! They travel as JSON in one datagram each, with the descriptors they are about beside them:
//! orders are rare (a reload, a death, a change of scale), so what `strace` shows counts for more
//! than bytes.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Counts, Diagnostic};
use crate::fault::Fault;

/// Names of servers that one configuration has, all upstreams together.
///
/// Each is asked for again every few seconds; that many keep a resolver busy already.
pub const NAMES_MAX: usize = 4096;

/// Addresses that one name stands for; further ones are left out.
///
/// Some times what fits a DNS answer without TCP, and all of them fit one message.
pub const ADDRESSES_MAX: usize = 256;

/// Names one listening socket: the address it listens on, and the worker it was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ListenerId {
    /// Index into the configured listen addresses.
    pub address: u16,
    /// Index of the worker that it was made for.
    pub worker: u16,
}

/// Master to worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Map the sealed image that travels with this order, take over the settings that travel as a
    /// second file (JSON, whose type master and heritage do not know), and send new requests there.
    /// Answered by [`Report::Loaded`] or [`Report::LoadFailed`].
    Load {
        /// Number of the generation.
        generation: u64,
        /// Slot of the arena that it was linked for.
        slot: u8,
    },
    /// Map the sealed image that travels with this order beside the active one, and keep it: it decides
    /// where the active one fails, if the failure policy says so. Settings stay as they are. The one
    /// that stood by before does not any more. The active one itself: nobody does. Answered by
    /// [`Report::StandsBy`] or [`Report::LoadFailed`].
    StandBy {
        /// Number of the generation.
        generation: u64,
        /// Slot of the arena that it was linked for.
        slot: u8,
    },
    /// Unmap this generation at once, whatever still uses it: its slot is needed.
    Retire {
        /// Number of the generation.
        generation: u64,
    },
    /// Also accept from the listening socket that travels with this order: its worker is dead.
    Adopt {
        /// Which socket it is.
        listener: ListenerId,
    },
    /// Accept what waits in this socket's queue, close it, and say [`Report::Released`].
    Release {
        /// Which socket it is.
        listener: ListenerId,
    },
    /// What a configuration does not say of upstreams' servers; later news of a server overtake
    /// earlier ones. Also goes to a new broker, which so knows what the one before it found out.
    News(Vec<ServerNews>),
    /// Accept what waits, close every listener, finish every request, and exit with 0.
    Drain,
    /// Exit with 0 now.
    Stop,
}

/// Worker to master, and broker to master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The inherited image is mapped and the worker accepts.
    Ready {
        /// The generation it serves.
        generation: u64,
        /// Microseconds it took to map and initialise the image.
        map_us: u64,
    },
    /// The ordered generation is active here.
    Loaded {
        /// Number of the generation.
        generation: u64,
        /// Microseconds it took to map and initialise it.
        map_us: u64,
    },
    /// The ordered generation could not be mapped or initialised; the one before it still serves.
    LoadFailed {
        /// Number of the generation.
        generation: u64,
        /// A sentence for the operator.
        reason: String,
    },
    /// The ordered generation is mapped and stands by. The master has to know: what was said of having
    /// unmapped it before this does not count any more.
    StandsBy {
        /// Number of the generation.
        generation: u64,
    },
    /// No request of this generation lives here any more and it is unmapped.
    Retired {
        /// Number of the generation.
        generation: u64,
    },
    /// A script has failed.
    Fault(Box<Fault>),
    /// A script has failed in such a way that this worker is not to be trusted any more. It has let go
    /// of its listening sockets, finishes what it has, and exits with 0; another should be forked in
    /// its place. Said once.
    Tainted,
    /// Something about an upstream's server that the other workers should know. A worker says
    /// [`ServerNews::Ejected`], the broker says the rest.
    News(ServerNews),
    /// Every name of the configuration was reported once, whether it resolves or not. Only the
    /// broker says it: workers that start from now on begin with all that can be known.
    NamesResolved,
    /// The queue of this listening socket was emptied and the worker closed its copy.
    Released {
        /// Which socket it is.
        listener: ListenerId,
    },
}

/// What becomes known of the servers of upstreams while Kiln runs: from the broker to the master
/// and from one worker to it, and from the master to every worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerNews {
    /// These are now all the addresses that a name stands for.
    Resolved {
        /// Name with its port, as configured.
        name: String,
        /// Sorted, without repetition; the last ones that were known when a name stops to resolve.
        addresses: Vec<SocketAddr>,
    },
    /// The health check of a server changed its mind.
    Checked {
        /// Name of the upstream.
        upstream: String,
        /// The server.
        server: SocketAddr,
        /// Whether it gets requests.
        is_well: bool,
    },
    /// A worker sends a server nothing more for its failures, and so should the others.
    Ejected {
        /// Name of the upstream.
        upstream: String,
        /// The server.
        server: SocketAddr,
        /// What for.
        why: Ejection,
        /// For how long.
        for_ms: u64,
    },
}

/// Why a server is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ejection {
    /// It answers with errors, or not in time.
    Failing,
    /// It can't be connected to.
    Unreachable,
}

impl Ejection {
    /// A sentence for an operator, without its end.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Failing => "it has failed several requests in a row",
            Self::Unreachable => "it could not be connected to several times in a row",
        }
    }
}

/// Milliseconds that each step of a compile took; nothing for those that an earlier compile spared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CompileSteps {
    /// Scripts of the generation.
    pub scripts: usize,
    /// Scripts that went through the front end, since they had changed.
    pub compiled: usize,
    /// Clang: source to LLVM IR.
    pub front_end_ms: f64,
    /// The optimisation pipeline.
    pub optimise_ms: f64,
    /// IR to machine code.
    pub code_ms: f64,
    /// JITLink, and writing the image.
    pub link_ms: f64,
}

/// What a compile child says of its work, as one JSON document on its report pipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CompileOutcome {
    /// Whether the memfd now holds an image.
    pub compiled: bool,
    /// Diagnostics in Clang's order, each once; see [`crate::diagnostic::limit`].
    pub diagnostics: Vec<Diagnostic>,
    /// How many there are, those included for which there was no room.
    pub counts: Counts,
    /// How long each step took.
    pub steps: CompileSteps,
}
