//! Request heads: parsed in any pieces, beside the plain grammar, and encoded for an origin.

use std::net::{IpAddr, Ipv4Addr};

use http::encode::{self, Edit, Forwarded};
use http::{FIELDS_MAX, Framing, RequestError, RequestHead, RequestLimits, Scan, Version, Via};

use super::{Choices, FEW_FIELDS_MAX, grown, is_any, strict, written};

/// `Host` of requests without one.
const DEFAULT_HOST: &[u8] = b"default";

/// `Host` of requests that a script edits.
const EDITED_HOST: &[u8] = b"edited:8";

/// What may not come through from the client, whatever it is called there.
const HOP_BY_HOP: [&str; 8] = [
    "te",
    "trailer",
    "keep-alive",
    "proxy-connection",
    "http2-settings",
    "connection",
    "upgrade",
    "transfer-encoding",
];

/// Fields that Kiln acts on, and that some origins know by other spellings as well.
const HYPHENATED: [&str; 10] = [
    "keep-alive",
    "max-forwards",
    "content-length",
    "http2-settings",
    "x-forwarded-for",
    "proxy-connection",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "transfer-encoding",
];

/// What a reflected request does not show.
const SECRETS: [&str; 3] = ["authorization", "proxy-authorization", "cookie"];

type Outcome = Result<Option<usize>, RequestError>;

/// A head is taken or refused whatever the pieces that it comes in, taken only if it is in the grammar,
/// and what goes to an origin is one head that says the same.
pub fn request_head(data: &[u8]) {
    let Some((choices, message)) = Choices::split(data) else { return };
    let limits = RequestLimits {
        head_bytes_max: 8192,
        line_bytes_max: 4096,
        fields_max: FEW_FIELDS_MAX,
        takes_connect: choices.flag(0),
        takes_underscores: choices.flag(4),
    };
    let mut head = RequestHead::default();
    let whole = head.parse(message, &mut Scan::default(), &limits);
    for_pieces(message, 1..=message.len(), &limits, &whole, &head);
    for_pieces(message, choices.piece_ends(message.len()), &limits, &whole, &head);
    match whole {
        Err(error) => assert!(matches!(error.status(), 400 | 414 | 417 | 431 | 501 | 505)),
        Ok(None) => assert!(message.len() < limits.head_bytes_max),
        Ok(Some(length)) => check_taken(&choices, &head, &message[..length]),
    }
}

/// Parses once more, in pieces, with the same outcome.
///
/// The head has been parsed into before, and nothing of that is left.
fn for_pieces(
    message: &[u8],
    ends: impl Iterator<Item = usize>,
    limits: &RequestLimits,
    expect: &Outcome,
    expect_head: &RequestHead,
) {
    let (mut head, mut scan) = (used(), Scan::default());
    let parse = |end| head.parse(&message[..end], &mut scan, limits);
    let outcome = grown(ends, parse, |outcome| *outcome != Ok(None)).unwrap_or(Ok(None));
    assert_eq!(outcome, *expect);
    if let Ok(Some(_)) = outcome {
        assert_eq!(format!("{head:?}"), format!("{expect_head:?}"));
    }
}

/// A head that says all that one can say.
fn used() -> RequestHead {
    let message = b"OPTIONS http://used/a?b HTTP/1.0\r\nConnection: keep-alive, x\r\n\
                    Max-Forwards: 7\r\nContent-Length: 9\r\n\r\n";
    let limits = RequestLimits {
        head_bytes_max: 8192,
        line_bytes_max: 4096,
        fields_max: FIELDS_MAX,
        takes_connect: false,
        takes_underscores: true,
    };
    let mut head = RequestHead::default();
    let length = head.parse(message, &mut Scan::default(), &limits);
    assert_eq!(length, Ok(Some(message.len())));
    RequestHead { expects_continue: true, wants_upgrade: true, ..head }
}

fn check_taken(choices: &Choices, head: &RequestHead, bytes: &[u8]) {
    let begin = bytes.iter().position(|byte| !b"\r\n".contains(byte)).expect("there is a line");
    let plain = strict::request(&bytes[begin..]).expect("what is taken is in the grammar");
    assert_eq!(plain.rest, b"");
    assert_eq!(plain.start[..2], [head.method.of(bytes), head.target.of(bytes)]);
    let fields = head.fields.iter();
    let fields: Vec<_> =
        fields.map(|field| (field.name.of(bytes), field.value.of(bytes))).collect();
    let mut expect = plain.fields.clone();
    expect.retain(|(name, _)| is_shown(name, choices.flag(4)));
    assert_eq!(fields, expect);
    let hosts = plain.values("host").len();
    assert!(hosts == 1 || (hosts == 0 && head.version == Version::Http10));
    check_framing(head, &plain);
    if head.is_method(bytes, "CONNECT") {
        assert!(choices.flag(0) && head.path.is_empty() && head.query.is_empty());
        assert_eq!(head.authority.of(bytes), head.target.of(bytes));
        assert!(!head.wants_upgrade && head.framing == Framing::None);
        return;
    }
    check_reflected(head, bytes);
    if head.max_forwards != Some(0) {
        check_forwarded(choices, head, bytes);
    }
}

/// Whether scripts and origins see a field of this name.
fn is_shown(name: &[u8], takes_underscores: bool) -> bool {
    let is_disguised = HYPHENATED.iter().any(|other| {
        is_one_variable(name, other.as_bytes()) && !name.eq_ignore_ascii_case(other.as_bytes())
    });
    !is_disguised && (takes_underscores || !name.contains(&b'_'))
}

