//! The loop of a worker: wait, take what the poll and the master say, serve, report.
//!
//! Everything that can happen is a [`Subject`] of the poll, an [`Order`] of the master, or a deadline;
//! each of the three has one `match`. What a connection does next is decided in `connection` and
//! `exchange`; this file only says whose turn it is.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use heritage::{Reason, Received, Report, WorkerState};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Token};

use crate::clients::Place;
use crate::close_reason::CloseReason;
use crate::connection::{Connection, Next, State};
use crate::exchange::Stage;
use crate::hooks::Hooks;
use crate::ids::{ConnectionId, Subject};
use crate::label::Label;
use crate::notices::About;
use crate::wire::Wire;
use crate::worker::{Lifecycle, Turn, Worker};

/// Events taken from the poll at once.
const EVENTS_MAX: usize = 1024;

/// Longest sleep, so that the heartbeat in the scoreboard shows a worker alive that has nothing to do.
const HEARTBEAT_MS: u64 = 500;

/// Steps of one connection before others get their turn.
const STEPS_MAX: usize = 64;

/// Connections over the limit that are being told so. Beyond this many they are dropped without a
/// word: telling costs a slot each.
const TURNED_AWAY_MAX: u64 = 256;

impl<H: Hooks> Worker<H> {
    /// Serves until the worker is drained or told to stop.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        // An order may have come before the channel was registered.
        self.take_orders();
        while self.lifecycle != Lifecycle::Stopped {
            match self.poll.poll(&mut events, Some(self.wait())) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            self.ctx.read_time();
            // What idle origins say comes before the requests that could be sent to them: unread bytes
            // would be taken for the answer.
            for event in &events {
                if let Subject::Origin(id) = Subject::of(event.token().0) {
                    self.idle_origin_event(id, event);
                }
            }
            for event in &events {
                match Subject::of(event.token().0) {
                    Subject::Master => self.take_orders(),
                    Subject::Listener(index) => self.listeners.note(index),
                    Subject::Client(id) => self.client_event(id, event),
                    Subject::Origin(id) => self.origin_event(id, event),
                    Subject::Exchange(_) => unreachable!("an exchange has no socket"),
                }
            }
            self.serve_ready();
            self.accept();
            self.expire();
            self.report();
        }
        for id in self.exchanges.ids() {
            self.note_exchange(id, Reason::DrainTimeout);
        }
        for id in self.connections.ids() {
            self.close(id, CloseReason::WorkerStopped);
        }
        self.show_counts();
        Ok(())
    }

    fn wait(&self) -> Duration {
        let now_ms = self.ctx.now_ms;
        if !self.ready.is_empty() {
            return Duration::ZERO;
        }
        let timers = self.ctx.timers.wait_ms(now_ms, HEARTBEAT_MS);
        let listeners = self.listeners.wait_ms(now_ms).unwrap_or(HEARTBEAT_MS);
        Duration::from_millis(timers.min(listeners).min(HEARTBEAT_MS))
    }

    fn client_event(&mut self, id: ConnectionId, event: &Event) {
        let Worker { connections, exchanges, .. } = self;
        let Some(connection) = connections.get_mut(id) else { return };
        let is_broken = connection.wire.note(event);
        let sees_it_itself = match connection.state {
            State::Lingering { .. } => true,
            State::Exchange(id) => matches!(exchanges.live(id).stage, Stage::Tunnel(..)),
            _ => false,
        };
        match is_broken && !sees_it_itself {
            // Nobody is left to answer, so the origin need not go on either, nor begin: the poll does not
            // report it again, so that a request that came with the reset would never be given up.
            true => self.close(id, CloseReason::ClientGone),
            false => self.drive(id),
        }
    }

    /// Takes a connection as far as it gets, unless its turn comes by itself.
    pub(crate) fn drive(&mut self, id: ConnectionId) {
        if self.connections.get(id).is_none_or(|connection| connection.is_ready) {
            return;
        }
        for _ in 0..STEPS_MAX {
            match self.step(id) {
                Next::Again => {}
                Next::Wait => return,
                Next::Yield => break,
                Next::Close(reason) => return self.close(id, reason),
            }
        }
        if let Some(connection) = self.connections.get_mut(id) {
            connection.is_ready = true;
            self.ready.push_back(Turn::Client(id));
        }
    }

    fn step(&mut self, id: ConnectionId) -> Next {
        let Some(connection) = self.connections.get_mut(id) else { return Next::Wait };
        match connection.state {
            State::Head => self.head_step(id),
            State::Exchange(exchange) => self.exchange_step(exchange),
            State::Discard { .. } => connection.discard_step(&mut self.ctx),
            State::Closing(reason) => connection.close_step(&mut self.ctx, reason),
            State::Lingering { reason, .. } => connection.linger_step(&mut self.ctx, reason),
        }
    }

    /// Does what a step said that was taken outside [`Worker::drive`].
    pub(crate) fn follow(&mut self, id: ConnectionId, next: Next) {
        match next {
            Next::Again | Next::Yield => self.drive(id),
            Next::Wait => {}
            Next::Close(reason) => self.close(id, reason),
        }
    }

    /// Those that had to let others go first.
    fn serve_ready(&mut self) {
        for _ in 0..self.ready.len() {
            match self.ready.pop_front() {
                None => return,
                Some(Turn::Client(id)) => {
                    if let Some(connection) = self.connections.get_mut(id) {
                        connection.is_ready = false;
                    }
                    self.drive(id);
                }
                Some(Turn::Exchange(id)) => self.drive_exchange(id),
            }
        }
    }

    fn accept(&mut self) {
        let mut accepted = std::mem::take(&mut self.accepted);
        self.listeners.accept(self.ctx.now_ms, &mut accepted);
        self.admit(&mut accepted);
        self.accepted = accepted;
    }

    /// Takes in accepted connections.
    pub(crate) fn admit(&mut self, accepted: &mut Vec<(TcpStream, SocketAddr)>) {
        for (stream, client) in accepted.drain(..) {
            self.accepted_count += 1;
            let limits = &self.ctx.limits;
            let of_all = self.connections.len() as u64 + 1;
            let over = of_all.saturating_sub(limits.connections);
            // A trusted proxy's connection is for many clients, whose requests are counted instead.
            let entered =
                (!self.ctx.trusts(client.ip())).then(|| self.ctx.clients.enter(client.ip()));
            let (place, of_client) = entered.unzip();
            let over_own = of_client.unwrap_or(0).saturating_sub(limits.client_connections);
            let reason = match () {
                () if over > 0 => Some(Reason::Connections),
                () if over_own > 0 => Some(Reason::ClientConnections),
                () => None,
            };
            if let Some(reason) = reason
                && over.max(over_own) > TURNED_AWAY_MAX
            {
                let about = About { client, target: b"", upstream: "", server: None };
                self.ctx.note(reason, about);
                continue;
            }
            match (self.admit_one(stream, client, place), reason) {
                (Ok(id), Some(reason)) => self.turn_away(id, reason),
                (Ok(_), None) => {}
                (Err(error), _) => tracing::warn!(%error, "cannot take in a connection"),
            }
        }
    }

    fn admit_one(
        &mut self,
        mut stream: TcpStream,
        client: SocketAddr,
        place: Option<Place>,
    ) -> io::Result<ConnectionId> {
        // It fails only for a connection that is gone already, which the first read tells as well.
        let _ = stream.set_nodelay(true);
        let ctx = &mut self.ctx;
        let mut registered = Ok(());
        let id = self.connections.insert_with(|id| {
            let token = Subject::Client(id).token();
            let interest = Interest::READABLE | Interest::WRITABLE;
            registered = ctx.registry.register(&mut stream, Token(token), interest);
            let timer = ctx.timers.add(token);
            let timeout_ms = match ctx.is_draining {
                true => ctx.drain_grace_ms(),
                false => ctx.timeouts.head_ms,
            };
            ctx.timers.set(timer, ctx.after(timeout_ms));
            Connection::new(Wire::new(stream), client, place, timer)
        });
        if let Err(error) = registered {
            self.close(id, CloseReason::WorkerStopped);
            return Err(error);
        }
        Ok(id)
    }

    /// Answers 503 to a connection over the limit. Answering is better than letting it wait in the
    /// kernel's queue: the client can go elsewhere at once, and the queue stays short for the others.
    fn turn_away(&mut self, id: ConnectionId, reason: Reason) {
        self.ctx.counters.turned_away += 1;
        if let Some(connection) = self.connections.get_mut(id) {
            let next = connection.refuse(&mut self.ctx, reason, Label::NONE);
            self.follow(id, next);
        }
    }

    fn expire(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.ctx.timers.expire(self.ctx.now_ms, &mut due);
        for token in due.drain(..) {
            match Subject::of(token) {
                Subject::Client(id) => self.client_timeout(id),
                Subject::Origin(id) => self.origin_timeout(id),
                Subject::Exchange(id) => self.exchange_timeout(id),
                Subject::Master | Subject::Listener(_) => unreachable!("these have no deadline"),
            }
        }
        self.due = due;
        if let Lifecycle::Draining { until_ms } = self.lifecycle {
            let is_late = self.ctx.now_ms >= until_ms;
            if is_late || self.connections.len() == 0 {
                self.lifecycle = Lifecycle::Stopped;
            }
        }
    }

    fn client_timeout(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let ctx = &mut self.ctx;
        let next = match &connection.state {
            State::Head | State::Closing(_) if connection.wire.has_output() => {
                connection.note(ctx, Reason::SendTimeout, Label::NONE);
                Next::Close(CloseReason::SendTimeout)
            }
            State::Head if !connection.wire.inbound.is_empty() => {
                connection.refuse(ctx, Reason::RequestHeadTimeout, Label::NONE)
            }
            State::Head if ctx.is_draining => Next::Close(CloseReason::Drained),
            State::Head if connection.requests == 0 => Next::Close(CloseReason::HeadTimeout),
            State::Head => Next::Close(CloseReason::KeepAliveTimeout),
            State::Exchange(_) => unreachable!("its timer is lent to its exchange"),
            State::Discard { .. } => Next::Close(CloseReason::BodyTimeout),
            State::Closing(_) => Next::Close(CloseReason::SendTimeout),
            State::Lingering { .. } => Next::Close(CloseReason::LingerTimeout),
        };
        self.follow(id, next);
    }

    /// Closes a client connection and, if it is in the middle of an exchange, the origin's too.
    pub(crate) fn close(&mut self, id: ConnectionId, reason: CloseReason) {
        let Some(connection) = self.connections.get(id) else { return };
        let resets = match connection.state {
            State::Exchange(exchange) => self.abandon_exchange(exchange),
            _ => false,
        };
        let connection = self.connections.remove(id).expect("it was there just now");
        if resets {
            connection.wire.close_with_reset();
        }
        self.ctx.timers.remove(connection.timer);
        connection.wire.close(&mut self.ctx.buffers, &mut self.ctx.pipes);
        tracing::trace!(reason = reason.name(), "connection closed");
    }

    /// What the master is to know after this turn.
    fn report(&mut self) {
        self.survey();
        self.tell_faults();
        if self.hooks.is_tainted() && !std::mem::replace(&mut self.is_tainted, true) {
            self.give_way();
        }
        while let Some(held) = self.ctx.returned.take() {
            self.hooks.release(held);
        }
        while let Some(generation) = self.hooks.next_retired() {
            self.reports.push_back(Report::Retired { generation });
        }
        self.send_reports();
        self.show_counts();
    }

    fn show_counts(&mut self) {
        let counters = &self.ctx.counters;
        self.page.requests.store(counters.requests, Relaxed);
        self.page.forwarded.store(counters.forwarded, Relaxed);
        self.page.origin_connections.store(counters.origin_connections, Relaxed);
        self.page.retries.store(counters.retries, Relaxed);
        self.page.turned_away.store(counters.turned_away, Relaxed);
        if let Some(counts) = self.ctx.notices.changed() {
            let places = self.page.reasons.iter().zip(counts);
            places.for_each(|(place, count)| place.store(*count, Relaxed));
        }
        self.page.connections.store(self.connections.len() as u64, Relaxed);
        self.page.accepted.store(self.accepted_count, Relaxed);
        self.page.heartbeat_ms.store(self.ctx.now_ms, Relaxed);
    }

    /// Reports what scripts did wrong.
    pub(crate) fn tell_faults(&mut self) {
        while let Some(fault) = self.hooks.next_fault() {
            self.reports.push_back(Report::Fault(Box::new(fault)));
        }
    }

    /// Takes nothing new: what waits for this worker is for the one that comes in its place.
    fn give_way(&mut self) {
        self.listeners.close_all(&self.ctx.registry);
        self.reports.push_back(Report::Tainted);
        self.drain();
    }

    /// Sends reports in their order; what finds no room waits for the next turn.
    pub(crate) fn send_reports(&mut self) {
        while let Some(report) = self.reports.front() {
            match self.channel.send(report, &[]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // A master that is gone is noticed as end-of-file; it needs no report.
                _ => self.reports.pop_front(),
            };
        }
    }

    fn take_orders(&mut self) {
        loop {
            match self.channel.receive() {
                Ok(Received::Message(order, files)) => self.obey(order, files),
                Ok(Received::Empty) => return,
                Ok(Received::Closed) => return self.drain(),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::error!(%error, "an order of the master cannot be read");
                }
                Err(error) => {
                    tracing::error!(%error, "the channel to the master failed; draining");
                    return self.drain();
                }
            }
        }
    }

    /// Takes no new connection, and closes those there are after their next answer, or when none is
    /// asked for within the grace.
    pub(crate) fn drain(&mut self) {
        if self.lifecycle != Lifecycle::Serving {
            return;
        }
        let until_ms = self.ctx.after(self.ctx.timeouts.drain_ms);
        self.lifecycle = Lifecycle::Draining { until_ms };
        self.page.enter(WorkerState::Draining);
        self.ctx.is_draining = true;
        let mut accepted = Vec::new();
        self.listeners.release_all(self.ctx.now_ms, &mut accepted, &self.ctx.registry);
        self.admit(&mut accepted);
        for id in self.connections.ids() {
            if let Some(connection) = self.connections.get_mut(id)
                && connection.is_idle()
            {
                let grace_over = self.ctx.after(self.ctx.drain_grace_ms());
                self.ctx.timers.set(connection.timer, grace_over);
            }
            self.drive(id);
        }
    }

    /// Adds a listening socket.
    pub(crate) fn listen(&mut self, id: heritage::ListenerId, socket: OwnedFd) {
        if let Err(error) = self.listeners.add(id, socket, &self.ctx.registry) {
            tracing::error!(?id, %error, "cannot accept from a listening socket");
        }
    }
}
