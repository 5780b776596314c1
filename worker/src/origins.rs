//! How requests get to origins and back: choosing, opening, waiting, retrying, finishing and failing.
//!
//! A request is sent a second time only if the first can't have had an effect: nothing of it was sent,
//! or no byte of a response came and the method is idempotent (RFC 9110, section 9.2.2; RFC 9112,
//! section 9.3.1). It goes to another server, unless all that failed was an old connection; and only
//! so many requests of an upstream are sent again (`upstreams::budget`).

use std::io;

use heritage::{Reason, Report};
use mio::Interest;
use mio::net::TcpStream;
use nix::errno::Errno;

use crate::close_reason::CloseReason;
use crate::connection::{Connection, Next, State};
use crate::event_loop::Worker;
use crate::exchange::{self, OriginFault, Outcome};
use crate::hooks::Hooks;
use crate::notices::About;
use crate::origin::{Origin, OriginState};
use crate::request::{Awaited, Phase, Purpose, Request};
use crate::table::{Id, Subject};
use crate::tunnel::{Flow, Tunnel};
use crate::upstreams::{Changed, Choice, Cost, Deed, ServerId};
use crate::wire::Wire;

impl<H: Hooks> Worker<H> {
    /// Gets the request of this client a connection to a server, from the pool or a new one, or a place
    /// in the queue.
    pub(crate) fn open_origin(&mut self, client: Id) -> Next {
        loop {
            let Worker { connections, upstreams, ctx, ready, .. } = self;
            let Some(connection) = connections.find(client) else { return Next::Wait };
            let is_ending = connection.wire.is_ending();
            let Some(request) = connection.request() else { return Next::Wait };
            if is_ending && request.aborts_on_close {
                return Next::Close(CloseReason::ClientGone);
            }
            let (upstream, tried) = (request.upstream, &request.tried);
            let server = match upstreams.choose(upstream, request.key_hash, tried, ctx.now_ms) {
                Choice::Server(server) => server,
                Choice::Busy(owner) => return self.queue(client, owner),
                Choice::Nobody => {
                    let (reason, _) = request.failure;
                    return self.turn_down(client, reason);
                }
            };
            let first = upstreams.next_waiting(upstream, server);
            if let Some(first) = first.filter(|first| *first != client) {
                // It may have waited for a server that came back by itself.
                ready.push_back(first);
                let owner = upstreams.hashes(upstream).then_some(server);
                return self.queue(client, owner);
            }
            if matches!(request.phase, Phase::Queued) {
                request.phase = Phase::Connecting;
                self.leave_queue(client);
            }
            if self.reuse_origin(client, server) {
                return Next::Again;
            }
            match self.connect(client, server) {
                Ok(()) => return Next::Again,
                Err(error) => {
                    if let Some(reason) = self.cannot_connect(client, server, &error) {
                        return self.turn_down(client, reason);
                    }
                }
            }
        }
    }

    /// Lets a request wait for a server, unless it does already: for the owner of its key, if it has one.
    fn queue(&mut self, client: Id, owner: Option<ServerId>) -> Next {
        let Worker { connections, upstreams, ctx, .. } = self;
        let Some(connection) = connections.find(client) else { return Next::Wait };
        let timer = connection.timer;
        // The poll tells an end once, and may have told it together with the request.
        if connection.wire.is_ending() {
            return self.turn_down(client, Reason::ClientLeftQueue);
        }
        let Some(request) = connection.request() else { return Next::Wait };
        if matches!(request.phase, Phase::Queued) {
            if owner.is_some() {
                upstreams.renew_owner(request.upstream, client, owner);
            }
            return Next::Wait;
        }
        let until_ms = ctx.after(ctx.timeouts.queue_ms).min(request.over_ms);
        let has_room = upstreams.enqueue(request.upstream, client, owner, &request.tried);
        if !has_room {
            return self.turn_down(client, Reason::QueueFull);
        }
        request.phase = Phase::Queued;
        ctx.timers.set(timer, until_ms);
        // Answers to requests before this one need not wait with it.
        if connection.wire.flush().is_err() {
            return Next::Close(CloseReason::ClientGone);
        }
        connection.wire.rest(&mut ctx.buffers, &mut ctx.pipes);
        Next::Wait
    }

