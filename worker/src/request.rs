//! A request from its head to a decision, and what is remembered of it while an origin has it.
//!
//! The head is needed only in one moment: it is parsed, shown to the script, and either answered or
//! written out for the origin before anything else happens. So it is never kept, and a request that
//! is with an origin is a few facts and the bytes that go there.

use std::net::{IpAddr, SocketAddr};

use heritage::Reason;
use http::encode::{self, Forwarded, Reply, ResponseFrame};
use http::{BodyDecoder, Edit, Framing, Mark, Scan, Version, Via};

use hook::{Decision, Field, RequestView};
use settings::Policy;

use crate::buffers::{Buffers, Slot};
use crate::clients::Place;
use crate::close_reason::CloseReason;
use crate::connection::{Connection, Next, State};
use crate::context::Context;
use crate::event_loop::Worker;
use crate::hooks::{Hold, Hooks};
use crate::notices::About;
use crate::reasons;
use crate::survey::Label;
use crate::table::Id;
use crate::upstreams::{Deed, Patience, Tried, UpstreamId, Upstreams, hash};
use crate::wire::Fill;

/// Where a request stands that is with an origin.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Every server that could is busy; it waits in the queue of its upstream.
    Queued,
    /// A connection to a server is being opened; nothing of the request was sent.
    Connecting,
    /// The request is being sent, and no final response has come.
    AwaitingHead,
    /// The response's head went to the client and its body follows; the request's own body may still
    /// be on its way.
    Relaying {
        /// Where the response's body ends.
        body: BodyDecoder,
        /// How the client finds that end.
        framing: Framing,
        /// Whether the chunk was written that ends a chunked body.
        is_terminated: bool,
    },
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An answer.
    Answer,
    /// An answer, or another protocol if the origin agrees.
    Upgrade,
    /// A tunnel to the server, which hears nothing of the request itself.
    Connect,
}

/// Where a request goes, as decided.
#[derive(Debug)]
struct Route {
    upstream: UpstreamId,
    key_hash: u64,
    patience: Patience,
    aborts_on_close: bool,
    /// What tells a request that comes back.
    mark: Option<Mark>,
}

/// Whose move is awaited, so that each has its own timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// Nobody's here: the other side has a timeout running.
    Nothing,
    /// More of the body.
    Body,
    /// Room to write.
    Room,
    /// The head of the response.
    Head,
    /// A `100 (Continue)` from the origin.
    Continue,
}

/// A request that is with an origin.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) phase: Phase,
    /// Keeps the generation that decided on it.
    pub(crate) hold: Hold,
    /// When it was decided.
    pub(crate) began_ms: u64,
    /// For whoever wonders what that generation waits for.
    pub(crate) target: Label,
    pub(crate) purpose: Purpose,
    pub(crate) upstream: UpstreamId,
    /// What decides about the server, where the upstream balances by hash.
    pub(crate) key_hash: u64,
    pub(crate) patience: Patience,
    /// When the whole exchange has taken too long.
    pub(crate) over_ms: u64,
    pub(crate) origin: Option<Id>,
    /// Servers that have failed it.
    pub(crate) tried: Tried,
    /// What the client is told if no other server is left, and whose doing it was.
    pub(crate) failure: (Reason, Option<SocketAddr>),
    /// Whether it ends with its client's side of the connection.
    pub(crate) aborts_on_close: bool,
    /// Of a client behind a trusted proxy.
    pub(crate) place: Option<Place>,
    /// Whether only a new connection will do: one from the pool was found dead, or it is for a tunnel.
    pub(crate) needs_new: bool,
    /// When the server got it.
    pub(crate) sent_us: u64,
    /// How the server did, once that is known and until it is taken note of.
    pub(crate) deed: Option<Deed>,
    pub(crate) version: Version,
    pub(crate) answers_head: bool,
    pub(crate) is_idempotent: bool,
    /// Whether the client connection closes after the response.
    pub(crate) closes: bool,
    /// Whether the origin's connection lives on after the response, as far as its head says.
    pub(crate) origin_persists: bool,
    /// Whether a byte of a response has come: after that a request is never sent again.
    pub(crate) is_being_answered: bool,
    /// Whether the client holds its body back until it is told to go on.
    pub(crate) awaits_continue: bool,
    /// The head as it goes upstream, kept until a response begins: it may have to be sent again.
    pub(crate) head: Slot,
    pub(crate) head_sent: usize,
    /// How the request's body is framed, on both sides.
    pub(crate) framing: Framing,
    pub(crate) body: BodyDecoder,
    /// Bytes of content that came from the client so far.
    pub(crate) body_bytes: u64,
    /// Milliseconds that were spent waiting for it, up to the last time that it was not waited for.
    pub(crate) body_awaited_ms: u64,
    /// Since when it is waited for, if it is.
    pub(crate) body_awaited_since_ms: u64,
    /// Whether the body's end was passed on.
    pub(crate) body_is_terminated: bool,
    /// The origin stopped reading; the rest of the body is for nobody.
    pub(crate) is_abandoned: bool,
    /// How far the response's head was searched.
    pub(crate) scan: Scan,
    pub(crate) awaited_of_client: Awaited,
    pub(crate) awaited_of_origin: Awaited,
}

