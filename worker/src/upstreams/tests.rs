//! Who is chosen, who waits, and who is left out; time is an argument.

use std::net::SocketAddr;

use super::*;
use crate::ids::kinds;

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// An upstream `web` of servers at these ports, as `adjust` makes it.
struct Fixture {
    upstreams: Upstreams,
    settings: settings::Worker,
    web: UpstreamId,
    exchanges: Table<(), kinds::Exchange>,
    connections: Table<(), kinds::Origin>,
}

const START_MS: u64 = 1_000_000;

/// As after these servers had a request, and failed it.
fn failed(servers: &[ServerId]) -> Tried {
    let mut tried = Tried::default();
    servers.iter().for_each(|server| tried.add(*server, Cost::Work));
    tried
}

impl Fixture {
    fn new(ports: &[u16], adjust: impl FnOnce(&mut settings::Upstream)) -> Self {
        let server = |port: &u16| settings::Server::new(address(*port).to_string());
        let mut upstream = settings::Upstream {
            servers: ports.iter().map(server).collect(),
            ..settings::Upstream::default()
        };
        adjust(&mut upstream);
        let mut settings = settings::Worker::default();
        settings.upstreams.insert("web".to_owned(), upstream);
        let mut upstreams = Upstreams::default();
        let changed = upstreams.configure(&settings, START_MS);
        assert!(changed.orphans.is_empty() && changed.waiting.is_empty());
        let web = upstreams.find(b"web").expect("it is configured");
        Fixture {
            upstreams,
            settings,
            web,
            exchanges: Table::default(),
            connections: Table::default(),
        }
    }

    fn exchange(&mut self) -> ExchangeId {
        self.exchanges.insert_with(|_| ())
    }

    fn connection(&mut self) -> OriginId {
        self.connections.insert_with(|_| ())
    }

    fn choose_for(&mut self, key: &str, tried: &[ServerId], now_ms: u64) -> Choice {
        self.upstreams.choose(self.web, hash(key.as_bytes()), &failed(tried), now_ms)
    }

    #[track_caller]
    fn server_at(&mut self, now_ms: u64) -> ServerId {
        match self.choose_for("", &[], now_ms) {
            Choice::Server(id) => id,
            other => panic!("expected a server, got {other:?}"),
        }
    }

    /// The port of the next server, which is used from then on.
    #[track_caller]
    fn use_one(&mut self) -> u16 {
        let id = self.server_at(START_MS);
        self.upstreams.begin(id);
        self.port(id)
    }

    fn port(&self, id: ServerId) -> u16 {
        self.upstreams.address(id).expect("it is there").port()
    }

    fn at(&self, port: u16) -> ServerId {
        self.upstreams.servers_at("web", address(port))[0]
    }

    /// How often each port is chosen in so many turns.
    fn shares(&mut self, ports: &[u16], turns: usize, now_ms: u64) -> Vec<usize> {
        let mut shares = vec![0; ports.len()];
        for _ in 0..turns {
            let id = self.server_at(now_ms);
            let port = self.port(id);
            shares[ports.iter().position(|known| *known == port).expect("a known port")] += 1;
        }
        shares
    }

    fn fail(&mut self, port: u16, now_ms: u64) -> Option<u64> {
        self.judge(port, Deed::Failed, now_ms)
    }

    /// For how long it is ejected, if it is.
    fn judge(&mut self, port: u16, deed: Deed, now_ms: u64) -> Option<u64> {
        match self.upstreams.judge(self.at(port), deed, now_ms) {
            Some(ServerNews::Ejected { for_ms, .. }) => Some(for_ms),
            None => None,
            other => panic!("unexpected: {other:?}"),
        }
    }
}

#[test]
fn servers_take_turns_by_their_weights_and_the_turns_of_heavy_ones_are_spread() {
    let mut even = Fixture::new(&[1, 2, 3], |_| {});
    let turns: Vec<u16> = (0..6).map(|_| even.use_one()).collect();
    assert_eq!(turns, [1, 2, 3, 1, 2, 3]);
    let mut uneven = Fixture::new(&[1, 2], |upstream| upstream.servers[0].weight = 3);
    let turns: Vec<u16> = (0..8).map(|_| uneven.use_one()).collect();
    assert_eq!(turns, [1, 1, 2, 1, 1, 1, 2, 1]);
}