    /// A request waits no more. The next one may have missed that a server is free meanwhile.
    fn leave_queue(&mut self, client: Id) {
        let Worker { connections, upstreams, ctx, ready, .. } = self;
        let Some(connection) = connections.find(client) else { return };
        ctx.timers.clear(connection.timer);
        let Some(request) = connection.request() else { return };
        ready.extend(upstreams.dequeue(request.upstream, client));
    }

    /// No server is left for a request.
    pub(crate) fn turn_down(&mut self, client: Id, reason: Reason) -> Next {
        self.ctx.counters.turned_away += u64::from(reason.status() == 503);
        self.fail_exchange(client, reason)
    }

    fn reuse_origin(&mut self, client: Id, server: ServerId) -> bool {
        let Worker { connections, origins, upstreams, ctx, .. } = self;
        let request = connections.find(client).and_then(Connection::request);
        let request = request.expect("its caller has one");
        if request.needs_new {
            return false;
        }
        let Some(id) = upstreams.take_idle(server) else { return false };
        upstreams.begin(server);
        let origin = origins.find(id).expect("idle connections are open");
        origin.state = OriginState::Busy(client);
        origin.is_reused = true;
        ctx.timers.clear(origin.timer);
        ctx.counters.forwarded += 1;
        request.origin = Some(id);
        request.phase = Phase::AwaitingHead;
        request.awaited_of_origin = Awaited::Nothing;
        request.sent_us = ctx.now_us;
        true
    }

    fn connect(&mut self, client: Id, server: ServerId) -> io::Result<()> {
        let Worker { connections, origins, upstreams, ctx, .. } = self;
        let request = connections.find(client).and_then(Connection::request);
        let request = request.expect("its caller has one");
        let address = upstreams.address(server).expect("it was chosen just now");
        let mut stream = TcpStream::connect(address)?;
        // Whole messages are written at once; holding back the last part would only delay it.
        stream.set_nodelay(true)?;
        let mut registered = Ok(());
        let id = origins.insert_with(|id| {
            let token = Subject::Origin(id).token();
            let interest = Interest::READABLE | Interest::WRITABLE;
            registered = ctx.registry.register(&mut stream, mio::Token(token), interest);
            let timer = ctx.timers.add(token);
            ctx.timers.set(timer, ctx.after(request.patience.connect_ms).min(request.over_ms));
            let state = OriginState::Connecting(client);
            Origin { wire: Wire::new(stream), server, state, timer, is_reused: false }
        });
        upstreams.begin(server);
        if let Err(error) = registered {
            self.close_origin(id);
            return Err(error);
        }
        ctx.counters.origin_connections += 1;
        ctx.counters.forwarded += 1;
        request.origin = Some(id);
        request.phase = Phase::Connecting;
        request.awaited_of_origin = Awaited::Nothing;
        request.sent_us = ctx.now_us;
        Ok(())
    }

    /// A connection could not even be begun. Gives the reason to turn the request down, or nothing if
    /// another server may be tried.
    fn cannot_connect(
        &mut self,
        client: Id,
        server: ServerId,
        error: &io::Error,
    ) -> Option<Reason> {
        let address = self.upstreams.address(server);
        tracing::debug!(?address, %error, "cannot connect");
        let is_ours = |code| {
            use Errno::{EADDRNOTAVAIL, EMFILE, ENFILE, ENOBUFS, ENOMEM};
            matches!(Errno::from_raw(code), EADDRNOTAVAIL | EMFILE | ENFILE | ENOBUFS | ENOMEM)
        };
        if error.raw_os_error().is_some_and(is_ours) {
            return Some(Reason::OutOfSockets);
        }
        self.judge(server, Deed::Unreachable);
        let reason = OriginFault::Refused.reason();
        (!self.may_pass_on(client, server, reason, Cost::Nothing)).then_some(reason)
    }

