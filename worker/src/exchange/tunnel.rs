//! Tunnels: bytes in both directions and no messages any more, after a protocol was switched (RFC 9110,
//! section 7.8) or a `CONNECT` was answered (section 9.3.6).
//!
//! A tunnel holds no generation: scripts have said what they had to say. It ends when both sides have
//! shut theirs, when either breaks, or when nothing moved for long.

use std::io;

use super::pump::Rounds;
use crate::context::Context;
use crate::wire::{Fill, Wire};

/// A connection whose bytes go to an origin as they are, and back.
#[derive(Debug, Default)]
pub(crate) struct Tunnel {
    /// Whether the end of what the client sends was passed on.
    client_is_through: bool,
    /// Whether the end of what the origin sends was.
    origin_is_through: bool,
}

/// How far a tunnel got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Nothing moves until a peer does.
    Blocked,
    /// It could go on, but others wait.
    Yield,
    /// Both directions have ended.
    Over,
    /// The client broke the connection.
    ClientBroke,
    /// The origin did.
    OriginBroke,
}

/// Who broke a connection.
enum Broken {
    Reader,
    Writer,
}

impl Tunnel {
    /// Moves what can be moved, in both directions.
    pub(crate) fn pump(&mut self, client: &mut Wire, origin: &mut Wire, ctx: &mut Context) -> Flow {
        let mut rounds = Rounds::default();
        loop {
            let there = match pass(client, origin, &mut self.client_is_through, ctx) {
                Ok(moved) => moved,
                Err(Broken::Reader) => return Flow::ClientBroke,
                Err(Broken::Writer) => return Flow::OriginBroke,
            };
            let back = match pass(origin, client, &mut self.origin_is_through, ctx) {
                Ok(moved) => moved,
                Err(Broken::Reader) => return Flow::OriginBroke,
                Err(Broken::Writer) => return Flow::ClientBroke,
            };
            if self.client_is_through && self.origin_is_through {
                return Flow::Over;
            }
            // Of an origin that breaks after its end the client may still read all that it said.
            if self.client_is_through && client.broke_after_end() {
                return Flow::ClientBroke;
            }
            if !there && !back {
                return Flow::Blocked;
            }
            if !rounds.may_go_on(client, origin) {
                return Flow::Yield;
            }
        }
    }
}

/// One round of one direction. Gives whether something moved.
fn pass(
    from: &mut Wire,
    to: &mut Wire,
    is_through: &mut bool,
    ctx: &mut Context,
) -> Result<bool, Broken> {
    if *is_through {
        return Ok(false);
    }
    let writer = |_: io::Error| Broken::Writer;
    let had_output = to.has_output();
    let is_clear = to.flush().map_err(writer)?;
    if !is_clear {
        return Ok(false);
    }
    if !from.inbound.is_empty() {
        std::mem::swap(&mut from.inbound, &mut to.outbound);
        to.flush().map_err(writer)?;
        return Ok(true);
    }
    // Messages are small and buffers cheap; what fills a buffer is a stream, and is spliced from then on.
    let filled = match to.has_pipe() || from.brings_streams() {
        true => to.splice_from(from, u64::MAX, &mut ctx.pipes).map_err(|_| Broken::Reader)?,
        false => None,
    };
    let fill = match filled {
        Some((fill, _)) => fill,
        None => from.fill(&mut ctx.buffers).map_err(|_| Broken::Reader)?,
    };
    match fill {
        Fill::Bytes => Ok(true),
        Fill::Blocked | Fill::Full => Ok(had_output),
        Fill::End => {
            to.shut();
            *is_through = true;
            Ok(true)
        }
    }
}
