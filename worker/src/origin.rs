//! A connection to an origin.

use mio::net::TcpStream;

use crate::ids::ExchangeId;
use crate::timers::TimerId;
use crate::upstreams::ServerId;
use crate::wire::Wire;

/// Where a connection to an origin stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OriginState {
    /// The connection is being opened for this exchange.
    Connecting(ExchangeId),
    /// It carries this exchange.
    Busy(ExchangeId),
    /// It waits in the pool; whatever it sends or closes takes it out of there.
    Idle,
}

/// A connection to an origin.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) wire: Wire,
    pub(crate) server: ServerId,
    pub(crate) state: OriginState,
    pub(crate) timer: TimerId,
    /// Whether it carried a request before this one, so that its death may be nobody's fault.
    pub(crate) is_reused: bool,
}

impl Origin {
    /// The exchange that it carries, or is opened for.
    pub(crate) fn exchange(&self) -> Option<ExchangeId> {
        match self.state {
            OriginState::Connecting(exchange) | OriginState::Busy(exchange) => Some(exchange),
            OriginState::Idle => None,
        }
    }

    /// Whether the connection has opened: true, false for not yet, or why it did not.
    pub(crate) fn finish_connecting(&mut self) -> std::io::Result<bool> {
        let stream: &mut TcpStream = self.wire.stream();
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }
}
