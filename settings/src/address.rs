//! Whether a string names a server: an address or a name, and a port. Nothing is looked up here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::mistake;

/// RFC 1035, section 2.3.4, less the length of the root and the final zero.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Bytes of an upstream's name: that of a host, which it is to a server whose client named none.
const UPSTREAM_BYTES_MAX: usize = 255;

/// Checks the name of an upstream; gives the end of a sentence that begins with the name. It stands in
/// `Host` fields, in logs and in messages of bounded size.
pub fn check_upstream_name(name: &str) -> Result<(), String> {
    let is_fit = (1..=UPSTREAM_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    match is_fit {
        true => Ok(()),
        false => {
            Err(format!("is not a name of 1 to {UPSTREAM_BYTES_MAX} printable ASCII characters"))
        }
    }
}

/// Checks `ADDRESS:PORT` or `NAME:PORT`; gives the end of a sentence that begins with the text.
pub fn check_server(text: &str) -> Result<(), String> {
    let is_server = |text: &str| check_plain_server(text).is_ok();
    check_plain_server(text).map_err(|wrong| mistake::of(text, is_server).unwrap_or(wrong))
}

/// The same, of a text that was meant to be no more than that.
fn check_plain_server(text: &str) -> Result<(), String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return match address.port() {
            0 => Err("has port 0, which nobody listens on".to_owned()),
            _ => check_zone(address),
        };
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(
            "is not an address with a port, as in 10.0.0.1:80 or web.internal:80".to_owned()
        );
    };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err(format!("has the port {port:?}, which is not a number from 1 to 65535"));
    }
    check_host(host).map_err(|wrong| format!("has the host {host:?}, which {wrong}"))
}

/// The same text for every way to write one server, as far as that is known without a resolver.
pub fn canonical_server(text: &str) -> String {
    if let Ok(mut address) = text.parse::<SocketAddr>() {
        address.set_ip(address.ip().to_canonical());
        return address.to_string();
    }
    let lower = text.to_ascii_lowercase();
    match lower.rsplit_once(':') {
        Some((host, port)) => {
            let port = port.trim_start_matches('0');
            format!("{}:{port}", host.strip_suffix('.').unwrap_or(host))
        }
        None => lower,
    }
}

/// Checks an address and a port to listen on; gives the end of a sentence that begins with the text.
/// Port 0 is any.
pub fn check_listen(text: &str) -> Result<(), String> {
    let is_own = |text: &str| check_plain_listen(text).is_ok();
    check_plain_listen(text).map_err(|wrong| {
        mistake::of(text, is_own).or_else(|| mistake::of_listener(text)).unwrap_or(wrong)
    })
}

/// The same, of a text that was meant to be no more than that.
fn check_plain_listen(text: &str) -> Result<(), String> {
    let Ok(address) = text.parse::<SocketAddr>() else {
        return Err("is not an address with a port, as in 0.0.0.0:8080 or [::]:8080".to_owned());
    };
    // Sockets of IPv6 take IPv6 alone.
    match address.ip().to_canonical() {
        IpAddr::V4(v4) if address.is_ipv6() => {
            let port = address.port();
            Err(format!("is an IPv4 address in the form of IPv6: write \"{v4}:{port}\""))
        }
        _ => check_zone(address),
    }
}

/// A link-local address says nothing without its interface (RFC 4007, section 6).
fn check_zone(address: SocketAddr) -> Result<(), String> {
    match address {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => {
            Err(format!(
                "is a link-local address without its interface: add the number that `ip link` shows, as in \
             \"[{}%2]:{}\"",
                v6.ip(),
                v6.port()
            ))
        }
        _ => Ok(()),
    }
}

/// Checks a name or an IPv4 address without a port.
pub(crate) fn check_host(host: &str) -> Result<(), String> {
    if host.parse::<Ipv4Addr>().is_ok() {
        return Ok(());
    }
    if !host.is_ascii() {
        return Err("is no name: write one with other letters than ASCII's in its form with xn--"
            .to_owned());
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(format!("does not have 1 to {NAME_BYTES_MAX} characters"));
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    for label in name.split('.') {
        let bounded = !label.starts_with('-') && !label.ends_with('-');
        if !(1..=LABEL_BYTES_MAX).contains(&label.len()) || !label.bytes().all(legal) || !bounded {
            return Err("is neither a name nor an address".to_owned());
        }
    }
    // No top-level domain is a number (RFC 3696, section 2): this was to be an address.
    let last = name.rsplit('.').next().unwrap_or(name);
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("is neither a name nor an address".to_owned());
    }
    Ok(())
}

/// Checks the value of a `Host` field: a host, perhaps with a port.
pub(crate) fn check_host_field(text: &str) -> Result<(), String> {
    if let Some(url) = mistake::Url::of(text) {
        return Err(format!("is a URL: write {:?}", url.authority));
    }
    let (host, has_port) = match text.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, true),
        _ => (text, false),
    };
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match in_brackets {
        Some(address) if address.parse::<Ipv6Addr>().is_ok() => Ok(()),
        Some(_) => Err("has no IPv6 address in its brackets".to_owned()),
        None if has_port => check_server(text),
        None => check_host(host),
    }
}

