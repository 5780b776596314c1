//! An exchange: one request and its response, whoever asked for it.
//!
//! ```text
//!   head --decide--> Choosing --> Connecting --> AwaitingHead --> Relaying --> over
//!                     |   ^ \_______________________^    |   \
//!                     v   |      (a connection that      |    `--> Tunnel --> over
//!                    Queued       is there already)      |
//!                         ^------------------------------'  (another server is tried)
//! ```
//!
//! `decide` takes a request from its head to an exchange, unless a script answers it at once; `drive`
//! says what comes next, `attempt` finds a server, `end` has the ways in which an exchange ends; `pump`
//! and `tunnel` move bytes, and know neither tables nor upstreams; `deadlines` says whom it waits for,
//! and for how long. This file has the state, and everything that reads it alone.

mod attempt;
mod deadlines;
mod decide;
mod drive;
mod end;
mod fault;
mod pump;
mod tunnel;

use std::net::SocketAddr;

use heritage::Reason;
use http::{BodyDecoder, Framing, Scan, Version};

use crate::buffers::{Buffers, Slot};
use crate::clients::Place;
use crate::hooks::Hold;
use crate::ids::{ConnectionId, OriginId};
use crate::label::Label;
use crate::timers::TimerId;
use crate::upstreams::{Deed, Patience, Tried, UpstreamId};

pub(crate) use deadlines::Deadlines;
pub(crate) use fault::OriginFault;
use tunnel::Tunnel;

/// One request and its response.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) asker: Asker,
    pub(crate) stage: Stage,
    pub(crate) target: Label,
    /// When it was decided.
    pub(crate) began_ms: u64,
    pub(crate) facts: Facts,
    pub(crate) route: Route,
    pub(crate) attempt: Attempt,
    pub(crate) upload: Upload,
    pub(crate) deadlines: Deadlines,
    /// The asker's, which is lent to the exchange until its end.
    pub(crate) timer: TimerId,
    /// Keeps the generation that decided on it. A tunnel keeps none: scripts have said what they had to.
    pub(crate) hold: Option<Hold>,
    /// That of a client behind a trusted proxy.
    pub(crate) _place: Option<Place>,
}

/// Who asked for an exchange, and gets what comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A client, over HTTP/1: its connection has one exchange at a time, so that answers stay in order.
    Http1(ConnectionId),
}

/// How far an exchange has got.
#[derive(Debug)]
pub(crate) enum Stage {
    /// It is with no server, and one is looked for.
    Choosing,
    /// Every server that could is busy; it waits in the queue of its upstream.
    Queued,
    /// A connection to a server is being opened; nothing of the request was sent.
    Connecting(OriginId),
    /// The request is being sent, and no final response has come.
    AwaitingHead(OriginId),
    /// The response's head went to the asker and its body follows; the request's own body may still be
    /// on its way.
    Relaying(OriginId, Download),
    /// No messages any more, only bytes.
    Tunnel(OriginId, Tunnel),
}

/// What is remembered of the request's head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) purpose: Purpose,
    pub(crate) version: Version,
    /// How its body is framed, on both sides.
    pub(crate) framing: Framing,
    pub(crate) answers_head: bool,
    pub(crate) is_idempotent: bool,
    /// Whether the asker's connection closes after the response.
    pub(crate) closes: bool,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An answer.
    Answer,
    /// An answer, or another protocol if the origin agrees.
    Upgrade,
    /// A tunnel to the server, which hears nothing of the request itself.
    Connect,
}

/// Where it goes, as decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) upstream: UpstreamId,
    /// What decides about the server, where the upstream balances by hash.
    pub(crate) key_hash: u64,
    pub(crate) patience: Patience,
    /// Whether it ends with its client's side of the connection.
    pub(crate) aborts_on_close: bool,
}

