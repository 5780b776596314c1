//! `Via`: how Kiln names itself to the peers behind it, and how it knows a request that comes back.
//!
//! Each forwarded message has a member of Kiln's own behind those that it came with (RFC 9110, section
//! 7.6.3): the protocol that it was received by, and Kiln's name. In a request a comment follows, the
//! [`Mark`], which differs for each Kiln and for each upstream. So two Kilns in a row are no loop, nor
//! is one that has a cache both behind and before it; a request is in a loop if it is to go where it
//! has been, and what sent it there once will do so again.
//!
//! An intermediary may drop comments. A loop through one that does is not seen here, and ends where the
//! head has grown too large.

use std::borrow::Cow;
use std::ops::Range;

use crate::Version;
use crate::fields::Known;
use crate::output::{Full, Output};
use crate::request::RequestHead;

/// What a Kiln writes into `Via`.
#[derive(Clone, Debug)]
pub struct Via {
    /// Empty if there is to be no field.
    pseudonym: Cow<'static, str>,
    identity: Option<u64>,
}

impl Via {
    /// No field, and nothing by which a loop could be seen.
    pub const OFF: Self = Via { pseudonym: Cow::Borrowed(""), identity: None };

    /// A field with this name, which is a token. `identity` is a number that no other Kiln has; without
    /// one, loops are not looked for.
    pub const fn new(pseudonym: Cow<'static, str>, identity: Option<u64>) -> Self {
        Via { pseudonym, identity }
    }

    /// The mark of requests that go to this upstream, if there are to be marks.
    pub fn mark(&self, upstream: &[u8]) -> Option<Mark> {
        self.identity.map(|identity| Mark::of(identity, upstream))
    }

    /// Writes the field for a message that was received in this version.
    pub(crate) fn push(
        &self,
        out: &mut Output<'_>,
        received: Version,
        mark: Option<Mark>,
    ) -> Result<(), Full> {
        if self.pseudonym.is_empty() {
            return Ok(());
        }
        out.push(match received {
            Version::Http10 => b"Via: 1.0 ",
            Version::Http11 => b"Via: 1.1 ",
        })?;
        out.push(self.pseudonym.as_bytes())?;
        match mark {
            Some(Mark(comment)) => out.push(&comment),
            None => out.push(b"\r\n"),
        }
    }
}

/// The comment of a mark, with what ends its line.
const COMMENT: &[u8; 21] = b" (0123456789abcdef)\r\n";

/// Where in it the digits are: 64 bits, which no two Kilns share by chance.
const DIGITS: Range<usize> = 2..18;

/// What one Kiln adds to the requests that it sends to one upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark([u8; COMMENT.len()]);

impl Mark {
    /// FNV-1a from the identity over the name, mixed as in SplitMix64 (Steele, Lea, Flood, 2014). It is
    /// no secret: whoever knows it can only have requests of his own refused.
    fn of(identity: u64, upstream: &[u8]) -> Self {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        let hash = upstream.iter().fold(identity, step);
        let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let hash = hash ^ (hash >> 31);
        let mut comment = *COMMENT;
        for (at, digit) in comment[DIGITS].iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(hash >> (4 * at)) as usize & 0xf];
        }
        Mark(comment)
    }

    fn digits(&self) -> &[u8] {
        &self.0[DIGITS]
    }
}

impl RequestHead {
    /// Whether the request has been sent with this mark before.
    pub fn has_passed(&self, bytes: &[u8], mark: Mark) -> bool {
        let mut vias = self.fields.iter().filter(|field| field.known == Known::Via);
        vias.any(|via| memchr::memmem::find(via.value.of(bytes), mark.digits()).is_some())
    }
}