    /// Whether the request of this client may go to another server, now that this one has failed it.
    fn may_pass_on(&mut self, client: Id, server: ServerId, reason: Reason, cost: Cost) -> bool {
        let Worker { connections, upstreams, .. } = self;
        let request = connections.find(client).and_then(Connection::request);
        request.is_some_and(|request| {
            request.failure = (reason, upstreams.address(server));
            request.tried.add(server, cost);
            upstreams.may_retry(request.upstream, &request.tried, cost)
        })
    }

    /// Takes note of how a server did, and tells the other workers if that takes it out.
    fn judge(&mut self, server: ServerId, deed: Deed) {
        if let Some(news) = self.upstreams.judge(server, deed, self.ctx.now_ms) {
            self.reports.push_back(Report::News(news));
            self.ready.extend(self.upstreams.waiting_for(server));
        }
    }

    /// A step of [`State::Exchange`].
    pub(crate) fn exchange_step(&mut self, client: Id) -> Next {
        let Worker { connections, origins, ctx, .. } = self;
        let Some(connection) = connections.find(client) else { return Next::Wait };
        let State::Exchange(request) = &mut connection.state else { return Next::Again };
        if request.aborts_on_close && connection.wire.is_ending() {
            return Next::Close(CloseReason::ClientGone);
        }
        if matches!(request.phase, Phase::Queued) {
            // Whoever has closed waits for nothing. A client that has shut its side alone is told so.
            if connection.wire.is_ending() {
                return self.turn_down(client, Reason::ClientLeftQueue);
            }
            return match connection.wire.flush() {
                Ok(_) => self.open_origin(client),
                Err(_) => Next::Close(CloseReason::ClientGone),
            };
        }
        let Some(origin) = request.origin.and_then(|id| origins.find(id)) else {
            return Next::Wait;
        };
        let outcome = exchange::pump(&mut connection.wire, request, origin, ctx);
        let judged = request.deed.take().map(|deed| (origin.server, deed));
        if matches!(outcome, Outcome::Blocked | Outcome::Yield) {
            let (wire, timer) = (&mut connection.wire, connection.timer);
            exchange::set_deadlines(wire, timer, request, origin, ctx);
            connection.wire.rest(&mut ctx.buffers, &mut ctx.pipes);
            origin.wire.rest(&mut ctx.buffers, &mut ctx.pipes);
        }
        if let Some((server, deed)) = judged {
            self.judge(server, deed);
        }
        match outcome {
            Outcome::Blocked => Next::Wait,
            Outcome::Yield => Next::Yield,
            Outcome::Done => self.finish_exchange(client),
            Outcome::Switched => self.begin_tunnel(client),
            Outcome::ClientGone => Next::Close(CloseReason::ClientGone),
            Outcome::ClientFault(reason) => self.fail_exchange(client, reason),
            Outcome::OriginFault(fault) => self.lose_origin(client, fault),
        }
    }

    /// From here on the connection carries bytes and no messages.
    fn begin_tunnel(&mut self, client: Id) -> Next {
        let Some(mut request) = self.take_request(client) else { return Next::Wait };
        let origin = request.origin.expect("it carried the request");
        let is_connect = request.purpose == Purpose::Connect;
        let (sent_us, place) = (request.sent_us, request.place.take());
        request.end(&mut self.ctx.buffers);
        if is_connect && let Some(server) = self.origins.find(origin).map(|origin| origin.server) {
            // All that it was asked for was to take the connection.
            let latency_us = self.ctx.now_us.saturating_sub(sent_us);
            self.judge(server, Deed::Answered { status: 200, latency_us });
        }
        let Worker { connections, origins, ctx, .. } = self;
        let Some(connection) = connections.find(client) else { return Next::Wait };
        if is_connect {
            connection.wire.append(http::encode::CONNECT_ESTABLISHED, &mut ctx.buffers);
        }
        ctx.counters.requests += 1;
        connection.state = State::Tunnel(Tunnel::to(origin, place));
        ctx.timers.set(connection.timer, ctx.after(ctx.timeouts.tunnel_ms));
        if let Some(origin) = origins.find(origin) {
            ctx.timers.clear(origin.timer);
        }
        Next::Again
    }

