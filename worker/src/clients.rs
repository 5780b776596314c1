//! How many connections each client address holds.
//!
//! One client behind one address should not be able to take every place of a worker. An IPv6 client is
//! its /64: whoever has one address of it has all of them (RFC 6177).

use std::collections::HashMap;
use std::net::IpAddr;

/// A client, as far as limits tell clients apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Network(u64);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            // No /64 of the public internet begins with zeroes, so the two kinds stay apart.
            IpAddr::V4(address) => Network(u64::from(u32::from(address))),
            IpAddr::V6(address) => Network((u128::from(address) >> 64) as u64),
        }
    }
}

/// Counts of open connections. There is an entry for each client that has one.
#[derive(Debug, Default)]
pub(crate) struct Clients(HashMap<Network, u64>);

impl Clients {
    /// One more connection of this client. Gives how many it has with it.
    pub(crate) fn enter(&mut self, client: IpAddr) -> u64 {
        let count = self.0.entry(client.into()).or_default();
        *count += 1;
        *count
    }

    /// One less.
    pub(crate) fn leave(&mut self, client: IpAddr) {
        let network = client.into();
        let count = self.0.get_mut(&network).expect("every connection was entered");
        *count -= 1;
        if *count == 0 {
            self.0.remove(&network);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_by_address_and_by_network() {
        let mut clients = Clients::default();
        let mut check = |address: &str, expect| {
            assert_eq!(clients.enter(address.parse().expect("an address")), expect, "{address}");
        };
        check("192.0.2.1", 1);
        check("192.0.2.2", 1);
        check("::ffff:192.0.2.1", 2);
        check("2001:db8::1", 1);
        check("2001:db8::2", 2);
        check("2001:db8:0:1::2", 1);
        clients.leave("192.0.2.2".parse().expect("an address"));
        assert_eq!(clients.0.len(), 3);
    }
}
