//! How requests get to origins and back: opening, retrying, finishing and failing exchanges.
//!
//! A request is sent a second time only if the first can't have had an effect: nothing of it was sent,
//! or a connection from the pool died before a byte of the response and the method is idempotent
//! (RFC 9110, section 9.2.2; RFC 9112, section 9.3.1).

use http::Framing;
use mio::Interest;
use mio::net::TcpStream;

use crate::close_reason::CloseReason;
use crate::connection::{Next, State};
use crate::event_loop::Worker;
use crate::exchange::{self, OriginFault, Outcome};
use crate::hooks::Hooks;
use crate::request::{Awaited, Phase, Request};
use crate::table::{Id, Subject};
use crate::upstream::{Origin, OriginState, ServerId};
use crate::wire::Wire;

/// Servers that one request tries to connect to. A third failure says more about the network than
/// about the servers, and each may cost the whole connect timeout.
const ATTEMPTS_MAX: usize = 3;

impl<H: Hooks> Worker<H> {
    /// Gets the request of this client a connection to a server: one from the pool, or a new one.
    pub(crate) fn open_origin(&mut self, client: Id, may_reuse: bool) -> Next {
        loop {
            let Some(request) = self.request(client) else { return Next::Wait };
            let (upstream, attempts) = (request.upstream, request.attempts);
            let has_timed_out = request.has_timed_out;
            request.attempts += 1;
            if attempts >= self.upstreams.server_count(upstream).min(ATTEMPTS_MAX) {
                let status = match (attempts, has_timed_out) {
                    (0, _) => 503,
                    (_, true) => 504,
                    (_, false) => 502,
                };
                return self.fail_exchange(client, status);
            }
            let Some(server) = self.upstreams.next_server(upstream) else {
                return self.fail_exchange(client, 503);
            };
            if may_reuse && self.reuse_origin(client, server) {
                return Next::Again;
            }
            match self.connect(client, server) {
                Ok(()) => return Next::Again,
                Err(error) => {
                    let server = self.upstreams.address(server);
                    tracing::debug!(%server, %error, "cannot connect");
                }
            }
        }
    }

    fn reuse_origin(&mut self, client: Id, server: ServerId) -> bool {
        let Some(id) = self.upstreams.take_idle(server) else { return false };
        let origin = self.origins.find(id).expect("idle connections are open");
        origin.state = OriginState::Busy(client);
        origin.is_reused = true;
        self.ctx.timers.clear(origin.timer);
        let request = self.request(client).expect("its caller has one");
        request.origin = Some(id);
        request.phase = Phase::AwaitingHead;
        request.awaited_of_origin = Awaited::Nothing;
        true
    }

