//! The master's side of the control socket: a few clients, each with one request and one reply.
//!
//! A client is never waited for: it has little room and little time to say what it wants and to take
//! the reply, and one that goes away while a reload runs is forgotten.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use crate::claim::ControlSocket;
use crate::control::{ControlReply, ControlRequest, REQUEST_MAX, parse};

/// Clients at once: an operator, some scripts, a monitor or two. More wait in the socket's queue.
pub(crate) const CLIENTS_MAX: usize = 16;

/// A client that has not sent its request, or not taken its reply, for so long has hung up in spirit.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

/// The same while there are as many clients as may be: others wait, who may have something to say.
const CROWDED_TIMEOUT: Duration = Duration::from_secs(1);

/// How long none is taken in after that has failed, which is for want of descriptors or memory. They
/// wait in the socket's queue, and must not keep the loop busy meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Names one client; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClientId(u64);

/// How far a client is.
enum ClientState {
    /// Sending its request, of which this much is here.
    Asking(Vec<u8>),
    /// Its request is being worked on, which may take as long as a compile.
    Waiting,
    /// Taking its reply, of which this is left.
    Taking(Vec<u8>),
}

struct Client {
    stream: UnixStream,
    state: ClientState,
    /// When it came into this state.
    since: Instant,
}

/// The control socket, if there is one, and its clients.
#[derive(Default)]
pub(crate) struct Clients {
    socket: Option<ControlSocket>,
    clients: BTreeMap<ClientId, Client>,
    next: u64,
    /// Until when none is taken in.
    paused_until: Option<Instant>,
}

impl Clients {
    /// Serves this socket.
    pub(crate) fn new(socket: Option<ControlSocket>) -> Self {
        Clients { socket, ..Clients::default() }
    }

    /// Whether this client is still there.
    pub(crate) fn has(&self, id: ClientId) -> bool {
        self.clients.contains_key(&id)
    }

    /// The socket to poll for new clients; none while there are enough.
    pub(crate) fn listener(&self) -> Option<BorrowedFd<'_>> {
        let takes = !self.is_crowded() && self.paused_until.is_none();
        self.socket.as_ref().filter(|_| takes).map(AsFd::as_fd)
    }

    fn is_crowded(&self) -> bool {
        self.clients.len() >= CLIENTS_MAX
    }

    /// What to poll for each client.
    pub(crate) fn interests(&self) -> impl Iterator<Item = (ClientId, BorrowedFd<'_>, PollFlags)> {
        self.clients.iter().map(|(id, client)| {
            let interest = match client.state {
                ClientState::Asking(_) => PollFlags::POLLIN,
                // Its hang-up is reported all the same.
                ClientState::Waiting => PollFlags::empty(),
                ClientState::Taking(_) => PollFlags::POLLOUT,
            };
            (*id, client.stream.as_fd(), interest)
        })
    }

    /// Takes in those that wait to be clients.
    pub(crate) fn accept(&mut self, now: Instant) {
        while !self.is_crowded() {
            let stream = match self.socket.as_ref().map(ControlSocket::accept) {
                Some(Ok(stream)) => stream,
                Some(Err(error)) if error.kind() != ErrorKind::WouldBlock => {
                    tracing::warn!(%error, "cannot take in a client of the control socket");
                    self.paused_until = Some(now + ACCEPT_PAUSE);
                    return;
                }
                _ => return,
            };
            let client = Client { stream, state: ClientState::Asking(Vec::new()), since: now };
            self.clients.insert(ClientId(self.next), client);
            self.next += 1;
        }
    }

    /// Goes on with a client that poll reported; answers its request once it is whole.
    pub(crate) fn advance(&mut self, id: ClientId, now: Instant) -> Option<ControlRequest> {
        let client = self.clients.get_mut(&id)?;
        let line = match &mut client.state {
            ClientState::Asking(received) => match read_line(&client.stream, received) {
                Ok(None) => return None,
                Ok(Some(line)) => line,
                Err(_) => {
                    self.clients.remove(&id);
                    return None;
                }
            },
            // Only a hang-up is reported while it waits.
            ClientState::Waiting => {
                self.clients.remove(&id);
                return None;
            }
            ClientState::Taking(_) => {
                self.write(id);
                return None;
            }
        };
        match parse(&line) {
            Ok(request) => {
                client.state = ClientState::Waiting;
                client.since = now;
                Some(request)
            }
            Err(reason) => {
                self.reply(id, &ControlReply::Invalid { reason }, now);
                None
            }
        }
    }

    /// Sends a client its reply, if it is still there.
    pub(crate) fn reply(&mut self, id: ClientId, reply: &ControlReply, now: Instant) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let mut line = serde_json::to_vec(reply).expect("a reply is strings and numbers");
        line.push(b'\n');
        client.state = ClientState::Taking(line);
        client.since = now;
        self.write(id);
    }

    /// Forgets clients that took too long.
    pub(crate) fn expire(&mut self, now: Instant) {
        let timeout = self.timeout();
        self.clients.retain(|_, client| !client.is_slow() || client.since + timeout > now);
        self.paused_until = self.paused_until.filter(|until| *until > now);
    }

    /// When [`Clients::expire`] next has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let timeout = self.timeout();
        let slow = self.clients.values().filter(|client| client.is_slow());
        slow.map(|client| client.since + timeout).chain(self.paused_until).min()
    }

    fn timeout(&self) -> Duration {
        if self.is_crowded() { CROWDED_TIMEOUT } else { CLIENT_TIMEOUT }
    }

    /// Writes as much as the client takes, and closes when it has all.
    fn write(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let ClientState::Taking(rest) = &mut client.state else { return };
        while !rest.is_empty() {
            match (&client.stream).write(rest) {
                Ok(length) => drop(rest.drain(..length)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => break,
            }
        }
        self.clients.remove(&id);
    }
}