#[test]
fn least_requests_goes_to_the_one_with_least_to_do_for_its_weight() {
    let mut fixture = Fixture::new(&[1, 2], |upstream| {
        upstream.balance = Balance::LeastRequests;
        upstream.servers[1].weight = 2;
    });
    let mut used = [0; 3];
    for _ in 0..30 {
        used[usize::from(fixture.use_one())] += 1;
    }
    assert_eq!(used, [0, 10, 20]);
    let free = fixture.at(1);
    for _ in 0..5 {
        fixture.upstreams.end(free);
    }
    assert_eq!(fixture.use_one(), 1);
}

#[test]
fn two_choices_avoid_a_slow_server_and_still_ask_it() {
    let mut fixture =
        Fixture::new(&[1, 2, 3, 4], |upstream| upstream.balance = Balance::TwoChoices);
    for (port, latency_us) in [(1, 100_000), (2, 1_000), (3, 1_000), (4, 1_000)] {
        let id = fixture.at(port);
        fixture.upstreams.judge(id, Deed::Answered { status: 200, latency_us }, START_MS);
    }
    let shares = fixture.shares(&[1, 2, 3, 4], 6000, START_MS);
    assert_eq!(shares[0], 0, "never the slower of two: {shares:?}");
    assert!(shares[1..].iter().all(|share| share.abs_diff(2000) < 300), "{shares:?}");
    // The others have so much to do that the slow one is as good.
    for port in [2, 3, 4] {
        let id = fixture.at(port);
        (0..200).for_each(|_| fixture.upstreams.begin(id));
    }
    assert!(fixture.shares(&[1, 2, 3, 4], 100, START_MS)[0] > 0);
}

#[test]
fn a_key_stays_with_its_server_and_moves_only_while_that_is_away() {
    let mut fixture = Fixture::new(&[1, 2, 3, 4, 5], |upstream| upstream.balance = Balance::Hash);
    let keys: Vec<String> = (0..1000).map(|key| format!("user-{key}")).collect();
    let owners = |fixture: &mut Fixture| -> Vec<u16> {
        let owner = |key: &String| match fixture.choose_for(key, &[], START_MS) {
            Choice::Server(id) => fixture.port(id),
            other => panic!("expected a server, got {other:?}"),
        };
        keys.iter().map(owner).collect()
    };
    let before = owners(&mut fixture);
    assert_eq!(owners(&mut fixture), before);
    let down =
        ServerNews::Checked { upstream: "web".to_owned(), server: address(3), is_well: false };
    let _ = fixture.upstreams.learn(down, START_MS);
    let without = owners(&mut fixture);
    for (owner, other) in before.iter().zip(&without) {
        assert!(*owner == 3 && *other != 3 || owner == other);
    }
    let back =
        ServerNews::Checked { upstream: "web".to_owned(), server: address(3), is_well: true };
    let _ = fixture.upstreams.learn(back, START_MS);
    assert_eq!(owners(&mut fixture), before);
}

#[test]
fn a_server_that_failed_a_request_is_not_asked_again() {
    let mut fixture = Fixture::new(&[1, 2], |_| {});
    let (first, second) = (fixture.at(1), fixture.at(2));
    for _ in 0..4 {
        assert_eq!(fixture.choose_for("", &[first], START_MS), Choice::Server(second));
    }
    assert_eq!(fixture.choose_for("", &[first, second], START_MS), Choice::Nobody);
}

#[test]
fn draining_servers_and_those_that_a_check_calls_ill_get_nothing() {
    let mut fixture = Fixture::new(&[1, 2, 3], |upstream| upstream.servers[0].drain = true);
    let check =
        |is_well| ServerNews::Checked { upstream: "web".to_owned(), server: address(2), is_well };
    let _ = fixture.upstreams.learn(check(false), START_MS);
    assert_eq!(fixture.shares(&[1, 2, 3], 10, START_MS), [0, 0, 10]);
    let _ = fixture.upstreams.learn(check(true), START_MS);
    assert_eq!(fixture.shares(&[1, 2, 3], 10, START_MS), [0, 5, 5]);
    assert_eq!(fixture.upstreams.find(b"api"), None);
    let mut none = Fixture::new(&[], |_| {});
    assert_eq!(none.choose_for("", &[], START_MS), Choice::Nobody);
}

