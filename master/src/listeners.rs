//! Listening sockets: one `SO_REUSEPORT` socket a worker for each address.
//!
//! The kernel spreads connections over the sockets of a group, and each has a queue of its own, which
//! is the price: closing one resets what waits in it. The master holds a copy of each, so that the
//! queue outlives a worker, and a socket that is to go takes three steps:
//!
//! ```text
//!   Open --steer: a BPF program of the group names it no more--> Steered
//!   Steered --handshakes that were under way have had their time--> Closing
//!   Closing --every worker that holds it emptied its queue--> closed
//! ```
//!
//! The kernel's groups are ordered by arrival, and closing one moves the last into its place. So the
//! last is always the one that goes, and "the first n" stays what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use heritage::ListenerId;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, getsockname, listen,
    setsockopt, socket, sockopt,
};

use crate::StartError;

/// Addresses to listen on: more than any fleet's edge uses, and few enough that every one with every
/// worker stays below usual descriptor limits.
pub(crate) const LISTEN_MAX: usize = 64;

/// Whether a listening socket gets new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketState {
    /// The kernel sends it its share of connections.
    Open,
    /// It gets no new ones; handshakes that were under way may complete until this time.
    Steered {
        /// When its queue may be emptied for good.
        until: Instant,
    },
    /// Those that hold it are told to empty its queue and let go.
    Closing,
}

/// One socket, which the master holds as long as any worker does.
#[derive(Debug)]
pub(crate) struct ListeningSocket {
    pub(crate) file: OwnedFd,
    pub(crate) state: SocketState,
}

/// Every listening socket of every worker.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    addresses: Vec<SocketAddr>,
    /// Workers whose sockets are in the groups, in the order of the kernel's groups.
    workers: Vec<usize>,
    /// To how many of them new connections are steered: all, but while the groups grow.
    steered_to: usize,
    sockets: BTreeMap<ListenerId, ListeningSocket>,
}

impl Listeners {
    /// Binds each address and listens with one socket for each of workers 0 to `workers` - 1.
    pub(crate) fn bind(addresses: &[SocketAddr], workers: usize) -> Result<Self, StartError> {
        check_addresses(addresses)?;
        // All before any: our own sockets for 0.0.0.0:80 would make 127.0.0.1:80 look taken.
        for address in addresses {
            probe(*address).map_err(|error| refusal(*address, error))?;
        }
        let mut listeners = Listeners { addresses: addresses.to_vec(), ..Listeners::default() };
        for worker in 0..workers {
            listeners.add_worker(worker)?;
        }
        listeners.steered_to = workers;
        listeners.tell_addresses();
        Ok(listeners)
    }

    fn tell_addresses(&self) {
        for address in &self.addresses {
            tracing::info!(%address, "listening");
            let port = address.port();
            let has_ipv4 = self.addresses.iter().any(|it| it.is_ipv4() && it.port() == port);
            if address.is_ipv6() && address.ip().is_unspecified() && !has_ipv4 {
                let remedy = format!("listen on 0.0.0.0:{port} as well, if IPv4 is wanted");
                tracing::info!(%address, remedy, "this address is for IPv6 alone");
            }
        }
    }

    /// The addresses, with the ports that the kernel chose.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Adds the sockets of one more worker to the groups. They get connections at once, unless the
    /// groups are steered.
    pub(crate) fn add_worker(&mut self, worker: usize) -> Result<(), StartError> {
        let mut added = Vec::new();
        for (index, address) in self.addresses.iter_mut().enumerate() {
            let (file, bound) =
                listening_socket(*address).map_err(|error| refusal(*address, error))?;
            *address = bound;
            added.push((listener_id(index, worker), file));
        }
        for (id, file) in added {
            self.sockets.insert(id, ListeningSocket { file, state: SocketState::Open });
        }
        self.workers.push(worker);
        Ok(())
    }

    /// Sends new connections to the sockets of the first `workers` workers of the groups alone.
    pub(crate) fn steer(&mut self, workers: usize) -> io::Result<()> {
        let Some(first) = self.workers.first() else { return Ok(()) };
        self.steered_to = workers;
        for index in 0..self.addresses.len() {
            if let Some(socket) = self.sockets.get(&listener_id(index, *first)) {
                steer_group(&socket.file, workers)?;
            }
        }
        Ok(())
    }

    /// Workers that have sockets in the groups, in the groups' order.
    pub(crate) fn workers(&self) -> &[usize] {
        &self.workers
    }

    /// Steers away from the last worker of the groups, whose sockets go; answers which it is.
    /// Never the last one left.
    pub(crate) fn begin_removal(&mut self, until: Instant) -> io::Result<Option<usize>> {
        let [first, .., last] = self.workers[..] else { return Ok(None) };
        debug_assert_ne!(first, last, "a worker has its sockets in a group once");
        self.steer(self.workers.len() - 1)?;
        self.workers.pop();
        for (_, socket) in self.sockets.iter_mut().filter(|(id, _)| made_for(**id, last)) {
            socket.state = SocketState::Steered { until };
        }
        Ok(Some(last))
    }

