//! Room for the field lines of one head while httparse splits it.
//!
//! It is on the stack for as many as nearly every head has. One with more is split a second time, into
//! room from the heap: that costs such a head twice the time, and the others nothing.

use std::mem::MaybeUninit;

use httparse::{Error, Header, Status};

/// Lines that fit the room on the stack: browsers send about 20, and gateways add a few.
pub(crate) const USUAL_MAX: usize = 100;

/// What `split` makes of the room that it is given: the usual, or as much as `fields_max` lines need if
/// it says that there are more.
#[inline]
pub(crate) fn with_room<'h, T, E: PartialEq>(
    fields_max: usize,
    too_many: E,
    mut split: impl FnMut(&mut [MaybeUninit<Header<'h>>]) -> Result<T, E>,
) -> Result<T, E> {
    let mut usual = [const { MaybeUninit::uninit() }; USUAL_MAX];
    let mut more: Vec<Header<'h>> = Vec::new();
    let mut room = &mut usual[..];
    // At most twice; a loop, so that there is one copy of what it calls.
    loop {
        match split(room) {
            Err(error) if error == too_many && fields_max > USUAL_MAX && more.capacity() == 0 => {
                more.reserve(fields_max);
                room = more.spare_capacity_mut();
            }
            result => return result,
        }
    }
}

/// Why lines cannot be split.
pub(crate) enum Unsplit {
    /// There are more than `fields_max`.
    TooMany,
    /// One is malformed, or they do not end where the head does.
    Malformed,
}

/// The field lines of a head whose version httparse does not know: a later one that is read as the latest
/// that we know (RFC 9110, section 2.5). Nobody sends such heads often, so that they have no room on the
/// stack.
#[cold]
pub(crate) fn of_later_version(
    lines: &[u8],
    fields_max: usize,
) -> Result<Vec<Header<'_>>, Unsplit> {
    let mut room = vec![httparse::EMPTY_HEADER; fields_max];
    match httparse::parse_headers(lines, &mut room) {
        Ok(Status::Complete((length, split))) if length == lines.len() => Ok(split.to_vec()),
        Err(Error::TooManyHeaders) => Err(Unsplit::TooMany),
        _ => Err(Unsplit::Malformed),
    }
}
