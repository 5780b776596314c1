//! What became known of upstreams' servers, and which child has been told how much of it.
//!
//! The broker finds out addresses and health, workers find out failures, and every worker should
//! know all of it, also one that is forked later. So news are not passed on and forgotten: the
//! latest of each kind about each server is kept, under a number that grows with every change. A
//! child's record has the number up to which it was told; telling it is sending what has a higher
//! one. A child that does not read misses nothing, is told the latest state only, and holds nobody
//! up.
//!
//! What children say is checked like any input: a script gone wild may speak through a worker. The
//! master does not know the configuration, so names that are nobody's stay possible; their number
//! is limited, and workers ignore them.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use heritage::{ADDRESSES_MAX, Channel, MESSAGE_MAX, NAMES_MAX, Order, ServerNews};
use nix::unistd::Pid;

use crate::control::{NameStatus, OutStatus};
use crate::workers::Process;

/// Addresses of all names together: `kiln status` shows them in a reply of some MiB.
const ADDRESSES_IN_ALL_MAX: usize = 16 * NAMES_MAX;

/// Servers that are down or ejected: several for each name that there may be. Where more fail than
/// that, it is not the servers that fail.
const OUT_MAX: usize = 4 * NAMES_MAX;

/// Bytes of a name, or of an upstream's: a name of DNS has 253 at most.
const NAME_BYTES_MAX: usize = 512;

/// Bytes of news in one message: what is left beside the name of the order and its brackets.
const NEWS_BYTES_MAX: usize = MESSAGE_MAX - 64;

/// The longest ejection that a worker may spread: ten times the longest that can be configured.
const EJECT_MS_MAX: u64 = 10 * 24 * 60 * 60 * 1000;

/// Why news are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    /// A name or a list longer than any that is configured.
    #[error("it is larger than any configuration allows")]
    Oversized,
    /// The tables are full.
    #[error("too much is known already")]
    Full,
    /// It would last longer than any configuration allows.
    #[error("it lasts longer than any configuration allows")]
    Endless,
}

/// What news are about; a later one overtakes an earlier one about the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    /// The addresses of a name.
    Name(String),
    /// The health of a server of an upstream.
    Health(String, SocketAddr),
    /// The ejection of a server of an upstream.
    Ejection(String, SocketAddr),
}

/// The latest about one subject.
#[derive(Debug)]
struct Known {
    news: ServerNews,
    /// Who said it; the master itself if nobody did.
    from: Option<Pid>,
    /// When it is over, for an ejection.
    until: Option<Instant>,
    /// Grows with each change of anything.
    revision: u64,
}

/// Everything that is known now.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    known: BTreeMap<Subject, Known>,
    /// Subjects in the order of their last change.
    changes: BTreeMap<u64, Subject>,
    revision: u64,
    /// Names, and their addresses together.
    names: usize,
    addresses: usize,
}

impl Servers {
    /// The number of the last change: a child that was told up to it knows all.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Takes in what a child says.
    pub(crate) fn learn(&mut self, news: ServerNews, from: Pid, now: Instant) -> Result<(), Unfit> {
        let subject = subject(&news)?;
        if !self.has_room_for(&subject, &news) {
            self.settle(0, now);
            if !self.has_room_for(&subject, &news) {
                return Err(Unfit::Full);
            }
        }
        let until = match &news {
            ServerNews::Ejected { for_ms, .. } => Some(now + Duration::from_millis(*for_ms)),
            ServerNews::Resolved { .. } | ServerNews::Checked { .. } => None,
        };
        // Said again by a new broker: the workers know, and the record is the new broker's.
        if let Some(known) = self.known.get_mut(&subject)
            && until.is_none()
            && known.news == news
        {
            known.from = Some(from);
            return Ok(());
        }
        self.change(subject, Known { news, from: Some(from), until, revision: 0 });
        Ok(())
    }

