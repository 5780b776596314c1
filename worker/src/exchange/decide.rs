//! A request of HTTP/1 from its head to a decision.
//!
//! The head is needed only in one moment: it is parsed, shown to the script, and either answered or
//! written out for the origin before anything else happens. A request that a script answers makes no
//! exchange; of any other a few facts are kept, and the bytes that go to the origin.

use std::net::IpAddr;

use heritage::Reason;
use hook::{Decision, Field, RequestView};
use http::encode::{self, Forwarded, Reply, ResponseFrame};
use http::{BodyDecoder, Edit, Framing, Mark};
use settings::Policy;

use super::{Asker, Attempt, Deadlines, Exchange, Facts, Purpose, Route, Stage, Upload};
use crate::buffers::Slot;
use crate::clients::Place;
use crate::close_reason::CloseReason;
use crate::connection::{Connection, Next, State};
use crate::context::Context;
use crate::hooks::{Hold, Hooks};
use crate::ids::ConnectionId;
use crate::label::Label;
use crate::notices::About;
use crate::reasons;
use crate::upstreams::{Upstreams, hash};
use crate::wire::Fill;
use crate::worker::Worker;

/// What a head says beyond its lines, while its request is decided.
struct Head {
    length: usize,
    /// Who sent it: the peer, or whom a trusted proxy names.
    client: IpAddr,
    /// Whether the peer is a trusted proxy.
    is_trusted: bool,
    /// Of a client behind one.
    place: Option<Place>,
    /// How many more may forward it; of `TRACE` and `OPTIONS` alone.
    max_forwards: Option<u64>,
    expects_continue: bool,
    /// What an exchange remembers of it.
    facts: Facts,
}

/// Room that is made before another head is looked at, so that most answers fit what is left.
const ANSWER_ROOM: usize = 2048;

impl<H: Hooks> Worker<H> {
    /// A step of [`State::Head`]. Answers to pipelined requests gather in the output, and are written
    /// once no whole head is left.
    pub(crate) fn head_step(&mut self, id: ConnectionId) -> Next {
        let Some(connection) = self.connections.get_mut(id) else { return Next::Wait };
        let ctx = &mut self.ctx;
        if connection.wire.has_spill() || connection.wire.outbound.room() < ANSWER_ROOM {
            match connection.wire.flush() {
                Err(_) => return Next::Close(CloseReason::ClientGone),
                Ok(true) => {}
                Ok(false) => return connection.await_reader(ctx),
            }
        }
        if connection.wire.inbound.is_empty() {
            return connection.head_bytes(ctx);
        }
        let limits = ctx.request_limits();
        let bytes = connection.wire.inbound.data();
        match ctx.request_head.parse(bytes, &mut connection.scan, &limits) {
            Ok(Some(length)) => self.decide(id, length),
            Ok(None) => connection.head_bytes(ctx),
            Err(error) => connection.refuse(ctx, reasons::of_request(error), Label::NONE),
        }
    }

