//! One worker: what it owns. What it does is in the modules that have an `impl` of it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use heritage::{Channel, OwnPage, Report};
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};

use crate::connection::Connection;
use crate::context::Context;
use crate::exchange::Exchange;
use crate::ids::{ConnectionId, ExchangeId, Subject, kinds};
use crate::listener::Listeners;
use crate::origin::Origin;
use crate::table::Table;
use crate::upstreams::Upstreams;

/// What the worker as a whole is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    /// Accepting and serving.
    Serving,
    /// Finishing what there is, until this moment at the latest.
    Draining { until_ms: u64 },
    /// Leaving the loop.
    Stopped,
}

/// Whose turn it is without an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// A connection's that could go on when its turn was over.
    Client(ConnectionId),
    /// An exchange's that a server may have become free for.
    Exchange(ExchangeId),
}

/// One worker.
pub(crate) struct Worker<H> {
    pub(crate) poll: Poll,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) channel: Channel,
    pub(crate) page: OwnPage,
    pub(crate) listeners: Listeners,
    pub(crate) hooks: H,
    pub(crate) ctx: Context,
    pub(crate) connections: Table<Connection, kinds::Connection>,
    pub(crate) exchanges: Table<Exchange, kinds::Exchange>,
    pub(crate) origins: Table<Origin, kinds::Origin>,
    pub(crate) upstreams: Upstreams,
    pub(crate) ready: VecDeque<Turn>,
    /// Reports that the channel had no room for.
    pub(crate) reports: VecDeque<Report>,
    /// Views of the fields of a request; empty between hook calls.
    pub(crate) fields: Vec<hook::Field<'static>>,
    pub(crate) accepted: Vec<(TcpStream, SocketAddr)>,
    pub(crate) accepted_count: u64,
    pub(crate) due: Vec<usize>,
    pub(crate) next_survey_ms: u64,
    /// Whether the master was told that a script has tainted this process.
    pub(crate) is_tainted: bool,
}

impl<H> Worker<H> {
    pub(crate) fn new(hooks: H, channel: Channel, page: OwnPage) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let token = Token(Subject::Master.token());
        let channel_fd = channel.as_fd().as_raw_fd();
        registry.register(&mut SourceFd(&channel_fd), token, Interest::READABLE)?;
        Ok(Worker {
            poll,
            lifecycle: Lifecycle::Serving,
            channel,
            page,
            listeners: Listeners::default(),
            hooks,
            ctx: Context::new(registry),
            connections: Table::default(),
            exchanges: Table::default(),
            origins: Table::default(),
            upstreams: Upstreams::default(),
            ready: VecDeque::new(),
            reports: VecDeque::new(),
            fields: Vec::new(),
            accepted: Vec::new(),
            accepted_count: 0,
            due: Vec::new(),
            next_survey_ms: 0,
            is_tainted: false,
        })
    }
}
