//! Many servers in every state, and requests that are balanced, queued, passed on and given up: what
//! the protections of an upstream come to together. Each is right alone; two of them may multiply into
//! an outage, which no test of one shows. Time is simulated, and everything follows from a seed.
//!
//! What each pair comes to (what a protection does by itself is a test of `tests.rs`):
//!
//! | | budget | ejection | slow start | queue | connections | drain | health |
//! |---|---|---|---|---|---|---|---|
//! | tries | a try counts for both only if a server had some of the request; one that was refused for neither | later tries go to servers that fail nobody now, to ejected ones last | a share does not matter where one is left | a try that finds all busy waits, and goes on in its order | the same | never tried | never tried |
//! | budget | | what is ejected needs none | - | - | - | - | - |
//! | ejection | | | begins at its end | who waits for a key's server looks again | one that is ejected is no room: requests wait for the others | drained ones are not counted as left | where the check leaves only ejected ones, these are asked; a check that comes well forgives |
//! | slow start | | | | a small share is no limit | the limit is whole from the start | - | begins when the check comes well |
//! | queue | | | | | one leaves it for each connection that ends, or that a server has free when it comes back | its keys wait for another | the same |
//!
//! Nothing here knows a socket; `worker/tests` and `tests/serving` do it with real ones.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;

use super::*;
use crate::ids::kinds;

const CONNECT_MS: u64 = 3_000;
const QUEUE_MS: u64 = 5_000;
const SWEEP_MS: u64 = 500;
const START_MS: u64 = 1_000_000;

/// What becomes of a request at a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It answers with this status after so long.
    Answers { status: u16, after_ms: u64 },
    /// It refuses connections.
    Refuses,
    /// It takes no connection and says nothing.
    Silent,
    /// It reads the request and closes.
    Drops,
}

const WELL: State = State::Answers { status: 200, after_ms: 20 };

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A client asks, and once it has an answer asks again.
    Ask,
    /// What a server does comes to its end.
    Outcome(usize),
    /// It has waited for long enough.
    QueueTimeout(usize),
    /// Whoever waits in vain is found.
    Sweep,
}

#[derive(Debug)]
struct Request {
    name: ExchangeId,
    key_hash: u64,
    tried: Tried,
    costs: Vec<Cost>,
    /// The server that has it, and how that was when it got it.
    at: Option<(ServerId, State)>,
    is_queued: bool,
    /// Status that it ended with.
    status: Option<u16>,
}

/// One run.
struct Simulation {
    upstreams: Upstreams,
    settings: settings::Upstream,
    web: UpstreamId,
    names: Table<usize, kinds::Exchange>,
    states: BTreeMap<u16, State>,
    requests: Vec<Request>,
    events: BinaryHeap<Reverse<(u64, usize, Event)>>,
    now_ms: u64,
    sequence: usize,
    random: u64,
    /// Requests that servers had some of.
    sent: usize,
    /// The same, for each server.
    shares: BTreeMap<u16, usize>,
    budget_refused: bool,
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl Simulation {
    fn new(states: &[State], seed: u64, adjust: impl FnOnce(&mut settings::Upstream)) -> Self {
        let ports = 1..=states.len() as u16;
        let servers = ports.clone().map(|port| settings::Server::new(address(port).to_string()));
        let mut web =
            settings::Upstream { servers: servers.collect(), ..settings::Upstream::default() };
        adjust(&mut web);
        let mut worker = settings::Worker::default();
        worker.upstreams.insert("web".to_owned(), web.clone());
        let mut upstreams = Upstreams::default();
        let _ = upstreams.configure(&worker, START_MS);
        let id = upstreams.find(b"web").expect("it is configured");
        let mut simulation = Simulation {
            upstreams,
            settings: web,
            web: id,
            names: Table::default(),
            states: ports.zip(states.iter().copied()).collect(),
            requests: Vec::new(),
            events: BinaryHeap::new(),
            now_ms: START_MS,
            sequence: 0,
            random: seed | 1,
            sent: 0,
            shares: BTreeMap::new(),
            budget_refused: false,
        };
        simulation.at(SWEEP_MS, Event::Sweep);
        simulation
    }

    /// Below `bound`.
    fn random(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) % bound
    }

