//! The ways to choose a server (see [`settings::Balance`]).

use std::net::SocketAddr;

use settings::Balance;

use super::maglev::Maglev;
use super::server::{Moment, Server};
use super::{Choice, ServerId, Tried, UpstreamId, Upstreams};
use crate::table::Table;

/// Places of one key that are looked at before any server that is there will do.
const PLACES_MAX: usize = 16;

/// Numbers that spread load, and are nobody's secret: xorshift64* (Vigna 2016).
#[derive(Debug)]
pub(super) struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        // Workers must not all take the same steps.
        Random(0x9e37_79b9_7f4a_7c15 ^ (u64::from(std::process::id()) << 32))
    }
}

impl Random {
    /// Below `bound`, which is above 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        ((u128::from(number) * bound as u128) >> 64) as usize
    }
}

impl Upstreams {
    /// Chooses a server for a request that `tried` servers have failed already.
    ///
    /// What requests found out about servers ranks them, and never leaves a request without one: where
    /// no other could be asked, those that are ejected are. A request that has failed already goes to
    /// servers first that fail nobody now, or it could meet the same outage again until its tries are up.
    pub(crate) fn choose(
        &mut self,
        id: UpstreamId,
        key_hash: u64,
        tried: &Tried,
        now_ms: u64,
    ) -> Choice {
        let Upstreams { upstreams, servers, random, candidates, .. } = self;
        let Some(upstream) = upstreams.get_mut(id.0) else { return Choice::Nobody };
        let most = upstream.settings.connections;
        let untried = || upstream.members.iter().filter(|id| !tried.servers.contains(id));
        let is_first = tried.servers.is_empty();
        let ranks: [fn(&Server, u64) -> bool; 3] = [
            |server, now_ms| server.is_available(now_ms) && server.is_blameless(),
            Server::is_available,
            |server, _| server.is_in_service(),
        ];
        candidates.clear();
        for is_ranked in &ranks[usize::from(is_first)..] {
            candidates.extend(untried().filter(|id| is_ranked(of(servers, **id), now_ms)));
            if !candidates.is_empty() {
                break;
            }
        }
        if candidates.is_empty() {
            return Choice::Nobody;
        }
        let balance = upstream.settings.balance;
        if balance != Balance::Hash {
            candidates.retain(|&id| of(servers, id).active < most);
        }
        let now = upstream.moment(now_ms);
        let chosen = match (&candidates[..], balance) {
            ([], _) => return Choice::Busy(None),
            (&[only], _) => only,
            (able, Balance::RoundRobin) => round_robin(able, servers, now),
            (able, Balance::LeastRequests) => {
                upstream.turn = upstream.turn.wrapping_add(1);
                least_requests(able, upstream.turn, servers, now)
            }
            (able, Balance::TwoChoices) => two_choices(able, random, servers, now),
            (able, Balance::Hash) => {
                let members = &upstream.members;
                let table =
                    upstream.maglev.get_or_insert_with(|| Maglev::new(&weights(members, servers)));
                owner(members, able, table, key_hash)
            }
        };
        // A key waits for its own server: going elsewhere would be what the key is against.
        match of(servers, chosen).active < most {
            true => Choice::Server(chosen),
            false => Choice::Busy(Some(chosen)),
        }
    }
}

fn of(servers: &Table<Server>, id: ServerId) -> &Server {
    servers.get(id.0).expect("members of an upstream are there")
}

/// Smooth weighted round robin: each gets credit by its share, and who has most pays for all. Turns of
/// heavy servers lie between those of light ones, instead of all in a row.
fn round_robin(able: &[ServerId], servers: &mut Table<Server>, now: Moment) -> ServerId {
    let mut total = 0;
    let mut chosen = (able[0], i64::MIN);
    for &id in able {
        let server = servers.get_mut(id.0).expect("members of an upstream are there");
        let share = server.share(now) as i64;
        server.credit += share;
        total += share;
        if server.credit > chosen.1 {
            chosen = (id, server.credit);
        }
    }
    servers.get_mut(chosen.0.0).expect("it was found above").credit -= total;
    chosen.0
}

/// Who has least to do for its share; equals take turns.
fn least_requests(
    able: &[ServerId],
    turn: usize,
    servers: &Table<Server>,
    now: Moment,
) -> ServerId {
    let (before, from) = able.split_at(turn % able.len());
    let load = |id: &ServerId| of(servers, *id).load(now);
    let in_turn = from.iter().chain(before).copied();
    in_turn.min_by(|one, other| load(one).total_cmp(&load(other))).expect("there are some")
}

/// The better of two at random (Mitzenmacher 2001): nearly as good as the best of all, and workers that
/// know nothing of each other don't all run to the same one.
fn two_choices(
    able: &[ServerId],
    random: &mut Random,
    servers: &Table<Server>,
    now: Moment,
) -> ServerId {
    let first = random.below(able.len());
    let second = (first + 1 + random.below(able.len() - 1)) % able.len();
    let delay = |id| of(servers, id).delay(now);
    let (one, other) = (able[first], able[second]);
    if delay(other) < delay(one) { other } else { one }
}

/// Whose key it is, among those that are there.
fn owner(members: &[ServerId], able: &[ServerId], table: &Maglev, key_hash: u64) -> ServerId {
    (0..PLACES_MAX)
        .map(|attempt| members[table.find(key_hash, attempt)])
        .find(|id| able.contains(id))
        .unwrap_or_else(|| able[(key_hash % able.len() as u64) as usize])
}

fn weights(members: &[ServerId], servers: &Table<Server>) -> Vec<(SocketAddr, u64)> {
    let weight = |&id: &ServerId| (of(servers, id).address, of(servers, id).weight);
    members.iter().map(weight).collect()
}