    /// A step of [`State::Tunnel`].
    pub(crate) fn tunnel_step(&mut self, client: Id) -> Next {
        let Worker { connections, origins, ctx, .. } = self;
        let Some(connection) = connections.find(client) else { return Next::Wait };
        let State::Tunnel(tunnel) = &mut connection.state else { return Next::Again };
        let Some(origin) = origins.find(tunnel.origin) else {
            return Next::Close(CloseReason::TunnelBroken);
        };
        let flow = tunnel.pump(&mut connection.wire, &mut origin.wire, ctx);
        let has_moved = connection.wire.take_progress() | origin.wire.take_progress();
        if has_moved {
            ctx.timers.set(connection.timer, ctx.after(ctx.timeouts.tunnel_ms));
        }
        connection.wire.rest(&mut ctx.buffers, &mut ctx.pipes);
        origin.wire.rest(&mut ctx.buffers, &mut ctx.pipes);
        match flow {
            Flow::Blocked => Next::Wait,
            Flow::Yield => Next::Yield,
            Flow::Over => Next::Close(CloseReason::TunnelOver),
            // Whoever is left learns it as it happened.
            Flow::ClientBroke => {
                origin.wire.close_with_reset();
                Next::Close(CloseReason::TunnelBroken)
            }
            Flow::OriginBroke => {
                connection.wire.close_with_reset();
                Next::Close(CloseReason::TunnelBroken)
            }
        }
    }

    /// The poll reported something about a connection to an origin.
    pub(crate) fn origin_event(&mut self, id: Id, event: &mio::event::Event) {
        let Some(origin) = self.origins.find(id) else { return };
        let is_broken = origin.wire.note(event);
        match origin.state {
            OriginState::Idle => {}
            OriginState::Busy(client) => self.drive(client),
            OriginState::Connecting(client) => match origin.finish_connecting() {
                Ok(true) => {
                    origin.state = OriginState::Busy(client);
                    self.ctx.timers.clear(origin.timer);
                    self.connected(client);
                }
                Ok(false) if !is_broken => {}
                Ok(false) | Err(_) => {
                    let next = self.lose_origin(client, OriginFault::Refused);
                    self.follow(client, next);
                }
            },
        }
    }

    /// The same for a connection that waits in its pool. Nothing was asked there, so that whatever it
    /// says, or its end, makes it useless.
    pub(crate) fn idle_origin_event(&mut self, id: Id, event: &mio::event::Event) {
        let Some(origin) = self.origins.find(id) else { return };
        if origin.state == OriginState::Idle {
            origin.wire.note(event);
            if origin.wire.may_read() {
                self.close_origin(id);
            }
        }
    }

    /// The connection that a request waited for is open.
    fn connected(&mut self, client: Id) {
        let Some(request) = self.request(client) else { return };
        request.phase = Phase::AwaitingHead;
        if request.purpose == Purpose::Connect {
            let next = self.begin_tunnel(client);
            return self.follow(client, next);
        }
        self.drive(client);
    }