    fn at(&mut self, after_ms: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((self.now_ms + after_ms, self.sequence, event)));
    }

    fn run(&mut self, clients: usize, until_ms: u64) {
        (0..clients).for_each(|_| self.at(0, Event::Ask));
        self.go_on(until_ms);
    }

    fn go_on(&mut self, until_ms: u64) {
        let until_ms = START_MS + until_ms;
        while let Some(Reverse((at_ms, _, event))) = self.events.pop() {
            if at_ms > until_ms {
                self.events.push(Reverse((at_ms, 0, event)));
                break;
            }
            self.now_ms = at_ms;
            match event {
                Event::Ask => self.ask(),
                Event::Outcome(number) => self.outcome(number),
                Event::QueueTimeout(number) if self.requests[number].is_queued => {
                    self.end(number, 503);
                }
                Event::QueueTimeout(_) => {}
                Event::Sweep => {
                    let waiting: Vec<ExchangeId> = self.upstreams.waiting_in_vain(at_ms).collect();
                    waiting.into_iter().for_each(|name| self.look_again(name));
                    self.at(SWEEP_MS, Event::Sweep);
                }
            }
        }
        self.now_ms = until_ms;
    }

    fn ask(&mut self) {
        let number = self.requests.len();
        let key_hash = self.random(1 << 30);
        self.requests.push(Request {
            name: self.names.insert_with(|_| number),
            key_hash,
            tried: Tried::default(),
            costs: Vec::new(),
            at: None,
            is_queued: false,
            status: None,
        });
        self.upstreams.count_request(self.web);
        self.open(number, 503);
    }

    /// What `Worker::open_origin` does: a server, a place in the queue, or an end.
    fn open(&mut self, number: usize, failure: u16) {
        let request = &self.requests[number];
        let (name, tried) = (request.name, request.tried.clone());
        let server = match self.upstreams.choose(self.web, request.key_hash, &tried, self.now_ms) {
            Choice::Server(server) => server,
            Choice::Busy(owner) => return self.queue(number, owner),
            Choice::Nobody => return self.end(number, failure),
        };
        self.check_choice(server, &tried);
        let first = self.upstreams.next_waiting(self.web, server);
        if let Some(first) = first.filter(|first| *first != name) {
            let owner = self.upstreams.hashes(self.web).then_some(server);
            self.queue(number, owner);
            return self.look_again(first);
        }
        self.leave_queue(number);
        self.upstreams.begin(server);
        let port = self.port(server);
        let state = self.states[&port];
        let after_ms = match state {
            State::Answers { after_ms, .. } => after_ms,
            State::Silent => CONNECT_MS,
            State::Refuses | State::Drops => 0,
        };
        if matches!(state, State::Answers { .. } | State::Drops) {
            self.sent += 1;
            *self.shares.entry(port).or_default() += 1;
        }
        self.requests[number].at = Some((server, state));
        self.at(after_ms, Event::Outcome(number));
    }

    /// Whom nobody may choose, whatever else holds.
    fn check_choice(&self, id: ServerId, tried: &Tried) {
        let server = self.upstreams.servers.get(id.0).expect("it was chosen");
        assert!(server.is_in_service(), "{server:?}");
        assert!(server.active < self.settings.connections, "{server:?}");
        assert!(!tried.servers.contains(&id), "{server:?}");
    }

    fn queue(&mut self, number: usize, owner: Option<ServerId>) {
        let request = &mut self.requests[number];
        if request.is_queued {
            if owner.is_some() {
                self.upstreams.renew_owner(self.web, request.name, owner);
            }
            return;
        }
        if self.upstreams.enqueue(self.web, request.name, owner, &request.tried) {
            request.is_queued = true;
            self.at(QUEUE_MS, Event::QueueTimeout(number));
        } else {
            self.end(number, 503);
        }
    }

    fn leave_queue(&mut self, number: usize) {
        if std::mem::take(&mut self.requests[number].is_queued) {
            let next = self.upstreams.dequeue(self.web, self.requests[number].name);
            next.into_iter().for_each(|name| self.look_again(name));
        }
    }

    fn look_again(&mut self, name: ExchangeId) {
        let number = self.names.get(name).copied();
        if let Some(number) = number.filter(|number| self.requests[*number].is_queued) {
            self.open(number, 503);
        }
    }

    /// What `Worker::lose_origin` and `finish_exchange` do.
    fn outcome(&mut self, number: usize) {
        let (server, state) = self.requests[number].at.take().expect("a server has it");
        let next = self.upstreams.end(server);
        let (deed, cost, status) = match state {
            State::Answers { status, after_ms } => {
                (Deed::Answered { status, latency_us: after_ms * 1000 }, None, status)
            }
            State::Refuses => (Deed::Unreachable, Some(Cost::Nothing), 502),
            State::Silent => (Deed::Unreachable, Some(Cost::Time), 504),
            State::Drops => (Deed::Failed, Some(Cost::Work), 502),
        };
        self.upstreams.judge(server, deed, self.now_ms);
        match cost {
            None => self.end(number, status),
            Some(cost) => {
                let request = &mut self.requests[number];
                request.tried.add(server, cost);
                request.costs.push(cost);
                let tried = request.tried.clone();
                match self.upstreams.may_retry(self.web, &tried, cost) {
                    true => self.open(number, status),
                    false => {
                        self.budget_refused |= cost == Cost::Work;
                        self.end(number, status);
                    }
                }
            }
        }
        next.into_iter().for_each(|name| self.look_again(name));
    }

    fn end(&mut self, number: usize, status: u16) {
        self.leave_queue(number);
        self.requests[number].status = Some(status);
        self.check_end(number, status);
        // Clients that fail at once would ask for ever in no time.
        self.at(1, Event::Ask);
    }

    /// A request that ends without an answer had nobody left to go to, or was too dear to go on with.
    fn check_end(&self, number: usize, status: u16) {
        let request = &self.requests[number];
        if !matches!(status, 502..=504) || request.costs.is_empty() {
            return;
        }
        let refused = request.costs.iter().filter(|cost| **cost == Cost::Nothing).count();
        let counted = request.costs.len() - refused;
        let is_up = counted >= self.settings.tries as usize
            || self.settings.tries == 1
            || refused >= REFUSALS_MAX
            || request.costs.contains(&Cost::Work)
            || request.status == Some(503);
        let tried = &request.tried.servers;
        let members = &self.upstreams.upstreams.get(self.web.0).expect("it is there").members;
        let is_left = |id: &&ServerId| {
            let server = self.upstreams.servers.get(id.0);
            !tried.contains(id) && server.is_some_and(Server::is_in_service)
        };
        let left: Vec<u16> = members.iter().filter(is_left).map(|id| self.port(*id)).collect();
        assert!(is_up || left.is_empty(), "{request:?} ended with {status}, and {left:?} are left");
    }

    fn port(&self, id: ServerId) -> u16 {
        self.upstreams.address(id).expect("it is there").port()
    }

    /// Requests that have ended, and those of them that failed.
    fn ended(&self) -> (usize, usize) {
        let statuses = self.requests.iter().filter_map(|request| request.status);
        let failed = statuses.clone().filter(|status| *status >= 500).count();
        (statuses.count(), failed)
    }

    fn share_of(&self, port: u16) -> f64 {
        let all: usize = self.shares.values().sum();
        self.shares.get(&port).copied().unwrap_or(0) as f64 / all as f64
    }
}