    /// Puts this in the place of what was known.
    fn change(&mut self, subject: Subject, mut known: Known) {
        self.forget(&subject);
        self.revision += 1;
        known.revision = self.revision;
        if let ServerNews::Resolved { addresses, .. } = &known.news {
            self.names += 1;
            self.addresses += addresses.len();
        }
        self.changes.insert(known.revision, subject.clone());
        self.known.insert(subject, known);
    }

    /// The broker has reported all the names that it has: others are not configured any more.
    pub(crate) fn keep_names_of(&mut self, broker: Pid) {
        self.forget_all(|subject, known| {
            matches!(subject, Subject::Name(_)) && known.from != Some(broker)
        });
    }

    /// Nobody resolves or checks any more: every server counts as well again.
    pub(crate) fn forget_broker(&mut self) {
        for subject in self.forget_all(|subject, _| !matches!(subject, Subject::Ejection(..))) {
            let Subject::Health(upstream, server) = subject.clone() else { continue };
            let news = ServerNews::Checked { upstream, server, is_well: true };
            self.change(subject, Known { news, from: None, until: None, revision: 0 });
        }
    }

    /// Forgets what goes without saying: ejections that are over, and that a server is well, once
    /// every child was told up to `told`.
    pub(crate) fn settle(&mut self, told: u64, now: Instant) {
        self.forget_all(|_, known| match known.news {
            ServerNews::Checked { is_well, .. } => is_well && known.revision <= told,
            ServerNews::Ejected { .. } => known.until.is_some_and(|until| until <= now),
            ServerNews::Resolved { .. } => false,
        });
    }

    /// Tells a child what it was not told yet, as much as there is room for in its channel. What it
    /// said itself it is not told.
    pub(crate) fn tell(&self, process: &mut Process, now: Instant) {
        let from_it = |known: &Known| known.from == Some(process.pid);
        process.told = self.send(&process.channel, process.told, from_it, now);
    }

    /// Tells everything to a child that is not forked yet; answers up to which change there was
    /// room.
    pub(crate) fn tell_unborn(&self, channel: &Channel, now: Instant) -> u64 {
        self.send(channel, 0, |_| false, now)
    }

    fn send(
        &self,
        channel: &Channel,
        mut told: u64,
        is_skipped: impl Fn(&Known) -> bool,
        now: Instant,
    ) -> u64 {
        while told < self.revision && channel.has_room() {
            let (news, upto) = self.next_message(told, &is_skipped, now);
            told = upto;
            if news.is_empty() {
                continue;
            }
            match channel.send(&Order::News(news), &[]) {
                Ok(()) => {}
                // The child is dead, and will be reaped.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return self.revision,
                Err(error) => tracing::error!(%error, "cannot tell news of servers"),
            }
        }
        told
    }

    /// What fits the next message, and up to which change it goes.
    fn next_message(
        &self,
        told: u64,
        is_skipped: &impl Fn(&Known) -> bool,
        now: Instant,
    ) -> (Vec<ServerNews>, u64) {
        let (mut message, mut bytes, mut upto) = (Vec::new(), 0, told);
        for (revision, subject) in self.changes.range(told + 1..) {
            let known = self.known.get(subject).expect("each change is of something known");
            if let Some(news) = known.as_of(now).filter(|_| !is_skipped(known)) {
                bytes += length(&news) + 1;
                if bytes > NEWS_BYTES_MAX {
                    return (message, upto);
                }
                message.push(news);
            }
            upto = *revision;
        }
        (message, self.revision)
    }

    /// Addresses of each name, for `kiln status`.
    pub(crate) fn names(&self) -> impl Iterator<Item = NameStatus> {
        self.known.values().filter_map(|known| match &known.news {
            ServerNews::Resolved { name, addresses } => {
                Some(NameStatus { name: name.clone(), addresses: addresses.clone() })
            }
            ServerNews::Checked { .. } | ServerNews::Ejected { .. } => None,
        })
    }