    /// Shows the head to the script and does what it says.
    fn decide(&mut self, id: ConnectionId, length: usize) -> Next {
        let Worker { connections, hooks, ctx, upstreams, fields, page, .. } = self;
        let Some(connection) = connections.get_mut(id) else { return Next::Wait };
        let mut head = connection.read_head(ctx, length);
        connection.requests += 1;
        if matches!(head.facts.framing, Framing::Length(n) if n > ctx.limits.request_body_bytes) {
            let target = connection.target(ctx);
            return connection.refuse(ctx, Reason::RequestBodyTooLarge, target);
        }
        if head.is_trusted {
            let (place, count) = ctx.clients.enter(head.client);
            if count > ctx.limits.client_connections {
                ctx.counters.turned_away += 1;
                return connection.reply_error(ctx, &head, Reason::ClientConnections, "");
            }
            head.place = Some(place);
        }
        let (held, decision) =
            {
                let parsed = &ctx.request_head;
                let bytes = &connection.wire.inbound.data()[..length];
                let mut views = std::mem::take(fields);
                views.extend(parsed.fields.iter().map(|field| Field {
                    name: field.name.of(bytes),
                    value: field.value.of(bytes),
                }));
                let view = RequestView {
                    method: parsed.method.of(bytes),
                    target: parsed.target.of(bytes),
                    path: parsed.path.of(bytes),
                    query: parsed.query.of(bytes),
                    authority: parsed.authority.of(bytes),
                    fields: &views,
                    client: connection.client,
                };
                page.at_work.begin(view.target);
                let decided = hooks.on_request(&view);
                page.at_work.end();
                *fields = emptied(views);
                decided
            };
        let hold = Hold::new(held, &ctx.returned);
        let open = match decision {
            Decision::Failed if ctx.faults.policy == Policy::Open => ctx.faults.upstream.clone(),
            _ => None,
        };
        match or_open(decision, ctx.faults.policy, open.as_deref()) {
            Decision::Reply { status: 200..300, .. } if head.facts.purpose == Purpose::Connect => {
                // It would make a tunnel of the connection, with nobody at its end (RFC 9110, 9.3.6).
                connection.reply_error(ctx, &head, Reason::ConnectAnswered, "")
            }
            Decision::Reply { status, fields, body } => {
                connection.reply(ctx, &head, status, fields, body)
            }
            Decision::Failed if hold.generation() == 0 => {
                connection.reply_error(ctx, &head, Reason::NoScripts, "")
            }
            // What failed is told as a fault, with its place.
            Decision::Failed => connection.reply_failed(ctx, &head, 500),
            Decision::Close => connection.begin_closing(ctx, CloseReason::ScriptClosed),
            Decision::Forward { upstream, key, edits } => {
                let Some(route) = find_route(upstreams, upstream, key, head.client) else {
                    let name = String::from_utf8_lossy(upstream);
                    let reason = match upstream {
                        b"" => Reason::Undecided,
                        _ => Reason::UnknownUpstream,
                    };
                    return connection.reply_error(ctx, &head, reason, &name);
                };
                if head.max_forwards == Some(0) {
                    return connection.reply_as_last(ctx, &head);
                }
                let name = upstreams.name(route.upstream);
                if head.facts.purpose == Purpose::Connect
                    && !upstreams.takes_connect(route.upstream)
                {
                    return connection.reply_error(ctx, &head, Reason::ConnectUntaken, name);
                }
                let edits = edits.iter().copied();
                // Not by what the script said: that may be empty, or change with the scripts.
                let mark = ctx.via.mark(name.as_bytes());
                if connection.is_in_loop(ctx, &head, mark) {
                    return connection.reply_error(ctx, &head, Reason::Loop, name);
                }
                match connection.forwarded_head(ctx, &head, mark, name, edits) {
                    Ok(forwarded) => {
                        upstreams.count_request(route.upstream);
                        let exchange = connection.exchange(ctx, head, route, forwarded, hold);
                        let exchange = self.begin_exchange(id, exchange);
                        self.open_origin(exchange)
                    }
                    Err(http::Full) => {
                        connection.reply_error(ctx, &head, Reason::ForwardTooLarge, name)
                    }
                }
            }
        }
    }
}

/// Where a script failed and the policy is to let such requests through, forwards untouched.
fn or_open<'a>(decision: Decision<'a>, policy: Policy, upstream: Option<&'a str>) -> Decision<'a> {
    match (decision, policy) {
        (Decision::Failed, Policy::Open) => {
            let upstream = upstream.unwrap_or_default().as_bytes();
            Decision::Forward { upstream, key: b"", edits: &[] }
        }
        (decision, _) => decision,
    }
}

impl Connection {
    fn read_head(&self, ctx: &Context, length: usize) -> Head {
        let head = &ctx.request_head;
        let bytes = self.wire.inbound.data();
        let peer = self.client.ip();
        let is_trusted = ctx.trusts(peer);
        let client = match is_trusted {
            true => http::named_client(head, bytes, peer, |proxy| ctx.trusts(proxy)),
            false => peer,
        };
        let is_last = self.requests + 1 >= ctx.limits.requests_per_connection;
        let purpose = match head.is_method(bytes, "CONNECT") {
            true => Purpose::Connect,
            false if head.wants_upgrade => Purpose::Upgrade,
            false => Purpose::Answer,
        };
        Head {
            length,
            client,
            is_trusted,
            place: None,
            max_forwards: head.max_forwards,
            expects_continue: head.expects_continue,
            facts: Facts {
                purpose,
                version: head.version,
                framing: head.framing,
                answers_head: head.is_method(bytes, "HEAD"),
                is_idempotent: head.is_idempotent(bytes),
                closes: !head.is_persistent || ctx.is_draining || is_last,
            },
        }
    }