    /// Whether the groups have a worker that is not steered to yet.
    pub(crate) fn growing(&self) -> bool {
        self.steered_to < self.workers.len()
    }

    /// Whether sockets of some worker are on their way out. Meanwhile the groups must not grow.
    pub(crate) fn removing(&self) -> bool {
        self.sockets.values().any(|socket| socket.state != SocketState::Open)
    }

    /// Moves sockets whose handshakes have had their time on to `Closing`.
    pub(crate) fn settle(&mut self, now: Instant) {
        for socket in self.sockets.values_mut() {
            if matches!(socket.state, SocketState::Steered { until } if until <= now) {
                socket.state = SocketState::Closing;
            }
        }
    }

    /// When [`Listeners::settle`] next has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let settles = self.sockets.values().filter_map(|socket| match socket.state {
            SocketState::Steered { until } => Some(until),
            SocketState::Open | SocketState::Closing => None,
        });
        settles.min()
    }

    /// One socket.
    pub(crate) fn socket(&self, id: ListenerId) -> Option<&ListeningSocket> {
        self.sockets.get(&id)
    }

    /// Every socket.
    pub(crate) fn ids(&self) -> Vec<ListenerId> {
        self.sockets.keys().copied().collect()
    }

    /// The sockets that were made for this worker.
    pub(crate) fn made_for(&self, worker: usize) -> BTreeSet<ListenerId> {
        self.sockets.keys().copied().filter(|id| made_for(*id, worker)).collect()
    }

    /// Closes the master's copy of a socket whose queue was emptied.
    pub(crate) fn close(&mut self, id: ListenerId) {
        self.sockets.remove(&id);
    }

    /// Closes the master's copies of all: the workers drain and close theirs.
    pub(crate) fn close_all(&mut self) {
        self.sockets.clear();
        self.workers.clear();
    }
}

fn check_addresses(addresses: &[SocketAddr]) -> Result<(), StartError> {
    if addresses.is_empty() {
        return Err(StartError::NoAddress);
    }
    if addresses.len() > LISTEN_MAX {
        return Err(StartError::TooManyAddresses(addresses.len()));
    }
    for (index, address) in addresses.iter().enumerate() {
        if address.port() != 0 && addresses[..index].contains(address) {
            return Err(StartError::DuplicateAddress(*address));
        }
    }
    Ok(())
}

fn listener_id(address: usize, worker: usize) -> ListenerId {
    let narrow = |index| u16::try_from(index).expect("LISTEN_MAX and WORKERS_MAX fit 16 bits");
    ListenerId { address: narrow(address), worker: narrow(worker) }
}

fn made_for(id: ListenerId, worker: usize) -> bool {
    usize::from(id.worker) == worker
}

fn refusal(address: SocketAddr, error: Errno) -> StartError {
    match error {
        Errno::EADDRINUSE => StartError::AddressInUse(address),
        Errno::EADDRNOTAVAIL => StartError::AddressNotLocal(address),
        Errno::EACCES => StartError::AddressForbidden(address),
        error => StartError::Listen { address, error: error.into() },
    }
}

/// Asks whether another program listens on this address.
///
/// With `SO_REUSEPORT` a bind joins the group of any program of the same user, in silence, and each
/// would get a share of the other's connections. Without it the kernel refuses.
fn probe(address: SocketAddr) -> nix::Result<()> {
    let socket = unbound_socket(address)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))
}

fn listening_socket(address: SocketAddr) -> nix::Result<(OwnedFd, SocketAddr)> {
    let socket = unbound_socket(address)?;
    setsockopt(&socket, sockopt::ReusePort, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    // The longest queue that the constant allows; net.core.somaxconn caps it further.
    listen(&socket, Backlog::MAXCONN)?;
    let bound: SockaddrStorage = getsockname(socket.as_raw_fd())?;
    let ports = (bound.as_sockaddr_in(), bound.as_sockaddr_in6());
    // The rest stays as it was: a link-local address is none without its interface.
    let mut address = address;
    match ports {
        (Some(v4), _) => address.set_port(v4.port()),
        (_, Some(v6)) => address.set_port(v6.port()),
        _ => {}
    }
    Ok((socket, address))
}

fn unbound_socket(address: SocketAddr) -> nix::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, SockType::Stream, flags, None)?;
    // Connections of a Kiln that was here before linger for a minute and must not hinder this one.
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        // An address listens for what it says, as in nginx: [::] beside 0.0.0.0 is two addresses.
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    Ok(socket)
}

