//! Chunked bodies: the decoder beside the plain reference, and the encoder beside the decoder.

use http::{BodyDecoder, BodyError, Framing, encode};

use super::Choices;
use super::strict::{self, Chunked};

/// Content, how much of the input belongs to the body, and whether it ended.
type Decoded = Result<(Vec<u8>, usize, bool), BodyError>;

/// Bytes of framing that can be decoded and carry no content: what the crate allows of extensions and
/// trailers, and then what each chunk has.
const EXTRA_BYTES_MAX: usize = 16 * 1024;

/// A body is the same whatever pieces it comes in, and what the reference makes of it; and content
/// that is encoded decodes to itself.
pub fn chunked_body(data: &[u8]) {
    let Some((choices, body)) = Choices::split(data) else { return };
    let whole = decode(body, [body.len()].into_iter());
    assert_eq!(decode(body, 1..=body.len()), whole, "byte by byte");
    assert_eq!(decode(body, choices.piece_ends(body.len())), whole, "in pieces");
    match (strict::chunked(body), whole) {
        (_, Err(BodyError::TooLong)) => assert!(body.len() > EXTRA_BYTES_MAX),
        (Chunked::Wrong, outcome) => assert!(outcome.is_err(), "taken: {outcome:?}"),
        (Chunked::Begun(content), outcome) => {
            assert_eq!(outcome, Ok((content, body.len(), false)));
        }
        (Chunked::Whole(content, rest), outcome) => {
            assert_eq!(outcome, Ok((content, body.len() - rest.len(), true)));
        }
    }
    check_encoder(&choices, body);
}

/// Decodes a body whose bytes come up to each of `ends` in turn.
fn decode(body: &[u8], ends: impl Iterator<Item = usize>) -> Decoded {
    let mut decoder = BodyDecoder::from(Framing::Chunked);
    let mut content = Vec::new();
    let mut at = 0;
    for end in ends {
        while !decoder.is_done() && at < end {
            let input = &body[at..end];
            let step = decoder.decode(input)?;
            assert!(0 < step.consumed && step.consumed <= input.len(), "{step:?}");
            assert!(step.content.end <= step.consumed, "{step:?}");
            content.extend_from_slice(&input[step.content]);
            at += step.consumed;
        }
    }
    assert!(decoder.counted_left().is_none(), "each byte of a chunked body is to be looked at");
    Ok((content, at, decoder.is_done()))
}

/// Any content, encoded in any pieces.
fn check_encoder(choices: &Choices, content: &[u8]) {
    let mut room = vec![0; content.len() * (1 + encode::CHUNK_OVERHEAD_MAX) + 16];
    let mut out = http::Output::new(&mut room);
    let mut begin = 0;
    for end in choices.piece_ends(content.len()) {
        encode::chunk(&mut out, &content[begin..end]).expect("the overhead is allowed for");
        begin = end;
    }
    out.push(encode::LAST_CHUNK).expect("the last chunk is allowed for");
    let filled = out.filled();
    let encoded = &room[..filled];
    assert_eq!(strict::chunked(encoded), Chunked::Whole(content.to_vec(), b""));
    assert_eq!(decode(encoded, [filled].into_iter()), Ok((content.to_vec(), filled, true)));
}