/// Whether CGI would make one variable of both names.
fn is_one_variable(one: &[u8], other: &[u8]) -> bool {
    let variable = |name: &[u8]| {
        let name = name.iter().map(|byte| if byte.is_ascii_alphanumeric() { *byte } else { b'_' });
        name.collect::<Vec<u8>>().to_ascii_uppercase()
    };
    variable(one) == variable(other)
}

/// The framing is what the fields say that are there, and they leave nothing to choose.
fn check_framing(head: &RequestHead, plain: &strict::Head<'_>) {
    let lengths = plain.values("content-length");
    let codings = plain.values("transfer-encoding");
    match head.framing {
        Framing::None => assert!(lengths.is_empty() && codings.is_empty()),
        Framing::Length(length) => {
            assert!(lengths.len() == 1 && codings.is_empty());
            let text = std::str::from_utf8(lengths[0]).expect("a number is text");
            assert_eq!(text.parse(), Ok(length));
        }
        Framing::Chunked => {
            assert!(lengths.is_empty() && head.version == Version::Http11);
            let text = codings.concat().to_ascii_lowercase();
            let letters: Vec<u8> = text.into_iter().filter(u8::is_ascii_alphabetic).collect();
            assert_eq!(letters, b"chunked");
        }
        Framing::UntilClose => panic!("no request ends with its connection"),
    }
}

/// What answers a `TRACE` is the head itself.
fn check_reflected(head: &RequestHead, bytes: &[u8]) {
    let reflected = written(|out| encode::trace_reply(out, head, bytes));
    let plain = strict::request(&reflected).expect("a head is reflected as a head");
    assert_eq!(plain.rest, b"");
    assert!(plain.fields.iter().all(|field| !is_any(field.0, &SECRETS)));
    assert_eq!(plain.start[1], head.target.of(bytes));
}

/// What goes to an origin is one head, in the grammar, that says what came in.
fn check_forwarded(choices: &Choices, head: &RequestHead, bytes: &[u8]) {
    let via = Via::new("kiln".into(), Some(7));
    let forwarded = Forwarded {
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        default_host: DEFAULT_HOST,
        upgrades: choices.flag(1),
        keeps_forwarded: choices.flag(2),
        via: &via,
        mark: via.mark(b"upstream"),
    };
    // What a script could add to it, were it not checked, as well as what it can.
    let edits = [
        Edit::Set(b"x-set", b"1"),
        Edit::Add(b"x-split", b"1\r\nx-smuggled: 1"),
        Edit::Add(b"x-smuggled: 1\r\nx", b"1"),
        Edit::Set(b"content-length", b"7"),
        Edit::Remove(b"x-removed"),
        Edit::Add(b"host", EDITED_HOST),
    ];
    let edits = &edits[..if choices.flag(3) { edits.len() } else { 0 }];
    let sent =
        written(|out| encode::upstream_request(out, head, bytes, forwarded, edits.iter().copied()));
    let plain = strict::request(&sent).expect("what is sent is in the grammar");
    assert_eq!(plain.rest, b"", "what is sent is one head");
    assert_eq!(plain.start[2], b"HTTP/1.1");
    let upgrades = head.wants_upgrade && forwarded.upgrades;
    for (name, _) in &plain.fields {
        let is_ours = upgrades && is_any(name, &["connection", "upgrade"])
            || head.framing == Framing::Chunked && is_any(name, &["transfer-encoding"]);
        assert!(is_ours || !is_any(name, &HOP_BY_HOP));
        assert!(!is_any(name, &["x-smuggled", "x-split"]) || edits.is_empty());
        let is_edited = is_one_variable(name, b"x-set") || is_one_variable(name, b"x-removed");
        assert!(!is_edited || edits.is_empty() || *name == b"x-set");
    }
    if !forwarded.keeps_forwarded {
        assert!(plain.values("forwarded").is_empty());
        assert_eq!(plain.values("x-forwarded-proto"), [b"http"]);
    }
    let host = match head.authority.of(bytes) {
        _ if !edits.is_empty() => EDITED_HOST,
        b"" => DEFAULT_HOST,
        host => host,
    };
    assert_eq!(plain.values("host"), [host]);
    check_reparsed(head, bytes, &sent, host, upgrades);
}

/// What is sent, parsed again, says the same.
fn check_reparsed(head: &RequestHead, bytes: &[u8], sent: &[u8], host: &[u8], upgrades: bool) {
    let limits = RequestLimits {
        head_bytes_max: usize::MAX,
        line_bytes_max: usize::MAX,
        fields_max: FIELDS_MAX,
        takes_connect: false,
        takes_underscores: true,
    };
    let mut again = RequestHead::default();
    let outcome = again.parse(sent, &mut Scan::default(), &limits);
    assert_eq!(outcome, Ok(Some(sent.len())));
    assert_eq!(again.method.of(sent), head.method.of(bytes));
    let path = match head.path.of(bytes) {
        b"" if head.is_method(bytes, "OPTIONS") && !head.target.of(bytes).contains(&b'?') => b"*",
        b"" => b"/",
        path => path,
    };
    assert_eq!(again.path.of(sent), path);
    assert_eq!(again.query.of(sent), head.query.of(bytes));
    assert_eq!(again.authority.of(sent), host);
    assert_eq!(again.framing, head.framing);
    assert_eq!(again.wants_upgrade, upgrades);
    assert_eq!(again.expects_continue, head.expects_continue);
    assert_eq!(again.max_forwards, head.max_forwards.map(|count| count - 1));
    let mark =
        |identity| Via::new("kiln".into(), Some(identity)).mark(b"upstream").expect("it has one");
    assert!(again.has_passed(sent, mark(7)), "it is known again");
    assert_eq!(again.has_passed(sent, mark(8)), head.has_passed(bytes, mark(8)));
}
