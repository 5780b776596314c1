//! Upstreams: which server gets a request, who waits, and what is known of each server.
//!
//! ```text
//!   request --choose--> Server --begin--> in use --end(idle or closed)--> the next that waits
//!                  \--> Busy: every server that could is at its limit; wait in the queue
//!                   \-> Nobody: there is none that could
//! ```
//!
//! A server may be chosen if it is not draining, its health check (the broker's) calls it well, and it
//! is not ejected for failures in a row (this worker's, or another's that the master told of).
//! `balance` has the ways to choose, `server` what is known of one, `budget` how many requests may be
//! sent again.
//! Nothing here knows a socket or reads a clock; connections are names.

mod balance;
mod budget;
mod maglev;
mod server;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use heritage::{Ejection, ServerNews};
use settings::{Balance, Timeouts};

use crate::ids::{ExchangeId, OriginId};
use crate::table::{Id, Table};
use balance::Random;
use budget::RetryBudget;
use maglev::Maglev;
pub(crate) use maglev::hash;
use server::{Latency, Moment, Server};

/// Names an upstream for as long as it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamId(Id<Upstream>);

/// Names a server of an upstream for as long as it is configured, or still in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerId(Id<Server>);

/// Addresses of one upstream, once names are resolved; what a name brings beyond is left out. Every
/// choice looks at all of them.
const MEMBERS_MAX: usize = 1024;

/// Statuses from here on are errors, which say nothing of how fast a server serves.
const ERROR_MIN: u16 = 400;

/// Who gets a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// This server.
    Server(ServerId),
    /// Somebody, when a request is over: all that could are at their limit. A key waits for its own
    /// server, which is this one.
    Busy(Option<ServerId>),
    /// No server that could is left.
    Nobody,
}

/// How a server did with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It answered with this status, this long after it had the request.
    Answered { status: u16, latency_us: u64 },
    /// It gave no valid answer in time.
    Failed,
    /// No connection to it could be opened.
    Unreachable,
}

/// What a try has cost that came to nothing, and so what it takes to go on with another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    /// The server refused the connection at once.
    Nothing,
    /// The client has waited, and the server had no byte of the request.
    Time,
    /// The server had some of the request, and may have worked on it.
    Work,
}

/// Servers that have failed a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tried {
    servers: Vec<ServerId>,
    /// How many of them refused at once.
    refused: usize,
}

impl Tried {
    /// One more has failed it.
    pub(crate) fn add(&mut self, server: ServerId, cost: Cost) {
        self.servers.push(server);
        self.refused += usize::from(cost == Cost::Nothing);
    }
}

/// Servers that may refuse a request one after the other: more than nearly any upstream has, and few
/// enough for one that is down altogether not to take a worker's time.
const REFUSALS_MAX: usize = 32;

/// Time limits of exchanges with one upstream's servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    pub(crate) connect_ms: u64,
    pub(crate) response_head_ms: u64,
    pub(crate) response_body_ms: u64,
    /// For what the servers take.
    pub(crate) body_ms: u64,
    pub(crate) exchange_ms: u64,
}

#[derive(Debug)]
struct Upstream {
    name: String,
    settings: settings::Upstream,
    patience: Patience,
    /// Every server that is configured, in the order of the configuration.
    members: Vec<ServerId>,
    /// Requests that wait; the first came first.
    queue: VecDeque<Waiting>,
    budget: RetryBudget,
    /// Of all its servers together.
    usual: Latency,
    /// Where `hash` looks keys up.
    maglev: Option<Maglev>,
    /// Whose turn it is among equals.
    turn: usize,
}

/// A request that waits.
#[derive(Debug)]
struct Waiting {
    exchange: ExchangeId,
    /// The server that its key belongs to, where that counts.
    owner: Option<ServerId>,
    tried: Tried,
}

/// All upstreams of a worker.
#[derive(Debug, Default)]
pub(crate) struct Upstreams {
    upstreams: Table<Upstream>,
    servers: Table<Server>,
    /// Sorted by name. A search in it costs less than hashing a name.
    by_name: Vec<(Box<[u8]>, UpstreamId)>,
    /// What configured names stand for.
    resolved: BTreeMap<String, Vec<SocketAddr>>,
    random: Random,
    /// Servers that could get a request; empty between choices, and kept for its memory.
    candidates: Vec<ServerId>,
}

/// What a change of servers leaves to be done by whoever owns connections.
#[derive(Debug, Default)]
#[must_use = "connections to servers that are gone are to be closed"]
pub(crate) struct Changed {
    /// Idle connections to servers that are gone.
    pub(crate) orphans: Vec<OriginId>,
    /// Exchanges that wait, and should look again.
    pub(crate) waiting: Vec<ExchangeId>,
}