#[test]
fn failures_in_a_row_eject_a_server_for_longer_each_time() {
    let mut fixture = Fixture::new(&[1, 2], |upstream| {
        (upstream.eject_failures, upstream.eject_ms) = (3, 1000);
    });
    let well = fixture.at(1);
    assert_eq!((fixture.fail(1, START_MS), fixture.fail(1, START_MS)), (None, None));
    fixture.upstreams.judge(well, Deed::Answered { status: 200, latency_us: 1 }, START_MS);
    assert_eq!((fixture.fail(1, START_MS), fixture.fail(1, START_MS)), (None, None));
    assert_eq!(fixture.fail(1, START_MS), Some(1000));
    assert_eq!(fixture.shares(&[1, 2], 10, START_MS + 999), [0, 10]);
    assert!(fixture.shares(&[1, 2], 10, START_MS + 1000)[0] > 0);
    // Its first request fails again.
    assert_eq!(fixture.fail(1, START_MS + 1000), Some(2000));
    assert_eq!(fixture.shares(&[1, 2], 10, START_MS + 2999), [0, 10]);
    // A good answer forgives all.
    fixture.upstreams.judge(well, Deed::Answered { status: 200, latency_us: 1 }, START_MS + 3000);
    assert_eq!(fixture.fail(1, START_MS + 3000), None);
}

#[test]
fn no_more_servers_are_ejected_than_may_be() {
    let mut fixture = Fixture::new(&[1, 2, 3, 4], |upstream| upstream.eject_failures = 1);
    assert!(fixture.fail(1, START_MS).is_some());
    assert!(fixture.fail(2, START_MS).is_some());
    assert_eq!(fixture.fail(3, START_MS), None, "half of them are out");
    let mut only = Fixture::new(&[1], |upstream| upstream.eject_failures = 1);
    assert_eq!(only.fail(1, START_MS), None, "the only one stays");
}

/// A server that dies fails everything that it had, and every worker finds that out.
#[test]
fn failures_of_what_a_server_had_before_it_was_ejected_count_as_one() {
    let mut fixture = Fixture::new(&[1, 2, 3, 4], |upstream| upstream.eject_failures = 1);
    assert_eq!(fixture.fail(1, START_MS), Some(10_000));
    let news = ServerNews::Ejected {
        upstream: "web".to_owned(),
        server: address(1),
        why: Ejection::Failing,
        for_ms: 10_000,
    };
    for _ in 0..10 {
        assert_eq!(fixture.fail(1, START_MS + 1), None);
        let _ = fixture.upstreams.learn(news.clone(), START_MS + 1);
    }
    assert_eq!(fixture.fail(1, START_MS + 10_001), Some(20_000));
}

/// When all servers fail at once, each worker may find another one first.
#[test]
fn no_more_servers_are_ejected_than_may_be_whoever_says_so() {
    let mut fixture = Fixture::new(&[1, 2], |upstream| upstream.eject_failures = 1);
    assert!(fixture.fail(1, START_MS).is_some());
    let news = ServerNews::Ejected {
        upstream: "web".to_owned(),
        server: address(2),
        why: Ejection::Failing,
        for_ms: 500,
    };
    let _ = fixture.upstreams.learn(news, START_MS);
    assert_eq!(fixture.shares(&[1, 2], 10, START_MS), [0, 10]);
}

#[test]
fn what_another_worker_ejected_is_out_here_too() {
    let mut fixture = Fixture::new(&[1, 2], |_| {});
    let news = ServerNews::Ejected {
        upstream: "web".to_owned(),
        server: address(2),
        why: Ejection::Failing,
        for_ms: 500,
    };
    let _ = fixture.upstreams.learn(news, START_MS);
    assert_eq!(fixture.shares(&[1, 2], 10, START_MS + 499), [10, 0]);
    assert_eq!(fixture.shares(&[1, 2], 10, START_MS + 500), [5, 5]);
}

#[test]
fn a_server_that_comes_back_gets_its_share_little_by_little() {
    let mut fixture = Fixture::new(&[1, 2], |upstream| {
        (upstream.eject_failures, upstream.eject_ms, upstream.slow_start_ms) = (1, 1000, 10_000);
    });
    fixture.fail(1, START_MS);
    let back_ms = START_MS + 1000;
    let early = fixture.shares(&[1, 2], 1100, back_ms)[0];
    assert!((80..=120).contains(&early), "a tenth of the other's: {early}");
    let later = fixture.shares(&[1, 2], 1500, back_ms + 5000)[0];
    assert!((450..=550).contains(&later), "half of the other's: {later}");
    assert_eq!(fixture.shares(&[1, 2], 100, back_ms + 10_000)[0], 50);
}

