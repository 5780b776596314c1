//! What is known of the servers of every upstream: names, their addresses, and the health of each.
//!
//! A name may stand for servers of several upstreams, and an address may be a server of several:
//! names are looked up once, and checks are each upstream's own. Everything that changes becomes a
//! report.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use heritage::{NAMES_MAX, Report, ServerNews};

use crate::checks::{CheckId, Checks, Target};
use crate::jitter::Jitter;
use crate::literal;
use crate::names::{Names, Turn};
use crate::probe::Failure;

/// Where the addresses of a checked upstream come from.
#[derive(Debug)]
struct Sources {
    literals: Vec<SocketAddr>,
    names: Vec<String>,
}

/// Everything that the broker finds out.
#[derive(Debug)]
pub(crate) struct Survey {
    names: Names,
    checks: Checks,
    /// The upstreams with a health check, in the order of the targets.
    sources: Vec<Sources>,
    /// For the master, oldest first.
    reports: VecDeque<Report>,
    /// Whether the master was told that each name was reported.
    is_settled: bool,
}

impl Survey {
    /// Nothing is known yet of these servers. The seed spreads checks and look-ups over time.
    pub(crate) fn new(settings: &settings::Worker, now_ms: u64, seed: u64) -> Self {
        let mut names: BTreeMap<String, u64> = BTreeMap::new();
        let (mut targets, mut sources) = (Vec::new(), Vec::new());
        for (upstream, settings) in &settings.upstreams {
            let of_upstream = || settings.servers.iter().filter(|one| literal(one).is_none());
            for server in of_upstream() {
                let every_ms = names.entry(server.address.clone()).or_insert(u64::MAX);
                *every_ms = settings.resolve_ms.min(*every_ms);
            }
            if let Some(health) = &settings.health {
                targets.push(Target::new(upstream, health));
                sources.push(Sources {
                    literals: settings.servers.iter().filter_map(literal).collect(),
                    names: of_upstream().map(|server| server.address.clone()).collect(),
                });
            }
        }
        while names.len() > NAMES_MAX {
            let (name, _) = names.pop_last().expect("there are many");
            tracing::error!(name, "more than {NAMES_MAX} names of servers: not resolving this one");
        }
        let mut survey = Survey {
            names: Names::new(names, now_ms, Jitter::new(seed)),
            checks: Checks::new(targets, Jitter::new(!seed)),
            sources,
            reports: VecDeque::new(),
            is_settled: false,
        };
        (0..survey.sources.len()).for_each(|target| survey.set_servers(target, now_ms));
        survey.settle();
        survey
    }

