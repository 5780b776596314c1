//! `Via` in both directions, and the mark by which a Kiln knows a request that comes back (RFC 9110,
//! section 7.6.3).

mod support;

use http::Via;
use http::encode::{Edit, Forwarded, relayed_response};
use support::*;

/// The `Via` lines of what goes to an origin.
fn sent(fields: &str, forwarded: Forwarded<'_>, edits: &[Edit<'_>]) -> Vec<String> {
    let input = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let mut lines = forwarded_lines(&input, forwarded, edits);
    lines.retain(|line| line.to_ascii_lowercase().starts_with("via"));
    lines
}

#[test]
fn it_has_the_name_that_it_is_given_or_there_is_none() {
    let cdn = Via::new("cdn-7".into(), None);
    for (via, expect) in
        [(&KILN, Some("Via: 1.1 kiln")), (&cdn, Some("Via: 1.1 cdn-7")), (&Via::OFF, None)]
    {
        let forwarded = Forwarded { via, ..STRANGER };
        let received = "Via: 1.0 front\r\n";
        let expect: Vec<&str> = ["Via: 1.0 front"].into_iter().chain(expect).collect();
        assert_eq!(sent(received, forwarded, &[]), expect);
        let input = format!("HTTP/1.1 200 OK\r\n{received}Content-Length: 0\r\n\r\n");
        let head = taken_response(&input);
        let frame = frame(http::Framing::Length(0));
        let relayed =
            written(|out| relayed_response(out, &head, input.as_bytes(), frame, &date(), via));
        let relayed = String::from_utf8(relayed).unwrap();
        let lines: Vec<&str> =
            relayed.split("\r\n").filter(|line| line.starts_with("Via")).collect();
        assert_eq!(lines, expect);
    }
}

#[test]
fn a_script_may_remove_and_set_it() {
    let received = "Via: 1.0 front\r\n";
    assert!(sent(received, STRANGER, &[Edit::Remove(b"via")]).is_empty());
    assert_eq!(sent(received, STRANGER, &[Edit::Set(b"Via", b"1.1 edge")]), ["Via: 1.1 edge"]);
    let added = ["Via: 1.0 front", "via: 1.1 inner", "Via: 1.1 kiln"];
    assert_eq!(sent(received, STRANGER, &[Edit::Add(b"via", b"1.1 inner")]), added);
}

#[test]
fn a_request_is_known_when_it_comes_back_to_the_same_kiln_for_the_same_upstream() {
    let via = Via::new("kiln".into(), Some(1));
    let mark = via.mark(b"web").unwrap();
    let lines =
        sent("Via: 1.0 front\r\n", Forwarded { via: &via, mark: Some(mark), ..STRANGER }, &[]);
    assert_eq!(lines.len(), 2);
    assert!(lines[1].starts_with("Via: 1.1 kiln (") && lines[1].ends_with(')'), "{lines:?}");
    let check = |fields: &str, mark, expect| {
        let input = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n");
        assert_eq!(taken(&input).has_passed(input.as_bytes(), mark), expect, "{fields}");
    };
    check(&lines.join("\r\n"), mark, true);
    // Others add to it, in a line of their own or in the same.
    check(&format!("{}, 1.1 varnish\r\nVia: 1.1 cache", lines[1]), mark, true);
    check("Via: 1.1 kiln", mark, false);
    check(&lines[1].replace("Via", "X-Via"), mark, false);
    // It went to a cache, and goes to a server behind that; or it comes from another Kiln.
    check(&lines[1], via.mark(b"app").unwrap(), false);
    check(&lines[1], Via::new("kiln".into(), Some(2)).mark(b"web").unwrap(), false);
    assert_eq!(via.mark(b"web"), Via::new("other".into(), Some(1)).mark(b"web"));
}

#[test]
fn without_a_field_there_is_no_mark() {
    assert!(Via::OFF.mark(b"web").is_none());
    assert!(KILN.mark(b"web").is_none());
}
