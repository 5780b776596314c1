//! What comes next for an exchange: after a step, an event, or a deadline.

use mio::event::Event;

use heritage::Reason;

use super::deadlines::{self, Awaited};
use super::pump::{self, Outcome};
use super::tunnel::{Flow, Tunnel};
use super::{Asker, Exchange, OriginFault, Purpose, Stage};
use crate::close_reason::CloseReason;
use crate::connection::{Next, State};
use crate::hooks::Hooks;
use crate::ids::{ConnectionId, ExchangeId, OriginId, Subject};
use crate::origin::OriginState;
use crate::upstreams::Deed;
use crate::worker::Worker;

impl<H: Hooks> Worker<H> {
    /// Begins an exchange that a client asks for.
    pub(super) fn begin_exchange(
        &mut self,
        client: ConnectionId,
        make: impl FnOnce(Asker) -> Exchange,
    ) -> ExchangeId {
        let id = self.exchanges.insert_with(|_| make(Asker::Http1(client)));
        let connection = self.connections.live(client);
        connection.state = State::Exchange(id);
        self.ctx.timers.lend(connection.timer, Subject::Exchange(id).token());
        self.ctx.timers.clear(connection.timer);
        id
    }

    /// One step of an exchange. The answer says what to do with its asker's connection.
    pub(crate) fn exchange_step(&mut self, id: ExchangeId) -> Next {
        let Worker { connections, exchanges, origins, ctx, .. } = self;
        let exchange = exchanges.live(id);
        let Asker::Http1(client) = exchange.asker;
        let connection = connections.live(client);
        let is_tunnel = matches!(exchange.stage, Stage::Tunnel(..));
        if exchange.route.aborts_on_close && connection.wire.is_ending() && !is_tunnel {
            return Next::Close(CloseReason::ClientGone);
        }
        let origin = match &mut exchange.stage {
            Stage::Choosing => {
                unreachable!("a server is found, waited for, or the exchange is over")
            }
            Stage::Queued => {
                // Whoever has closed waits for nothing. A client that has shut its side alone is told so.
                if connection.wire.is_ending() {
                    return self.turn_down(id, Reason::ClientLeftQueue);
                }
                return match connection.wire.flush() {
                    Ok(_) => self.open_origin(id),
                    Err(_) => Next::Close(CloseReason::ClientGone),
                };
            }
            Stage::Tunnel(origin, tunnel) => {
                let flow = tunnel.pump(&mut connection.wire, &mut origins.live(*origin).wire, ctx);
                return self.follow_tunnel(id, flow);
            }
            Stage::Connecting(origin)
            | Stage::AwaitingHead(origin)
            | Stage::Relaying(origin, _) => origins.live(*origin),
        };
        let outcome = pump::pump(&mut connection.wire, exchange, origin, ctx);
        let judged = exchange.attempt.deed.take().map(|deed| (origin.server, deed));
        if matches!(outcome, Outcome::Blocked | Outcome::Yield) {
            deadlines::set(&mut connection.wire, exchange, origin, ctx);
            connection.wire.rest(&mut ctx.buffers, &mut ctx.pipes);
            origin.wire.rest(&mut ctx.buffers, &mut ctx.pipes);
        }
        if let Some((server, deed)) = judged {
            self.judge(server, deed);
        }
        match outcome {
            Outcome::Blocked => Next::Wait,
            Outcome::Yield => Next::Yield,
            Outcome::Done => self.finish_exchange(id),
            Outcome::Switched => self.begin_tunnel(id),
            Outcome::ClientGone => Next::Close(CloseReason::ClientGone),
            Outcome::ClientFault(reason) => self.fail_exchange(id, reason),
            Outcome::OriginFault(fault) => self.lose_origin(id, fault),
        }
    }

    /// From here on the connection carries bytes and no messages.
    fn begin_tunnel(&mut self, id: ExchangeId) -> Next {
        let Worker { connections, exchanges, origins, ctx, .. } = self;
        let exchange = exchanges.live(id);
        let Asker::Http1(client) = exchange.asker;
        let origin_id = exchange.stage.origin().expect("it carried the request");
        let origin = origins.live(origin_id);
        exchange.stage = Stage::Tunnel(origin_id, Tunnel::default());
        exchange.hold = None;
        exchange.attempt.head.release(&mut ctx.buffers);
        ctx.counters.requests += 1;
        ctx.timers.set(exchange.timer, ctx.after(ctx.timeouts.tunnel_ms));
        ctx.timers.clear(origin.timer);
        if exchange.facts.purpose == Purpose::Connect {
            let established = http::encode::CONNECT_ESTABLISHED;
            connections.live(client).wire.append(established, &mut ctx.buffers);
            // All that it was asked for was to take the connection.
            let latency_us = ctx.now_us.saturating_sub(exchange.attempt.sent_us);
            let server = origin.server;
            self.judge(server, Deed::Answered { status: 200, latency_us });
        }
        Next::Again
    }

    /// What comes after a round of a tunnel.
    fn follow_tunnel(&mut self, id: ExchangeId, flow: Flow) -> Next {
        let Worker { connections, exchanges, origins, ctx, .. } = self;
        let exchange = exchanges.live(id);
        let Asker::Http1(client) = exchange.asker;
        let client = &mut connections.live(client).wire;
        let origin = exchange.stage.origin().expect("a tunnel leads to one");
        let origin = &mut origins.live(origin).wire;
        let has_moved = client.take_progress() | origin.take_progress();
        if has_moved {
            ctx.timers.set(exchange.timer, ctx.after(ctx.timeouts.tunnel_ms));
        }
        client.rest(&mut ctx.buffers, &mut ctx.pipes);
        origin.rest(&mut ctx.buffers, &mut ctx.pipes);
        match flow {
            Flow::Blocked => Next::Wait,
            Flow::Yield => Next::Yield,
            Flow::Over => Next::Close(CloseReason::TunnelOver),
            // Whoever is left learns it as it happened.
            Flow::ClientBroke => {
                origin.close_with_reset();
                Next::Close(CloseReason::TunnelBroken)
            }
            Flow::OriginBroke => {
                client.close_with_reset();
                Next::Close(CloseReason::TunnelBroken)
            }
        }
    }