impl Request {
    /// Whether all of the request was passed on.
    pub(crate) fn is_sent(&self) -> bool {
        self.head_sent == self.head.data().len() && self.body_is_terminated
    }

    /// Whether the end of the connection would pass for the end of the response.
    pub(crate) fn is_framed_by_close(&self) -> bool {
        matches!(self.phase, Phase::Relaying { framing: Framing::UntilClose, .. })
    }

    /// Makes it ready to be sent once more, from its first byte; nothing of its content was taken.
    pub(crate) fn begin_anew(&mut self) {
        self.head_sent = 0;
        self.is_abandoned = false;
        // The end of an empty body in chunks went to the connection that is lost.
        self.body_is_terminated = BodyDecoder::from(self.framing).is_done();
    }

    /// Gives its buffer back; its hold ends.
    pub(crate) fn end(mut self, pool: &mut Buffers) {
        self.head.release(pool);
    }
}

/// What outlives the head, whatever is decided.
struct Facts {
    length: usize,
    /// Who sent it: the peer, or whom a trusted proxy names.
    client: IpAddr,
    /// Whether the peer is a trusted proxy.
    is_trusted: bool,
    /// Of a client behind one.
    place: Option<Place>,
    purpose: Purpose,
    /// How many more may forward it; of `TRACE` and `OPTIONS` alone.
    max_forwards: Option<u64>,
    version: Version,
    framing: Framing,
    answers_head: bool,
    is_idempotent: bool,
    expects_continue: bool,
    closes: bool,
}

/// Room that is made before another head is looked at, so that most answers fit what is left.
const ANSWER_ROOM: usize = 2048;