#[test]
fn requests_beyond_the_limit_of_every_server_wait_in_their_order() {
    let mut fixture = Fixture::new(&[1, 2], |upstream| {
        (upstream.connections, upstream.queue) = (2, 2);
    });
    let ports: Vec<u16> = (0..4).map(|_| fixture.use_one()).collect();
    assert_eq!(ports, [1, 2, 1, 2]);
    assert_eq!(fixture.choose_for("", &[], START_MS), Choice::Busy(None));
    let [first, second, third] = [(); 3].map(|()| fixture.exchange());
    let web = fixture.web;
    assert!(fixture.upstreams.enqueue(web, first, None, &failed(&[])));
    assert!(fixture.upstreams.enqueue(web, second, None, &failed(&[])));
    assert!(!fixture.upstreams.enqueue(web, third, None, &failed(&[])), "the queue is full");
    let server = fixture.at(2);
    assert_eq!(fixture.upstreams.end(server), Some(first));
    assert_eq!(fixture.use_one(), 2);
    assert_eq!(fixture.upstreams.dequeue(web, first), Some(second));
    assert_eq!(fixture.upstreams.next_waiting(web, server), Some(second));
    assert_eq!(fixture.upstreams.dequeue(web, second), None);
    assert_eq!(fixture.upstreams.end(server), None);
}

/// One server that is slow is not to hold up what the others could do.
#[test]
fn requests_wait_only_behind_those_that_the_same_server_would_do_for() {
    let mut fixture = Fixture::new(&[1, 2], |upstream| {
        (upstream.balance, upstream.connections) = (Balance::Hash, 1);
    });
    let (web, slow) = (fixture.web, fixture.use_one());
    let slow = fixture.at(slow);
    let Choice::Busy(owner) = fixture.choose_for("", &[], START_MS) else { panic!("it has room") };
    assert_eq!(owner, Some(slow), "the key has to wait for its own server");
    let other = fixture.at(1 + fixture.port(slow) % 2);
    let [waits, second] = [(); 2].map(|()| fixture.exchange());
    assert!(fixture.upstreams.enqueue(web, waits, owner, &failed(&[])));
    assert!(fixture.upstreams.enqueue(web, second, None, &failed(&[other])));
    assert_eq!(fixture.upstreams.next_waiting(web, other), None);
    assert_eq!(fixture.upstreams.end(slow), Some(waits));
    fixture.upstreams.renew_owner(web, waits, Some(other));
    assert_eq!(fixture.upstreams.next_waiting(web, other), Some(waits));
    assert_eq!(fixture.upstreams.next_waiting(web, slow), Some(second));
}

#[test]
fn the_connection_used_last_is_used_first_and_the_oldest_makes_room() {
    let mut fixture = Fixture::new(&[1], |upstream| upstream.idle = 2);
    let [a, b, c] = [(); 3].map(|()| fixture.connection());
    let server = fixture.at(1);
    let upstreams = &mut fixture.upstreams;
    assert_eq!(upstreams.put_idle(server, a), None);
    assert_eq!(upstreams.put_idle(server, b), None);
    assert_eq!(upstreams.put_idle(server, c), Some(a));
    assert_eq!(upstreams.take_idle(server), Some(c));
    upstreams.forget_idle(server, b);
    assert_eq!(upstreams.take_idle(server), None);
}

#[test]
fn another_configuration_keeps_what_is_known_of_servers_that_stay() {
    let mut fixture = Fixture::new(&[1, 2, 3], |upstream| upstream.eject_failures = 1);
    fixture.fail(1, START_MS);
    let (goes, busy) = (fixture.at(3), fixture.connection());
    let idle = fixture.connection();
    fixture.upstreams.begin(goes);
    assert_eq!(fixture.upstreams.put_idle(goes, idle), None);
    let waits = fixture.exchange();
    assert!(fixture.upstreams.enqueue(fixture.web, waits, None, &failed(&[])));

    let mut settings = fixture.settings.clone();
    let web = settings.upstreams.get_mut("web").expect("it is configured");
    web.servers[2] = settings::Server::new(address(4).to_string());
    let api = web.clone();
    settings.upstreams.insert("api".to_owned(), api);
    let changed = fixture.upstreams.configure(&settings, START_MS + 1);
    assert_eq!((changed.orphans, changed.waiting), (vec![idle], vec![waits]));
    assert_eq!(fixture.shares(&[1, 2, 4], 10, START_MS + 1), [0, 5, 5], "1 is still out");
    assert_eq!(fixture.upstreams.put_idle(goes, busy), Some(busy), "it is kept for nobody");
    assert_eq!(fixture.upstreams.end(goes), Some(waits));
    assert_eq!(fixture.upstreams.address(goes), None, "it went with its last request");
    assert!(fixture.upstreams.find(b"api").is_some());

    settings.upstreams.remove("web");
    let changed = fixture.upstreams.configure(&settings, START_MS + 2);
    assert_eq!(changed.waiting, [waits]);
    assert_eq!(fixture.choose_for("", &[], START_MS + 2), Choice::Nobody);
    assert_eq!(fixture.upstreams.find(b""), fixture.upstreams.find(b"api"), "the only one now");
}

