//! How an exchange gets a server: choosing, waiting, opening a connection, and another server after one
//! has failed it.
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

use super::deadlines::Awaited;
use super::{Asker, OriginFault, Stage};
use crate::close_reason::CloseReason;
use crate::connection::Next;
use crate::hooks::Hooks;
use crate::ids::{ExchangeId, Subject};
use crate::origin::{Origin, OriginState};
use crate::upstreams::{Choice, Cost, Deed, ServerId};
use crate::wire::Wire;
use crate::worker::{Turn, Worker};

impl<H: Hooks> Worker<H> {
    /// Gets an exchange a connection to a server, from the pool or a new one, or a place in the queue.
    pub(crate) fn open_origin(&mut self, id: ExchangeId) -> Next {
        loop {
            let Worker { connections, exchanges, upstreams, ctx, ready, .. } = self;
            let exchange = exchanges.live(id);
            let Asker::Http1(client) = exchange.asker;
            if exchange.route.aborts_on_close && connections.live(client).wire.is_ending() {
                return Next::Close(CloseReason::ClientGone);
            }
            let (route, tried) = (&exchange.route, &exchange.attempt.tried);
            let upstream = route.upstream;
            let server = match upstreams.choose(upstream, route.key_hash, tried, ctx.now_ms) {
                Choice::Server(server) => server,
                Choice::Busy(owner) => return self.queue(id, owner),
                Choice::Nobody => {
                    let (reason, _) = exchange.attempt.failure;
                    return self.turn_down(id, reason);
                }
            };
            let first = upstreams.next_waiting(upstream, server);
            if let Some(first) = first.filter(|first| *first != id) {
                // It may have waited for a server that came back by itself.
                ready.push_back(Turn::Exchange(first));
                let owner = upstreams.hashes(upstream).then_some(server);
                return self.queue(id, owner);
            }
            if exchange.stage.is_queued() {
                self.leave_queue(id);
            }
            if self.reuse_origin(id, server) {
                return Next::Again;
            }
            match self.connect(id, server) {
                Ok(()) => return Next::Again,
                Err(error) => {
                    if let Some(reason) = self.cannot_connect(id, server, &error) {
                        return self.turn_down(id, reason);
                    }
                }
            }
        }
    }

    /// Lets an exchange wait for a server, unless it does already: for the owner of its key, if it has
    /// one.
    fn queue(&mut self, id: ExchangeId, owner: Option<ServerId>) -> Next {
        let Worker { connections, exchanges, upstreams, ctx, .. } = self;
        let exchange = exchanges.live(id);
        let Asker::Http1(client) = exchange.asker;
        let connection = connections.live(client);
        // The poll tells an end once, and may have told it together with the request.
        if connection.wire.is_ending() {
            return self.turn_down(id, Reason::ClientLeftQueue);
        }
        if exchange.stage.is_queued() {
            if owner.is_some() {
                upstreams.renew_owner(exchange.route.upstream, id, owner);
            }
            return Next::Wait;
        }
        let tried = &exchange.attempt.tried;
        if !upstreams.enqueue(exchange.route.upstream, id, owner, tried) {
            return self.turn_down(id, Reason::QueueFull);
        }
        exchange.stage = Stage::Queued;
        let until_ms = ctx.after(ctx.timeouts.queue_ms).min(exchange.deadlines.over_ms);
        ctx.timers.set(exchange.timer, until_ms);
        // Answers to requests before this one need not wait with it.
        if connection.wire.flush().is_err() {
            return Next::Close(CloseReason::ClientGone);
        }
        connection.wire.rest(&mut ctx.buffers, &mut ctx.pipes);
        Next::Wait
    }

    /// An exchange waits no more. The next one may have missed that a server is free meanwhile.
    pub(super) fn leave_queue(&mut self, id: ExchangeId) {
        let Worker { exchanges, upstreams, ctx, ready, .. } = self;
        let exchange = exchanges.live(id);
        exchange.stage = Stage::Choosing;
        ctx.timers.clear(exchange.timer);
        ready.extend(upstreams.dequeue(exchange.route.upstream, id).map(Turn::Exchange));
    }

