//! A client connection: where it stands between accept and close.
//!
//! This file holds the state and what needs nothing but the connection itself: writing answers,
//! discarding what is not wanted, lingering. `exchange` takes a request from its head to an origin and
//! back, and the event loop says when.

use std::net::SocketAddr;

use heritage::Reason;
use http::encode::{self, Reply, ResponseFrame};
use http::{BodyDecoder, Framing, Scan, Version};

use crate::buffers::BUFFER_BYTES;
use crate::clients::Place;
use crate::close_reason::CloseReason;
use crate::context::Context;
use crate::ids::ExchangeId;
use crate::label::Label;
use crate::notices::About;
use crate::timers::TimerId;
use crate::wire::{Fill, Wire};

/// Where a client connection stands. A request's way is `Head` to `Exchange` and back to `Head`, or, if
/// a script answers it, `Head` to `Discard` and back; every connection ends in `Closing`, but those that
/// became a tunnel.
#[derive(Debug)]
pub(crate) enum State {
    /// Between requests, or some of a head has come.
    Head,
    /// A request is with an origin, or on its way there; or there are no messages any more.
    Exchange(ExchangeId),
    /// The answer is made, and the rest of the request's body is read and thrown away. All of that has
    /// one deadline: it is for nobody, so a sender that dribbles gets no patience for it.
    Discard {
        /// Where the body ends.
        body: BodyDecoder,
        /// Bytes that may still be thrown away.
        left: u64,
    },
    /// Nothing more is taken; the last answer is on its way out.
    Closing(CloseReason),
    /// All is written and our side is shut. What the client still sends is thrown away, because closing
    /// on unread bytes would reset the connection and destroy the answer (RFC 9112, section 9.6).
    Lingering {
        /// Bytes that may still be thrown away.
        left: u64,
        /// Why it closes.
        reason: CloseReason,
    },
}

/// What is to be done with a connection after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another step; something changed.
    Again,
    /// Nothing until the poll or a timer reports something.
    Wait,
    /// Another step, after others had their turn.
    Yield,
    /// Close it.
    Close(CloseReason),
}

/// Bytes that a lingering connection reads before it gives up on the client.
const LINGER_BYTES_MAX: u64 = 1 << 20;

/// A client connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) wire: Wire,
    pub(crate) state: State,
    pub(crate) client: SocketAddr,
    /// Its own among those of its client; none for a proxy whose word about its clients counts.
    _place: Option<Place>,
    pub(crate) timer: TimerId,
    /// How far the current head was searched.
    pub(crate) scan: Scan,
    /// Whether the deadline is that of a head.
    pub(crate) head_has_begun: bool,
    /// Requests begun on this connection.
    pub(crate) requests: u64,
    /// Whether its next turn is arranged already: events must not give it more turns than others have.
    pub(crate) is_ready: bool,
}

// An idle connection costs this and an entry of the timers; it holds no buffer. 10,000 of them are to
// fit 20 MB with the kernel's share left out, so half of 2 KB each is the bound.
const _: () = assert!(size_of::<Connection>() <= 1024);

impl Connection {
    pub(crate) fn new(
        wire: Wire,
        client: SocketAddr,
        place: Option<Place>,
        timer: TimerId,
    ) -> Self {
        let scan = Scan::default();
        let state = State::Head;
        Connection {
            wire,
            state,
            client,
            _place: place,
            timer,
            scan,
            head_has_begun: false,
            requests: 0,
            is_ready: false,
        }
    }