/// Attaches `random() % sockets` to the group that this socket is in.
fn steer_group(socket: &OwnedFd, sockets: usize) -> io::Result<()> {
    /// Start of the loads that are about the machine instead of the packet (linux/filter.h).
    const SKF_AD_OFF: u32 = 0xffff_f000;
    /// Of those, the one that answers a random number.
    const SKF_AD_RANDOM: u32 = 56;
    let sockets = u32::try_from(sockets).map_err(io::Error::other)?;
    let instruction = |code: u32, k| libc::sock_filter {
        code: u16::try_from(code).expect("classic BPF has 16 bits for each code"),
        jt: 0,
        jf: 0,
        k,
    };
    let mut program = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, SKF_AD_OFF + SKF_AD_RANDOM),
        instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, sockets),
        instruction(libc::BPF_RET | libc::BPF_A, 0),
    ];
    let length = u16::try_from(program.len()).expect("three instructions");
    let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    Ok(setsockopt(socket, sockopt::AttachReusePortCbpf, &program)?)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    fn local(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// Connections that wait in the queue of each socket made for `worker`.
    fn accepted(listeners: &Listeners, worker: usize) -> usize {
        let id = listener_id(0, worker);
        let socket = listeners.socket(id).expect("it is in the table").file.try_clone().unwrap();
        let listener = TcpListener::from(socket);
        std::iter::from_fn(|| listener.accept().ok()).count()
    }

    #[test]
    fn port_zero_is_one_port_for_every_worker() {
        let listeners = Listeners::bind(&[local(0)], 3).unwrap();
        assert_ne!(listeners.addresses()[0].port(), 0);
        assert_eq!(listeners.ids().len(), 3);
        let _clients: Vec<TcpStream> =
            (0..50).map(|_| TcpStream::connect(listeners.addresses()[0]).unwrap()).collect();
        let spread: Vec<usize> = (0..3).map(|worker| accepted(&listeners, worker)).collect();
        assert_eq!(spread.iter().sum::<usize>(), 50);
        assert!(spread.iter().all(|share| *share > 0), "{spread:?}");
    }

    /// A worker that goes gets nothing new, keeps what waits, and the others get all the rest.
    #[test]
    fn a_steered_socket_gets_no_new_connection_and_loses_none() {
        let mut listeners = Listeners::bind(&[local(0)], 3).unwrap();
        let address = listeners.addresses()[0];
        let connect = |count| -> Vec<TcpStream> {
            (0..count).map(|_| TcpStream::connect(address).unwrap()).collect()
        };
        let _before = connect(60);
        let now = Instant::now();
        let going = listeners.begin_removal(now + Duration::from_secs(1)).unwrap();
        assert_eq!(going, Some(2));
        let before = accepted(&listeners, 2);
        assert!(before > 0, "what waited is still there");
        let _after = connect(100);
        assert_eq!(accepted(&listeners, 2), 0);
        assert_eq!(before + accepted(&listeners, 0) + accepted(&listeners, 1), 160);

        listeners.settle(now);
        assert!(listeners.removing());
        listeners.settle(now + Duration::from_secs(1));
        assert_eq!(listeners.socket(listener_id(0, 2)).unwrap().state, SocketState::Closing);
        listeners.close(listener_id(0, 2));
        assert!(!listeners.removing());

        listeners.add_worker(3).unwrap();
        let _outside = connect(50);
        assert_eq!(accepted(&listeners, 3), 0, "not before it is steered to");
        listeners.steer(3).unwrap();
        let _inside = connect(100);
        assert!(accepted(&listeners, 3) > 0);
    }

    /// The second worker's socket is bound to what the first one's was.
    #[test]
    fn an_address_keeps_its_interface() {
        let loopback: SocketAddr = "[::1%1]:0".parse().unwrap();
        let listeners = Listeners::bind(&[loopback], 2).unwrap();
        match listeners.addresses()[0] {
            SocketAddr::V6(address) => {
                assert_eq!((address.scope_id(), address.port() > 0), (1, true))
            }
            SocketAddr::V4(address) => panic!("{address} is IPv4"),
        }
    }

    #[test]
    fn the_last_worker_is_never_removed() {
        let mut listeners = Listeners::bind(&[local(0)], 1).unwrap();
        assert_eq!(listeners.begin_removal(Instant::now()).unwrap(), None);
        assert!(!listeners.removing());
    }

    #[test]
    fn a_port_of_another_program_is_refused_even_if_it_would_share() {
        let theirs = Listeners::bind(&[local(0)], 1).unwrap();
        let address = theirs.addresses()[0];
        match Listeners::bind(&[address], 1) {
            Err(StartError::AddressInUse(culprit)) => assert_eq!(culprit, address),
            other => panic!("expected the port to be taken, got {other:?}"),
        }
    }

    #[test]
    fn senseless_lists_of_addresses_are_refused() {
        assert!(matches!(check_addresses(&[]), Err(StartError::NoAddress)));
        let twice = [local(80), local(81), local(80)];
        assert!(matches!(check_addresses(&twice), Err(StartError::DuplicateAddress(_))));
        let many = vec![local(0); LISTEN_MAX + 1];
        assert!(matches!(check_addresses(&many), Err(StartError::TooManyAddresses(65))));
    }
}