    /// Target of the request whose head was parsed.
    fn target(&self, ctx: &Context) -> Label {
        Label::of(ctx.request_head.target.of(self.wire.inbound.data()))
    }

    /// Writes what waits, and reads more of a head.
    fn head_bytes(&mut self, ctx: &mut Context) -> Next {
        match self.wire.flush() {
            Err(_) => return Next::Close(CloseReason::ClientGone),
            // A client that does not read its answers gets no more of them.
            Ok(false) => return self.await_reader(ctx),
            Ok(true) => {}
        }
        match self.wire.fill(&mut ctx.buffers) {
            Ok(Fill::Bytes) => Next::Again,
            // The head is within its limit so far.
            Ok(Fill::Full) => {
                let large_max = ctx.arriving_large_max();
                match self.wire.inbound.grow(&mut ctx.buffers, large_max) {
                    true => Next::Again,
                    false => self.refuse(ctx, Reason::RequestHeadRoom, Label::NONE),
                }
            }
            Ok(Fill::Blocked) => {
                self.wire.rest(&mut ctx.buffers, &mut ctx.pipes);
                if !self.wire.inbound.is_empty() && !self.head_has_begun {
                    self.head_has_begun = true;
                    ctx.timers.set(self.timer, ctx.after(ctx.timeouts.head_ms));
                }
                Next::Wait
            }
            Ok(Fill::End) if self.is_idle() => Next::Close(CloseReason::ClientClosed),
            Ok(Fill::End) | Err(_) => Next::Close(CloseReason::ClientGone),
        }
    }

    /// Waits until the client reads what was written.
    fn await_reader(&mut self, ctx: &mut Context) -> Next {
        if self.wire.take_progress() {
            ctx.timers.set(self.timer, ctx.after(ctx.timeouts.body_ms));
        }
        Next::Wait
    }

    /// Answers for a script.
    fn reply(
        &mut self,
        ctx: &mut Context,
        head: &Head,
        status: u16,
        fields: &[(&[u8], &[u8])],
        body: &[u8],
    ) -> Next {
        let content_bytes = body.len() as u64;
        let framing = match head.facts.answers_head || !encode::reply_has_content(status) {
            true => Framing::None,
            false => Framing::Length(content_bytes),
        };
        let closes = head.closes_after_reply();
        let frame = ResponseFrame { framing, version: head.facts.version, closes };
        let reply = Reply { status, fields, content_bytes };
        if !self.answer(ctx, &reply, body, frame) {
            return self.reply_error(ctx, head, Reason::ReplyTooLarge, "");
        }
        self.after_reply(ctx, head)
    }

    /// Answers for Kiln itself. `upstream` is where the request would have gone, if that is known.
    fn reply_error(
        &mut self,
        ctx: &mut Context,
        head: &Head,
        reason: Reason,
        upstream: &str,
    ) -> Next {
        let (client, target) = (self.client, self.target(ctx));
        ctx.note(reason, About { client, target: target.as_bytes(), upstream, server: None });
        self.reply_failed(ctx, head, reason.status())
    }

    fn reply_failed(&mut self, ctx: &mut Context, head: &Head, status: u16) -> Next {
        let closes = head.closes_after_reply();
        let Facts { version, answers_head, .. } = head.facts;
        self.answer_error(ctx, status, version, answers_head, closes);
        self.after_reply(ctx, head)
    }

    /// Answers a `TRACE` or `OPTIONS` that may be forwarded no more (RFC 9110, section 7.6.2).
    fn reply_as_last(&mut self, ctx: &mut Context, head: &Head) -> Next {
        let bytes = &self.wire.inbound.data()[..head.length];
        if ctx.request_head.is_method(bytes, "TRACE") {
            // What it came with, and a space for each field that came without.
            let mut content = vec![0; head.length + ctx.request_head.fields.len()];
            let mut out = http::Output::new(&mut content);
            encode::trace_reply(&mut out, &ctx.request_head, bytes)
                .expect("there is room for the head as it came");
            let filled = out.filled();
            const FIELDS: &[(&[u8], &[u8])] = &[(b"Content-Type", b"message/http")];
            return self.reply(ctx, head, 200, FIELDS, &content[..filled]);
        }
        self.reply(ctx, head, 200, &[], &[])
    }

    /// Whether this Kiln has sent the request to the same upstream before.
    fn is_in_loop(&self, ctx: &Context, head: &Head, mark: Option<Mark>) -> bool {
        let bytes = &self.wire.inbound.data()[..head.length];
        mark.is_some_and(|mark| ctx.request_head.has_passed(bytes, mark))
    }

