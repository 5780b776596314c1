//! The messages of an exchange on their way: the request to the origin and the response to the client,
//! both at the same time.
//!
//! Each direction owns at most one buffer on each side. A side is read only once the other has taken
//! what was read before, so the slower peer sets the pace and memory stays bounded, whatever the size
//! of the bodies. Where no framing changes, a full buffer changes hands instead of being copied.

use std::io;

use heritage::Reason;
use http::encode::{self, ResponseFrame};
use http::{BodyDecoder, Framing, ResponseError, Scan, Version};

use super::{Attempt, Download, Exchange, OriginFault, Stage, Upload, UploadProgress};
use crate::buffers::{Buffers, Slot};
use crate::context::Context;
use crate::origin::Origin;
use crate::reasons;
use crate::upstreams::Deed;
use crate::wire::{Fill, Wire};

/// What an exchange came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing moves until a peer does.
    Blocked,
    /// It could go on, but others wait.
    Yield,
    /// The response is in the client's output, or written.
    Done,
    /// The origin speaks another protocol from here on, and the client knows.
    Switched,
    /// The client closed or reset.
    ClientGone,
    /// The client's body is wrong or too large.
    ClientFault(Reason),
    /// The origin failed.
    OriginFault(OriginFault),
}

/// Rounds of an exchange before others get their turn: with 16 KiB a round, about half a megabyte.
const ROUNDS_MAX: usize = 32;

/// What a round counts for in which a pipe is used: it moves up to a megabyte, so there are two of them.
const SPLICED_ROUNDS: usize = ROUNDS_MAX / 2;

/// The rounds of one turn.
#[derive(Debug, Default)]
pub(super) struct Rounds(usize);

impl Rounds {
    /// Counts a round, and says whether another may follow.
    pub(super) fn may_go_on(&mut self, one: &Wire, other: &Wire) -> bool {
        self.0 += if one.has_pipe() || other.has_pipe() { SPLICED_ROUNDS } else { 1 };
        self.0 < ROUNDS_MAX
    }
}

/// Bytes that must be left of a body for splicing it: below, two more system calls for the pipe cost
/// more than the copy.
const SPLICE_MIN: u64 = 64 * 1024;

/// A step, or the outcome that ends the exchange.
type Step = Result<bool, Outcome>;

/// Moves what can be moved.
pub(super) fn pump(
    client: &mut Wire,
    exchange: &mut Exchange,
    origin: &mut Origin,
    ctx: &mut Context,
) -> Outcome {
    if matches!(exchange.stage, Stage::Connecting(_)) {
        // Answers to requests before this one need not wait for its server.
        return flush(client).map_or_else(|outcome| outcome, |_| Outcome::Blocked);
    }
    let mut rounds = Rounds::default();
    loop {
        let moved = send(client, exchange, origin, ctx).and_then(|sent| {
            let received = match &mut exchange.stage {
                Stage::Relaying(_, download) => relay(client, download, origin, ctx),
                _ => receive_head(client, exchange, origin, ctx),
            };
            Ok(sent | received?)
        });
        match moved {
            Ok(true) if rounds.may_go_on(client, &origin.wire) => {}
            Ok(true) => return Outcome::Yield,
            Ok(false) => return Outcome::Blocked,
            Err(outcome) => return outcome,
        }
    }
}

/// One round of the request's way to the origin.
fn send(
    client: &mut Wire,
    exchange: &mut Exchange,
    origin: &mut Origin,
    ctx: &mut Context,
) -> Step {
    let is_sent = exchange.is_sent();
    let Exchange { facts, attempt, upload, .. } = exchange;
    let Upload { body, progress, bytes } = upload;
    if *progress == UploadProgress::Abandoned || is_sent && !origin.wire.has_output() {
        return Ok(false);
    }
    let is_chunked = facts.framing == Framing::Chunked;
    let (inbound, outbound) = (&mut client.inbound, &mut origin.wire.outbound);
    let Transferred { taken, content } =
        transfer(body, is_chunked, inbound, outbound, &mut ctx.buffers)
            .map_err(|error| Outcome::ClientFault(reasons::of_request_body(error)))?;
    *bytes += content as u64;
    attempt.awaits_continue &= taken == 0;
    if *bytes > ctx.limits.request_body_bytes {
        return Err(Outcome::ClientFault(Reason::RequestBodyTooLarge));
    }
    if body.is_done()
        && *progress == UploadProgress::Flowing
        && (!is_chunked || origin.wire.outbound.push(encode::LAST_CHUNK, &mut ctx.buffers))
    {
        *progress = UploadProgress::Sent;
    }
    let before = attempt.head_sent;
    match origin.wire.flush_after(&attempt.head.data()[before..]) {
        Ok(count) => attempt.head_sent += count,
        Err(_) => {
            // It may have answered before it stopped reading: what it sent is still to be read.
            *progress = UploadProgress::Abandoned;
            origin.wire.expect_end();
            return Ok(true);
        }
    }
    let mut moved = taken > 0 || attempt.head_sent > before;
    if *bytes > 0 && attempt.head_sent == attempt.head.data().len() {
        // It can't be sent again, and its content may take long.
        attempt.head.release(&mut ctx.buffers);
        attempt.head_sent = 0;
    }
    if !body.is_done() && client.inbound.is_empty() && !origin.wire.has_output() {
        let (fill, spliced) = take_content(body, is_chunked, client, &mut origin.wire, ctx);
        *bytes += spliced;
        moved |= match fill {
            Ok(Fill::Bytes) => true,
            Ok(Fill::Blocked | Fill::Full) => false,
            Ok(Fill::End) | Err(_) => return Err(Outcome::ClientGone),
        };
    }
    Ok(moved)
}

