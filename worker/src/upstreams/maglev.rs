//! Consistent hashing by a table (Maglev: Eisenbud et al., "Maglev: A Fast and Reliable Software Network
//! Load Balancer", NSDI 2016, section 3.4).
//!
//! The same servers make the same table in every worker and every Kiln, and when one goes, nearly all
//! keys of the others stay where they are.

use std::net::SocketAddr;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Places of the table: a prime, and 64 times the most members, so that shares differ by little.
const PLACES: usize = 65_537;

const EMPTY: u16 = u16::MAX;

/// Hash of a key.
pub(crate) fn hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// Which server has each place.
#[derive(Debug)]
pub(super) struct Maglev {
    places: Box<[u16]>,
}

impl Maglev {
    /// For servers with their weights, at least one; they are numbered in the order given.
    pub(super) fn new(servers: &[(SocketAddr, u64)]) -> Self {
        assert!(!servers.is_empty() && servers.len() < usize::from(EMPTY), "no table for these");
        let heaviest = servers.iter().map(|(_, weight)| *weight).max().unwrap_or(1).max(1);
        let mut walks: Vec<Walk> = servers.iter().map(|(address, _)| Walk::new(*address)).collect();
        // In the order of addresses, so that how they were listed makes no difference.
        let mut order: Vec<usize> = (0..servers.len()).collect();
        order.sort_unstable_by_key(|&at| servers[at].0);
        let mut places = vec![EMPTY; PLACES].into_boxed_slice();
        let mut credits = vec![0; servers.len()];
        let mut left = PLACES;
        while left > 0 {
            for &at in &order {
                credits[at] += servers[at].1;
                if credits[at] < heaviest || left == 0 {
                    continue;
                }
                credits[at] -= heaviest;
                let place = walks[at].next_empty(&places);
                places[place] = at as u16;
                left -= 1;
            }
        }
        Maglev { places }
    }

    /// The server of a key; with `attempt` above 0 another place of the same key, for when that one can't.
    pub(super) fn find(&self, key_hash: u64, attempt: usize) -> usize {
        let place = match attempt {
            0 => key_hash,
            attempt => xxh3_64_with_seed(&key_hash.to_le_bytes(), attempt as u64),
        };
        usize::from(self.places[(place % PLACES as u64) as usize])
    }
}

/// The order in which one server wants the places.
struct Walk {
    at: usize,
    step: usize,
}

impl Walk {
    fn new(address: SocketAddr) -> Self {
        let name = address.to_string();
        let seeded = |seed| xxh3_64_with_seed(name.as_bytes(), seed);
        Walk {
            at: (seeded(1) % PLACES as u64) as usize,
            step: (seeded(2) % (PLACES as u64 - 1)) as usize + 1,
        }
    }

    fn next_empty(&mut self, places: &[u16]) -> usize {
        // The step and the number of places have no common factor: every place comes.
        while places[self.at] != EMPTY {
            self.at = (self.at + self.step) % PLACES;
        }
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(count: u16) -> Vec<(SocketAddr, u64)> {
        (1..=count).map(|port| (SocketAddr::from(([10, 0, 0, 1], port)), 1)).collect()
    }

    fn shares(table: &Maglev, servers: usize) -> Vec<usize> {
        let mut shares = vec![0; servers];
        table.places.iter().for_each(|&at| shares[usize::from(at)] += 1);
        shares
    }

    #[test]
    fn shares_follow_weights() {
        let even = shares(&Maglev::new(&servers(10)), 10);
        assert!(even.iter().all(|&share| share.abs_diff(PLACES / 10) <= 1), "{even:?}");
        let mut weighted = servers(3);
        weighted[1].1 = 2;
        let shares = shares(&Maglev::new(&weighted), 3);
        assert!(shares[1].abs_diff(PLACES / 2) <= 2, "{shares:?}");
    }

    #[test]
    fn a_server_that_goes_takes_only_its_own_keys_along() {
        let all = servers(20);
        let (before, after) = (Maglev::new(&all), Maglev::new(&all[..19]));
        let keys = 100_000_u64;
        let moved = (0..keys)
            .map(|key| hash(&key.to_le_bytes()))
            .filter(|&key| before.find(key, 0) != 19)
            .filter(|&key| before.find(key, 0) != after.find(key, 0))
            .count();
        // The paper measures a few per cent beyond what must move.
        assert!(moved < keys as usize * 4 / 100, "{moved} of {keys} keys moved");
    }

    #[test]
    fn the_order_of_servers_makes_no_difference() {
        let forth = servers(7);
        let back: Vec<_> = forth.iter().rev().copied().collect();
        let (one, other) = (Maglev::new(&forth), Maglev::new(&back));
        for key in 0..1000_u64 {
            assert_eq!(forth[one.find(key, 0)], back[other.find(key, 0)]);
        }
    }
}
