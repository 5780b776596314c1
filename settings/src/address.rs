//! Whether a string names a server: an address or a name, and a port. Nothing is looked up here.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

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
    if let Ok(address) = text.parse::<SocketAddr>() {
        return if address.port() == 0 { Err("has port 0".to_owned()) } else { Ok(()) };
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(
            "is not an address with a port, as in 10.0.0.1:80 or web.internal:80".to_owned()
        );
    };
    if host.parse::<Ipv6Addr>().is_ok() || text.parse::<Ipv6Addr>().is_ok() {
        return Err("is an IPv6 address without brackets: write [::1]:80".to_owned());
    }
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err(format!("has the port {port:?}, which is not a number from 1 to 65535"));
    }
    check_host(host).map_err(|wrong| format!("has the host {host:?}, which {wrong}"))
}

/// Checks a name or an IPv4 address without a port.
pub(crate) fn check_host(host: &str) -> Result<(), String> {
    if host.parse::<Ipv4Addr>().is_ok() {
        return Ok(());
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
        check("10.0.0.1", Err("not an address with a port"));
        check("10.0.0.1:0", Err("port 0"));
        check("10.0.0.1:65536", Err("from 1 to 65535"));
        check("10.0.0.1:+80", Err("from 1 to 65535"));
        check("web:", Err("from 1 to 65535"));
        check("web:http", Err("from 1 to 65535"));
        check("::1:80", Err("brackets"));
        check("::1", Err("brackets"));
        check(":80", Err("1 to 253 characters"));
        check("10.0.0.300:80", Err("neither a name nor an address"));
        check("http://web:80", Err("neither a name nor an address"));
        check("web..internal:80", Err("neither a name nor an address"));
        check("-web:80", Err("neither a name nor an address"));
        check(&format!("{}:80", "x".repeat(64)), Err("neither a name nor an address"));
    }
}
