//! Health checks: when each server is asked, and when the answers change what is thought of it.
//!
//! A server counts as well until so many answers in a row say otherwise, and the other way round.
//! What is not said is not changed: a check that is forgotten (its address is gone) leaves no
//! server down.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use heritage::ServerNews;
use settings::Health;

use crate::jitter::Jitter;
use crate::probe::Failure;

/// Checks that run at once. Each takes a descriptor, of which a process has 1024 by default, and a
/// burst of connections is no health check any more. With answers in 10 ms these are 25,000 servers
/// a second; if all servers are silent, each is asked as often as this permits.
pub(crate) const RUNNING_MAX: usize = 256;

/// First checks are spread over so long, or over an interval that is shorter.
const FIRST_WITHIN_MS: u64 = 1000;

/// One upstream whose servers are checked.
#[derive(Debug)]
pub(crate) struct Target {
    /// Its name.
    pub(crate) upstream: String,
    /// How they are checked.
    pub(crate) health: Health,
    /// The request, ready to be sent.
    pub(crate) request: Vec<u8>,
}

impl Target {
    /// What asks the servers of this upstream.
    pub(crate) fn new(upstream: &str, health: &Health) -> Self {
        let host = health.host.as_deref().unwrap_or(upstream);
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: kiln-health\r\n\
             Connection: close\r\n\r\n",
            health.path
        );
        Target {
            upstream: upstream.to_owned(),
            health: health.clone(),
            request: request.into_bytes(),
        }
    }
}

/// Names one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CheckId {
    /// Which target it belongs to.
    pub(crate) target: usize,
    /// Whom it asks.
    pub(crate) server: SocketAddr,
}

/// What is thought of a server.
#[derive(Debug)]
struct Check {
    is_well: bool,
    /// Answers in a row that say the opposite.
    against: u64,
    /// When it is due; none while it runs.
    due_ms: Option<u64>,
}

/// Every check.
#[derive(Debug)]
pub(crate) struct Checks {
    targets: Vec<Target>,
    checks: BTreeMap<CheckId, Check>,
    due: BTreeSet<(u64, CheckId)>,
    /// Checks that were begun and not answered, also of servers that are gone meanwhile.
    running: usize,
    /// Servers that were down for the broker before this one, and that may yet become known here.
    /// None once all servers are known.
    recalled: Option<BTreeSet<(String, SocketAddr)>>,
    jitter: Jitter,
}

impl Checks {
    /// Checks of these targets, which have no servers yet.
    pub(crate) fn new(targets: Vec<Target>, jitter: Jitter) -> Self {
        Checks {
            targets,
            checks: BTreeMap::new(),
            due: BTreeSet::new(),
            running: 0,
            recalled: Some(BTreeSet::new()),
            jitter,
        }
    }

    /// How a target is checked.
    pub(crate) fn target(&self, id: CheckId) -> &Target {
        &self.targets[id.target]
    }

    /// These are the servers of a target now. Gives news of those that are not checked any more.
    pub(crate) fn set_servers(
        &mut self,
        target: usize,
        servers: &BTreeSet<SocketAddr>,
        now_ms: u64,
    ) -> Vec<ServerNews> {
        let first = SocketAddr::from(([0, 0, 0, 0], 0));
        let known = self.checks.range(CheckId { target, server: first }..);
        let known = known.map(|(id, _)| *id).take_while(|id| id.target == target);
        let gone: Vec<CheckId> = known.filter(|id| !servers.contains(&id.server)).collect();
        let news = gone.into_iter().filter_map(|id| self.forget(id)).collect();
        for &server in servers {
            self.begin(CheckId { target, server }, now_ms);
        }
        news
    }

    fn forget(&mut self, id: CheckId) -> Option<ServerNews> {
        let check = self.checks.remove(&id)?;
        if let Some(due_ms) = check.due_ms {
            self.due.remove(&(due_ms, id));
        }
        (!check.is_well).then(|| self.news(id, true))
    }

    fn begin(&mut self, id: CheckId, now_ms: u64) {
        if self.checks.contains_key(&id) {
            return;
        }
        let Target { upstream, health, .. } = &self.targets[id.target];
        let due_ms = now_ms + self.jitter.below(health.interval_ms.min(FIRST_WITHIN_MS));
        let was_down = |recalled: &mut BTreeSet<(String, SocketAddr)>| {
            recalled.remove(&(upstream.clone(), id.server))
        };
        let is_well = !self.recalled.as_mut().is_some_and(was_down);
        self.checks.insert(id, Check { is_well, against: 0, due_ms: Some(due_ms) });
        self.due.insert((due_ms, id));
    }