    /// When a look-up or a check is next due.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        self.names.next_due_ms().into_iter().chain(self.checks.next_due_ms()).min()
    }

    /// A name to look up now.
    pub(crate) fn name_due(&mut self, now_ms: u64) -> Option<String> {
        self.names.take_due(now_ms)
    }

    /// A check to begin now.
    pub(crate) fn check_due(&mut self, now_ms: u64) -> Option<CheckId> {
        self.checks.take_due(now_ms)
    }

    /// How a check is made.
    pub(crate) fn target(&self, id: CheckId) -> &Target {
        self.checks.target(id)
    }

    /// Reports that the master has not got.
    pub(crate) fn reports(&self) -> usize {
        self.reports.len()
    }

    /// The report that the master is to get next.
    pub(crate) fn next_report(&self) -> Option<&Report> {
        self.reports.front()
    }

    /// The master has got it.
    pub(crate) fn reported(&mut self) {
        self.reports.pop_front();
    }

    /// Looking up a name had this answer.
    pub(crate) fn name_answered(
        &mut self,
        name: &str,
        answer: Result<Vec<SocketAddr>, String>,
        now_ms: u64,
    ) {
        let outcome = self.names.answered(name, answer, now_ms);
        match outcome.turn {
            Some(Turn::Fails(reason)) => {
                let addresses_kept = self.names.addresses(name).len();
                tracing::warn!(name, reason, addresses_kept, "a name does not resolve");
            }
            Some(Turn::Works) => tracing::info!(name, "a name resolves again"),
            None => {}
        }
        if let Some(addresses) = outcome.report {
            tracing::debug!(name, ?addresses, "resolved");
            self.report(ServerNews::Resolved { name: name.to_owned(), addresses });
            self.renew_servers(name, now_ms);
        }
        self.settle();
    }

    /// A check ended: with this status, or without an answer.
    pub(crate) fn check_ended(&mut self, id: CheckId, answer: &Result<u16, Failure>, now_ms: u64) {
        let Some(news) = self.checks.answered(id, answer, now_ms) else { return };
        let (upstream, server) = (&self.checks.target(id).upstream, id.server);
        match (&news, answer) {
            (ServerNews::Checked { is_well: true, .. }, _) => {
                tracing::info!(upstream, %server, "a server is well again");
            }
            (_, Ok(status)) => tracing::warn!(upstream, %server, status, "a server is down"),
            (_, Err(reason)) => tracing::warn!(upstream, %server, %reason, "a server is down"),
        }
        self.report(news);
    }

    /// What the broker before this one found out, as far as it is still about something configured.
    pub(crate) fn recall(&mut self, news: ServerNews, now_ms: u64) {
        match news {
            ServerNews::Resolved { name, addresses } => {
                if self.names.recall(&name, addresses) {
                    self.renew_servers(&name, now_ms);
                }
            }
            ServerNews::Checked { upstream, server, is_well: false } => {
                let news = self.checks.recall_down(upstream, server);
                news.into_iter().for_each(|news| self.report(news));
            }
            ServerNews::Checked { is_well: true, .. } | ServerNews::Ejected { .. } => {}
        }
    }

    /// The addresses of a name have changed, and so the servers of upstreams that have it.
    fn renew_servers(&mut self, name: &str, now_ms: u64) {
        for target in 0..self.sources.len() {
            if self.sources[target].names.iter().any(|used| used == name) {
                self.set_servers(target, now_ms);
            }
        }
    }

    fn set_servers(&mut self, target: usize, now_ms: u64) {
        let Sources { literals, names } = &self.sources[target];
        let resolved = names.iter().flat_map(|name| self.names.addresses(name));
        let servers: BTreeSet<SocketAddr> = literals.iter().chain(resolved).copied().collect();
        for news in self.checks.set_servers(target, &servers, now_ms) {
            self.report(news);
        }
    }

    /// Once each name was reported, the master is told that this was all.
    fn settle(&mut self) {
        if self.names.all_reported() && !std::mem::replace(&mut self.is_settled, true) {
            for news in self.checks.settle() {
                self.report(news);
            }
            self.reports.push_back(Report::NamesResolved);
        }
    }

    fn report(&mut self, news: ServerNews) {
        self.reports.push_back(Report::News(news));
    }
}

#[cfg(test)]
mod tests {
    use settings::{Health, Server, Upstream};

    use super::*;

