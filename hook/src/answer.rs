//! The answer of a hook: read while a fault of that is still the script's.

use crate::abi::{self, Str};
use crate::arena;

/// Most fields that a script adds to a reply: as many as any head has. The list could be a circle.
const REPLY_FIELDS_MAX: usize = http::FIELDS_MAX;
/// Most bytes of one name, value or upstream name that a script hands over: as many as any head has.
pub(crate) const NAME_BYTES_MAX: usize = settings::HEAD_BYTES_MAX as usize;
/// Every page of memory has so many bytes.
const PAGE_BYTES: usize = 4096;

/// Fields of a reply: name and value.
pub(crate) type Fields = Vec<(&'static [u8], &'static [u8])>;

/// What a hook decided. What it points to is the script's, and stays as it is until the next call.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    /// The request goes to an upstream; an empty name is the only one.
    Forward { upstream: &'static [u8], key: &'static [u8] },
    /// The script answers, with the fields that were collected.
    Reply { status: u16, body: &'static [u8] },
    /// The connection is closed.
    Close,
}

/// What an action means, or what is wrong with it. Reads all that it points to at least once: a bad
/// pointer is a fault here and not later.
#[inline(always)]
pub(crate) fn read(action: &abi::Action, fields: &mut Fields) -> Result<Answer, &'static str> {
    match action.kind {
        abi::ACTION_NEXT => Ok(Answer::Forward { upstream: b"", key: b"" }),
        abi::ACTION_FORWARD => {
            let upstream = lent(action.text, NAME_BYTES_MAX).filter(|name| !name.is_empty());
            let upstream = upstream.ok_or("a forward without the name of an upstream")?;
            let key = lent(action.key, NAME_BYTES_MAX);
            Ok(Answer::Forward { upstream, key: key.ok_or("a forward with an oversized key")? })
        }
        abi::ACTION_REPLY => {
            let status = u16::try_from(action.status).ok();
            let status = status.filter(|status| (200..=599).contains(status));
            let status = status.ok_or("a reply whose status is not between 200 and 599")?;
            let body = lent(action.text, arena::REQUEST_BYTES_MAX);
            let body = body.ok_or("a reply with more content than a request may make")?;
            collect(action.fields, fields)?;
            Ok(Answer::Reply { status, body })
        }
        abi::ACTION_CLOSE => Ok(Answer::Close),
        _ => Err("not an action"),
    }
}

/// Bytes that an action lends, each page of which can be read; none if there are more than `limit`.
fn lent(text: Str, limit: usize) -> Option<&'static [u8]> {
    // SAFETY: `abi.h`: what an action points to lives until the host has read it. If it does not, the
    // call is abandoned here.
    let bytes = unsafe { text.bytes(limit) }?;
    bytes.iter().step_by(PAGE_BYTES).for_each(touch);
    bytes.last().map(touch);
    Some(bytes)
}

/// Reads a byte, whatever it is.
fn touch(byte: &u8) {
    // SAFETY: it is a reference; if what it leads to cannot be read, the call is abandoned here.
    unsafe { std::ptr::from_ref(byte).read_volatile() };
}

/// Collects a reply's fields in the order in which the script added them.
fn collect(mut list: *const abi::ReplyField, fields: &mut Fields) -> Result<(), &'static str> {
    fields.clear();
    // SAFETY: the list and its bytes are the script's, in the request's arena, and are read before
    // the next hook call; `fields` is emptied at the next reply and lent only until then.
    while let Some(item) = unsafe { list.as_ref() } {
        let lent = |text| lent(text, NAME_BYTES_MAX);
        let (Some(name), Some(value)) = (lent(item.field.name), lent(item.field.value)) else {
            return Err("a reply with an oversized header");
        };
        if fields.len() == REPLY_FIELDS_MAX {
            return Err("a reply with too many headers");
        }
        if !http::is_reply_field(name, value) {
            return Err("a reply with a header that is not valid, or that Kiln itself writes");
        }
        fields.push((name, value));
        list = item.next;
    }
    fields.reverse();
    Ok(())
}
