//! Whom an exchange waits for, and for how long.
//!
//! Its asker and its origin have a deadline each, by whose move it is.

use super::{Exchange, Stage, UploadProgress};
use crate::context::Context;
use crate::origin::Origin;
use crate::wire::Wire;

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

/// What the deadlines of an exchange go by.
#[derive(Debug)]
pub(crate) struct Deadlines {
    /// When the whole exchange has taken too long.
    pub(crate) over_ms: u64,
    pub(crate) of_client: Awaited,
    pub(crate) of_origin: Awaited,
    /// Milliseconds that were spent waiting for the request's body, up to the last time that it was not
    /// waited for.
    body_awaited_ms: u64,
    /// Since when it is waited for, if it is.
    body_awaited_since_ms: u64,
}

impl Deadlines {
    /// Before anything was waited for.
    pub(crate) fn until(over_ms: u64) -> Self {
        Deadlines {
            over_ms,
            of_client: Awaited::Nothing,
            of_origin: Awaited::Nothing,
            body_awaited_ms: 0,
            body_awaited_since_ms: 0,
        }
    }
}

/// Sets both deadlines by whose move it is. A deadline moves when bytes do or when the awaited move is
/// another one; that a peer wakes us is no reason.
pub(super) fn set(
    client: &mut Wire,
    exchange: &mut Exchange,
    origin: &mut Origin,
    ctx: &mut Context,
) {
    let is_sent = exchange.is_sent() && !origin.wire.has_output();
    let is_abandoned = exchange.upload.progress == UploadProgress::Abandoned;
    let of_client = match () {
        () if client.has_output() => Awaited::Room,
        () if is_abandoned || exchange.upload.body.is_done() => Awaited::Nothing,
        () if origin.wire.has_output() => Awaited::Nothing,
        () => Awaited::Body,
    };
    let of_origin = match exchange.stage {
        Stage::Choosing | Stage::Queued | Stage::Connecting(_) | Stage::Tunnel(..) => return,
        Stage::AwaitingHead(_) if is_sent || is_abandoned => Awaited::Head,
        Stage::AwaitingHead(_) if origin.wire.has_output() => Awaited::Room,
        Stage::AwaitingHead(_) if exchange.attempt.awaits_continue => Awaited::Continue,
        Stage::AwaitingHead(_) => Awaited::Nothing,
        Stage::Relaying(..) if client.has_output() => Awaited::Nothing,
        Stage::Relaying(..) => Awaited::Body,
    };
    let client_deadline = match of_client {
        Awaited::Body => Some(body_deadline(exchange, ctx)),
        Awaited::Room => Some(ctx.after(ctx.timeouts.body_ms)),
        _ => None,
    };
    let Exchange { deadlines, route, .. } = exchange;
    let origin_deadline = match of_origin {
        Awaited::Nothing => deadlines.over_ms,
        Awaited::Body => ctx.after(route.patience.response_body_ms),
        Awaited::Room => ctx.after(route.patience.body_ms),
        Awaited::Head => ctx.after(route.patience.response_head_ms),
        Awaited::Continue => ctx.after(ctx.timeouts.continue_ms),
    };
    let origin_deadline = origin_deadline.min(deadlines.over_ms);
    let client_moved = client.take_progress();
    let origin_moved = origin.wire.take_progress() && of_origin != Awaited::Head;
    if client_moved || of_client != deadlines.of_client {
        if deadlines.of_client == Awaited::Body && of_client != Awaited::Body {
            deadlines.body_awaited_ms += ctx.now_ms - deadlines.body_awaited_since_ms;
        }
        deadlines.of_client = of_client;
        ctx.timers.set_or_clear(exchange.timer, client_deadline);
    }
    if origin_moved || of_origin != deadlines.of_origin {
        deadlines.of_origin = of_origin;
        ctx.timers.set(origin.timer, origin_deadline);
    }
}

/// When the client must have sent more of its body: soon, and enough for its rate. Only the time counts
/// in which it was its move, since an origin that reads slowly is not its fault.
fn body_deadline(exchange: &mut Exchange, ctx: &Context) -> u64 {
    let Exchange { deadlines, upload, .. } = exchange;
    if deadlines.of_client != Awaited::Body {
        deadlines.body_awaited_since_ms = ctx.now_ms;
    }
    let soon_ms = ctx.after(ctx.timeouts.body_ms);
    let rate = ctx.limits.request_body_rate;
    if rate == 0 {
        return soon_ms;
    }
    let allowed_ms = ctx.timeouts.body_grace_ms + upload.bytes.saturating_mul(1000) / rate;
    let left_ms = allowed_ms.saturating_sub(deadlines.body_awaited_ms);
    soon_ms.min(deadlines.body_awaited_since_ms + left_ms)
}