    fn server(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], 80))
    }

    fn resolved(name: &str, hosts: &[u8]) -> Report {
        let addresses = hosts.iter().copied().map(server).collect();
        Report::News(ServerNews::Resolved { name: name.to_owned(), addresses })
    }

    fn checked(upstream: &str, host: u8, is_well: bool) -> Report {
        let upstream = upstream.to_owned();
        Report::News(ServerNews::Checked { upstream, server: server(host), is_well })
    }

    /// Upstreams with their servers, each checked, and down after one bad answer.
    fn survey(upstreams: &[(&str, &[&str])]) -> Survey {
        let health = Some(Health { fall: 1, rise: 1, ..Health::default() });
        let upstreams = upstreams.iter().map(|(name, servers)| {
            let servers = servers.iter().copied().map(Server::new).collect();
            (
                (*name).to_owned(),
                Upstream { servers, health: health.clone(), ..Upstream::default() },
            )
        });
        let settings = settings::Worker { upstreams: upstreams.collect(), ..Default::default() };
        Survey::new(&settings, 0, 1)
    }

    fn check(survey: &mut Survey, expect: &[Report]) {
        assert_eq!(survey.reports.drain(..).collect::<Vec<_>>(), expect);
    }

    fn answer(survey: &mut Survey, name: &str, hosts: &[u8]) {
        survey.name_answered(name, Ok(hosts.iter().copied().map(server).collect()), 0);
    }

    /// Every check that is due has the same outcome; gives whom they asked.
    fn end_checks(survey: &mut Survey, answer: &Result<u16, Failure>) -> Vec<(String, SocketAddr)> {
        let due: Vec<CheckId> = std::iter::from_fn(|| survey.check_due(1000)).collect();
        due.iter().for_each(|id| survey.check_ended(*id, answer, 1000));
        due.iter().map(|id| (survey.target(*id).upstream.clone(), id.server)).collect()
    }

    #[test]
    fn names_are_all_reported_before_that_is_said_once() {
        let mut survey = survey(&[("api", &["a:80", "10.0.0.9:80"]), ("web", &["b:80", "a:80"])]);
        let names: Vec<String> = std::iter::from_fn(|| survey.name_due(0)).collect();
        assert_eq!(names, ["a:80", "b:80"], "each once, and no address");
        answer(&mut survey, "b:80", &[1]);
        check(&mut survey, &[resolved("b:80", &[1])]);
        survey.name_answered("a:80", Err("no such host".to_owned()), 0);
        check(&mut survey, &[resolved("a:80", &[]), Report::NamesResolved]);
        answer(&mut survey, "a:80", &[2]);
        check(&mut survey, &[resolved("a:80", &[2])]);
    }

    #[test]
    fn without_names_all_are_known_at_once() {
        check(&mut survey(&[("web", &["10.0.0.1:80"])]), &[Report::NamesResolved]);
    }

    #[test]
    fn each_upstream_has_checks_of_its_own_for_every_address_of_its_names() {
        let mut survey = survey(&[("api", &["a:80", "10.0.0.2:80"]), ("web", &["a:80"])]);
        answer(&mut survey, "a:80", &[1, 2]);
        survey.reports.clear();
        let mut asked = end_checks(&mut survey, &Ok(200));
        asked.sort();
        let expect = [("api", 1), ("api", 2), ("web", 1), ("web", 2)];
        assert_eq!(asked, expect.map(|(upstream, host)| (upstream.to_owned(), server(host))));
        check(&mut survey, &[]);
    }

    #[test]
    fn a_server_that_was_down_leaves_no_trace_when_its_name_moves() {
        let mut survey = survey(&[("web", &["a:80"])]);
        answer(&mut survey, "a:80", &[1]);
        survey.reports.clear();
        end_checks(&mut survey, &Err(Failure::TimedOut));
        check(&mut survey, &[checked("web", 1, false)]);
        answer(&mut survey, "a:80", &[2]);
        check(&mut survey, &[resolved("a:80", &[2]), checked("web", 1, true)]);
    }

    #[test]
    fn a_new_broker_goes_on_where_the_one_before_it_was() {
        let mut survey = survey(&[("web", &["a:80"])]);
        for report in [
            // In whatever order, and about what is configured no more, too.
            checked("web", 1, false),
            checked("web", 3, false),
            checked("gone", 1, false),
            resolved("a:80", &[1, 2]),
            resolved("gone:80", &[1]),
        ] {
            let Report::News(news) = report else { unreachable!("it was made so") };
            survey.recall(news, 0);
        }
        check(&mut survey, &[]);
        survey.name_answered("a:80", Err("the resolver is down, too".to_owned()), 0);
        let [gone, third] = [checked("gone", 1, true), checked("web", 3, true)];
        check(&mut survey, &[resolved("a:80", &[1, 2]), gone, third, Report::NamesResolved]);
        assert_eq!(end_checks(&mut survey, &Ok(200)).len(), 2);
        check(&mut survey, &[checked("web", 1, true)]);
    }
}