#[test]
fn a_name_stands_for_the_addresses_that_it_resolves_to_now() {
    let mut fixture = Fixture::new(&[1], |upstream| {
        upstream.servers.push(settings::Server::new("web.internal:80"));
    });
    let mut resolved = |ports: &[u16], now_ms| {
        let addresses = ports.iter().map(|port| address(*port)).collect();
        let news = ServerNews::Resolved { name: "web.internal:80".to_owned(), addresses };
        fixture.upstreams.learn(news, now_ms)
    };
    let _ = resolved(&[2, 3], START_MS);
    assert_eq!(fixture.shares(&[1, 2, 3], 9, START_MS), [3, 3, 3]);
    let (gone, idle) = (fixture.at(2), fixture.connection());
    assert_eq!(fixture.upstreams.put_idle(gone, idle), None);
    let news = ServerNews::Resolved {
        name: "web.internal:80".to_owned(),
        addresses: vec![address(3), address(4), address(1)],
    };
    let changed = fixture.upstreams.learn(news, START_MS);
    assert_eq!(changed.orphans, [idle]);
    assert_eq!(fixture.shares(&[1, 3, 4], 9, START_MS), [3, 3, 3], "each address once");
}

#[test]
fn requests_are_sent_again_to_so_many_servers_and_within_the_budget() {
    let mut fixture = Fixture::new(&[1, 2, 3, 4], |upstream| upstream.tries = 3);
    let (web, servers) = (fixture.web, [1, 2, 3].map(|port| fixture.at(port)));
    let may_retry = |fixture: &mut Fixture, tried: usize| {
        fixture.upstreams.may_retry(web, &failed(&servers[..tried]), Cost::Work)
    };
    assert!(may_retry(&mut fixture, 1) && may_retry(&mut fixture, 2));
    assert!(!may_retry(&mut fixture, 3));
    while may_retry(&mut fixture, 1) {}
    (0..4).for_each(|_| fixture.upstreams.count_request(web));
    assert!(!may_retry(&mut fixture, 1));
    fixture.upstreams.count_request(web);
    assert!(may_retry(&mut fixture, 1), "one in five");
}

#[test]
fn what_no_server_had_draws_on_no_budget_and_refusals_are_not_counted() {
    let ports: Vec<u16> = (1..=40).collect();
    let mut fixture = Fixture::new(&ports, |upstream| {
        (upstream.tries, upstream.retry_percent) = (2, 0);
    });
    let web = fixture.web;
    while fixture.upstreams.may_retry(web, &failed(&[]), Cost::Work) {}
    let mut check = |costs: &[Cost], expect: bool| {
        let mut tried = Tried::default();
        for (port, cost) in ports.iter().zip(costs) {
            tried.add(fixture.at(*port), *cost);
        }
        let last = *costs.last().expect("there is a try");
        assert_eq!(fixture.upstreams.may_retry(web, &tried, last), expect, "{costs:?}");
    };
    check(&[Cost::Work], false);
    check(&[Cost::Time], true);
    check(&[Cost::Time, Cost::Time], false);
    check(&[Cost::Nothing; 31], true);
    check(&[Cost::Nothing; 32], false);
    check(&[Cost::Nothing, Cost::Time], true);
    check(&[Cost::Time, Cost::Nothing, Cost::Time], false);
    let mut single = Fixture::new(&[1, 2], |upstream| upstream.tries = 1);
    let mut tried = Tried::default();
    tried.add(single.at(1), Cost::Nothing);
    assert!(!single.upstreams.may_retry(single.web, &tried, Cost::Nothing), "1 is never another");
}

