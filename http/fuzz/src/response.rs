//! Response heads: parsed in any pieces, beside the plain grammar, and encoded for a client.

use std::time::SystemTime;

use http::encode::{self, ResponseFrame};
use http::{
    Date, FIELDS_MAX, Framing, ResponseError, ResponseHead, ResponseLimits, Scan, Version, Via,
};

use super::{Choices, FEW_FIELDS_MAX, grown, is_any, strict, written};

/// What may not come through from the origin.
const HOP_BY_HOP: [&str; 5] = ["te", "trailer", "keep-alive", "proxy-connection", "http2-settings"];

const LIMITS: ResponseLimits = ResponseLimits { head_bytes_max: 8192, fields_max: FEW_FIELDS_MAX };

type Outcome = Result<Option<usize>, ResponseError>;

/// A head is taken or refused whatever the pieces that it comes in, taken only if it is in the grammar,
/// and what goes to a client is one head that says the same.
pub fn response_head(data: &[u8]) {
    let Some((choices, message)) = Choices::split(data) else { return };
    let mut head = ResponseHead::default();
    let whole = head.parse(message, &mut Scan::default(), &LIMITS);
    for_pieces(message, 1..=message.len(), &whole, &head);
    for_pieces(message, choices.piece_ends(message.len()), &whole, &head);
    if let Ok(Some(length)) = whole {
        check_taken(&choices, &head, &message[..length]);
    }
}

/// Parses once more, in pieces, with the same outcome.
///
/// The head has been parsed into before, and nothing of that is left.
fn for_pieces(
    message: &[u8],
    ends: impl Iterator<Item = usize>,
    expect: &Outcome,
    expect_head: &ResponseHead,
) {
    let (mut head, mut scan) = (used(), Scan::default());
    let parse = |end| head.parse(&message[..end], &mut scan, &LIMITS);
    let outcome = grown(ends, parse, |outcome| *outcome != Ok(None)).unwrap_or(Ok(None));
    assert_eq!(outcome, *expect);
    if let Ok(Some(_)) = outcome {
        assert_eq!(format!("{head:?}"), format!("{expect_head:?}"));
    }
}

/// A head that says all that one can say.
fn used() -> ResponseHead {
    let message = b"HTTP/1.0 304 Used\r\nConnection: x\r\nContent-Length: 9\r\n\r\n";
    let mut head = ResponseHead::default();
    let length = head.parse(message, &mut Scan::default(), &LIMITS);
    assert_eq!(length, Ok(Some(message.len())));
    ResponseHead { is_chunked: true, switches: true, requires_upgrade: true, ..head }
}

fn check_taken(choices: &Choices, head: &ResponseHead, bytes: &[u8]) {
    let plain = strict::response(bytes).expect("what is taken is in the grammar");
    assert_eq!(plain.rest, b"");
    assert_eq!(plain.start[1..], [head.status.to_string().as_bytes(), head.reason.of(bytes)]);
    let fields = head.fields.iter();
    let fields: Vec<_> =
        fields.map(|field| (field.name.of(bytes), field.value.of(bytes))).collect();
    assert_eq!(fields, plain.fields);
    let answers_head = choices.flag(0);
    let is_bodiless = answers_head || head.status < 200 || matches!(head.status, 204 | 304);
    let Ok(framing) = head.framing(answers_head) else {
        assert!(!is_bodiless, "what has no body needs no framing");
        return;
    };
    assert_eq!(framing == Framing::None, is_bodiless);
    if !is_bodiless {
        check_framing(&plain, framing, head.version);
    }
    // A 101 without its fields is refused by the one who knows what was asked for.
    if head.status != 101 || head.switches {
        check_relayed(choices, head, bytes, framing);
    }
}

/// Where there is a body, its framing is what the fields say, and they leave nothing to choose.
fn check_framing(plain: &strict::Head<'_>, framing: Framing, version: Version) {
    let lengths = plain.values("content-length").len();
    let codings = plain.values("transfer-encoding").len();
    match framing {
        Framing::Length(_) => assert_eq!((lengths, codings), (1, 0)),
        Framing::Chunked => assert!(lengths == 0 && codings > 0 && version == Version::Http11),
        Framing::UntilClose => assert_eq!((lengths, codings), (0, 0)),
        Framing::None => panic!("there is a body"),
    }
}

/// What goes to a client is one head, in the grammar, that says what came in.
fn check_relayed(choices: &Choices, head: &ResponseHead, bytes: &[u8], framing: Framing) {
    let version = if choices.flag(1) { Version::Http10 } else { Version::Http11 };
    let framing = match framing {
        Framing::Chunked | Framing::UntilClose if version == Version::Http11 => Framing::Chunked,
        Framing::Chunked => Framing::UntilClose,
        counted => counted,
    };
    let frame = ResponseFrame { framing, version, closes: choices.flag(2) };
    let date = Date::at(SystemTime::UNIX_EPOCH);
    let via = Via::new("kiln".into(), None);
    let sent = written(|out| encode::relayed_response(out, head, bytes, frame, &date, &via));
    let plain = strict::response(&sent).expect("what is sent is in the grammar");
    assert_eq!(plain.rest, b"", "what is sent is one head");
    assert_eq!(plain.start[0], b"HTTP/1.1");
    assert!(plain.fields.iter().all(|(name, _)| !is_any(name, &HOP_BY_HOP)));
    assert!(plain.values("connection").len() <= 1 || head.requires_upgrade);
    let mut again = ResponseHead::default();
    let limits = ResponseLimits { head_bytes_max: usize::MAX, fields_max: FIELDS_MAX };
    let outcome = again.parse(&sent, &mut Scan::default(), &limits);
    assert_eq!(outcome, Ok(Some(sent.len())));
    assert_eq!(again.status, head.status);
    assert_eq!(again.reason.of(&sent), head.reason.of(bytes));
    assert_eq!(again.framing(choices.flag(0)), Ok(frame.framing));
    assert_eq!(again.switches, head.switches);
    assert_eq!(again.requires_upgrade, head.requires_upgrade);
    if head.status >= 200 {
        let closes = frame.closes || framing == Framing::UntilClose;
        assert_eq!(again.is_persistent, !closes);
        assert!(!plain.values("date").is_empty());
    }
}