    /// The deadline of a connection to an origin passed.
    pub(crate) fn origin_timeout(&mut self, id: Id) {
        let Some(origin) = self.origins.find(id) else { return };
        let Some(client) = origin.client() else { return self.close_origin(id) };
        let is_connecting = matches!(origin.state, OriginState::Connecting(_));
        let now_ms = self.ctx.now_ms;
        let Some(request) = self.request(client) else { return };
        let is_over = request.over_ms <= now_ms;
        let fault = match (&request.phase, request.awaited_of_origin) {
            _ if is_connecting => OriginFault::ConnectTimeout,
            (Phase::Relaying { .. }, _) if is_over => OriginFault::BodyOverdue,
            (Phase::Relaying { .. }, _) => OriginFault::BodyTimeout,
            // All the time went by waiting for the client to send its body.
            (_, Awaited::Nothing) => {
                let next = self.fail_exchange(client, Reason::RequestBodyTimeout);
                return self.follow(client, next);
            }
            _ if is_over => OriginFault::ExchangeTimeout,
            (Phase::AwaitingHead, Awaited::Continue) => return self.tell_to_continue(client),
            (_, Awaited::Room) => OriginFault::UploadTimeout,
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
            let keeps = request.origin_persists && request.is_sent() && !request.is_abandoned;
            let buffers = &mut self.ctx.buffers;
            let is_clean = |origin: &mut Origin| origin.wire.is_quiet(buffers);
            match keeps && self.origins.find(id).is_some_and(is_clean) {
                true => self.keep_origin(id),
                false => self.close_origin(id),
            }
        }
        let closes = request.closes || !request.body.is_done();
        request.end(&mut self.ctx.buffers);
        self.ctx.counters.requests += 1;
        self.go_on(client, closes)
    }

    /// Answers for an origin that did not, or a client whose body is wrong.
    pub(crate) fn fail_exchange(&mut self, client: Id, reason: Reason) -> Next {
        let Some(request) = self.request(client) else { return Next::Wait };
        if matches!(request.phase, Phase::Relaying { .. }) {
            return self.cut_exchange(client, reason, CloseReason::ClientGone);
        }
        self.note_exchange(client, reason);
        let Some(request) = self.take_request(client) else { return Next::Wait };
        if let Some(id) = request.origin {
            self.close_origin(id);
        }
        let (version, answers_head) = (request.version, request.answers_head);
        let is_connect = request.purpose == Purpose::Connect;
        let closes = request.closes || !request.body.is_done() || is_connect;
        request.end(&mut self.ctx.buffers);
        let Some(connection) = self.connections.find(client) else { return Next::Wait };
        connection.answer_error(&mut self.ctx, reason.status(), version, answers_head, closes);
        self.go_on(client, closes)
    }

    /// Closes in the middle of an answer.
    pub(crate) fn cut_exchange(&mut self, client: Id, reason: Reason, why: CloseReason) -> Next {
        self.note_exchange(client, reason);
        Next::Close(why)
    }

    /// Takes note of what Kiln does by itself to the request of this client. The server is the one that
    /// has it, or else the last one that failed it.
    pub(crate) fn note_exchange(&mut self, client: Id, reason: Reason) {
        let Worker { connections, origins, upstreams, ctx, .. } = self;
        let Some(connection) = connections.find(client) else { return };
        let State::Exchange(request) = &connection.state else { return };
        let origin = request.origin.and_then(|id| origins.get(id));
        let server = origin.and_then(|origin| upstreams.address(origin.server));
        let about = About {
            client: connection.client,
            target: request.target.as_bytes(),
            upstream: upstreams.name(request.upstream),
            server: server.or(request.failure.1),
        };
        ctx.note(reason, about);
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
        let Worker { connections, origins, upstreams, .. } = self;
        let request = connections.find(client).and_then(Connection::request);
        let Some(request) = request else { return Next::Wait };
        let lost = request.origin.take();
        let lost = lost.and_then(|id| origins.get(id).map(|it| (id, it.server, it.is_reused)));
        let was_reused = lost.is_some_and(|(_, _, is_reused)| is_reused);
        if let Some((id, server, _)) = lost {
            request.failure = (fault.reason(), upstreams.address(server));
            self.close_origin(id);
            // An old connection that was closed meanwhile is nobody's fault.
            let deed = fault.deed().filter(|_| !(was_reused && fault == OriginFault::Ended));
            if let Some(deed) = deed {
                self.judge(server, deed);
            }
        }
        tracing::debug!(?fault, was_reused, "an origin failed");
        let Some(why) = fault.cuts() else {
            let server = lost.map(|(_, server, _)| server);
            return self.try_again(client, fault, server, was_reused);
        };
        self.note_exchange(client, fault.reason());
        if self.request(client).is_some_and(|request| request.is_framed_by_close()) {
            return Next::Close(why);
        }
        if let Some(request) = self.take_request(client) {
            request.end(&mut self.ctx.buffers);
        }
        let Some(connection) = self.connections.find(client) else { return Next::Wait };
        connection.begin_closing(&mut self.ctx, why)
    }