/// Takes more of a body: past all copying if much is left of it and its framing does not change, or
/// else into the buffer of the wire that it comes from. Gives how many bytes went the first way.
fn take_content(
    body: &mut BodyDecoder,
    is_chunked: bool,
    from: &mut Wire,
    to: &mut Wire,
    ctx: &mut Context,
) -> (io::Result<Fill>, u64) {
    let left = body.counted_left().filter(|left| !is_chunked && *left >= SPLICE_MIN);
    let spliced = left.map_or(Ok(None), |left| to.splice_from(from, left, &mut ctx.pipes));
    match spliced {
        Ok(None) => (from.fill(&mut ctx.buffers), 0),
        Ok(Some((fill, count))) => {
            body.skip(count);
            (Ok(fill), count)
        }
        Err(error) => (Err(error), 0),
    }
}

/// One round of waiting for the response's head.
fn receive_head(
    client: &mut Wire,
    exchange: &mut Exchange,
    origin: &mut Origin,
    ctx: &mut Context,
) -> Step {
    if !origin.wire.inbound.is_empty() {
        let limits = ctx.response_limits();
        let bytes = origin.wire.inbound.data();
        match ctx.response_head.parse(bytes, &mut exchange.attempt.scan, &limits) {
            Ok(Some(length)) => return begin_response(client, exchange, origin, ctx, length),
            Ok(None) => {}
            Err(error) => return Err(Outcome::OriginFault(OriginFault::Malformed(error))),
        }
    }
    flush(client)?;
    match origin.wire.fill(&mut ctx.buffers) {
        Ok(Fill::Bytes) => {
            exchange.attempt.is_being_answered = true;
            Ok(true)
        }
        Ok(Fill::Blocked) => Ok(false),
        // The head is within its limit so far.
        Ok(Fill::Full) => {
            match origin.wire.inbound.grow(&mut ctx.buffers, ctx.limits.large_heads_bytes) {
                true => Ok(true),
                false => Err(Outcome::OriginFault(OriginFault::NoRoom)),
            }
        }
        Ok(Fill::End) | Err(_) => Err(Outcome::OriginFault(OriginFault::Ended)),
    }
}

/// Writes the head of a response to the client.
fn begin_response(
    client: &mut Wire,
    exchange: &mut Exchange,
    origin: &mut Origin,
    ctx: &mut Context,
    length: usize,
) -> Step {
    let head = &ctx.response_head;
    let is_interim = head.is_interim();
    let Exchange { facts, attempt, upload, .. } = exchange;
    let origin_framing = head
        .framing(facts.answers_head)
        .map_err(|error| Outcome::OriginFault(OriginFault::Malformed(error)))?;
    let framing = match origin_framing {
        Framing::Chunked | Framing::UntilClose if facts.version == Version::Http11 => {
            Framing::Chunked
        }
        Framing::Chunked => Framing::UntilClose,
        counted => counted,
    };
    let switches = head.status == 101;
    if switches && !head.switches_as_offered(origin.wire.inbound.data(), attempt.head.data()) {
        // Nobody asked for that.
        return Err(Outcome::OriginFault(OriginFault::Malformed(ResponseError::Switch)));
    }
    if !is_interim {
        let latency_us = ctx.now_us.saturating_sub(attempt.sent_us);
        attempt.deed = Some(Deed::Answered { status: head.status, latency_us });
        let is_early = !upload.body.is_done();
        facts.closes |= is_early || ctx.is_draining || framing == Framing::UntilClose;
        // Some origins send the content that they announce to HEAD after all, and it would be taken for
        // the next response.
        let may_have_more = facts.answers_head
            && (head.is_chunked || head.content_length.is_some_and(|length| length > 0));
        attempt.origin_persists =
            head.is_persistent && origin_framing != Framing::UntilClose && !may_have_more;
    }
    let frame = ResponseFrame { framing, version: facts.version, closes: facts.closes };
    let is_wanted = match head.status {
        100 => std::mem::take(&mut attempt.awaits_continue),
        // A 1.0 client knows no interim responses (RFC 9110, section 15.2).
        _ => !is_interim || facts.version == Version::Http11,
    };
    let bytes = &origin.wire.inbound.data()[..length];
    let (date, via) = (&ctx.date, &ctx.via);
    if is_wanted {
        let write = |out: &mut http::Output<'_>| {
            encode::relayed_response(out, head, bytes, frame, date, via)
        };
        let is_written = match client.has_output() {
            // A spill is a 100 that found no room; what comes later must not overtake it.
            true => !client.has_spill() && client.outbound.encode(&mut ctx.buffers, write).is_ok(),
            false => {
                let large_max = ctx.limits.large_heads_bytes;
                client.outbound.encode_head(&mut ctx.buffers, large_max, write).is_ok()
            }
        };
        if !is_written {
            return await_room(client, attempt);
        }
    }
    origin.wire.inbound.consume(length);
    attempt.scan = Scan::default();
    if switches {
        return Err(Outcome::Switched);
    }
    if !is_interim {
        // From here on it can't be sent again, so what is left of it is all that is needed.
        if exchange.is_sent() {
            exchange.attempt.head.release(&mut ctx.buffers);
            exchange.attempt.head_sent = 0;
        }
        let body = BodyDecoder::from(origin_framing);
        let id = exchange.stage.origin().expect("it has answered");
        let download = Download { body, framing, is_terminated: false };
        exchange.stage = Stage::Relaying(id, download);
    }
    Ok(true)
}