#[test]
fn servers_that_cannot_be_reached_are_out_as_long_as_one_is_left() {
    let mut fixture = Fixture::new(&[1, 2, 3], |upstream| upstream.eject_failures = 2);
    for port in [1, 2] {
        assert_eq!(fixture.judge(port, Deed::Unreachable, START_MS), None);
        assert_eq!(fixture.judge(port, Deed::Unreachable, START_MS), Some(10_000));
    }
    assert_eq!(fixture.shares(&[1, 2, 3], 10, START_MS), [0, 0, 10]);
    for _ in 0..4 {
        assert_eq!(fixture.judge(3, Deed::Unreachable, START_MS), None, "it is the last");
    }
    // What it answers counts as before: two of three is more than half.
    for _ in 0..4 {
        assert_eq!(fixture.fail(3, START_MS), None);
    }
    // Another worker says the same.
    let mut other = Fixture::new(&[1, 2, 3], |_| {});
    for port in [1, 2, 3] {
        let (upstream, server) = ("web".to_owned(), address(port));
        let why = Ejection::Unreachable;
        let news = ServerNews::Ejected { upstream, server, why, for_ms: 500 };
        let _ = other.upstreams.learn(news, START_MS);
    }
    assert_eq!(other.shares(&[1, 2, 3], 10, START_MS), [0, 0, 10]);
}

#[test]
fn failures_of_two_kinds_are_no_outage() {
    let mut fixture = Fixture::new(&[1, 2, 3], |upstream| upstream.eject_failures = 2);
    assert_eq!(fixture.judge(1, Deed::Unreachable, START_MS), None);
    assert_eq!(fixture.judge(1, Deed::Unreachable, START_MS), Some(10_000));
    assert_eq!(fixture.judge(2, Deed::Unreachable, START_MS), None);
    assert_eq!(fixture.fail(2, START_MS), None, "it answered, though badly");
}

/// An ejection is a guess. It must not leave a request without a server that could serve it.
#[test]
fn servers_that_are_ejected_are_asked_where_no_other_is_left() {
    let mut fixture = Fixture::new(&[1, 2, 3], |upstream| upstream.eject_failures = 1);
    assert!(fixture.judge(1, Deed::Unreachable, START_MS).is_some());
    let check =
        |is_well| ServerNews::Checked { upstream: "web".to_owned(), server: address(2), is_well };
    let _ = fixture.upstreams.learn(check(false), START_MS);
    let third = fixture.at(3);
    assert_eq!(fixture.choose_for("", &[], START_MS), Choice::Server(third));
    let first = fixture.at(1);
    assert_eq!(fixture.choose_for("", &[third], START_MS), Choice::Server(first));
    assert_eq!(fixture.choose_for("", &[third, first], START_MS), Choice::Nobody, "2 is ill");
}

#[test]
fn a_setting_says_which_statuses_are_failures() {
    let mut fixture = Fixture::new(&[1, 2], |upstream| upstream.eject_failures = 1);
    let answered = |status| Deed::Answered { status, latency_us: 1 };
    for status in [200, 404, 500, 501] {
        assert_eq!(fixture.judge(1, answered(status), START_MS), None, "{status}");
    }
    assert_eq!(fixture.judge(1, answered(503), START_MS), Some(10_000));
    let mut strict = Fixture::new(&[1, 2], |upstream| {
        upstream.eject_failures = 1;
        upstream.eject_statuses = vec!["500-599".parse().expect("a range")];
    });
    assert_eq!(strict.judge(1, answered(500), START_MS), Some(10_000));
}

#[test]
fn requests_that_wait_for_a_server_look_again_when_it_is_ejected_or_back() {
    let mut fixture = Fixture::new(&[1, 2], |upstream| {
        (upstream.balance, upstream.connections) = (Balance::Hash, 1);
        (upstream.eject_failures, upstream.eject_ms) = (1, 1000);
    });
    let owner = fixture.use_one();
    let (web, owner, waits) = (fixture.web, fixture.at(owner), fixture.exchange());
    assert!(fixture.upstreams.enqueue(web, waits, Some(owner), &failed(&[])));
    let in_vain = |fixture: &Fixture, now_ms| -> Vec<ExchangeId> {
        fixture.upstreams.waiting_in_vain(now_ms).collect()
    };
    assert_eq!(in_vain(&fixture, START_MS), []);
    assert!(fixture.fail(fixture.port(owner), START_MS).is_some());
    assert_eq!(fixture.upstreams.waiting_for(owner).collect::<Vec<_>>(), [waits]);
    fixture.upstreams.end(owner);
    assert_eq!(in_vain(&fixture, START_MS + 999), []);
    assert_eq!(in_vain(&fixture, START_MS + 1000), [waits]);
}