const WAYS: [Balance; 4] =
    [Balance::RoundRobin, Balance::LeastRequests, Balance::TwoChoices, Balance::Hash];

/// However many refuse connections, none fails while one server is well: with defaults, whichever way
/// servers are chosen, at the start, and when those that are out are tried again.
#[test]
fn none_fails_while_one_server_is_well_and_the_others_refuse() {
    for (servers, clients) in [(2, 1), (3, 1), (3, 20), (10, 1), (30, 5)] {
        for balance in WAYS {
            let mut states = vec![State::Refuses; servers];
            states[servers / 2] = WELL;
            let mut simulation = Simulation::new(&states, 7, |web| web.balance = balance);
            simulation.run(clients, 60_000);
            let (ended, failed) = simulation.ended();
            assert!(ended > 2_000, "{ended}");
            assert_eq!(failed, 0, "of {ended}: {servers} servers, {clients} clients, {balance:?}");
        }
    }
}

/// Servers that say nothing cost a client its tries, so that the first ones may fail; once they are known
/// none does.
#[test]
fn none_fails_for_long_while_one_server_is_well_and_the_others_are_silent() {
    for (servers, clients) in [(2, 1), (3, 1), (3, 5), (10, 5)] {
        for balance in WAYS {
            let mut states = vec![State::Silent; servers];
            states[servers / 2] = WELL;
            let mut simulation = Simulation::new(&states, 11, |web| web.balance = balance);
            simulation.run(clients, 60_000);
            let (_, first) = simulation.ended();
            assert!(first <= if servers > 3 { 2 * clients } else { 0 }, "{first}");
            simulation.go_on(200_000);
            let (ended, failed) = simulation.ended();
            assert!(ended > 5_000, "{ended}");
            assert_eq!(failed, first, "of {ended}: {servers} servers, {balance:?}");
        }
    }
}

/// A server that fails fast has little to do and answers soon. It gets no more than its share for that.
#[test]
fn a_server_that_fails_fast_does_not_attract_the_load() {
    let fast = |status| State::Answers { status, after_ms: 0 };
    for balance in [Balance::RoundRobin, Balance::LeastRequests, Balance::TwoChoices] {
        for failing in [fast(500), fast(404), fast(503), State::Drops] {
            for clients in [2, 8, 64] {
                let states = [failing, WELL, WELL];
                let mut simulation = Simulation::new(&states, 3, |web| {
                    web.balance = balance;
                    // It stays, to be asked.
                    web.eject_failures = 0;
                });
                for until_ms in [100, 5_000] {
                    simulation.run(if until_ms == 100 { clients } else { 0 }, until_ms);
                    let share = simulation.share_of(1);
                    assert!(share <= 0.36, "{share} {balance:?} {failing:?} {clients} {until_ms}");
                }
            }
        }
    }
}