impl Upstreams {
    /// Takes over a configuration. Servers that were there before keep their connections and what is
    /// known of them.
    pub(crate) fn configure(&mut self, settings: &settings::Worker, now_ms: u64) -> Changed {
        let mut changed = Changed::default();
        let before: BTreeMap<Box<[u8]>, UpstreamId> =
            std::mem::take(&mut self.by_name).into_iter().collect();
        let is_start = before.is_empty();
        for (name, upstream) in &settings.upstreams {
            let patience = Patience::of(upstream, &settings.timeouts);
            let known = before.get(name.as_bytes()).copied();
            let id = known.unwrap_or_else(|| {
                let new = Upstream::new(name, upstream.clone(), patience);
                UpstreamId(self.upstreams.insert_with(|_| new))
            });
            let found = self.upstreams.get_mut(id.0).expect("it is known, or was just added");
            found.settings = upstream.clone();
            found.patience = patience;
            self.by_name.push((name.as_bytes().into(), id));
            self.enlist(id, (!is_start).then_some(now_ms), &mut changed);
        }
        for (name, id) in before {
            if !settings.upstreams.keys().any(|kept| kept.as_bytes() == &name[..]) {
                self.dissolve(id, &mut changed);
            }
        }
        changed
    }

    /// Learns something about servers.
    pub(crate) fn learn(&mut self, news: ServerNews, now_ms: u64) -> Changed {
        let mut changed = Changed::default();
        match news {
            ServerNews::Resolved { name, addresses } => {
                // The first addresses of a name are there from the start; later ones are new.
                let is_first = self.resolved.insert(name.clone(), addresses).is_none();
                let since_ms = (!is_first).then_some(now_ms);
                for (_, id) in self.by_name.clone() {
                    let upstream = self.upstreams.get_mut(id.0).expect("it is configured");
                    if upstream.settings.servers.iter().any(|server| server.address == name) {
                        self.enlist(id, since_ms, &mut changed);
                    }
                }
            }
            ServerNews::Checked { upstream, server, is_well } => {
                for id in self.servers_at(&upstream, server) {
                    let server = self.servers.get_mut(id.0).expect("it is a member");
                    server.checked(is_well, now_ms);
                }
                let found = self.find(upstream.as_bytes()).and_then(|id| self.upstreams.get(id.0));
                changed.waiting.extend(found.into_iter().flat_map(Upstream::waiting));
            }
            ServerNews::Ejected { upstream, server, why, for_ms } => {
                for id in self.servers_at(&upstream, server) {
                    if self.may_eject(id, why, now_ms) {
                        self.servers.get_mut(id.0).expect("it is a member").eject(now_ms, for_ms);
                        changed.waiting.extend(self.waiting_for(id));
                    }
                }
            }
        }
        changed
    }

    /// The upstream of this name. The empty name is that of a request about which no script decided:
    /// it goes to the only upstream there is.
    pub(crate) fn find(&self, name: &[u8]) -> Option<UpstreamId> {
        match name {
            b"" => match self.by_name[..] {
                [(_, only)] => Some(only),
                _ => None,
            },
            name => {
                let found = self.by_name.binary_search_by(|(known, _)| known[..].cmp(name)).ok()?;
                Some(self.by_name[found].1)
            }
        }
    }

    /// Its name; empty for one that is gone.
    pub(crate) fn name(&self, id: UpstreamId) -> &str {
        self.upstreams.get(id.0).map_or("", |upstream| &upstream.name)
    }

    /// Whether `CONNECT` requests become tunnels to its servers.
    pub(crate) fn takes_connect(&self, id: UpstreamId) -> bool {
        self.upstreams.get(id.0).is_some_and(|upstream| upstream.settings.connect)
    }

    /// Whether any upstream takes `CONNECT`.
    pub(crate) fn any_takes_connect(&self) -> bool {
        self.by_name.iter().any(|(_, id)| self.takes_connect(*id))
    }

    /// How long to wait for its servers; `None` for an upstream that is gone.
    pub(crate) fn patience(&self, id: UpstreamId) -> Option<Patience> {
        self.upstreams.get(id.0).map(|upstream| upstream.patience)
    }

    /// Whether a request to it ends with its client's side of the connection.
    pub(crate) fn aborts_on_close(&self, id: UpstreamId) -> bool {
        self.upstreams.get(id.0).is_some_and(|upstream| upstream.settings.abort_on_close)
    }

    pub(crate) fn address(&self, id: ServerId) -> Option<SocketAddr> {
        self.servers.get(id.0).map(|server| server.address)
    }