    /// When a check is next due that may begin.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        let (due_ms, _) = self.due.first().filter(|_| self.running < RUNNING_MAX)?;
        Some(*due_ms)
    }

    /// A check to begin now; its answer is expected.
    pub(crate) fn take_due(&mut self, now_ms: u64) -> Option<CheckId> {
        if self.next_due_ms()? > now_ms {
            return None;
        }
        let (_, id) = self.due.pop_first()?;
        self.checks.get_mut(&id).expect("what is due is known").due_ms = None;
        self.running += 1;
        Some(id)
    }

    /// How a check ended: the status of the answer, or why there is none. Gives news of a changed
    /// mind.
    pub(crate) fn answered(
        &mut self,
        id: CheckId,
        answer: &Result<u16, Failure>,
        now_ms: u64,
    ) -> Option<ServerNews> {
        self.running -= 1;
        let health = &self.targets[id.target].health;
        // Its server is gone, or was gone and came back: then another check is due.
        let check = self.checks.get_mut(&id).filter(|check| check.due_ms.is_none())?;
        let due_ms = now_ms + self.jitter.around(health.interval_ms);
        check.due_ms = Some(due_ms);
        self.due.insert((due_ms, id));
        let good = health.status_min..=health.status_max;
        let is_good = answer.as_ref().is_ok_and(|status| good.contains(&u64::from(*status)));
        if is_good == check.is_well {
            check.against = 0;
            return None;
        }
        check.against += 1;
        if check.against < if is_good { health.rise } else { health.fall } {
            return None;
        }
        check.against = 0;
        check.is_well = is_good;
        Some(self.news(id, is_good))
    }

    /// This server was down for the broker before this one, and so it is for this one. Gives news
    /// if it is not checked any more.
    pub(crate) fn recall_down(
        &mut self,
        upstream: String,
        server: SocketAddr,
    ) -> Option<ServerNews> {
        let target = self.targets.iter().position(|target| target.upstream == upstream);
        let check = target.and_then(|target| self.checks.get_mut(&CheckId { target, server }));
        match (check, &mut self.recalled) {
            (Some(check), _) => (check.is_well, check.against) = (false, 0),
            (None, Some(recalled)) => drop(recalled.insert((upstream, server))),
            (None, None) => return Some(ServerNews::Checked { upstream, server, is_well: true }),
        }
        None
    }

    /// All servers are known: gives news of those that were down before and are not checked any
    /// more.
    pub(crate) fn settle(&mut self) -> impl Iterator<Item = ServerNews> + use<> {
        let recalled = self.recalled.take().unwrap_or_default().into_iter();
        recalled.map(|(upstream, server)| ServerNews::Checked { upstream, server, is_well: true })
    }

    fn news(&self, id: CheckId, is_well: bool) -> ServerNews {
        let upstream = self.targets[id.target].upstream.clone();
        ServerNews::Checked { upstream, server: id.server, is_well }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: Result<u16, Failure> = Err(Failure::TimedOut);

    fn server(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn news(port: u16, is_well: bool) -> ServerNews {
        ServerNews::Checked { upstream: "web".to_owned(), server: server(port), is_well }
    }

    /// Checks of one upstream, with servers of these ports.
    fn checks(ports: &[u16]) -> Checks {
        let target = Target::new("web", &Health::default());
        let mut checks = Checks::new(vec![target], Jitter::new(1));
        set(&mut checks, ports);
        checks
    }

    fn set(checks: &mut Checks, ports: &[u16]) -> Vec<ServerNews> {
        checks.set_servers(0, &ports.iter().map(|port| server(*port)).collect(), 0)
    }

    /// Asks the only server whatever it is due for, and expects this mind of it after each answer.
    fn check(checks: &mut Checks, answers: &[(Result<u16, Failure>, bool)]) {
        let mut is_well = checks.checks.values().all(|check| check.is_well);
        for (step, (answer, expect)) in answers.iter().enumerate() {
            let id = checks.take_due(u64::MAX / 2).expect("it is due");
            let changed = checks.answered(id, answer, 0);
            assert_eq!(changed.is_some(), is_well != *expect, "step {step}");
            is_well = *expect;
            assert_eq!(checks.checks[&id].is_well, is_well, "step {step}");
        }
    }

    #[test]
    fn it_takes_some_answers_in_a_row_to_change_a_mind() {
        check(
            &mut checks(&[1]),
            &[
                (BAD, true),
                (Ok(500), true),
                (Ok(200), true),
                (BAD, true),
                (BAD, true),
                (Ok(404), false),
                (BAD, false),
                (Ok(200), false),
                (BAD, false),
                (Ok(200), false),
                (Ok(399), true),
                (BAD, true),
            ],
        );
    }

    #[test]
    fn statuses_between_the_lowest_and_the_highest_are_good() {
        for (status, is_good) in [(199, false), (200, true), (399, true), (400, false)] {
            let health = Health { fall: 1, ..Health::default() };
            let mut checks = Checks::new(vec![Target::new("web", &health)], Jitter::new(1));
            set(&mut checks, &[1]);
            check(&mut checks, &[(Ok(status), is_good)]);
        }
    }

    #[test]
    fn the_request_names_the_upstream_or_the_host_that_is_configured() {
        let mut health = Health { path: "/health".to_owned(), ..Health::default() };
        let request = Target::new("web", &health).request;
        let expect = "GET /health HTTP/1.1\r\nHost: web\r\nUser-Agent: kiln-health\r\n\
                      Connection: close\r\n\r\n";
        assert_eq!(String::from_utf8(request).unwrap(), expect);
        health.host = Some("example.org".to_owned());
        let request = Target::new("web", &health).request;
        assert!(String::from_utf8(request).unwrap().contains("\r\nHost: example.org\r\n"));
    }

    #[test]
    fn a_server_that_goes_while_it_is_down_is_well_when_it_comes_back() {
        let mut checks = checks(&[1, 2]);
        for _ in 0..2 * Health::default().fall {
            let id = checks.take_due(u64::MAX / 2).unwrap();
            checks.answered(id, &BAD, 0);
        }
        assert_eq!(set(&mut checks, &[2]), [news(1, true)]);
        assert_eq!(set(&mut checks, &[2, 1]), []);
        assert!(checks.checks[&CheckId { target: 0, server: server(1) }].is_well);
    }

    #[test]
    fn the_answer_of_a_server_that_is_gone_counts_for_nothing() {
        let mut checks = checks(&[1]);
        let late = checks.take_due(u64::MAX / 2).unwrap();
        set(&mut checks, &[]);
        assert_eq!(checks.next_due_ms(), None);
        assert_eq!(checks.answered(late, &BAD, 0), None);
        set(&mut checks, &[1]);
        let first = checks.take_due(u64::MAX / 2).unwrap();
        set(&mut checks, &[]);
        set(&mut checks, &[1]);
        assert_eq!(checks.answered(first, &BAD, 0), None);
        assert_eq!((checks.running, checks.due.len()), (0, 1));
    }

    #[test]
    fn checks_are_spread_over_time_and_limited_in_number() {
        let ports: Vec<u16> = (1..=1000).collect();
        let mut checks = checks(&ports);
        let early = std::iter::from_fn(|| checks.take_due(99)).count();
        assert!((50..150).contains(&early), "{early} of 1000 in a tenth of the first second");
        let more = std::iter::from_fn(|| checks.take_due(1000)).count();
        assert_eq!(early + more, RUNNING_MAX);
        assert_eq!(checks.next_due_ms(), None, "an answer comes first");
    }

    #[test]
    fn what_was_down_for_the_broker_before_is_down_until_it_rises() {
        let mut checks = checks(&[1]);
        assert_eq!(checks.recall_down("web".to_owned(), server(1)), None);
        assert_eq!(checks.recall_down("web".to_owned(), server(2)), None);
        assert_eq!(checks.recall_down("web".to_owned(), server(3)), None);
        assert_eq!(set(&mut checks, &[1, 2]), []);
        // Nobody checks the third any more.
        assert_eq!(checks.settle().collect::<Vec<_>>(), [news(3, true)]);
        assert_eq!(checks.recall_down("web".to_owned(), server(4)), Some(news(4, true)));
        set(&mut checks, &[2]);
        check(&mut checks, &[(Ok(200), false), (Ok(200), true)]);
    }
}