    /// Takes an exchange as far as it gets.
    pub(crate) fn drive_exchange(&mut self, id: ExchangeId) {
        if let Some(exchange) = self.exchanges.get(id) {
            let Asker::Http1(client) = exchange.asker;
            self.drive(client);
        }
    }

    /// Does what a step said that was taken outside of [`Worker::drive`].
    fn follow_exchange(&mut self, asker: Asker, next: Next) {
        let Asker::Http1(client) = asker;
        self.follow(client, next);
    }

    /// The poll reported something about a connection to an origin.
    pub(crate) fn origin_event(&mut self, id: OriginId, event: &Event) {
        let Some(origin) = self.origins.get_mut(id) else { return };
        let is_broken = origin.wire.note(event);
        match origin.state {
            OriginState::Idle => {}
            OriginState::Busy(exchange) => self.drive_exchange(exchange),
            OriginState::Connecting(exchange) => match origin.finish_connecting() {
                Ok(true) => {
                    origin.state = OriginState::Busy(exchange);
                    self.ctx.timers.clear(origin.timer);
                    self.connected(exchange, id);
                }
                Ok(false) if !is_broken => {}
                Ok(false) | Err(_) => self.lose_and_follow(exchange, OriginFault::Refused),
            },
        }
    }

    /// The same for a connection that waits in its pool. Nothing was asked there, so that whatever it
    /// says, or its end, makes it useless.
    pub(crate) fn idle_origin_event(&mut self, id: OriginId, event: &Event) {
        let Some(origin) = self.origins.get_mut(id) else { return };
        if origin.state == OriginState::Idle {
            origin.wire.note(event);
            if origin.wire.may_read() {
                self.close_origin(id);
            }
        }
    }

    /// The connection that an exchange waited for is open.
    fn connected(&mut self, id: ExchangeId, origin: OriginId) {
        let exchange = self.exchanges.live(id);
        exchange.stage = Stage::AwaitingHead(origin);
        if exchange.facts.purpose == Purpose::Connect {
            let asker = exchange.asker;
            let next = self.begin_tunnel(id);
            return self.follow_exchange(asker, next);
        }
        self.drive_exchange(id);
    }

    fn lose_and_follow(&mut self, id: ExchangeId, fault: OriginFault) {
        let asker = self.exchanges.live(id).asker;
        let next = self.lose_origin(id, fault);
        self.follow_exchange(asker, next);
    }

    /// The deadline of a connection to an origin passed.
    pub(crate) fn origin_timeout(&mut self, id: OriginId) {
        let Some(origin) = self.origins.get(id) else { return };
        let Some(exchange_id) = origin.exchange() else { return self.close_origin(id) };
        let now_ms = self.ctx.now_ms;
        let exchange = self.exchanges.live(exchange_id);
        let is_over = exchange.deadlines.over_ms <= now_ms;
        let fault = match (&exchange.stage, exchange.deadlines.of_origin) {
            (Stage::Connecting(_), _) => OriginFault::ConnectTimeout,
            (Stage::Relaying(..), _) if is_over => OriginFault::BodyOverdue,
            (Stage::Relaying(..), _) => OriginFault::BodyTimeout,
            // All the time went by waiting for the client to send its body.
            (_, Awaited::Nothing) => {
                let asker = exchange.asker;
                let next = self.fail_exchange(exchange_id, Reason::RequestBodyTimeout);
                return self.follow_exchange(asker, next);
            }
            _ if is_over => OriginFault::ExchangeTimeout,
            (_, Awaited::Continue) => return self.tell_to_continue(exchange_id),
            (_, Awaited::Room) => OriginFault::UploadTimeout,
            _ => OriginFault::HeadTimeout,
        };
        self.lose_and_follow(exchange_id, fault);
    }

    /// The deadline of whoever asked for an exchange passed, or its time in a queue.
    pub(crate) fn exchange_timeout(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(id) else { return };
        let asker = exchange.asker;
        let next = match (&exchange.stage, exchange.deadlines.of_client) {
            (Stage::Queued, _) => self.turn_down(id, Reason::QueueTimeout),
            (Stage::Tunnel(..), _) => {
                self.cut_exchange(id, Reason::TunnelTimeout, CloseReason::TunnelTimeout)
            }
            (_, Awaited::Room) => {
                self.cut_exchange(id, Reason::SendTimeout, CloseReason::SendTimeout)
            }
            (Stage::Relaying(..), _) => {
                self.cut_exchange(id, Reason::RequestBodyTimeout, CloseReason::BodyTimeout)
            }
            _ => self.fail_exchange(id, Reason::RequestBodyTimeout),
        };
        self.follow_exchange(asker, next);
    }

    /// The origin does not seem to know `Expect`; the client waits for a word, so it gets ours.
    fn tell_to_continue(&mut self, id: ExchangeId) {
        let Worker { connections, exchanges, ctx, .. } = self;
        let exchange = exchanges.live(id);
        exchange.attempt.awaits_continue = false;
        let Asker::Http1(client) = exchange.asker;
        connections.live(client).wire.append(http::encode::CONTINUE, &mut ctx.buffers);
        self.drive_exchange(id);
    }
}