    /// Whether closing it now breaks nothing that the client waits for.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, State::Head) && self.wire.inbound.is_empty() && !self.wire.has_output()
    }

    /// Appends an answer made here. False if its fields do not fit a head.
    pub(crate) fn answer(
        &mut self,
        ctx: &mut Context,
        reply: &Reply<'_>,
        body: &[u8],
        frame: ResponseFrame,
    ) -> bool {
        let date = &ctx.date;
        let write = |out: &mut http::Output<'_>| encode::reply(out, reply, frame, date);
        if self.wire.has_spill() || self.wire.outbound.encode(&mut ctx.buffers, write).is_err() {
            let head_bytes_max = ctx.limits.response_head_bytes as usize;
            let mut head = vec![0; head_bytes_max.max(BUFFER_BYTES)];
            let mut out = http::Output::new(&mut head);
            if write(&mut out).is_err() {
                return false;
            }
            let filled = out.filled();
            self.wire.append(&head[..filled], &mut ctx.buffers);
        }
        if frame.framing != Framing::None {
            self.wire.append(body, &mut ctx.buffers);
        }
        ctx.counters.requests += 1;
        true
    }

    /// Answers with an error of Kiln's own.
    pub(crate) fn answer_error(
        &mut self,
        ctx: &mut Context,
        status: u16,
        version: Version,
        answers_head: bool,
        closes: bool,
    ) {
        let reason = http::reason(status).as_bytes();
        let mut body = [0; 64];
        let mut out = http::Output::new(&mut body);
        out.push(reason).and_then(|()| out.push(b"\n")).expect("reason phrases are short");
        let length = out.filled();
        let framing = match answers_head {
            true => Framing::None,
            false => Framing::Length(length as u64),
        };
        let reply = Reply {
            status,
            fields: &[(b"Content-Type", b"text/plain")],
            content_bytes: length as u64,
        };
        let frame = ResponseFrame { framing, version, closes };
        assert!(self.answer(ctx, &reply, &body[..length], frame), "an error's head fits a buffer");
    }

    /// Answers with an error after which nothing more can be read, and begins to close.
    pub(crate) fn refuse(&mut self, ctx: &mut Context, reason: Reason, target: Label) -> Next {
        self.note(ctx, reason, target);
        self.answer_error(ctx, reason.status(), Version::Http11, false, true);
        self.begin_closing(ctx, CloseReason::Finished)
    }

    /// Takes note of what Kiln does by itself where no upstream has to do with it.
    pub(crate) fn note(&self, ctx: &mut Context, reason: Reason, target: Label) {
        let target = target.as_bytes();
        ctx.note(reason, About { client: self.client, target, upstream: "", server: None });
    }

    /// Lets the last answer out and takes nothing more.
    pub(crate) fn begin_closing(&mut self, ctx: &mut Context, reason: CloseReason) -> Next {
        ctx.timers.set(self.timer, ctx.after(ctx.timeouts.body_ms));
        self.state = State::Closing(reason);
        Next::Again
    }

    /// Goes on to the next request on this connection.
    pub(crate) fn await_head(&mut self, ctx: &mut Context) -> Next {
        self.state = State::Head;
        self.scan = Scan::default();
        self.head_has_begun = false;
        let timeout_ms = match ctx.is_draining {
            true => ctx.drain_grace_ms(),
            false => ctx.timeouts.keep_alive_ms,
        };
        ctx.timers.set(self.timer, ctx.after(timeout_ms));
        Next::Again
    }

    /// A step of [`State::Closing`].
    pub(crate) fn close_step(&mut self, ctx: &mut Context, reason: CloseReason) -> Next {
        match self.wire.flush() {
            Err(_) => return Next::Close(CloseReason::ClientGone),
            Ok(false) => {
                if self.wire.take_progress() {
                    ctx.timers.set(self.timer, ctx.after(ctx.timeouts.body_ms));
                }
                return Next::Wait;
            }
            Ok(true) => {}
        }
        if self.wire.has_ended() {
            return Next::Close(reason);
        }
        self.wire.shut();
        self.wire.outbound.rest(&mut ctx.buffers);
        ctx.timers.set(self.timer, ctx.after(ctx.timeouts.linger_ms));
        self.state = State::Lingering { left: LINGER_BYTES_MAX, reason };
        Next::Again
    }

    /// A step of [`State::Lingering`].
    pub(crate) fn linger_step(&mut self, ctx: &mut Context, reason: CloseReason) -> Next {
        let unread = self.wire.inbound.data().len();
        self.wire.inbound.consume(unread);
        let State::Lingering { left, .. } = &mut self.state else {
            unreachable!("a step of Lingering");
        };
        *left = left.saturating_sub(unread as u64);
        if *left == 0 {
            return Next::Close(reason);
        }
        match self.wire.fill(&mut ctx.buffers) {
            Ok(Fill::Bytes | Fill::Full) => Next::Again,
            Ok(Fill::Blocked) => {
                self.wire.rest(&mut ctx.buffers, &mut ctx.pipes);
                Next::Wait
            }
            Ok(Fill::End) | Err(_) => Next::Close(reason),
        }
    }

    /// A step of [`State::Discard`].
    pub(crate) fn discard_step(&mut self, ctx: &mut Context) -> Next {
        let State::Discard { body, left } = &mut self.state else {
            unreachable!("a step of Discard");
        };
        while !self.wire.inbound.is_empty() && !body.is_done() {
            let Ok(step) = body.decode(self.wire.inbound.data()) else {
                return self.begin_closing(ctx, CloseReason::Finished);
            };
            *left = left.saturating_sub(step.consumed as u64);
            self.wire.inbound.consume(step.consumed);
        }
        if body.is_done() {
            return self.await_head(ctx);
        }
        if *left == 0 {
            return self.begin_closing(ctx, CloseReason::Finished);
        }
        if self.wire.flush().is_err() {
            return Next::Close(CloseReason::ClientGone);
        }
        match self.wire.fill(&mut ctx.buffers) {
            Ok(Fill::Bytes | Fill::Full) => Next::Again,
            Ok(Fill::Blocked) => {
                self.wire.rest(&mut ctx.buffers, &mut ctx.pipes);
                Next::Wait
            }
            Ok(Fill::End) | Err(_) => Next::Close(CloseReason::ClientGone),
        }
    }
}