    fn reuse_origin(&mut self, id: ExchangeId, server: ServerId) -> bool {
        let Worker { exchanges, origins, upstreams, ctx, .. } = self;
        let exchange = exchanges.live(id);
        if exchange.attempt.needs_new {
            return false;
        }
        let Some(idle) = upstreams.take_idle(server) else { return false };
        upstreams.begin(server);
        let origin = origins.live(idle);
        origin.state = OriginState::Busy(id);
        origin.is_reused = true;
        ctx.timers.clear(origin.timer);
        ctx.counters.forwarded += 1;
        exchange.stage = Stage::AwaitingHead(idle);
        exchange.deadlines.of_origin = Awaited::Nothing;
        exchange.attempt.sent_us = ctx.now_us;
        true
    }

    fn connect(&mut self, id: ExchangeId, server: ServerId) -> io::Result<()> {
        let Worker { exchanges, origins, upstreams, ctx, .. } = self;
        let exchange = exchanges.live(id);
        let address = upstreams.address(server).expect("it was chosen just now");
        let mut stream = TcpStream::connect(address)?;
        // Whole messages are written at once; holding back the last part would only delay it.
        stream.set_nodelay(true)?;
        let until_ms = ctx.after(exchange.route.patience.connect_ms);
        let mut registered = Ok(());
        let opened = origins.insert_with(|origin| {
            let token = Subject::Origin(origin).token();
            let interest = Interest::READABLE | Interest::WRITABLE;
            registered = ctx.registry.register(&mut stream, mio::Token(token), interest);
            let timer = ctx.timers.add(token);
            ctx.timers.set(timer, until_ms.min(exchange.deadlines.over_ms));
            let state = OriginState::Connecting(id);
            Origin { wire: Wire::new(stream), server, state, timer, is_reused: false }
        });
        upstreams.begin(server);
        if let Err(error) = registered {
            self.close_origin(opened);
            return Err(error);
        }
        ctx.counters.origin_connections += 1;
        ctx.counters.forwarded += 1;
        exchange.stage = Stage::Connecting(opened);
        exchange.deadlines.of_origin = Awaited::Nothing;
        exchange.attempt.sent_us = ctx.now_us;
        Ok(())
    }

    /// A connection could not even be begun. Gives the reason to turn the request down, or nothing if
    /// another server may be tried.
    fn cannot_connect(
        &mut self,
        id: ExchangeId,
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
        (!self.may_pass_on(id, server, reason, Cost::Nothing)).then_some(reason)
    }

    /// Whether an exchange may go to another server, now that this one has failed it.
    fn may_pass_on(
        &mut self,
        id: ExchangeId,
        server: ServerId,
        reason: Reason,
        cost: Cost,
    ) -> bool {
        let Worker { exchanges, upstreams, .. } = self;
        let exchange = exchanges.live(id);
        exchange.attempt.failure = (reason, upstreams.address(server));
        exchange.attempt.tried.add(server, cost);
        upstreams.may_retry(exchange.route.upstream, &exchange.attempt.tried, cost)
    }

    /// No response has come: sends the request to another server, or answers for this one.
    pub(super) fn try_again(
        &mut self,
        id: ExchangeId,
        fault: OriginFault,
        server: ServerId,
        was_reused: bool,
    ) -> Next {
        let now_ms = self.ctx.now_ms;
        let reason = fault.reason();
        let exchange = self.exchanges.live(id);
        let was_sent = exchange.was_sent();
        let may_repeat = exchange.facts.is_idempotent
            && exchange.upload.bytes == 0
            && !exchange.attempt.is_being_answered
            && fault == OriginFault::Ended;
        // Without any time left the next server could only be found too slow.
        let is_over = exchange.deadlines.over_ms <= now_ms;
        if is_over || was_sent && !may_repeat {
            return self.fail_exchange(id, reason);
        }
        exchange.begin_anew();
        // The same server may be asked again where all that failed was an old connection.
        exchange.attempt.needs_new |= was_reused;
        let cost = match fault {
            OriginFault::Refused => Cost::Nothing,
            _ if !was_sent => Cost::Time,
            _ => Cost::Work,
        };
        if !was_reused && !self.may_pass_on(id, server, reason, cost) {
            return self.fail_exchange(id, reason);
        }
        let before = self.ctx.counters.forwarded;
        let next = self.open_origin(id);
        self.ctx.counters.retries += u64::from(self.ctx.counters.forwarded > before);
        next
    }

    /// Takes note of how a server did, and tells the other workers if that takes it out.
    pub(super) fn judge(&mut self, server: ServerId, deed: Deed) {
        if let Some(news) = self.upstreams.judge(server, deed, self.ctx.now_ms) {
            self.reports.push_back(Report::News(news));
            self.ready.extend(self.upstreams.waiting_for(server).map(Turn::Exchange));
        }
    }
}
