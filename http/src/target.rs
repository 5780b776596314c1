//! Request targets and hosts (RFC 9112, section 3.2; RFC 9110, section 7.2).
//!
//! Origin form (`/path?query`) and absolute form (`http://host/path`) are for every method but
//! `CONNECT`, asterisk form is for `OPTIONS` alone, and authority form (`host:port`) for `CONNECT` alone.
//! Dot segments and percent-encoded bytes are passed as they are: what they mean is the origin's to say.
//!
//! A path is refused that a script, an origin and what it calls would not take for the same: with a
//! percent sign that encodes nothing, with `%00`, `%0A` or `%0D`, which end a string or a line once they
//! are decoded, and with a `\`, which no browser sends there and some origins read as `/`. `%5C` is
//! passed like `%2F` and `%2E`: it is how data with that character is written (RFC 3986, section 2.4),
//! as in names of Windows domains, and a script that compares paths has to think of all three.

use crate::error::RequestError;

/// A target taken apart; empty slices stand for parts that it does not have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) path: &'a [u8],
    pub(crate) query: &'a [u8],
    /// Host and port of an absolute or authority form; it outranks the `Host` field.
    pub(crate) authority: &'a [u8],
}

/// Longest host name (RFC 1035, section 2.3.4).
const HOST_BYTES_MAX: usize = 255;

/// Takes a target apart.
pub(crate) fn parse<'a>(method: &[u8], target: &'a [u8]) -> Result<Target<'a>, RequestError> {
    if !target.iter().all(|&byte| is_target_byte(byte)) {
        return Err(RequestError::Target);
    }
    if method == b"CONNECT" {
        // The port is mandatory (RFC 9110, section 9.3.6), and 0 is none to connect to.
        let is_authority = matches!(port_of(target), Ok(Some(1..)));
        let whole = Target { path: b"", query: b"", authority: target };
        return if is_authority { Ok(whole) } else { Err(RequestError::Target) };
    }
    if target == b"*" {
        let is_options = method == b"OPTIONS";
        let whole = Target { path: target, query: b"", authority: b"" };
        return if is_options { Ok(whole) } else { Err(RequestError::Target) };
    }
    if target.starts_with(b"/") {
        return split_query(target, b"");
    }
    let rest = strip_scheme(target).ok_or(RequestError::Target)?;
    let end = rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len());
    let (authority, path_and_query) = rest.split_at(end);
    if !is_host(authority) {
        return Err(RequestError::Target);
    }
    split_query(path_and_query, authority)
}

/// Whether `host` is a host and perhaps a port: a name, an IPv4 address or a bracketed IPv6 address.
///
/// Narrower than RFC 3986: percent signs and sub-delimiters, which no host name has, are refused, for
/// they are where parsers disagree. So is user information (RFC 9110, section 4.2.4).
pub(crate) fn is_host(host: &[u8]) -> bool {
    port_of(host).is_ok()
}

/// Not a host.
struct NotAHost;

/// The port that follows a host, if there is one.
fn port_of(host: &[u8]) -> Result<Option<u16>, NotAHost> {
    let name_end = match host.first() {
        Some(b'[') => match host.iter().position(|&byte| byte == b']') {
            Some(end) if is_ipv6(&host[1..end]) => end + 1,
            _ => return Err(NotAHost),
        },
        _ => {
            let end = host.iter().position(|&byte| byte == b':').unwrap_or(host.len());
            if end == 0 || end > HOST_BYTES_MAX || !host[..end].iter().all(is_name_byte) {
                return Err(NotAHost);
            }
            end
        }
    };
    match &host[name_end..] {
        [] | [b':'] => Ok(None),
        [b':', port @ ..] => {
            let port = crate::fields::decimal(port).and_then(|port| u16::try_from(port).ok());
            port.map(Some).ok_or(NotAHost)
        }
        _ => Err(NotAHost),
    }
}

fn is_name_byte(byte: &u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~')
}

fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
}

/// Visible ASCII without what a URI must encode and browsers do: `"`, `<`, `>` and `#`.
///
/// `{ } | ^` and the backtick are no URI characters either, but browsers send them as they are; `\` they
/// send in queries alone.
fn is_target_byte(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e) && !matches!(byte, b'"' | b'<' | b'>' | b'#')
}

