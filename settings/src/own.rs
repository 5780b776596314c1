//! Whether a server is the one that forwards to it: a request would go round without end.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The address among `listen` at which this server is reached; none if it is another one, or a name that
/// would have to be looked up. `local` has the addresses of this machine.
pub fn own_listener(
    server: &str,
    listen: &[SocketAddr],
    local: &BTreeSet<IpAddr>,
) -> Option<SocketAddr> {
    let (addresses, port) = addresses_of(server)?;
    let is_reached = |own: &&SocketAddr| {
        own.port() == port
            && addresses.iter().any(|address| match own.ip() {
                // A wildcard takes its own family alone.
                ip if ip.is_unspecified() => {
                    ip.is_ipv4() == address.is_ipv4()
                        && (address.is_loopback() || local.contains(address))
                }
                ip => ip == *address,
            })
    };
    listen.iter().find(is_reached).copied()
}

/// What a connection to a server is opened to, as far as that is known without a resolver.
fn addresses_of(server: &str) -> Option<(Vec<IpAddr>, u16)> {
    const LOOPBACK: [IpAddr; 2] =
        [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    if let Ok(address) = server.parse::<SocketAddr>() {
        let ip = match address.ip().to_canonical() {
            // A connection to no address goes to this machine (ip(7)).
            ip if ip.is_unspecified() => LOOPBACK[usize::from(ip.is_ipv6())],
            ip => ip,
        };
        return Some((vec![ip], address.port()));
    }
    let (name, port) = server.rsplit_once(':')?;
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    // These names are this machine's everywhere (RFC 6761, section 6.3).
    let is_local = name == "localhost" || name.ends_with(".localhost");
    is_local.then_some((LOOPBACK.to_vec(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(server: &str, listen: &[&str], expect: Option<&str>) {
        let listen: Vec<SocketAddr> = listen.iter().map(|text| text.parse().unwrap()).collect();
        let local = ["192.0.2.7", "2001:db8::7"].map(|text| text.parse().unwrap()).into();
        let expect = expect.map(|text| text.parse().unwrap());
        assert_eq!(own_listener(server, &listen, &local), expect, "{server} on {listen:?}");
    }

    #[test]
    fn a_server_at_an_address_that_is_listened_on_is_this_one() {
        check("127.0.0.1:80", &["10.0.0.1:80", "127.0.0.1:80"], Some("127.0.0.1:80"));
        check("127.0.0.1:81", &["127.0.0.1:80"], None);
        check("127.0.0.2:80", &["127.0.0.1:80"], None);
        check("[::1]:80", &["[::1]:80"], Some("[::1]:80"));
        check("[::ffff:127.0.0.1]:80", &["127.0.0.1:80"], Some("127.0.0.1:80"));
    }

    #[test]
    fn a_wildcard_listens_on_every_address_of_this_machine_in_its_family() {
        for server in ["127.0.0.1:80", "127.9.9.9:80", "192.0.2.7:80", "0.0.0.0:80"] {
            check(server, &["0.0.0.0:80"], Some("0.0.0.0:80"));
            check(server, &["[::]:80"], None);
        }
        for server in ["[::1]:80", "[2001:db8::7]:80", "[::]:80"] {
            check(server, &["[::]:80"], Some("[::]:80"));
            check(server, &["0.0.0.0:80"], None);
        }
        check("192.0.2.8:80", &["0.0.0.0:80", "[::]:80"], None);
        check("0.0.0.0:80", &["127.0.0.1:80"], Some("127.0.0.1:80"));
    }

    #[test]
    fn localhost_is_this_machine_and_no_other_name_is_looked_up() {
        for server in ["localhost:80", "LOCALHOST.:80", "web.localhost:80"] {
            check(server, &["127.0.0.1:80"], Some("127.0.0.1:80"));
            check(server, &["[::]:80"], Some("[::]:80"));
            check(server, &["192.0.2.7:80"], None);
        }
        check("web.internal:80", &["0.0.0.0:80"], None);
        check("notlocalhost:80", &["0.0.0.0:80"], None);
    }

    /// Which port it will be is not known yet.
    #[test]
    fn port_0_is_nobody_s() {
        check("127.0.0.1:80", &["127.0.0.1:0"], None);
    }
}