    /// Goes on after an answer that did not need the request's body.
    fn after_reply(&mut self, ctx: &mut Context, head: &Head) -> Next {
        self.wire.inbound.consume(head.length);
        if head.closes_after_reply() {
            return self.begin_closing(ctx, CloseReason::Finished);
        }
        let body = BodyDecoder::from(head.facts.framing);
        if body.is_done() {
            return self.await_head(ctx);
        }
        ctx.timers.set(self.timer, ctx.after(ctx.timeouts.body_ms));
        self.state = State::Discard { body, left: ctx.limits.discard_bytes };
        Next::Again
    }

    /// Writes the head that goes upstream; there is none to go into a tunnel.
    fn forwarded_head<'e>(
        &self,
        ctx: &mut Context,
        head: &Head,
        mark: Option<Mark>,
        upstream: &str,
        edits: impl Iterator<Item = Edit<'e>> + Clone,
    ) -> Result<Slot, http::Full> {
        let mut slot = Slot::default();
        let bytes = &self.wire.inbound.data()[..head.length];
        let request_head = &ctx.request_head;
        let forwarded = Forwarded {
            client: self.client.ip(),
            default_host: upstream.as_bytes(),
            upgrades: head.facts.purpose == Purpose::Upgrade,
            keeps_forwarded: head.is_trusted,
            via: &ctx.via,
            mark,
        };
        let written = match head.facts.purpose {
            Purpose::Connect => Ok(()),
            Purpose::Answer | Purpose::Upgrade => {
                let large_max = ctx.limits.large_heads_bytes;
                slot.encode_head(&mut ctx.buffers, large_max, |out| {
                    encode::upstream_request(out, request_head, bytes, forwarded, edits.clone())
                })
            }
        };
        match written {
            Ok(()) => Ok(slot),
            Err(full) => {
                slot.release(&mut ctx.buffers);
                Err(full)
            }
        }
    }

    /// What is needed of the request, whose head is done with.
    fn exchange(
        &mut self,
        ctx: &Context,
        head: Head,
        route: Route,
        forwarded: Slot,
        hold: Hold,
    ) -> impl FnOnce(Asker) -> Exchange + use<> {
        let target = self.target(ctx);
        self.wire.inbound.consume(head.length);
        let (timer, now_ms) = (self.timer, ctx.now_ms);
        let over_ms = ctx.after(route.patience.exchange_ms);
        move |asker| {
            let Head { facts, place, expects_continue, .. } = head;
            let needs_new = facts.purpose == Purpose::Connect;
            Exchange {
                asker,
                stage: Stage::Choosing,
                target,
                began_ms: now_ms,
                facts,
                route,
                attempt: Attempt::of(forwarded, expects_continue, needs_new),
                upload: Upload::of(facts.framing),
                deadlines: Deadlines::until(over_ms),
                timer,
                hold: Some(hold),
                _place: place,
            }
        }
    }
}

impl Head {
    /// A client that waits for `100 (Continue)` and gets a final status may send its body or not, so
    /// that nobody can tell where its next request begins (RFC 9110, section 10.1.1). Nor can anybody
    /// after a `CONNECT` that was refused: the client may have sent what was meant for the tunnel.
    fn closes_after_reply(&self) -> bool {
        self.facts.closes || self.expects_continue || self.facts.purpose == Purpose::Connect
    }
}

/// Where a request goes; none if there is no such upstream.
fn find_route(upstreams: &Upstreams, name: &[u8], key: &[u8], client: IpAddr) -> Option<Route> {
    let upstream = upstreams.find(name)?;
    let key_hash = match (upstreams.hashes(upstream), key, client) {
        (false, ..) => 0,
        (true, b"", IpAddr::V4(client)) => hash(&client.octets()),
        (true, b"", IpAddr::V6(client)) => hash(&client.octets()),
        (true, key, _) => hash(key),
    };
    Some(Route {
        upstream,
        key_hash,
        patience: upstreams.patience(upstream)?,
        aborts_on_close: upstreams.aborts_on_close(upstream),
    })
}

/// The same vector without its views: collecting in place keeps the allocation for the next request.
fn emptied(mut views: Vec<Field<'_>>) -> Vec<Field<'static>> {
    views.clear();
    views.into_iter().map(|_| unreachable!("it was cleared")).collect()
}