    /// Servers that get no requests, for `kiln status`.
    pub(crate) fn out(&self, now: Instant) -> impl Iterator<Item = OutStatus> {
        let mut out: BTreeMap<(&str, SocketAddr), OutStatus> = BTreeMap::new();
        for (subject, known) in &self.known {
            let (Subject::Health(upstream, server) | Subject::Ejection(upstream, server)) = subject
            else {
                continue;
            };
            let (is_down, ejected) = match known.as_of(now) {
                Some(ServerNews::Checked { is_well: false, .. }) => (true, None),
                Some(ServerNews::Ejected { why, for_ms, .. }) => (false, Some((why, for_ms))),
                _ => continue,
            };
            let status = out.entry((upstream, *server)).or_insert_with(|| OutStatus {
                upstream: upstream.clone(),
                server: *server,
                is_down: false,
                ejected_ms: None,
                ejected_why: None,
            });
            status.is_down |= is_down;
            if let Some((why, for_ms)) = ejected {
                (status.ejected_why, status.ejected_ms) = (Some(why), Some(for_ms));
            }
        }
        out.into_values()
    }

    fn has_room_for(&self, subject: &Subject, news: &ServerNews) -> bool {
        let before = self.known.get(subject);
        match news {
            ServerNews::Resolved { addresses, .. } => {
                let others = self.addresses - before.map_or(0, Known::addresses);
                (before.is_some() || self.names < NAMES_MAX)
                    && others + addresses.len() <= ADDRESSES_IN_ALL_MAX
            }
            ServerNews::Checked { .. } | ServerNews::Ejected { .. } => {
                before.is_some() || self.known.len() - self.names < OUT_MAX
            }
        }
    }

    fn forget_all(&mut self, is_stale: impl Fn(&Subject, &Known) -> bool) -> Vec<Subject> {
        let stale = self.known.iter().filter(|(subject, known)| is_stale(subject, known));
        let stale: Vec<Subject> = stale.map(|(subject, _)| subject.clone()).collect();
        stale.iter().for_each(|subject| self.forget(subject));
        stale
    }

    fn forget(&mut self, subject: &Subject) {
        let Some(known) = self.known.remove(subject) else { return };
        self.changes.remove(&known.revision);
        if matches!(subject, Subject::Name(_)) {
            self.names -= 1;
            self.addresses -= known.addresses();
        }
    }
}

impl Known {
    /// What is still true of it; an ejection gets shorter, and is over in the end.
    fn as_of(&self, now: Instant) -> Option<ServerNews> {
        let mut news = self.news.clone();
        if let (ServerNews::Ejected { for_ms, .. }, Some(until)) = (&mut news, self.until) {
            *for_ms = until.checked_duration_since(now)?.as_millis() as u64;
        }
        Some(news)
    }

    fn addresses(&self) -> usize {
        match &self.news {
            ServerNews::Resolved { addresses, .. } => addresses.len(),
            ServerNews::Checked { .. } | ServerNews::Ejected { .. } => 0,
        }
    }
}

/// What news are about, if they are no larger than news can be.
fn subject(news: &ServerNews) -> Result<Subject, Unfit> {
    let subject = match news.clone() {
        ServerNews::Resolved { addresses, .. } if addresses.len() > ADDRESSES_MAX => {
            return Err(Unfit::Oversized);
        }
        ServerNews::Ejected { for_ms, .. } if for_ms > EJECT_MS_MAX => return Err(Unfit::Endless),
        ServerNews::Resolved { name, .. } => Subject::Name(name),
        ServerNews::Checked { upstream, server, .. } => Subject::Health(upstream, server),
        ServerNews::Ejected { upstream, server, .. } => Subject::Ejection(upstream, server),
    };
    let (Subject::Name(name) | Subject::Health(name, _) | Subject::Ejection(name, _)) = &subject;
    // What fits a report may still not fit an order with others: it is sent on, and must always be.
    let is_fit = name.len() <= NAME_BYTES_MAX && length(news) < NEWS_BYTES_MAX;
    if is_fit { Ok(subject) } else { Err(Unfit::Oversized) }
}

