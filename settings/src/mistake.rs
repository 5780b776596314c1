//! What is often written where an address and a port are meant, told with what to write.
//!
//! Each kind of mistake is told under its own name, and with the text that was meant where that can be
//! known. What fits none of them is for the caller to tell.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The port that is put where none is said.
const PORT: &str = "80";

/// A URL, or what looks like one.
pub(crate) struct Url<'t> {
    scheme: &'t str,
    /// Host and port, as they stand there.
    pub(crate) authority: &'t str,
    /// From the path on.
    pub(crate) rest: &'t str,
}

impl<'t> Url<'t> {
    /// The parts of a text that has a scheme.
    pub(crate) fn of(text: &'t str) -> Option<Self> {
        let (scheme, after) = match text.strip_prefix("//") {
            Some(after) => ("", after),
            None => text.split_once("://").or_else(|| {
                let (scheme, after) = text.split_once(":/")?;
                matches!(scheme, "http" | "https").then_some((scheme, after))
            })?,
        };
        let (authority, rest) = split_path(after);
        Some(Url { scheme, authority: without_user(authority), rest })
    }
}

/// What is wrong with a text that is no address with a port; `is_right` says what is one. None if it is
/// no mistake that is known here.
pub(crate) fn of(text: &str, is_right: impl Fn(&str) -> bool) -> Option<String> {
    let trimmed = text.trim();
    if trimmed != text {
        return match is_right(trimmed) {
            true => Some(format!("has a blank at an end: write {trimmed:?}")),
            false => of(trimmed, is_right),
        };
    }
    if let Some(url) = Url::of(text) {
        return Some(url.told(is_right));
    }
    if text.starts_with('/') || text.starts_with("unix:") {
        return Some(
            "is a Unix socket, which is not possible here: write an address with a port, as in \
             127.0.0.1:80"
                .to_owned(),
        );
    }
    if let Some(wrong) = more_than_one(text, &is_right) {
        return Some(wrong);
    }
    let (authority, rest) = split_path(text);
    let bare = without_user(authority);
    if bare != text {
        let what = match rest {
            "" => "a user in front of its address",
            _ => "a path behind its address",
        };
        let port = with_port(bare, PORT);
        let mended = [bare, &*port].into_iter().find(|mended| is_right(mended));
        return mended.map(|mended| format!("has {what}: write {mended:?}"));
    }
    brackets(text, &is_right).or_else(|| {
        let mended = with_port(text, PORT);
        is_right(&mended).then(|| {
            format!("is not an address with a port: write {mended:?}, or another port in its place")
        })
    })
}

/// Lists in one string, what belongs elsewhere behind an address, blanks within one.
fn more_than_one(text: &str, is_right: impl Fn(&str) -> bool) -> Option<String> {
    let apart = |character: char| matches!(character, ',' | ';') || character.is_whitespace();
    let words: Vec<&str> = text.split(apart).filter(|word| !word.is_empty()).collect();
    let joined: String = text.chars().filter(|character| !character.is_whitespace()).collect();
    match &words[..] {
        [] | [_] => None,
        words if words.iter().all(|word| is_right(word)) => {
            let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
            Some(format!("is more than one address: write {}", words.join(", ")))
        }
        [first, ..] if is_right(first) => {
            Some(format!("is more than an address with a port: write {first:?} alone"))
        }
        _ => is_right(&joined).then(|| format!("has a blank in it: write {joined:?}")),
    }
}

/// What is wrong with a text that says where to listen.
pub(crate) fn of_listener(text: &str) -> Option<String> {
    let (host, port) = match text {
        "localhost" => (text, PORT),
        text => text.rsplit_once(':').unwrap_or(("", text)),
    };
    let port: u16 = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok())??;
    match host {
        "" | "*" => Some(format!(
            "has no address: write \"0.0.0.0:{port}\" for every IPv4 address of this machine, \
             \"[::]:{port}\" for every IPv6 address, or \"127.0.0.1:{port}\" for this machine alone"
        )),
        "localhost" => {
            Some(format!("is a name, and an address is wanted: write \"127.0.0.1:{port}\""))
        }
        _ => None,
    }
}