fn strip_scheme(target: &[u8]) -> Option<&[u8]> {
    [&b"http://"[..], b"https://"].into_iter().find_map(|scheme| {
        let (head, rest) = target.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

fn split_query<'a>(
    path_and_query: &'a [u8],
    authority: &'a [u8],
) -> Result<Target<'a>, RequestError> {
    let (path, query) = match memchr::memchr(b'?', path_and_query) {
        Some(mark) => (&path_and_query[..mark], &path_and_query[mark + 1..]),
        None => (path_and_query, &path_and_query[..0]),
    };
    if !is_unambiguous(path) {
        return Err(RequestError::Target);
    }
    Ok(Target { path, query, authority })
}

/// Whether each percent sign of a path begins the code of a byte, and of none that ends strings or
/// lines, and there is no `\`. Queries are left alone, for browsers send what was typed there.
fn is_unambiguous(path: &[u8]) -> bool {
    memchr::memchr2_iter(b'%', b'\\', path).all(|at| match path.get(at + 1..at + 3) {
        _ if path[at] == b'\\' => false,
        Some([b'0', b'0' | b'a' | b'A' | b'd' | b'D']) | None => false,
        Some(digits) => digits.iter().all(u8::is_ascii_hexdigit),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_taken_apart_by_form() {
        let check = |method: &str, target: &str, expect: Option<[&str; 3]>| {
            let parsed = parse(method.as_bytes(), target.as_bytes()).ok();
            let expect = expect.map(|[path, query, authority]| Target {
                path: path.as_bytes(),
                query: query.as_bytes(),
                authority: authority.as_bytes(),
            });
            assert_eq!(parsed, expect, "{method} {target}");
        };
        check("GET", "/", Some(["/", "", ""]));
        check("GET", "/a?b=c?d", Some(["/a", "b=c?d", ""]));
        check("GET", "/a?", Some(["/a", "", ""]));
        check("GET", "http://x:80/a?b", Some(["/a", "b", "x:80"]));
        check("GET", "HTTPS://x", Some(["", "", "x"]));
        check("GET", "http://x?q", Some(["", "q", "x"]));
        check("OPTIONS", "*", Some(["*", "", ""]));
        check("GET", "*", None);
        check("GET", "x:80", None);
        check("GET", "a/b", None);
        check("GET", "ftp://x/", None);
        check("GET", "http:///a", None);
        check("GET", "http://u@x/", None);
        check("GET", "/a#b", None);
        check("GET", "/\u{e9}", None);
        check("GET", "/\u{7f}", None);
        check("GET", "", None);
        check("GET", "/%41%ff/../.", Some(["/%41%ff/../.", "", ""]));
        check("GET", "/a?%zz%00%", Some(["/a", "%zz%00%", ""]));
        for path in ["/%", "/%4", "/%zz", "/%00", "/%0%41", "/%0d", "/a%0A", "/%0D%0a", "/\\"] {
            check("GET", path, None);
            check("OPTIONS", &format!("http://x{path}?a"), None);
        }
        check("GET", "/..\\..\\a?b", None);
        check("GET", "/a?\\%0d%0a%00", Some(["/a", "\\%0d%0a%00", ""]));
        check("GET", "/%5C%5c%09%2f", Some(["/%5C%5c%09%2f", "", ""]));
        check("GET", "http:\\\\x/", None);
        check("GET", "http://x\\y/", None);
        check("CONNECT", "x:443", Some(["", "", "x:443"]));
        check("CONNECT", "[::1]:443", Some(["", "", "[::1]:443"]));
        for target in
            ["x", "x:", "x:0", "x:65536", "/", "*", "http://x:443/", "u@x:443", ":443", "x:443/"]
        {
            check("CONNECT", target, None);
        }
    }

    #[test]
    fn hosts_are_names_or_addresses_with_a_port() {
        let check = |host: &str, expect| assert_eq!(is_host(host.as_bytes()), expect, "{host:?}");
        for host in ["a", "a.b-c_d", "127.0.0.1", "[::1]", "a:80", "[::1]:80", "a:", "a:65535"] {
            check(host, true);
        }
        check(&"a".repeat(HOST_BYTES_MAX), true);
        check(&"a".repeat(HOST_BYTES_MAX + 1), false);
        for host in
            ["", ":80", "a b", "a,b", "a:x", "a:65536", "[::1", "[x]", "a/b", "u@a", "a:1:2"]
        {
            check(host, false);
        }
    }
}