/// Bytes that news take in a message.
fn length(news: &ServerNews) -> usize {
    serde_json::to_vec(news).expect("news are strings and numbers").len()
}

#[cfg(test)]
mod tests {
    use heritage::Ejection;
    use heritage::Received;

    use super::*;

    const BROKER: Pid = Pid::from_raw(10);
    const WORKER: Pid = Pid::from_raw(11);
    const OTHER: Pid = Pid::from_raw(12);

    fn server(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn resolved(name: &str, ports: &[u16]) -> ServerNews {
        let addresses = ports.iter().map(|port| server(*port)).collect();
        ServerNews::Resolved { name: name.to_owned(), addresses }
    }

    fn checked(port: u16, is_well: bool) -> ServerNews {
        ServerNews::Checked { upstream: "web".to_owned(), server: server(port), is_well }
    }

    fn ejected(port: u16, for_ms: u64) -> ServerNews {
        ServerNews::Ejected {
            upstream: "web".to_owned(),
            server: server(port),
            why: Ejection::Failing,
            for_ms,
        }
    }

    /// A child that reads whatever it is told.
    struct Listening {
        process: Process,
        theirs: Channel,
    }

    impl Listening {
        fn new(pid: Pid) -> Self {
            let (channel, theirs) = Channel::pair().unwrap();
            let process = Process::new(pid, channel, 0, Instant::now());
            Listening { process, theirs }
        }

        fn check(&mut self, servers: &Servers, now: Instant, expect: &[ServerNews]) {
            let mut heard = Vec::new();
            while self.process.told < servers.revision() {
                servers.tell(&mut self.process, now);
                while let Received::Message(Order::News(news), _) = self.theirs.receive().unwrap() {
                    heard.extend(news);
                }
            }
            assert_eq!(heard, expect);
        }
    }

    #[test]
    fn a_child_hears_what_is_new_and_a_new_child_the_latest_of_everything() {
        let (mut servers, now) = (Servers::default(), Instant::now());
        let mut worker = Listening::new(WORKER);
        for news in [resolved("a:80", &[1]), checked(1, false)] {
            servers.learn(news, BROKER, now).unwrap();
        }
        worker.check(&servers, now, &[resolved("a:80", &[1]), checked(1, false)]);
        servers.learn(resolved("a:80", &[1, 2]), BROKER, now).unwrap();
        worker.check(&servers, now, &[resolved("a:80", &[1, 2])]);
        worker.check(&servers, now, &[]);
        let both = [checked(1, false), resolved("a:80", &[1, 2])];
        Listening::new(OTHER).check(&servers, now, &both);
    }

    #[test]
    fn nobody_is_told_what_it_said_itself_or_what_is_known_already() {
        let (mut servers, now) = (Servers::default(), Instant::now());
        let (mut teller, mut other) = (Listening::new(WORKER), Listening::new(OTHER));
        servers.learn(ejected(1, 500), WORKER, now).unwrap();
        servers.learn(checked(1, false), BROKER, now).unwrap();
        teller.check(&servers, now, &[checked(1, false)]);
        other.check(&servers, now, &[ejected(1, 500), checked(1, false)]);
        servers.learn(checked(1, false), OTHER, now).unwrap();
        other.check(&servers, now, &[]);
    }

    #[test]
    fn an_ejection_gets_shorter_and_is_over() {
        let (mut servers, now) = (Servers::default(), Instant::now());
        servers.learn(ejected(1, 500), WORKER, now).unwrap();
        let later = now + Duration::from_millis(200);
        Listening::new(OTHER).check(&servers, later, &[ejected(1, 300)]);
        assert_eq!(servers.out(later).next().and_then(|out| out.ejected_ms), Some(300));
        let over = now + Duration::from_millis(501);
        Listening::new(OTHER).check(&servers, over, &[]);
        assert_eq!(servers.out(over).count(), 0);
        servers.settle(0, over);
        assert!(servers.known.is_empty() && servers.changes.is_empty());
    }

    #[test]
    fn that_a_server_is_well_is_forgotten_when_everybody_knows() {
        let (mut servers, now) = (Servers::default(), Instant::now());
        let mut worker = Listening::new(OTHER);
        for is_well in [false, true] {
            servers.learn(checked(1, is_well), BROKER, now).unwrap();
        }
        servers.settle(worker.process.told, now);
        worker.check(&servers, now, &[checked(1, true)]);
        servers.settle(worker.process.told, now);
        assert!(servers.known.is_empty());
    }

    #[test]
    fn what_only_a_broker_before_this_one_said_is_forgotten() {
        let (mut servers, now) = (Servers::default(), Instant::now());
        for name in ["a:80", "b:80"] {
            servers.learn(resolved(name, &[1]), BROKER, now).unwrap();
        }
        let second = OTHER;
        servers.learn(resolved("b:80", &[1]), second, now).unwrap();
        servers.keep_names_of(second);
        Listening::new(WORKER).check(&servers, now, &[resolved("b:80", &[1])]);
        servers.learn(checked(1, false), second, now).unwrap();
        servers.forget_broker();
        Listening::new(WORKER).check(&servers, now, &[checked(1, true)]);
        assert_eq!((servers.names, servers.addresses), (0, 0));
    }

    #[test]
    fn the_most_that_can_be_known_reaches_a_child_that_reads() {
        let (mut servers, now) = (Servers::default(), Instant::now());
        let ports: Vec<u16> = (1..=16).collect();
        let all: Vec<ServerNews> = (0..NAMES_MAX)
            .map(|number| resolved(&format!("name-{number}.internal:80"), &ports))
            .collect();
        for news in &all {
            servers.learn(news.clone(), BROKER, now).unwrap();
        }
        Listening::new(OTHER).check(&servers, now, &all);
        let refused = |news| servers.has_room_for(&subject(&news).unwrap(), &news);
        assert!(!refused(resolved("one-more:80", &[])));
        assert!(!refused(resolved("name-0.internal:80", &[1; 17])));
    }

    #[test]
    fn a_child_that_does_not_read_holds_nobody_up_and_can_still_be_given_orders() {
        let (mut servers, now) = (Servers::default(), Instant::now());
        let Listening { mut process, theirs } = Listening::new(WORKER);
        for port in 0..10_000 {
            servers.learn(checked(port, false), BROKER, now).unwrap();
            servers.tell(&mut process, now);
        }
        assert!(process.told < servers.revision());
        for _ in 0..50 {
            process.channel.send(&Order::Drain, &[]).unwrap();
        }
        drop(theirs);
        servers.tell(&mut process, now);
        assert_eq!(process.told, servers.revision());
    }

    #[test]
    fn news_without_measure_are_not_taken() {
        let (mut servers, now) = (Servers::default(), Instant::now());
        let mut check = |news, expect| {
            assert_eq!(servers.learn(news, WORKER, now), Err(expect));
        };
        check(resolved("a:80", &[1; ADDRESSES_MAX + 1]), Unfit::Oversized);
        check(resolved(&"x".repeat(NAME_BYTES_MAX + 1), &[]), Unfit::Oversized);
        check(ejected(1, u64::MAX), Unfit::Endless);
        for port in 0..OUT_MAX as u16 {
            servers.learn(ejected(port, 500), WORKER, now).unwrap();
        }
        let refused = servers.learn(ejected(u16::MAX, 500), WORKER, now);
        assert_eq!(refused, Err(Unfit::Full));
    }
}