impl<H: Hooks> Worker<H> {
    /// A step of [`State::Head`]. Answers to pipelined requests gather in the output, and are written
    /// once no whole head is left.
    pub(crate) fn head_step(&mut self, id: Id) -> Next {
        let Some(connection) = self.connections.find(id) else { return Next::Wait };
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
    fn decide(&mut self, id: Id, length: usize) -> Next {
        let Worker { connections, hooks, ctx, upstreams, fields, page, .. } = self;
        let Some(connection) = connections.find(id) else { return Next::Wait };
        let mut facts = connection.facts(ctx, length);
        connection.requests += 1;
        if matches!(facts.framing, Framing::Length(n) if n > ctx.limits.request_body_bytes) {
            let target = connection.target(ctx);
            return connection.refuse(ctx, Reason::RequestBodyTooLarge, target);
        }
        if facts.is_trusted {
            let (place, count) = ctx.clients.enter(facts.client);
            if count > ctx.limits.client_connections {
                ctx.counters.turned_away += 1;
                return connection.reply_error(ctx, &facts, Reason::ClientConnections, "");
            }
            facts.place = Some(place);
        }
        let (held, decision) =
            {
                let head = &ctx.request_head;
                let bytes = &connection.wire.inbound.data()[..length];
                let mut views = std::mem::take(fields);
                views.extend(head.fields.iter().map(|field| Field {
                    name: field.name.of(bytes),
                    value: field.value.of(bytes),
                }));
                let view = RequestView {
                    method: head.method.of(bytes),
                    target: head.target.of(bytes),
                    path: head.path.of(bytes),
                    query: head.query.of(bytes),
                    authority: head.authority.of(bytes),
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
            Decision::Reply { status: 200..300, .. } if facts.purpose == Purpose::Connect => {
                // It would make a tunnel of the connection, with nobody at its end (RFC 9110, 9.3.6).
                connection.reply_error(ctx, &facts, Reason::ConnectAnswered, "")
            }
            Decision::Reply { status, fields, body } => {
                connection.reply(ctx, &facts, status, fields, body)
            }
            Decision::Failed if hold.generation() == 0 => {
                connection.reply_error(ctx, &facts, Reason::NoScripts, "")
            }
            // What failed is told as a fault, with its place.
            Decision::Failed => connection.reply_failed(ctx, &facts, 500),
            Decision::Close => connection.begin_closing(ctx, CloseReason::ScriptClosed),
            Decision::Forward { upstream, key, edits } => {
                let route = Route::find(upstreams, &ctx.via, upstream, key, facts.client);
                let Some(route) = route else {
                    let name = String::from_utf8_lossy(upstream);
                    let reason = match upstream {
                        b"" => Reason::Undecided,
                        _ => Reason::UnknownUpstream,
                    };
                    return connection.reply_error(ctx, &facts, reason, &name);
                };
                if facts.max_forwards == Some(0) {
                    return connection.reply_as_last(ctx, &facts);
                }
                let name = upstreams.name(route.upstream);
                if facts.purpose == Purpose::Connect && !upstreams.takes_connect(route.upstream) {
                    return connection.reply_error(ctx, &facts, Reason::ConnectUntaken, name);
                }
                let edits = edits.iter().copied();
                if connection.is_in_loop(ctx, &facts, &route) {
                    return connection.reply_error(ctx, &facts, Reason::Loop, name);
                }
                match connection.forwarded_head(ctx, &facts, &route, name, edits) {
                    Ok(head) => {
                        upstreams.count_request(route.upstream);
                        connection.begin_exchange(ctx, facts, route, head, hold);
                        self.open_origin(id)
                    }
                    Err(http::Full) => {
                        connection.reply_error(ctx, &facts, Reason::ForwardTooLarge, name)
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
    fn facts(&self, ctx: &Context, length: usize) -> Facts {
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
        Facts {
            length,
            client,
            is_trusted,
            place: None,
            purpose,
            max_forwards: head.max_forwards,
            version: head.version,
            framing: head.framing,
            answers_head: head.is_method(bytes, "HEAD"),
            is_idempotent: head.is_idempotent(bytes),
            expects_continue: head.expects_continue,
            closes: !head.is_persistent || ctx.is_draining || is_last,
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
        facts: &Facts,
        status: u16,
        fields: &[(&[u8], &[u8])],
        body: &[u8],
    ) -> Next {
        let content_bytes = body.len() as u64;
        let framing = match facts.answers_head || !encode::reply_has_content(status) {
            true => Framing::None,
            false => Framing::Length(content_bytes),
        };
        let closes = facts.closes_after_reply();
        let frame = ResponseFrame { framing, version: facts.version, closes };
        let reply = Reply { status, fields, content_bytes };
        if !self.answer(ctx, &reply, body, frame) {
            return self.reply_error(ctx, facts, Reason::ReplyTooLarge, "");
        }
        self.after_reply(ctx, facts)
    }

    /// Answers for Kiln itself. `upstream` is where the request would have gone, if that is known.
    fn reply_error(
        &mut self,
        ctx: &mut Context,
        facts: &Facts,
        reason: Reason,
        upstream: &str,
    ) -> Next {
        let (client, target) = (self.client, self.target(ctx));
        ctx.note(reason, About { client, target: target.as_bytes(), upstream, server: None });
        self.reply_failed(ctx, facts, reason.status())
    }

    fn reply_failed(&mut self, ctx: &mut Context, facts: &Facts, status: u16) -> Next {
        let closes = facts.closes_after_reply();
        self.answer_error(ctx, status, facts.version, facts.answers_head, closes);
        self.after_reply(ctx, facts)
    }

    /// Answers a `TRACE` or `OPTIONS` that may be forwarded no more (RFC 9110, section 7.6.2).
    fn reply_as_last(&mut self, ctx: &mut Context, facts: &Facts) -> Next {
        let bytes = &self.wire.inbound.data()[..facts.length];
        if ctx.request_head.is_method(bytes, "TRACE") {
            // What it came with, and a space for each field that came without.
            let mut content = vec![0; facts.length + ctx.request_head.fields.len()];
            let mut out = http::Output::new(&mut content);
            encode::trace_reply(&mut out, &ctx.request_head, bytes)
                .expect("there is room for the head as it came");
            let filled = out.filled();
            const FIELDS: &[(&[u8], &[u8])] = &[(b"Content-Type", b"message/http")];
            return self.reply(ctx, facts, 200, FIELDS, &content[..filled]);
        }
        self.reply(ctx, facts, 200, &[], &[])
    }

    /// Whether this Kiln has sent the request to the same upstream before.
    fn is_in_loop(&self, ctx: &Context, facts: &Facts, route: &Route) -> bool {
        let bytes = &self.wire.inbound.data()[..facts.length];
        route.mark.is_some_and(|mark| ctx.request_head.has_passed(bytes, mark))
    }

    /// Goes on after an answer that did not need the request's body.
    fn after_reply(&mut self, ctx: &mut Context, facts: &Facts) -> Next {
        self.wire.inbound.consume(facts.length);
        if facts.closes_after_reply() {
            return self.begin_closing(ctx, CloseReason::Finished);
        }
        let body = BodyDecoder::from(facts.framing);
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
        facts: &Facts,
        route: &Route,
        upstream: &str,
        edits: impl Iterator<Item = Edit<'e>> + Clone,
    ) -> Result<Slot, http::Full> {
        let mut head = Slot::default();
        let bytes = &self.wire.inbound.data()[..facts.length];
        let request_head = &ctx.request_head;
        let forwarded = Forwarded {
            client: self.client.ip(),
            default_host: upstream.as_bytes(),
            upgrades: facts.purpose == Purpose::Upgrade,
            keeps_forwarded: facts.is_trusted,
            via: &ctx.via,
            mark: route.mark,
        };
        let written = match facts.purpose {
            Purpose::Connect => Ok(()),
            Purpose::Answer | Purpose::Upgrade => {
                let large_max = ctx.limits.large_heads_bytes;
                head.encode_head(&mut ctx.buffers, large_max, |out| {
                    encode::upstream_request(out, request_head, bytes, forwarded, edits.clone())
                })
            }
        };
        match written {
            Ok(()) => Ok(head),
            Err(full) => {
                head.release(&mut ctx.buffers);
                Err(full)
            }
        }
    }

    /// Remembers what is needed of the request, whose head is done with.
    fn begin_exchange(
        &mut self,
        ctx: &mut Context,
        facts: Facts,
        route: Route,
        head: Slot,
        hold: Hold,
    ) {
        let target = self.target(ctx);
        self.wire.inbound.consume(facts.length);
        let body = BodyDecoder::from(facts.framing);
        self.state = State::Exchange(Request {
            phase: Phase::Connecting,
            hold,
            began_ms: ctx.now_ms,
            target,
            purpose: facts.purpose,
            upstream: route.upstream,
            key_hash: route.key_hash,
            patience: route.patience,
            over_ms: ctx.after(route.patience.exchange_ms),
            origin: None,
            tried: Tried::default(),
            failure: (Reason::NoServer, None),
            aborts_on_close: route.aborts_on_close,
            place: facts.place,
            needs_new: facts.purpose == Purpose::Connect,
            sent_us: 0,
            deed: None,
            version: facts.version,
            answers_head: facts.answers_head,
            is_idempotent: facts.is_idempotent,
            closes: facts.closes,
            origin_persists: false,
            is_being_answered: false,
            awaits_continue: facts.expects_continue,
            head,
            head_sent: 0,
            framing: facts.framing,
            body_is_terminated: body.is_done(),
            body,
            body_bytes: 0,
            body_awaited_ms: 0,
            body_awaited_since_ms: 0,
            is_abandoned: false,
            scan: Scan::default(),
            awaited_of_client: Awaited::Nothing,
            awaited_of_origin: Awaited::Nothing,
        });
        ctx.timers.clear(self.timer);
    }
}

impl Facts {
    /// A client that waits for `100 (Continue)` and gets a final status may send its body or not, so
    /// that nobody can tell where its next request begins (RFC 9110, section 10.1.1). Nor can anybody
    /// after a `CONNECT` that was refused: the client may have sent what was meant for the tunnel.
    fn closes_after_reply(&self) -> bool {
        self.closes || self.expects_continue || self.purpose == Purpose::Connect
    }
}

impl Route {
    fn find(
        upstreams: &Upstreams,
        via: &Via,
        name: &[u8],
        key: &[u8],
        client: IpAddr,
    ) -> Option<Self> {
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
            // Not by what the script said: that may be empty, or change with the scripts.
            mark: via.mark(upstreams.name(upstream).as_bytes()),
        })
    }
}

/// The same vector without its views: collecting in place keeps the allocation for the next request.
fn emptied(mut views: Vec<Field<'_>>) -> Vec<Field<'static>> {
    views.clear();
    views.into_iter().map(|_| unreachable!("it was cleared")).collect()
}