/// Checks the target of a `GET`: RFC 9112, section 3.2.1, in what it lets be written.
pub(crate) fn check_path(text: &str) -> Result<(), String> {
    if let Some(url) = mistake::Url::of(text) {
        let path = if url.rest.starts_with('/') { url.rest } else { "/" };
        return Err(format!("is a URL: write {path:?}"));
    }
    if !text.starts_with('/') {
        return Err("does not begin with \"/\"".to_owned());
    }
    match text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        true => Ok(()),
        false => Err("has a character that a path may not have".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<(), &str>) {
        let checked = check_server(text);
        match expect {
            Ok(()) => assert_eq!(checked, Ok(()), "{text}"),
            Err(part) => {
                let wrong = checked.expect_err(text);
                assert!(wrong.contains(part), "{text}: {wrong}");
            }
        }
    }

    #[test]
    fn a_server_is_an_address_or_a_name_with_a_port() {
        for server in [
            "10.0.0.1:80",
            "[::1]:80",
            "localhost:1",
            "web-1.internal:65535",
            "web.internal.:80",
            "my_service:80",
            "1password.com:443",
        ] {
            check(server, Ok(()));
        }
    }

    #[test]
    fn an_upstream_has_a_name_that_can_stand_in_a_line() {
        for name in ["web", "api_v2", "a b", &"x".repeat(UPSTREAM_BYTES_MAX)] {
            assert_eq!(check_upstream_name(name), Ok(()), "{name}");
        }
        for name in ["", "a\r\nX: y", "a\0", "\u{e9}", &"x".repeat(UPSTREAM_BYTES_MAX + 1)] {
            assert!(check_upstream_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn what_names_no_server_is_refused_with_what_is_wrong() {
        check("", Err("not an address with a port"));
        check("10.0.0.1:0", Err("port 0"));
        check("10.0.0.1:65536", Err("from 1 to 65535"));
        check("10.0.0.1:+80", Err("from 1 to 65535"));
        check("web:http", Err("from 1 to 65535"));
        check(":80", Err("1 to 253 characters"));
        check("10.0.0.300:80", Err("neither a name nor an address"));
        check("web..internal:80", Err("neither a name nor an address"));
        check("-web:80", Err("neither a name nor an address"));
        check("b\u{fc}ro.example:80", Err("xn--"));
        check(&format!("{}:80", "x".repeat(64)), Err("neither a name nor an address"));
    }

    #[test]
    fn one_server_has_one_canonical_form() {
        for (one, other) in [
            ("web:80", "WEB.:080"),
            ("[::1]:80", "[0:0:0:0:0:0:0:1]:80"),
            ("10.0.0.1:80", "[::ffff:10.0.0.1]:80"),
            ("10.0.0.1:80", "10.0.0.1:080"),
        ] {
            assert_eq!(canonical_server(one), canonical_server(other));
        }
        assert_ne!(canonical_server("web:80"), canonical_server("web:8"));
        assert_ne!(canonical_server("web:80"), canonical_server("web.internal:80"));
    }

    #[test]
    fn a_link_local_address_needs_its_interface() {
        check("[fe80::1%2]:80", Ok(()));
        check("[fe80::1]:80", Err("as in \"[fe80::1%2]:80\""));
        assert!(check_listen("[fe80::1]:80").is_err());
    }

    #[test]
    fn what_can_be_listened_on_is_an_address_with_a_port() {
        for text in ["0.0.0.0:80", "127.0.0.1:0", "[::]:65535", "[::1]:80", "[fe80::1%2]:80"] {
            assert_eq!(check_listen(text), Ok(()), "{text}");
        }
        let mapped = check_listen("[::ffff:10.0.0.1]:80").unwrap_err();
        assert_eq!(mapped, "is an IPv4 address in the form of IPv6: write \"10.0.0.1:80\"");
        for text in ["", "web:80", "127.0.0.1:65536", "127.0.0.1:http", "::1:1:1:1:1:1:1:1:80"] {
            let wrong = check_listen(text).unwrap_err();
            assert!(wrong.contains("as in 0.0.0.0:8080 or [::]:8080"), "{text}: {wrong}");
        }
    }

    #[test]
    fn a_url_is_no_host_and_no_path() {
        let host = check_host_field("https://web.internal:8080/x").unwrap_err();
        assert_eq!(host, "is a URL: write \"web.internal:8080\"");
        let path = check_path("http://web/healthz?x=1").unwrap_err();
        assert_eq!(path, "is a URL: write \"/healthz?x=1\"");
        assert_eq!(check_path("http://web").unwrap_err(), "is a URL: write \"/\"");
    }
}
