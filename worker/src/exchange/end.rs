//! The ways in which an exchange ends: well, with an answer of Kiln's own, cut off, or with its asker.

use heritage::Reason;

use super::{Asker, Exchange, OriginFault, Purpose};
use crate::close_reason::CloseReason;
use crate::connection::{Next, State};
use crate::hooks::Hooks;
use crate::ids::{ExchangeId, OriginId, Subject};
use crate::notices::About;
use crate::origin::{Origin, OriginState};
use crate::upstreams::Changed;
use crate::worker::{Turn, Worker};

impl<H: Hooks> Worker<H> {
    /// The response is through: keeps what can be kept.
    pub(super) fn finish_exchange(&mut self, id: ExchangeId) -> Next {
        let exchange = self.take_exchange(id);
        let origin = exchange.stage.origin().expect("it has answered");
        let keeps = exchange.attempt.origin_persists && exchange.is_sent();
        let wire = &mut self.origins.live(origin).wire;
        match keeps && wire.is_quiet(&mut self.ctx.buffers) {
            true => self.keep_origin(origin),
            false => self.close_origin(origin),
        }
        self.ctx.counters.requests += 1;
        let closes = exchange.facts.closes || !exchange.upload.body.is_done();
        self.go_on(exchange, closes)
    }

    /// No server is left for a request.
    pub(super) fn turn_down(&mut self, id: ExchangeId, reason: Reason) -> Next {
        self.ctx.counters.turned_away += u64::from(reason.status() == 503);
        self.fail_exchange(id, reason)
    }

    /// Answers for an origin that did not, or a client whose body is wrong.
    pub(super) fn fail_exchange(&mut self, id: ExchangeId, reason: Reason) -> Next {
        if self.exchanges.live(id).stage.is_relaying() {
            return self.cut_exchange(id, reason, CloseReason::ClientGone);
        }
        self.note_exchange(id, reason);
        let exchange = self.take_exchange(id);
        if let Some(origin) = exchange.stage.origin() {
            self.close_origin(origin);
        }
        let facts = exchange.facts;
        let is_connect = facts.purpose == Purpose::Connect;
        let closes = facts.closes || !exchange.upload.body.is_done() || is_connect;
        let Asker::Http1(client) = exchange.asker;
        let connection = self.connections.live(client);
        let ctx = &mut self.ctx;
        connection.answer_error(ctx, reason.status(), facts.version, facts.answers_head, closes);
        self.go_on(exchange, closes)
    }

    /// Closes in the middle of an answer.
    pub(super) fn cut_exchange(
        &mut self,
        id: ExchangeId,
        reason: Reason,
        why: CloseReason,
    ) -> Next {
        self.note_exchange(id, reason);
        Next::Close(why)
    }

    /// Takes note of what Kiln does by itself to an exchange. The server is the one that has it, or else
    /// the last one that failed it.
    pub(crate) fn note_exchange(&mut self, id: ExchangeId, reason: Reason) {
        let Worker { connections, exchanges, origins, upstreams, ctx, .. } = self;
        let exchange = exchanges.live(id);
        let Asker::Http1(client) = exchange.asker;
        let origin = exchange.stage.origin().and_then(|id| origins.get(id));
        let server = origin.and_then(|origin| upstreams.address(origin.server));
        let (_, failed) = exchange.attempt.failure;
        let about = About {
            client: connections.live(client).client,
            target: exchange.target.as_bytes(),
            upstream: upstreams.name(exchange.route.upstream),
            server: server.or(failed),
        };
        ctx.note(reason, about);
    }

