//! Listening sockets: accepting in batches, and the ways in which a socket comes and goes.
//!
//! Readiness is edge-triggered, so a listener is remembered as ready until accept says that its queue
//! is empty. When descriptors run out accepting pauses for all listeners: the queue in the kernel holds
//! what comes meanwhile, and trying again at once would only spin.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use heritage::ListenerId;
use mio::Interest;
use mio::net::{TcpListener, TcpStream};

use crate::ids::Subject;

/// Connections accepted from one listener before others get their turn.
const ACCEPT_BATCH_MAX: usize = 64;

/// How long accepting pauses when descriptors or kernel memory run out.
const ACCEPT_PAUSE_MS: u64 = 100;

#[derive(Debug)]
struct Listener {
    id: ListenerId,
    socket: TcpListener,
    is_ready: bool,
}

/// All listening sockets of a worker.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    /// By the index in their tokens; released ones leave a hole.
    listeners: Vec<Option<Listener>>,
    paused_until_ms: u64,
}

impl Listeners {
    /// Begins to accept from a socket.
    pub(crate) fn add(
        &mut self,
        id: ListenerId,
        socket: OwnedFd,
        registry: &mio::Registry,
    ) -> io::Result<()> {
        let socket = std::net::TcpListener::from(socket);
        socket.set_nonblocking(true)?;
        let mut socket = TcpListener::from_std(socket);
        let index = self.listeners.iter().position(Option::is_none).unwrap_or_else(|| {
            self.listeners.push(None);
            self.listeners.len() - 1
        });
        let token = mio::Token(Subject::Listener(index as u32).token());
        registry.register(&mut socket, token, Interest::READABLE)?;
        // What waits already may not be reported as a change.
        self.listeners[index] = Some(Listener { id, socket, is_ready: true });
        Ok(())
    }

    /// Takes note of what the poll reports.
    pub(crate) fn note(&mut self, index: u32) {
        if let Some(Some(listener)) = self.listeners.get_mut(index as usize) {
            listener.is_ready = true;
        }
    }

    /// Milliseconds until there may be something to accept; `None` until the poll reports it.
    pub(crate) fn wait_ms(&self, now_ms: u64) -> Option<u64> {
        let is_ready = self.listeners.iter().flatten().any(|listener| listener.is_ready);
        is_ready.then(|| self.paused_until_ms.saturating_sub(now_ms))
    }

    /// Accepts a batch from each ready listener.
    pub(crate) fn accept(&mut self, now_ms: u64, accepted: &mut Vec<(TcpStream, SocketAddr)>) {
        for index in 0..self.listeners.len() {
            if now_ms < self.paused_until_ms {
                return;
            }
            self.accept_from(index, now_ms, ACCEPT_BATCH_MAX, accepted);
        }
    }

    /// Accepts all that waits in the queue of one listener, and closes it.
    pub(crate) fn release(
        &mut self,
        id: ListenerId,
        now_ms: u64,
        accepted: &mut Vec<(TcpStream, SocketAddr)>,
        registry: &mio::Registry,
    ) {
        let is_it = |slot: &Option<Listener>| slot.as_ref().is_some_and(|it| it.id == id);
        if let Some(index) = self.listeners.iter().position(is_it) {
            self.empty(index, now_ms, accepted);
            self.close(index, registry);
        }
    }

    /// Accepts all that waits, and closes every listener.
    pub(crate) fn release_all(
        &mut self,
        now_ms: u64,
        accepted: &mut Vec<(TcpStream, SocketAddr)>,
        registry: &mio::Registry,
    ) {
        for index in 0..self.listeners.len() {
            self.empty(index, now_ms, accepted);
        }
        self.close_all(registry);
    }

    /// Closes every listener, and leaves what waits in their queues to whoever has them too.
    pub(crate) fn close_all(&mut self, registry: &mio::Registry) {
        for index in 0..self.listeners.len() {
            self.close(index, registry);
        }
    }

    /// Others hold the same sockets: closing a descriptor does not end what the poll reports of them.
    fn close(&mut self, index: usize, registry: &mio::Registry) {
        if let Some(mut listener) = self.listeners[index].take()
            && let Err(error) = registry.deregister(&mut listener.socket)
        {
            tracing::warn!(%error, "the poll goes on to report a listening socket");
        }
    }

    fn empty(&mut self, index: usize, now_ms: u64, accepted: &mut Vec<(TcpStream, SocketAddr)>) {
        if let Some(listener) = &mut self.listeners[index] {
            listener.is_ready = true;
            self.accept_from(index, now_ms, usize::MAX, accepted);
        }
    }

    fn accept_from(
        &mut self,
        index: usize,
        now_ms: u64,
        batch_max: usize,
        accepted: &mut Vec<(TcpStream, SocketAddr)>,
    ) {
        let Some(listener) = &mut self.listeners[index] else { return };
        for _ in 0..batch_max {
            if !listener.is_ready {
                return;
            }
            match listener.socket.accept() {
                Ok(connection) => accepted.push(connection),
                Err(error) if error.kind() == ErrorKind::WouldBlock => listener.is_ready = false,
                // Errors of the connection that was to be accepted: it is gone, others wait.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionAborted
                            | ErrorKind::ConnectionReset
                            | ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    tracing::warn!(%error, pause_ms = ACCEPT_PAUSE_MS, "cannot accept; pausing");
                    self.paused_until_ms = now_ms + ACCEPT_PAUSE_MS;
                    return;
                }
            }
        }
    }
}