    /// Whether choosing looks at a key.
    pub(crate) fn hashes(&self, id: UpstreamId) -> bool {
        self.upstreams.get(id.0).is_some_and(|it| it.settings.balance == Balance::Hash)
    }

    /// Takes an idle connection to this server, the one that was used last: it is the one least likely
    /// to have been closed meanwhile, and the others get old and go.
    pub(crate) fn take_idle(&mut self, id: ServerId) -> Option<OriginId> {
        self.servers.get_mut(id.0)?.idle.pop()
    }

    /// Keeps a connection that is not in use any more. Gives the one that has to go instead: the oldest,
    /// which is the nearest to its timeout, or the same, if its server is on its way out.
    pub(crate) fn put_idle(&mut self, id: ServerId, connection: OriginId) -> Option<OriginId> {
        let Some(server) = self.servers.get_mut(id.0) else { return Some(connection) };
        let most = match server.is_member {
            true => self.upstreams.get(server.upstream.0).map_or(0, |it| it.settings.idle as usize),
            false => 0,
        };
        server.idle.push(connection);
        (server.idle.len() > most).then(|| server.idle.remove(0))
    }

    /// Forgets an idle connection.
    pub(crate) fn forget_idle(&mut self, id: ServerId, connection: OriginId) {
        if let Some(server) = self.servers.get_mut(id.0) {
            server.idle.retain(|&idle| idle != connection);
        }
    }

    /// A request begins to use a server.
    pub(crate) fn begin(&mut self, id: ServerId) {
        if let Some(server) = self.servers.get_mut(id.0) {
            server.active += 1;
        }
    }

    /// A request uses it no more. Gives the exchange that waited longest, if one waits.
    pub(crate) fn end(&mut self, id: ServerId) -> Option<ExchangeId> {
        let server = self.servers.get_mut(id.0)?;
        server.active -= 1;
        let upstream = server.upstream;
        if !server.is_member && server.active == 0 {
            self.servers.remove(id.0);
        }
        self.next_waiting(upstream, id)
    }

    /// Takes note of how a server did. Gives the news if it has just been ejected for it.
    pub(crate) fn judge(&mut self, id: ServerId, deed: Deed, now_ms: u64) -> Option<ServerNews> {
        let server = self.servers.get_mut(id.0)?;
        let upstream = self.upstreams.get_mut(server.upstream.0)?;
        let moment = upstream.moment(now_ms);
        let settings = &upstream.settings;
        let why = match deed {
            Deed::Answered { status, .. } if settings.is_failure(status) => {
                server.failed(false, settings.eject_failures, moment)
            }
            Deed::Answered { status: ERROR_MIN.., .. } => {
                server.erred(moment);
                None
            }
            Deed::Answered { latency_us, .. } => {
                server.answered(latency_us, now_ms);
                upstream.usual.add(latency_us, now_ms);
                None
            }
            Deed::Failed => server.failed(false, settings.eject_failures, moment),
            Deed::Unreachable => server.failed(true, settings.eject_failures, moment),
        }?;
        if !self.may_eject(id, why, now_ms) {
            return None;
        }
        let server = self.servers.get_mut(id.0)?;
        let upstream = self.upstreams.get(server.upstream.0)?;
        let for_ms = server.eject_again(now_ms, upstream.settings.eject_ms);
        let (name, address) = (upstream.name.clone(), server.address);
        let reason = why.sentence();
        tracing::warn!(upstream = %name, server = %address, for_ms, reason, "server ejected");
        Some(ServerNews::Ejected { upstream: name, server: address, why, for_ms })
    }

    /// Whether a server may be ejected. For what it answers: as long as no more are out than may be,
    /// since where most fail the fault is likely elsewhere. Since it can't be reached: as long as
    /// another one is left, since whoever is sent there gets nothing in any case. It makes no difference
    /// who found it failing: when all fail, each worker may find another one first.
    fn may_eject(&self, id: ServerId, why: Ejection, now_ms: u64) -> bool {
        let upstream = self.servers.get(id.0).and_then(|it| self.upstreams.get(it.upstream.0));
        let Some(upstream) = upstream else { return false };
        let others = upstream.members.iter().filter(|one| **one != id);
        let mut others = others.filter_map(|one| self.servers.get(one.0));
        match why {
            Ejection::Unreachable => others.any(|other| other.is_available(now_ms)),
            Ejection::Failing => {
                let out = 1 + others.filter(|other| other.is_ejected(now_ms)).count();
                let percent = upstream.settings.eject_percent as usize;
                out * 100 <= upstream.members.len() * percent
            }
        }
    }