    /// The origin failed: tries again where that is safe, or tells the client as well as it still can.
    pub(super) fn lose_origin(&mut self, id: ExchangeId, fault: OriginFault) -> Next {
        let Worker { exchanges, origins, upstreams, .. } = self;
        let exchange = exchanges.live(id);
        let lost = exchange.stage.origin().expect("it is what failed");
        let &mut Origin { server, is_reused, .. } = origins.live(lost);
        exchange.attempt.failure = (fault.reason(), upstreams.address(server));
        // An old connection that was closed meanwhile is nobody's fault.
        if let Some(deed) = fault.deed().filter(|_| !(is_reused && fault == OriginFault::Ended)) {
            self.judge(server, deed);
        }
        tracing::debug!(?fault, is_reused, "an origin failed");
        let Some(why) = fault.cuts() else {
            self.exchanges.live(id).stage = super::Stage::Choosing;
            self.close_origin(lost);
            return self.try_again(id, fault, server, is_reused);
        };
        self.note_exchange(id, fault.reason());
        if self.exchanges.live(id).is_framed_by_close() {
            return Next::Close(why);
        }
        let exchange = self.take_exchange(id);
        self.close_origin(lost);
        let Asker::Http1(client) = exchange.asker;
        exchange.release(&mut self.ctx.buffers);
        self.connections.live(client).begin_closing(&mut self.ctx, why)
    }

    /// Ends an exchange whose asker is about to close. Answers whether the close has to be a reset: its
    /// end would pass for the end of the response.
    pub(crate) fn abandon_exchange(&mut self, id: ExchangeId) -> bool {
        let exchange = self.take_exchange(id);
        if let Some(origin) = exchange.stage.origin() {
            self.close_origin(origin);
        }
        let is_framed_by_close = exchange.is_framed_by_close();
        exchange.release(&mut self.ctx.buffers);
        is_framed_by_close
    }

    /// Takes an exchange out of its table, leaving its asker's connection between requests.
    fn take_exchange(&mut self, id: ExchangeId) -> Exchange {
        if self.exchanges.live(id).stage.is_queued() {
            self.leave_queue(id);
        }
        let exchange = self.exchanges.remove(id).expect("it was there just now");
        let Asker::Http1(client) = exchange.asker;
        self.connections.live(client).state = State::Head;
        self.ctx.timers.lend(exchange.timer, Subject::Client(client).token());
        exchange
    }

    /// An answer is made: goes on to the next request, or closes.
    fn go_on(&mut self, exchange: Exchange, closes: bool) -> Next {
        let Asker::Http1(client) = exchange.asker;
        exchange.release(&mut self.ctx.buffers);
        let connection = self.connections.live(client);
        match closes {
            true => connection.begin_closing(&mut self.ctx, CloseReason::Finished),
            false => connection.await_head(&mut self.ctx),
        }
    }

    fn keep_origin(&mut self, id: OriginId) {
        let Worker { origins, upstreams, ctx, ready, .. } = self;
        let origin = origins.live(id);
        origin.state = OriginState::Idle;
        origin.wire.rest(&mut ctx.buffers, &mut ctx.pipes);
        ctx.timers.set(origin.timer, ctx.after(ctx.timeouts.origin_idle_ms));
        let surplus = upstreams.put_idle(origin.server, id);
        ready.extend(upstreams.end(origin.server).map(Turn::Exchange));
        if let Some(surplus) = surplus {
            self.close_origin(surplus);
        }
    }

    pub(crate) fn close_origin(&mut self, id: OriginId) {
        let origin = self.origins.remove(id).expect("it is closed once");
        match origin.state {
            OriginState::Idle => self.upstreams.forget_idle(origin.server, id),
            _ => self.ready.extend(self.upstreams.end(origin.server).map(Turn::Exchange)),
        }
        self.ctx.timers.remove(origin.timer);
        origin.wire.close(&mut self.ctx.buffers, &mut self.ctx.pipes);
    }

    /// Does what a change of servers has left to do.
    pub(crate) fn apply(&mut self, changed: Changed) {
        for orphan in changed.orphans {
            self.close_origin(orphan);
        }
        self.ready.extend(changed.waiting.into_iter().map(Turn::Exchange));
    }
}
