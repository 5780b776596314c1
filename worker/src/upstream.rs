//! Upstreams: which server gets a request, and the idle connections to each.
//!
//! Round robin over servers, last in first out over a server's idle connections: the one used last is
//! the one least likely to have been closed meanwhile, and the others get old and go.

use std::net::SocketAddr;

use mio::net::TcpStream;

use crate::settings;
use crate::table::Id;
use crate::timers::TimerId;
use crate::wire::Wire;

/// Names a server of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerId {
    pub(crate) upstream: usize,
    pub(crate) server: usize,
}

/// Where a connection to an origin stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OriginState {
    /// The connection is being opened for this client's request.
    Connecting(Id),
    /// It carries this client's request.
    Busy(Id),
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
    /// The client whose request it carries.
    pub(crate) fn client(&self) -> Option<Id> {
        match self.state {
            OriginState::Connecting(client) | OriginState::Busy(client) => Some(client),
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

#[derive(Debug)]
struct Server {
    address: SocketAddr,
    /// The last is the one used last.
    idle: Vec<Id>,
}

#[derive(Debug)]
struct Upstream {
    name: String,
    servers: Vec<Server>,
    next: usize,
}

/// All upstreams of a worker.
#[derive(Debug)]
pub(crate) struct Upstreams {
    upstreams: Vec<Upstream>,
    /// Sorted by name. A search in it costs less than hashing a name.
    by_name: Vec<(Box<[u8]>, usize)>,
    idle_max: usize,
}

impl Upstreams {
    pub(crate) fn new(settings: &settings::Settings) -> Self {
        let upstreams: Vec<Upstream> = settings.upstreams.iter().map(Upstream::new).collect();
        let named = |(at, upstream): (usize, &Upstream)| (upstream.name.as_bytes().into(), at);
        let mut by_name: Vec<_> = upstreams.iter().enumerate().map(named).collect();
        by_name.sort_unstable();
        Upstreams { upstreams, by_name, idle_max: settings.idle_origins_max }
    }

    /// The upstream of this name. The empty name is that of a request about which no script decided:
    /// it goes to the only upstream there is.
    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        match name {
            b"" => (self.upstreams.len() == 1).then_some(0),
            name => {
                let found = self.by_name.binary_search_by(|(known, _)| known[..].cmp(name)).ok()?;
                Some(self.by_name[found].1)
            }
        }
    }

    pub(crate) fn name(&self, upstream: usize) -> &str {
        &self.upstreams[upstream].name
    }

    pub(crate) fn server_count(&self, upstream: usize) -> usize {
        self.upstreams[upstream].servers.len()
    }

    /// The server whose turn it is; an upstream may have none.
    pub(crate) fn next_server(&mut self, upstream: usize) -> Option<ServerId> {
        let Upstream { servers, next, .. } = &mut self.upstreams[upstream];
        let server = *next % servers.len().max(1);
        *next = server + 1;
        (server < servers.len()).then_some(ServerId { upstream, server })
    }

    pub(crate) fn address(&self, id: ServerId) -> SocketAddr {
        self.upstreams[id.upstream].servers[id.server].address
    }

    /// Takes the idle connection to this server that was used last.
    pub(crate) fn take_idle(&mut self, id: ServerId) -> Option<Id> {
        self.upstreams[id.upstream].servers[id.server].idle.pop()
    }

    /// Keeps an idle connection. Gives the one that has to make room for it.
    pub(crate) fn put_idle(&mut self, id: ServerId, origin: Id) -> Option<Id> {
        let idle = &mut self.upstreams[id.upstream].servers[id.server].idle;
        idle.push(origin);
        // The oldest goes: it is the nearest to its timeout.
        (idle.len() > self.idle_max).then(|| idle.remove(0))
    }

    /// Forgets an idle connection.
    pub(crate) fn forget_idle(&mut self, id: ServerId, origin: Id) {
        self.upstreams[id.upstream].servers[id.server].idle.retain(|&idle| idle != origin);
    }
}

impl Upstream {
    fn new(upstream: &settings::Upstream) -> Self {
        let server = |&address: &SocketAddr| Server { address, idle: Vec::new() };
        Upstream {
            name: upstream.name.clone(),
            servers: upstream.servers.iter().map(server).collect(),
            next: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;

    fn upstreams(ports: &[u16], idle_max: usize) -> Upstreams {
        let servers = ports.iter().map(|&port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        let upstream = settings::Upstream { name: "web".to_owned(), servers };
        Upstreams::new(&settings::Settings {
            upstreams: vec![upstream],
            idle_origins_max: idle_max,
            ..Default::default()
        })
    }

    #[test]
    fn servers_take_turns() {
        let mut upstreams = upstreams(&[1, 2, 3], 1);
        let web = upstreams.find(b"web").expect("configured");
        let turns: Vec<usize> =
            (0..6).filter_map(|_| upstreams.next_server(web)).map(|id| id.server).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn unknown_names_and_empty_upstreams_give_no_server() {
        let mut upstreams = upstreams(&[], 1);
        assert_eq!(upstreams.find(b"api"), None);
        assert_eq!(upstreams.next_server(0), None);
    }

    #[test]
    fn the_connection_used_last_is_used_first_and_the_oldest_makes_room() {
        let mut upstreams = upstreams(&[1], 2);
        let mut names = Table::default();
        let [a, b, c] = [(); 3].map(|()| names.insert_with(|_| ()));
        let server = ServerId { upstream: 0, server: 0 };
        assert_eq!(upstreams.put_idle(server, a), None);
        assert_eq!(upstreams.put_idle(server, b), None);
        assert_eq!(upstreams.put_idle(server, c), Some(a));
        assert_eq!(upstreams.take_idle(server), Some(c));
        upstreams.forget_idle(server, b);
        assert_eq!(upstreams.take_idle(server), None);
    }
}