/// Makes room for a response's head, which is then parsed again.
fn await_room(client: &mut Wire, attempt: &mut Attempt) -> Step {
    if !client.has_output() {
        return Err(Outcome::OriginFault(OriginFault::NoRoom));
    }
    attempt.scan = Scan::default();
    flush(client)
}

/// One round of the response's way to the client.
fn relay(
    client: &mut Wire,
    download: &mut Download,
    origin: &mut Origin,
    ctx: &mut Context,
) -> Step {
    let Download { body, framing, is_terminated } = download;
    let is_chunked = *framing == Framing::Chunked;
    let (inbound, outbound) = (&mut origin.wire.inbound, &mut client.outbound);
    let Transferred { taken, .. } = transfer(body, is_chunked, inbound, outbound, &mut ctx.buffers)
        .map_err(|error| Outcome::OriginFault(OriginFault::BodyMalformed(error)))?;
    if body.is_done() && !*is_terminated {
        *is_terminated = !is_chunked || client.outbound.push(encode::LAST_CHUNK, &mut ctx.buffers);
    }
    // What is in a pipe has to be out before another answer may follow it.
    if *is_terminated && !client.has_piped() {
        return Err(Outcome::Done);
    }
    let flushed = flush(client)?;
    if *is_terminated || client.has_output() || !origin.wire.inbound.is_empty() {
        return Ok(flushed || taken > 0);
    }
    match take_content(body, is_chunked, &mut origin.wire, client, ctx).0 {
        Ok(Fill::Bytes) => Ok(true),
        Ok(Fill::Blocked | Fill::Full) => Ok(flushed),
        Ok(Fill::End) if body.may_end_here() => {
            *body = BodyDecoder::Done;
            Ok(true)
        }
        Ok(Fill::End) | Err(_) => Err(Outcome::OriginFault(match body.counted_left() {
            Some(_) => OriginFault::CutLength,
            None => OriginFault::CutChunks,
        })),
    }
}

/// Writes to the client. True if something was written.
fn flush(client: &mut Wire) -> Step {
    let before = client.output_bytes();
    client.flush().map_err(|_: io::Error| Outcome::ClientGone)?;
    Ok(client.output_bytes() < before)
}

/// What was moved from one side to the other.
#[derive(Default)]
struct Transferred {
    /// Bytes taken from the input, framing and all.
    taken: usize,
    /// Bytes of content among them.
    content: usize,
}

/// Moves content of one body from one side's input to the other's output.
fn transfer(
    body: &mut BodyDecoder,
    is_chunked: bool,
    from: &mut Slot,
    to: &mut Slot,
    pool: &mut Buffers,
) -> Result<Transferred, http::BodyError> {
    let mut moved = Transferred::default();
    while !from.is_empty() && !body.is_done() {
        if !is_chunked && to.is_empty() && body.is_all_content(from.data()) {
            let step = body.decode(from.data())?;
            std::mem::swap(from, to);
            moved.taken += step.consumed;
            moved.content += step.consumed;
            return Ok(moved);
        }
        let overhead = if is_chunked { encode::CHUNK_OVERHEAD_MAX } else { 0 };
        let room = to.room().saturating_sub(overhead).min(from.data().len());
        let step = body.decode(&from.data()[..room])?;
        if step.consumed == 0 {
            break;
        }
        let content = &from.data()[step.content.clone()];
        let written = match (content.is_empty(), is_chunked) {
            (true, _) => true,
            (false, true) => to.encode(pool, |out| encode::chunk(out, content)).is_ok(),
            (false, false) => to.push(content, pool),
        };
        assert!(written, "no more was decoded than there is room for");
        from.consume(step.consumed);
        moved.taken += step.consumed;
        moved.content += step.content.len();
    }
    Ok(moved)
}