/// Once it answers well again it is asked as often as the others.
#[test]
fn a_server_that_has_failed_gets_its_share_again() {
    for balance in [Balance::RoundRobin, Balance::LeastRequests, Balance::TwoChoices] {
        let failing = State::Answers { status: 500, after_ms: 0 };
        let mut simulation =
            Simulation::new(&[failing, WELL, WELL], 3, |web| web.balance = balance);
        simulation.run(16, 10_000);
        simulation.states.insert(1, WELL);
        simulation.shares.clear();
        simulation.go_on(60_000);
        let share = simulation.share_of(1);
        assert!((0.30..=0.37).contains(&share), "{share} {balance:?}");
    }
}

/// Where all servers drop what they get, load grows by the budget and no more.
#[test]
fn an_outage_of_all_servers_is_not_multiplied() {
    let mut simulation = Simulation::new(&[State::Drops; 4], 5, |_| {});
    simulation.run(20, 60_000);
    let (ended, failed) = simulation.ended();
    assert_eq!(ended, failed);
    assert!(simulation.budget_refused);
    assert!(simulation.sent <= ended + ended / 5 + 32 + 20, "{} of {ended}", simulation.sent);
}

/// Limits, queue, drain, health and ejection at once, servers that change from one moment to the next,
/// and settings of every kind. What must hold of each choice and each end is asserted there; here, that
/// nobody is forgotten in a queue.
#[test]
fn whatever_happens_to_servers_no_request_is_lost_or_sent_where_it_must_not_go() {
    for seed in 0..100 {
        let mut random = Simulation::new(&[], seed * 977 + 1, |_| {});
        let mut pick = |bound| random.random(bound);
        let servers = 1 + pick(8) as usize;
        let states: Vec<State> = (0..servers).map(|_| any_state(&mut pick)).collect();
        let balance = WAYS[pick(4) as usize];
        let numbers: [u64; 8] = std::array::from_fn(|_| pick(1000));
        let mut simulation = Simulation::new(&states, seed, |web| {
            web.balance = balance;
            web.connections = 1 + numbers[0] % 6;
            web.queue = numbers[1] % 20;
            web.tries = 1 + numbers[2] % 5;
            web.retry_percent = numbers[3] % 60;
            web.eject_failures = numbers[4] % 5;
            web.eject_percent = numbers[5] % 101;
            web.eject_ms = 100 + numbers[6] * 10;
            web.slow_start_ms = numbers[7] % 3 * 2000;
        });
        simulation.run(1 + pick(30) as usize, 0);
        for step in 1..20 {
            let port = 1 + pick(servers as u64) as u16;
            simulation.states.insert(port, any_state(&mut pick));
            let (upstream, server, is_well) = ("web".to_owned(), address(port), pick(4) > 0);
            let news = ServerNews::Checked { upstream, server, is_well };
            let changed = simulation.upstreams.learn(news, simulation.now_ms);
            changed.waiting.into_iter().for_each(|name| simulation.look_again(name));
            simulation.go_on(step * 1_000);
        }
        // All is well in the end: whoever waits gets its turn.
        for port in 1..=servers as u16 {
            simulation.states.insert(port, WELL);
            let (upstream, server) = ("web".to_owned(), address(port));
            let news = ServerNews::Checked { upstream, server, is_well: true };
            let changed = simulation.upstreams.learn(news, simulation.now_ms);
            changed.waiting.into_iter().for_each(|name| simulation.look_again(name));
        }
        simulation.go_on(22_000);
        let asked = simulation.requests.len();
        simulation.go_on(22_000 + QUEUE_MS + CONNECT_MS);
        let forgotten = simulation.requests[..asked].iter().find(|it| it.status.is_none());
        assert!(forgotten.is_none(), "seed {seed}: {forgotten:?}");
        let upstream = simulation.upstreams.upstreams.get(simulation.web.0).expect("it is there");
        let active: u64 = simulation.upstreams.servers.values().map(|server| server.active).sum();
        let open = simulation.requests.iter().filter(|it| it.at.is_some()).count() as u64;
        assert_eq!(active, open, "seed {seed}");
        let queued = simulation.requests.iter().filter(|it| it.is_queued).count();
        assert_eq!(upstream.queue.len(), queued, "seed {seed}");
    }
}

fn any_state(pick: &mut impl FnMut(u64) -> u64) -> State {
    match pick(8) {
        0 => State::Refuses,
        1 => State::Silent,
        2 => State::Drops,
        3 => State::Answers { status: 500, after_ms: pick(5) },
        4 => State::Answers { status: 503, after_ms: pick(5) },
        _ => State::Answers { status: 200, after_ms: 1 + pick(200) },
    }
}