impl Url<'_> {
    fn told(&self, is_right: impl Fn(&str) -> bool) -> String {
        let Url { scheme, authority, .. } = self;
        if scheme.eq_ignore_ascii_case("unix") {
            return "is a Unix socket, which is not possible here: write an address with a port"
                .to_owned();
        }
        let has_tls = ["https", "wss"].iter().any(|with| scheme.eq_ignore_ascii_case(with));
        let usual = with_port(authority, if has_tls { "443" } else { PORT });
        let mended = [authority, &*usual].into_iter().find(|mended| is_right(mended));
        let tls = if has_tls { "; Kiln speaks HTTP without TLS there" } else { "" };
        match mended {
            Some(mended) => {
                format!("is a URL: write {mended:?}, the address and the port alone{tls}")
            }
            None => {
                format!("is a URL: write the address and the port alone, as in 10.0.0.1:80{tls}")
            }
        }
    }
}

/// Brackets that are missing, or around what needs none; zones.
fn brackets(text: &str, is_right: impl Fn(&str) -> bool) -> Option<String> {
    let write = |mended: String| {
        is_right(&mended).then(|| {
            format!("is an IPv6 address without brackets: write {mended:?}, or another port")
        })
    };
    if let Some((host, port)) = text.rsplit_once(':')
        && host.parse::<Ipv6Addr>().is_ok()
        && port.parse::<u16>().is_ok()
        // `::1` is an address whole; in `fe80::1:8080` the end is meant as a port.
        && (port.len() > 1 || text.parse::<Ipv6Addr>().is_err())
    {
        return write(format!("[{host}]:{port}"));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return write(format!("[{text}]:{PORT}"));
    }
    let bracketed = text.strip_prefix('[').and_then(|text| text.split_once(']'));
    let (inside, after) = match bracketed {
        Some(bracketed) => bracketed,
        None => (
            text.split_once('%').filter(|(it, _)| it.parse::<Ipv6Addr>().is_ok()).map(|_| text)?,
            "",
        ),
    };
    let port = after.strip_prefix(':').unwrap_or(PORT);
    if let Some((address, _)) = inside.split_once('%') {
        let mended = format!("[{address}%2]:{port}");
        return is_right(&mended).then(|| {
            format!("has an interface by name: write its number, which `ip link` shows, as in {mended:?}")
        });
    }
    let mended = format!("{inside}:{port}");
    let needs_none = inside.parse::<Ipv4Addr>().is_ok() || !inside.contains(':');
    (needs_none && is_right(&mended))
        .then(|| format!("has brackets, which are for IPv6: write {mended:?}"))
}

/// A host with this port, where it has none; in brackets if it needs them.
fn with_port(host: &str, port: &str) -> String {
    let bare = host.strip_suffix(':').unwrap_or(host);
    match bare.parse::<Ipv6Addr>() {
        Ok(_) => format!("[{bare}]:{port}"),
        Err(_) => format!("{bare}:{port}"),
    }
}

fn split_path(text: &str) -> (&str, &str) {
    let end = text.find(['/', '?', '#']).unwrap_or(text.len());
    text.split_at(end)
}

