//! Field names that some origins take for others: what a client writes so never counts as what Kiln or a
//! script says (RFC 3875, section 4.1.18: interfaces that make variables of fields write `_` for `-`).

mod support;

use http::RequestLimits;
use http::encode::{self, Edit};
use support::*;

/// Limits with which a `_` in a name is no reason to drop a field.
const TAKING: RequestLimits = RequestLimits { takes_underscores: true, ..LIMITS };

/// The names and values that a script sees besides `Host`.
fn shown(fields: &str, limits: &RequestLimits) -> Vec<String> {
    let input = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let head = taken_within(&input, limits);
    let bytes = input.as_bytes();
    let text = |span: http::Span| String::from_utf8_lossy(span.of(bytes)).into_owned();
    let lines =
        head.fields.iter().map(|field| format!("{}: {}", text(field.name), text(field.value)));
    lines.filter(|line| line != "Host: h").collect()
}

/// The lines that go to an origin, with names that have something other than letters and hyphens in them.
fn odd_lines(fields: &str, limits: &RequestLimits, edits: &[Edit<'_>]) -> Vec<String> {
    let input = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let head = taken_within(&input, limits);
    let sent = String::from_utf8(upstream(&head, input.as_bytes(), STRANGER, edits)).unwrap();
    let is_odd = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default();
        name.bytes().any(|byte| !byte.is_ascii_alphanumeric() && byte != b'-')
    };
    sent.split("\r\n")
        .skip(1)
        .filter(|line| !line.is_empty())
        .filter(is_odd)
        .map(str::to_owned)
        .collect()
}

#[test]
fn fields_with_an_underscore_are_dropped_unless_they_are_taken() {
    let fields = "X_User: a\r\nX-Other: b\r\n_: c\r\nuser_agent: d\r\nX-Value: _\r\n";
    assert_eq!(shown(fields, &LIMITS), ["X-Other: b", "X-Value: _"]);
    assert!(odd_lines(fields, &LIMITS, &[]).is_empty());
    let kept = ["X_User: a", "X-Other: b", "_: c", "user_agent: d", "X-Value: _"];
    assert_eq!(shown(fields, &TAKING), kept);
    assert_eq!(odd_lines(fields, &TAKING, &[]), ["X_User: a", "_: c", "user_agent: d"]);
}

#[test]
fn fields_that_look_like_one_that_kiln_acts_on_are_dropped_in_either_case() {
    for name in [
        "Content_Length",
        "Transfer_Encoding",
        "transfer-Encoding_",
        "X_Forwarded_For",
        "x-forwarded_proto",
        "X_Forwarded_Host",
        "X_FORWARDED_PORT",
        "X.Forwarded.Port",
        "Keep_Alive",
        "Proxy_Connection",
        "Max_Forwards",
        "HTTP2_Settings",
    ] {
        let fields = format!("{name}: 1\r\nX-A: b\r\n");
        assert_eq!(shown(&fields, &LIMITS), ["X-A: b"], "{name}");
        // A name with one more character is another name.
        let is_other = name.ends_with('_');
        assert_eq!(shown(&fields, &TAKING).len(), 1 + usize::from(is_other), "{name}");
        assert_eq!(odd_lines(&fields, &TAKING, &[]).len(), usize::from(is_other), "{name}");
    }
}

#[test]
fn a_disguised_framing_field_does_not_frame() {
    let input = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer_Encoding: chunked\r\n\
                 Content_Length: 7\r\n\r\n";
    let head = taken_within(input, &TAKING);
    assert_eq!(head.framing, http::Framing::Length(3));
}

#[test]
fn a_clients_field_that_looks_like_a_scripts_is_not_sent_beside_it() {
    let fields = "X_User_Id: admin\r\nx.user.id: admin\r\nX-User_ID: admin\r\nX_Other: 1\r\n";
    for edit in [
        Edit::Set(b"x-user-id", b"guest"),
        Edit::Add(b"X-User-Id", b"guest"),
        Edit::Remove(b"x-user-id"),
    ] {
        assert_eq!(odd_lines(fields, &TAKING, &[edit]), ["X_Other: 1"], "{edit:?}");
        assert!(odd_lines(fields, &LIMITS, &[edit]).is_empty(), "{edit:?}");
    }
    // The other way round as well: the origin knows one name.
    let edits = [Edit::Set(b"x_user_id", b"guest")];
    let lines =
        forwarded_lines("GET / HTTP/1.1\r\nHost: h\r\nX-User-Id: admin\r\n\r\n", STRANGER, &edits);
    assert!(lines.contains(&"x_user_id: guest".to_owned()), "{lines:?}");
    assert!(!lines.contains(&"X-User-Id: admin".to_owned()), "{lines:?}");
    // What is added is added to what the client says by the same name.
    let edits = [Edit::Add(b"x-user-id", b"guest")];
    let lines =
        forwarded_lines("GET / HTTP/1.1\r\nHost: h\r\nX-User-Id: a\r\n\r\n", STRANGER, &edits);
    assert!(lines.contains(&"X-User-Id: a".to_owned()), "{lines:?}");
}

#[test]
fn a_scripts_spelling_takes_the_place_of_kilns_own_field() {
    let edits = [Edit::Set(b"x_forwarded_for", b"s"), Edit::Set(b"X_Forwarded_Proto", b"wss")];
    let lines = forwarded_lines("GET / HTTP/1.1\r\nHost: h\r\n\r\n", STRANGER, &edits);
    assert_eq!(lines[2..4], ["X-Forwarded-Host: h", "x_forwarded_for: s"], "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("X-Forwarded-Proto")), "{lines:?}");
    // Two spellings of one script are its own affair.
    let edits = [Edit::Set(b"x-a", b"1"), Edit::Set(b"x_a", b"2")];
    let lines = forwarded_lines("GET / HTTP/1.1\r\nHost: h\r\n\r\n", STRANGER, &edits);
    assert!(
        lines.contains(&"x-a: 1".to_owned()) && lines.contains(&"x_a: 2".to_owned()),
        "{lines:?}"
    );
}

#[test]
fn no_script_sets_a_framing_field_by_another_spelling() {
    let edits = [Edit::Set(b"content_length", b"7"), Edit::Add(b"Transfer_Encoding", b"chunked")];
    assert!(odd_lines("", &TAKING, &edits).is_empty());
    let reply = reply_lines(200, &[(b"Content_Length", b"7")], frame(http::Framing::Length(5)));
    assert_eq!(reply, ["HTTP/1.1 200 OK", DATE, "Content-Length: 5"]);
}

#[test]
fn what_connection_names_stays_on_it_in_any_spelling() {
    let fields = "Connection: X-Private\r\nX_Private: 1\r\nX_Public: 2\r\n";
    assert_eq!(odd_lines(fields, &TAKING, &[]), ["X_Public: 2"]);
}

#[test]
fn a_secret_is_not_reflected_in_any_spelling() {
    let input =
        "TRACE / HTTP/1.1\r\nHost: h\r\nX_Api_Key: s\r\nProxy_Authorization: s\r\nX_A: b\r\n\r\n";
    let head = taken_within(input, &TAKING);
    let reflected = written(|out| encode::trace_reply(out, &head, input.as_bytes()));
    assert_eq!(reflected, b"TRACE / HTTP/1.1\r\nHost: h\r\nX_A: b\r\n\r\n");
}