    fn connect(&mut self, client: Id, server: ServerId) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(self.upstreams.address(server))?;
        // Whole messages are written at once; holding back the last part would only delay it.
        stream.set_nodelay(true)?;
        let ctx = &mut self.ctx;
        let mut registered = Ok(());
        let id = self.origins.insert_with(|id| {
            let token = Subject::Origin(id).token();
            let interest = Interest::READABLE | Interest::WRITABLE;
            registered = ctx.registry.register(&mut stream, mio::Token(token), interest);
            let timer = ctx.timers.add(token);
            ctx.timers.set(timer, ctx.after(ctx.settings.connect_timeout));
            let state = OriginState::Connecting(client);
            Origin { wire: Wire::new(stream), server, state, timer, is_reused: false }
        });
        if let Err(error) = registered {
            self.close_origin(id);
            return Err(error);
        }
        let request = self.request(client).expect("its caller has one");
        request.origin = Some(id);
        request.phase = Phase::Connecting;
        request.awaited_of_origin = Awaited::Nothing;
        Ok(())
    }

    /// A step of [`State::Exchange`].
    pub(crate) fn exchange_step(&mut self, client: Id) -> Next {
        let Worker { connections, origins, ctx, .. } = self;
        let Some(connection) = connections.find(client) else { return Next::Wait };
        let State::Exchange(request) = &mut connection.state else { return Next::Again };
        let Some(origin) = request.origin.and_then(|id| origins.find(id)) else {
            return Next::Wait;
        };
        let outcome = exchange::pump(&mut connection.wire, request, origin, ctx);
        match outcome {
            Outcome::Blocked | Outcome::Yield => {
                let side = (&mut connection.wire, connection.timer);
                exchange::set_deadlines(side, request, origin, ctx);
                connection.wire.rest(&mut ctx.buffers);
                origin.wire.rest(&mut ctx.buffers);
                if outcome == Outcome::Yield { Next::Yield } else { Next::Wait }
            }
            Outcome::Done => self.finish_exchange(client),
            Outcome::ClientGone => Next::Close(CloseReason::ClientGone),
            Outcome::ClientFault(status) => self.fail_exchange(client, status),
            Outcome::OriginFault(fault) => self.lose_origin(client, fault),
        }
    }

    /// The poll reported something about a connection to an origin.
    pub(crate) fn origin_event(&mut self, id: Id, event: &mio::event::Event) {
        let Some(origin) = self.origins.find(id) else { return };
        let is_broken = origin.wire.note(event);
        match origin.state {
            // Nothing was asked, so that whatever it says or its end makes it useless.
            OriginState::Idle if origin.wire.may_read() => self.close_origin(id),
            OriginState::Idle => {}
            OriginState::Busy(client) => self.drive(client),
            OriginState::Connecting(client) => match origin.finish_connecting() {
                Ok(true) => {
                    origin.state = OriginState::Busy(client);
                    self.ctx.timers.clear(origin.timer);
                    if let Some(request) = self.request(client) {
                        request.phase = Phase::AwaitingHead;
                    }
                    self.drive(client);
                }
                Ok(false) if !is_broken => {}
                Ok(false) | Err(_) => {
                    let next = self.lose_origin(client, OriginFault::Refused);
                    self.follow(client, next);
                }
            },
        }
    }

    /// The deadline of a connection to an origin passed.
    pub(crate) fn origin_timeout(&mut self, id: Id) {
        let Some(origin) = self.origins.find(id) else { return };
        let Some(client) = origin.client() else { return self.close_origin(id) };
        let is_connecting = matches!(origin.state, OriginState::Connecting(_));
        let Some(request) = self.request(client) else { return };
        let fault = match (&request.phase, request.awaited_of_origin) {
            _ if is_connecting => OriginFault::ConnectTimeout,
            (Phase::AwaitingHead, Awaited::Continue) => return self.tell_to_continue(client),
            (Phase::Relaying { .. }, _) => OriginFault::BodyTimeout,
            _ => OriginFault::HeadTimeout,
        };
        let next = self.lose_origin(client, fault);
        self.follow(client, next);
    }

    /// The origin does not seem to know `Expect`; the client waits for a word, so it gets ours.
    fn tell_to_continue(&mut self, client: Id) {
        if let Some(request) = self.request(client) {
            request.awaits_continue = false;
        }
        if let Some(connection) = self.connections.find(client) {
            connection.wire.append(http::encode::CONTINUE, &mut self.ctx.buffers);
        }
        self.drive(client);
    }

    /// The response is through: keeps what can be kept.
    fn finish_exchange(&mut self, client: Id) -> Next {
        let Some(request) = self.take_request(client) else { return Next::Wait };
        if let Some(id) = request.origin {
            let is_clean = |origin: &Origin| {
                origin.wire.inbound.is_empty()
                    && !origin.wire.has_output()
                    && !origin.wire.may_read()
                    && !origin.wire.is_ending()
            };
            let keeps = request.origin_persists && request.is_sent() && !request.is_abandoned;
            match self.origins.find(id).is_some_and(|origin| keeps && is_clean(origin)) {
                true => self.keep_origin(id),
                false => self.close_origin(id),
            }
        }
        let closes = request.closes || !request.body.is_done();
        request.end(&mut self.ctx.buffers);
        self.ctx.requests += 1;
        self.go_on(client, closes)
    }

    /// Answers for an origin that did not, or a client whose body is wrong.
    pub(crate) fn fail_exchange(&mut self, client: Id, status: u16) -> Next {
        let Some(request) = self.take_request(client) else { return Next::Wait };
        if let Some(id) = request.origin {
            self.close_origin(id);
        }
        let has_begun = matches!(request.phase, Phase::Relaying { .. });
        let (version, answers_head) = (request.version, request.answers_head);
        let closes = request.closes || !request.body.is_done();
        request.end(&mut self.ctx.buffers);
        if has_begun {
            return Next::Close(CloseReason::ClientGone);
        }
        let Some(connection) = self.connections.find(client) else { return Next::Wait };
        connection.answer_error(&mut self.ctx, status, version, answers_head, closes);
        self.go_on(client, closes)
    }

    fn go_on(&mut self, client: Id, closes: bool) -> Next {
        let Some(connection) = self.connections.find(client) else { return Next::Wait };
        match closes {
            true => connection.begin_closing(&mut self.ctx, CloseReason::Finished),
            false => connection.await_head(&mut self.ctx),
        }
    }

    /// The origin failed: tries again where that is safe, or tells the client as well as it still can.
    pub(crate) fn lose_origin(&mut self, client: Id, fault: OriginFault) -> Next {
        let Some(request) = self.request(client) else { return Next::Wait };
        let origin = request.origin.take();
        let may_repeat =
            request.is_idempotent && request.framing == Framing::None && !request.is_being_answered;
        let frames_by_close =
            matches!(request.phase, Phase::Relaying { framing: Framing::UntilClose, .. });
        request.has_timed_out = fault == OriginFault::ConnectTimeout;
        let lost = origin.and_then(|id| self.origins.find(id));
        let was_reused = lost.is_some_and(|origin| origin.is_reused);
        if let Some(id) = origin {
            self.close_origin(id);
        }
        tracing::debug!(?fault, was_reused, "an origin failed");
        let reason = match fault {
            OriginFault::Refused | OriginFault::ConnectTimeout => {
                return self.open_origin(client, true);
            }
            OriginFault::Ended if was_reused && may_repeat => {
                let request = self.request(client).expect("it was there above");
                request.head_sent = 0;
                request.attempts = 0;
                return self.open_origin(client, false);
            }
            OriginFault::Ended | OriginFault::Malformed(_) => {
                return self.fail_exchange(client, 502);
            }
            OriginFault::HeadTimeout => return self.fail_exchange(client, 504),
            OriginFault::Truncated => CloseReason::OriginTruncated,
            OriginFault::BodyMalformed => CloseReason::OriginMalformed,
            OriginFault::BodyTimeout => CloseReason::OriginTimeout,
        };
        if let Some(request) = self.take_request(client) {
            request.end(&mut self.ctx.buffers);
        }
        let Some(connection) = self.connections.find(client) else { return Next::Wait };
        if frames_by_close {
            // An orderly end would pass for the end of the body.
            connection.wire.close_with_reset();
            return Next::Close(reason);
        }
        connection.begin_closing(&mut self.ctx, reason)
    }

    fn keep_origin(&mut self, id: Id) {
        let Some(origin) = self.origins.find(id) else { return };
        origin.state = OriginState::Idle;
        origin.wire.rest(&mut self.ctx.buffers);
        let server = origin.server;
        self.ctx.timers.set(origin.timer, self.ctx.after(self.ctx.settings.origin_idle_timeout));
        if let Some(oldest) = self.upstreams.put_idle(server, id) {
            self.close_origin(oldest);
        }
    }

    pub(crate) fn close_origin(&mut self, id: Id) {
        let Some(origin) = self.origins.remove(id) else { return };
        if origin.state == OriginState::Idle {
            self.upstreams.forget_idle(origin.server, id);
        }
        self.ctx.timers.remove(origin.timer);
        origin.wire.close(&mut self.ctx.buffers);
    }

    /// The request of a client, if an origin has it.
    pub(crate) fn request(&mut self, client: Id) -> Option<&mut Request> {
        match &mut self.connections.find(client)?.state {
            State::Exchange(request) => Some(request),
            _ => None,
        }
    }

    /// Ends the exchange of a client, leaving it between requests.
    pub(crate) fn take_request(&mut self, client: Id) -> Option<Request> {
        let state = &mut self.connections.find(client)?.state;
        match std::mem::replace(state, State::Head) {
            State::Exchange(request) => Some(request),
            other => {
                *state = other;
                None
            }
        }
    }
}