    /// No response has come: sends the request to another server, or answers for this one.
    fn try_again(
        &mut self,
        client: Id,
        fault: OriginFault,
        server: Option<ServerId>,
        was_reused: bool,
    ) -> Next {
        let now_ms = self.ctx.now_ms;
        let reason = fault.reason();
        let Some(request) = self.request(client) else { return Next::Wait };
        let was_sent = request.head_sent > 0 || request.body_bytes > 0 || request.is_being_answered;
        let may_repeat = request.is_idempotent
            && request.body_bytes == 0
            && !request.is_being_answered
            && fault == OriginFault::Ended;
        // Without any time left the next server could only be found too slow.
        let is_over = request.over_ms <= now_ms;
        if is_over || was_sent && !may_repeat {
            return self.fail_exchange(client, reason);
        }
        request.begin_anew();
        // The same server may be asked again where all that failed was an old connection.
        request.needs_new |= was_reused;
        let cost = match fault {
            OriginFault::Refused => Cost::Nothing,
            _ if !was_sent => Cost::Time,
            _ => Cost::Work,
        };
        if let Some(server) = server.filter(|_| !was_reused)
            && !self.may_pass_on(client, server, reason, cost)
        {
            return self.fail_exchange(client, reason);
        }
        let next = self.open_origin(client);
        let is_sent_again = self.request(client).is_some_and(|request| request.origin.is_some());
        self.ctx.counters.retries += u64::from(is_sent_again);
        next
    }

    fn keep_origin(&mut self, id: Id) {
        let Worker { origins, upstreams, ctx, ready, .. } = self;
        let Some(origin) = origins.find(id) else { return };
        origin.state = OriginState::Idle;
        origin.wire.rest(&mut ctx.buffers, &mut ctx.pipes);
        ctx.timers.set(origin.timer, ctx.after(ctx.timeouts.origin_idle_ms));
        let surplus = upstreams.put_idle(origin.server, id);
        ready.extend(upstreams.end(origin.server));
        if let Some(surplus) = surplus {
            self.close_origin(surplus);
        }
    }

    pub(crate) fn close_origin(&mut self, id: Id) {
        let Some(origin) = self.origins.remove(id) else { return };
        match origin.state {
            OriginState::Idle => self.upstreams.forget_idle(origin.server, id),
            _ => self.ready.extend(self.upstreams.end(origin.server)),
        }
        self.ctx.timers.remove(origin.timer);
        origin.wire.close(&mut self.ctx.buffers, &mut self.ctx.pipes);
    }

    /// Does what a change of servers has left to do.
    pub(crate) fn settle(&mut self, changed: Changed) {
        for orphan in changed.orphans {
            self.close_origin(orphan);
        }
        self.ready.extend(changed.waiting);
    }

    /// The request of a client, if it has one that is with an origin or waits for one.
    pub(crate) fn request(&mut self, client: Id) -> Option<&mut Request> {
        self.connections.find(client)?.request()
    }

    /// Ends the exchange of a client, leaving it between requests.
    pub(crate) fn take_request(&mut self, client: Id) -> Option<Request> {
        if matches!(self.request(client)?.phase, Phase::Queued) {
            self.leave_queue(client);
        }
        match std::mem::replace(&mut self.connections.find(client)?.state, State::Head) {
            State::Exchange(request) => Some(request),
            _ => unreachable!("it had a request just now"),
        }
    }
}