fn without_user(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use crate::{check_listen, check_server};

    #[track_caller]
    fn server(text: &str, expect: &str) {
        let wrong = check_server(text).expect_err(text);
        assert!(wrong.contains(expect), "{text}: {wrong}");
    }

    #[track_caller]
    fn listener(text: &str, expect: &str) {
        let wrong = check_listen(text).expect_err(text);
        assert!(wrong.contains(expect), "{text}: {wrong}");
    }

    #[test]
    fn a_url_is_told_as_one_with_what_was_meant() {
        server("http://10.0.0.1:80/", "is a URL: write \"10.0.0.1:80\"");
        server("http://web", "is a URL: write \"web:80\"");
        server("http://user:word@web:81/a/b?c#d", "is a URL: write \"web:81\"");
        server("http://[::1]:82/", "is a URL: write \"[::1]:82\"");
        server("http://[::1]/", "is a URL: write \"[::1]:80\"");
        server("https://web/", "is a URL: write \"web:443\"");
        server("https://web:8443", "Kiln speaks HTTP without TLS there");
        server("HTTPS://web:8443", "Kiln speaks HTTP without TLS there");
        server("http://", "is a URL: write the address and the port alone, as in 10.0.0.1:80");
        server("http://web:99999/", "is a URL: write the address and the port alone");
        server("unix:///run/web.sock", "is a Unix socket");
        server("http:/web:80", "is a URL: write \"web:80\"");
        server("//web:80/a", "is a URL: write \"web:80\"");
        listener("http://0.0.0.0:8080/", "is a URL: write \"0.0.0.0:8080\"");
    }

    #[test]
    fn what_stands_around_an_address_is_named() {
        server("10.0.0.1:80/", "has a path behind its address: write \"10.0.0.1:80\"");
        server("web/api", "write \"web:80\"");
        server("me@10.0.0.1:80", "has a user in front of its address: write \"10.0.0.1:80\"");
        server(" 10.0.0.1:80", "has a blank at an end: write \"10.0.0.1:80\"");
        server("10.0.0.1:80\n", "has a blank at an end");
        server(" http://10.0.0.1:80", "is a URL: write \"10.0.0.1:80\"");
        server("a:1, b:2", "is more than one address: write \"a:1\", \"b:2\"");
        server("10.0.0.1: 80", "has a blank in it: write \"10.0.0.1:80\"");
        server("a:1 weight=3", "is more than an address with a port: write \"a:1\" alone");
        server("/run/web.sock", "is a Unix socket");
        server("unix:/run/web.sock", "is a Unix socket");
        listener(" 0.0.0.0:80 ", "write \"0.0.0.0:80\"");
        listener("0.0.0.0:80/", "has a path");
    }

    #[test]
    fn a_missing_port_is_put_there() {
        server("10.0.0.1", "is not an address with a port: write \"10.0.0.1:80\"");
        server("web", "write \"web:80\"");
        server("web:", "write \"web:80\"");
        server("::1", "without brackets: write \"[::1]:80\"");
        listener("0.0.0.0", "write \"0.0.0.0:80\"");
        listener("[::]", "write \"[::]:80\"");
    }

    #[test]
    fn brackets_are_for_ipv6_alone() {
        server("::1:8080", "without brackets: write \"[::1]:8080\"");
        server("2001:db8::2:443", "write \"[2001:db8::2]:443\"");
        server("2001:db8:0:0:0:0:0:2", "write \"[2001:db8:0:0:0:0:0:2]:80\"");
        server("2001:db8:0:0:0:0:0:2:81", "write \"[2001:db8:0:0:0:0:0:2]:81\"");
        server("[10.0.0.1]:80", "which are for IPv6: write \"10.0.0.1:80\"");
        server("[web]", "which are for IPv6: write \"web:80\"");
        server("fe80::1%eth0", "as in \"[fe80::1%2]:80\"");
        server("[fe80::1%eth0]:80", "as in \"[fe80::1%2]:80\"");
        listener("::", "write \"[::]:80\"");
        listener(":::80", "write \"[::]:80\"");
    }

    #[test]
    fn where_to_listen_is_an_address_of_this_machine() {
        listener("8080", "has no address: write \"0.0.0.0:8080\"");
        listener(":8080", "has no address: write \"0.0.0.0:8080\"");
        listener("*:8080", "\"127.0.0.1:8080\" for this machine alone");
        listener("localhost", "is a name, and an address is wanted: write \"127.0.0.1:80\"");
        listener("localhost:8080", "is a name, and an address is wanted: write \"127.0.0.1:8080\"");
    }
}