/// The try that is under way, and what became of those before.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// The head as it goes upstream, kept until a response begins: it may have to be sent again.
    pub(crate) head: Slot,
    pub(crate) head_sent: usize,
    /// When the server got it.
    pub(crate) sent_us: u64,
    /// Whether the asker holds its body back until it is told to go on.
    pub(crate) awaits_continue: bool,
    /// Whether only a new connection will do: one from the pool was found dead, or it is for a tunnel.
    pub(crate) needs_new: bool,
    /// How far the response's head was searched.
    pub(crate) scan: Scan,
    /// Whether a byte of a response has come: after that a request is never sent again.
    pub(crate) is_being_answered: bool,
    /// Whether the origin's connection lives on after the response, as far as its head says.
    pub(crate) origin_persists: bool,
    /// How the server did, once that is known and until it is taken note of.
    pub(crate) deed: Option<Deed>,
    /// Servers that have failed it.
    pub(crate) tried: Tried,
    /// What the asker is told if no other server is left, and whose doing it was.
    pub(crate) failure: (Reason, Option<SocketAddr>),
}

/// The request's body on its way to the server.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) body: BodyDecoder,
    pub(crate) progress: UploadProgress,
    /// Bytes of content that came from the asker so far.
    pub(crate) bytes: u64,
}

/// How far an upload has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UploadProgress {
    /// Some of it is still to be passed on.
    Flowing,
    /// Its end was passed on.
    Sent,
    /// The origin stopped reading; the rest is for nobody.
    Abandoned,
}

/// The response's body on its way to the asker.
#[derive(Debug)]
pub(crate) struct Download {
    /// Where it ends.
    pub(crate) body: BodyDecoder,
    /// How the asker finds that end.
    pub(crate) framing: Framing,
    /// Whether the chunk was written that ends a chunked body.
    pub(crate) is_terminated: bool,
}

impl Stage {
    /// The connection to an origin that it has.
    pub(crate) fn origin(&self) -> Option<OriginId> {
        match self {
            Stage::Choosing | Stage::Queued => None,
            Stage::Connecting(origin)
            | Stage::AwaitingHead(origin)
            | Stage::Relaying(origin, _)
            | Stage::Tunnel(origin, _) => Some(*origin),
        }
    }

    pub(crate) fn is_queued(&self) -> bool {
        matches!(self, Stage::Queued)
    }

    pub(crate) fn is_relaying(&self) -> bool {
        matches!(self, Stage::Relaying(..))
    }
}

impl Exchange {
    /// Whether all of the request was passed on.
    pub(crate) fn is_sent(&self) -> bool {
        self.attempt.head_sent == self.attempt.head.data().len()
            && self.upload.progress == UploadProgress::Sent
    }

    /// Whether the origin has, or may have, any of the request.
    pub(crate) fn was_sent(&self) -> bool {
        self.attempt.head_sent > 0 || self.upload.bytes > 0 || self.attempt.is_being_answered
    }

    /// Whether the end of the connection would pass for the end of the response.
    pub(crate) fn is_framed_by_close(&self) -> bool {
        matches!(&self.stage, Stage::Relaying(_, it) if it.framing == Framing::UntilClose)
    }

    /// Makes it ready to be sent once more, from its first byte; nothing of its content was taken.
    pub(crate) fn begin_anew(&mut self) {
        self.attempt.head_sent = 0;
        // The end of an empty body in chunks was read, and went to the connection that is lost.
        self.upload.progress = Upload::of(self.facts.framing).progress;
    }

    /// Gives its buffer back; its hold and its place end.
    pub(crate) fn release(mut self, pool: &mut Buffers) {
        self.attempt.head.release(pool);
    }
}

impl Upload {
    /// One of which nothing was passed on.
    pub(crate) fn of(framing: Framing) -> Self {
        let body = BodyDecoder::from(framing);
        let progress = match body.is_done() {
            true => UploadProgress::Sent,
            false => UploadProgress::Flowing,
        };
        Upload { body, progress, bytes: 0 }
    }
}

impl Attempt {
    /// Before the first try.
    pub(crate) fn of(head: Slot, awaits_continue: bool, needs_new: bool) -> Self {
        Attempt {
            head,
            head_sent: 0,
            sent_us: 0,
            awaits_continue,
            needs_new,
            scan: Scan::default(),
            is_being_answered: false,
            origin_persists: false,
            deed: None,
            tried: Tried::default(),
            failure: (Reason::NoServer, None),
        }
    }
}