impl Client {
    /// Whether it is its turn, and not the master's.
    fn is_slow(&self) -> bool {
        !matches!(self.state, ClientState::Waiting)
    }
}

/// Reads what is there; answers the first line once it is whole.
fn read_line(mut stream: &UnixStream, received: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let mut part = [0; REQUEST_MAX];
    loop {
        let length = match stream.read(&mut part) {
            // Without a newline: what came is all, and may be whole.
            Ok(0) if !received.is_empty() => return Ok(Some(std::mem::take(received))),
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        received.extend_from_slice(&part[..length]);
        if let Some(end) = received.iter().position(|byte| *byte == b'\n') {
            received.truncate(end);
            return Ok(Some(std::mem::take(received)));
        }
        if received.len() > REQUEST_MAX {
            return Err(ErrorKind::InvalidData.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;

    use super::*;

    fn connected() -> (Clients, ClientId, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let (state, since) = (ClientState::Asking(Vec::new()), Instant::now());
        let client = Client { stream: ours, state, since };
        let mut clients = Clients::default();
        clients.clients.insert(ClientId(0), client);
        (clients, ClientId(0), theirs)
    }

    fn read_reply(theirs: UnixStream) -> ControlReply {
        let mut line = String::new();
        io::BufReader::new(theirs).read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn a_request_in_pieces_is_one_request() {
        let (mut clients, id, mut theirs) = connected();
        let now = Instant::now();
        theirs.write_all(b"{\"command\":").unwrap();
        assert_eq!(clients.advance(id, now), None);
        theirs.write_all(b"\"reload\"}\n").unwrap();
        assert_eq!(clients.advance(id, now), Some(ControlRequest::Reload));
        let reply = ControlReply::Invalid { reason: "for the test".to_owned() };
        clients.reply(id, &reply, now);
        assert_eq!(read_reply(theirs), reply);
        assert!(clients.clients.is_empty(), "closed once the reply is out");
    }

    #[test]
    fn what_is_no_request_is_told_what_is_one() {
        let (mut clients, id, mut theirs) = connected();
        theirs.write_all(b"hello\n").unwrap();
        assert_eq!(clients.advance(id, Instant::now()), None);
        match read_reply(theirs) {
            ControlReply::Invalid { reason } => assert!(reason.contains("reload"), "{reason}"),
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    #[test]
    fn a_client_that_sends_too_much_or_too_slowly_is_dropped() {
        let (mut clients, id, mut theirs) = connected();
        theirs.write_all(&[b'x'; REQUEST_MAX + 1]).unwrap();
        assert_eq!(clients.advance(id, Instant::now()), None);
        assert!(clients.clients.is_empty());

        let (mut clients, _, _theirs) = connected();
        clients.expire(Instant::now());
        assert_eq!(clients.clients.len(), 1);
        clients.expire(Instant::now() + CLIENT_TIMEOUT * 2);
        assert!(clients.clients.is_empty());
    }
}
