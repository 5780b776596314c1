//! How many connections each client holds.
//!
//! One client behind one address should not be able to take every place of a worker. An IPv6 client is
//! its /64: whoever has one address of it has all of them (RFC 6177). A connection of a trusted proxy
//! is nobody's; there a client holds what its requests occupy, one place for each.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

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

/// Counts of places taken. There is an entry for each client that has one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clients(Rc<RefCell<HashMap<Network, u64>>>);

/// A place that a client has taken. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Place {
    network: Network,
    clients: Clients,
}

impl Clients {
    /// One more place for this client. Gives how many it has with it.
    pub(crate) fn enter(&self, client: IpAddr) -> (Place, u64) {
        let network = client.into();
        let mut counts = self.0.borrow_mut();
        let count = counts.entry(network).or_default();
        *count += 1;
        (Place { network, clients: self.clone() }, *count)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.clients.0.borrow_mut();
        let count = counts.get_mut(&self.network).expect("every place was entered");
        *count -= 1;
        if *count == 0 {
            counts.remove(&self.network);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_address_and_by_network_and_given_back() {
        let clients = Clients::default();
        let mut places = Vec::new();
        let mut check = |address: &str, expect| {
            let (place, count) = clients.enter(address.parse().expect("an address"));
            assert_eq!(count, expect, "{address}");
            places.push(place);
        };
        check("192.0.2.1", 1);
        check("192.0.2.2", 1);
        check("::ffff:192.0.2.1", 2);
        check("2001:db8::1", 1);
        check("2001:db8::2", 2);
        check("2001:db8:0:1::2", 1);
        places.remove(1);
        assert_eq!(clients.0.borrow().len(), 3);
        places.clear();
        assert!(clients.0.borrow().is_empty());
    }
}