    /// Whether a request may be sent to another server after a try that came to nothing; `tried` has
    /// its server already. What costs the servers work draws on the budget; what costs the client time
    /// is limited by `tries` alone.
    pub(crate) fn may_retry(&mut self, id: UpstreamId, tried: &Tried, cost: Cost) -> bool {
        let Some(upstream) = self.upstreams.get_mut(id.0) else { return false };
        let tries = upstream.settings.tries as usize;
        let is_left = tried.servers.len() - tried.refused < tries;
        match cost {
            Cost::Nothing => tries > 1 && tried.refused < REFUSALS_MAX,
            Cost::Time => is_left,
            Cost::Work => is_left && upstream.budget.spend(),
        }
    }

    /// Counts a request that is sent for the first time: so much more may be sent again.
    pub(crate) fn count_request(&mut self, id: UpstreamId) {
        if let Some(upstream) = self.upstreams.get_mut(id.0) {
            upstream.budget.earn(upstream.settings.retry_percent);
        }
    }

    /// Lets a request wait: for the owner of its key if it has one, or else for any server but those
    /// that were tried. False if the queue is full.
    #[must_use]
    pub(crate) fn enqueue(
        &mut self,
        id: UpstreamId,
        exchange: ExchangeId,
        owner: Option<ServerId>,
        tried: &Tried,
    ) -> bool {
        let Some(upstream) = self.upstreams.get_mut(id.0) else { return false };
        let has_room = upstream.queue.len() < upstream.settings.queue as usize;
        if has_room {
            upstream.queue.push_back(Waiting { exchange, owner, tried: tried.clone() });
        }
        has_room
    }

    /// A key has another owner meanwhile: its request waits for that one.
    pub(crate) fn renew_owner(
        &mut self,
        id: UpstreamId,
        exchange: ExchangeId,
        owner: Option<ServerId>,
    ) {
        let queue = self.upstreams.get_mut(id.0).map(|upstream| &mut upstream.queue);
        let waiting = queue.into_iter().flatten().find(|waiting| waiting.exchange == exchange);
        waiting.into_iter().for_each(|waiting| waiting.owner = owner);
    }

    /// A request waits no more. Gives the next one that waits for the same.
    pub(crate) fn dequeue(&mut self, id: UpstreamId, exchange: ExchangeId) -> Option<ExchangeId> {
        let queue = &mut self.upstreams.get_mut(id.0)?.queue;
        let at = queue.iter().position(|waiting| waiting.exchange == exchange)?;
        let Waiting { owner, .. } = queue.remove(at)?;
        queue.iter().find(|waiting| waiting.owner == owner).map(|waiting| waiting.exchange)
    }

    /// The exchange that waited longest of those that this server would do for. Others are not
    /// waited for: a server that is slow holds up those alone whose keys are its own.
    pub(crate) fn next_waiting(&self, id: UpstreamId, server: ServerId) -> Option<ExchangeId> {
        let queue = &self.upstreams.get(id.0)?.queue;
        queue.iter().find(|waiting| waiting.would_take(server)).map(|waiting| waiting.exchange)
    }

    /// Exchanges that wait for this server and no other, in their order.
    pub(crate) fn waiting_for(&self, id: ServerId) -> impl Iterator<Item = ExchangeId> {
        let upstream = self.servers.get(id.0).and_then(|it| self.upstreams.get(it.upstream.0));
        let queue = upstream.into_iter().flat_map(|upstream| &upstream.queue);
        queue.filter(move |waiting| waiting.owner == Some(id)).map(|waiting| waiting.exchange)
    }

    /// Exchanges that wait although a server has room for them, one for each server: it has come back
    /// by itself, which nothing else tells.
    pub(crate) fn waiting_in_vain(&self, now_ms: u64) -> impl Iterator<Item = ExchangeId> {
        let upstreams =
            self.by_name.iter().filter_map(|(_, id)| Some((*id, self.upstreams.get(id.0)?)));
        let waited_for = upstreams.filter(|(_, upstream)| !upstream.queue.is_empty());
        waited_for.flat_map(move |(id, upstream)| {
            let most = upstream.settings.connections;
            let has_room = move |member: &&ServerId| {
                let server = self.servers.get(member.0);
                server.is_some_and(|it| it.is_available(now_ms) && it.active < most)
            };
            let with_room = upstream.members.iter().filter(has_room);
            with_room.filter_map(move |member| self.next_waiting(id, *member))
        })
    }

    fn servers_at(&self, upstream: &str, address: SocketAddr) -> Vec<ServerId> {
        let Some(upstream) = self.find(upstream.as_bytes()) else { return Vec::new() };
        let members = &self.upstreams.get(upstream.0).expect("it is configured").members;
        let is_there = |id: &&ServerId| self.address(**id) == Some(address);
        members.iter().filter(is_there).copied().collect()
    }

    /// Makes the members of an upstream what configuration and names say. New ones came at `since_ms`;
    /// `None` if they were there from the start.
    fn enlist(&mut self, id: UpstreamId, since_ms: Option<u64>, changed: &mut Changed) {
        let upstream = self.upstreams.get_mut(id.0).expect("its caller found it");
        let wanted = configured(&upstream.settings, &self.resolved);
        if wanted.len() == MEMBERS_MAX {
            let name = &upstream.name;
            tracing::warn!(
                upstream = %name,
                "it has {MEMBERS_MAX} servers; any further addresses of its names are left out"
            );
        }
        let before = std::mem::take(&mut upstream.members);
        for (address, configured) in wanted {
            let at = |id: &ServerId| self.servers.get(id.0).is_some_and(|it| it.address == address);
            let member = before.iter().copied().find(at).unwrap_or_else(|| {
                let server = Server::new(id, address, since_ms.unwrap_or(0));
                ServerId(self.servers.insert_with(|_| server))
            });
            let server = self.servers.get_mut(member.0).expect("it is a member");
            server.weight = configured.weight;
            server.is_draining = configured.drain;
            upstream.members.push(member);
        }
        upstream.maglev = None;
        let is_gone = |gone: &ServerId| !upstream.members.contains(gone);
        let gone: Vec<ServerId> = before.into_iter().filter(is_gone).collect();
        changed.waiting.extend(upstream.waiting());
        for id in gone {
            self.dismiss(id, changed);
        }
    }

    /// Lets a server go; it stays until its requests are over.
    fn dismiss(&mut self, id: ServerId, changed: &mut Changed) {
        let server = self.servers.get_mut(id.0).expect("it was a member");
        server.is_member = false;
        changed.orphans.append(&mut server.idle);
        if server.active == 0 {
            self.servers.remove(id.0);
        }
    }

    fn dissolve(&mut self, id: UpstreamId, changed: &mut Changed) {
        let upstream = self.upstreams.remove(id.0).expect("it was configured");
        changed.waiting.extend(upstream.waiting());
        for member in upstream.members {
            self.dismiss(member, changed);
        }
    }
}

/// The addresses of an upstream's servers, each once, with the settings that it is configured with.
fn configured<'s>(
    settings: &'s settings::Upstream,
    resolved: &BTreeMap<String, Vec<SocketAddr>>,
) -> Vec<(SocketAddr, &'s settings::Server)> {
    let mut wanted: Vec<(SocketAddr, &settings::Server)> = Vec::new();
    for server in &settings.servers {
        let literal = server.address.parse::<SocketAddr>().ok();
        let named = resolved.get(&server.address).map_or(&[][..], Vec::as_slice);
        for address in literal.iter().chain(named) {
            let is_new = wanted.iter().all(|(known, _)| known != address);
            if is_new && wanted.len() < MEMBERS_MAX {
                wanted.push((*address, server));
            }
        }
    }
    wanted
}

impl Upstream {
    fn new(name: &str, settings: settings::Upstream, patience: Patience) -> Self {
        Upstream {
            name: name.to_owned(),
            settings,
            patience,
            members: Vec::new(),
            queue: VecDeque::new(),
            budget: RetryBudget::default(),
            usual: Latency::default(),
            maglev: None,
            turn: 0,
        }
    }

    fn moment(&self, now_ms: u64) -> Moment {
        Moment { now_ms, slow_start_ms: self.settings.slow_start_ms, usual: self.usual }
    }

    /// Every exchange that waits, in their order.
    fn waiting(&self) -> impl Iterator<Item = ExchangeId> {
        self.queue.iter().map(|waiting| waiting.exchange)
    }
}

impl Waiting {
    fn would_take(&self, server: ServerId) -> bool {
        self.owner.is_none_or(|owner| owner == server) && !self.tried.servers.contains(&server)
    }
}

impl Patience {
    fn of(upstream: &settings::Upstream, timeouts: &Timeouts) -> Self {
        Patience {
            connect_ms: upstream.connect_ms.unwrap_or(timeouts.connect_ms),
            response_head_ms: upstream.response_head_ms.unwrap_or(timeouts.response_head_ms),
            response_body_ms: upstream.response_body_ms(timeouts),
            body_ms: upstream.body_ms.unwrap_or(timeouts.body_ms),
            exchange_ms: upstream.exchange_ms.unwrap_or(timeouts.exchange_ms),
        }
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
