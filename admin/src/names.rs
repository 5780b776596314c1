//! Names of servers: when each is looked up, and what an answer changes.
//!
//! A name stands for its last addresses until there are others: that a resolver fails says nothing
//! about servers. The first answer is always reported, also an empty one, since somebody waits for
//! it. Whoever looks up is elsewhere; a name that is being looked up is not due.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use heritage::ADDRESSES_MAX;

use crate::jitter::Jitter;

/// What an answer brings.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The addresses to report, if they are to be.
    pub(crate) report: Option<Vec<SocketAddr>>,
    /// What an operator should hear.
    pub(crate) turn: Option<Turn>,
}

/// A name resolves no more, or again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// For this reason it does not.
    Fails(String),
    /// It does again.
    Works,
}

/// One name.
#[derive(Debug)]
struct Name {
    every_ms: u64,
    addresses: Vec<SocketAddr>,
    is_reported: bool,
    is_failing: bool,
}

/// Every name of the configuration.
#[derive(Debug)]
pub(crate) struct Names {
    names: BTreeMap<String, Name>,
    /// Those that nobody looks up just now, and when that is due.
    due: BTreeSet<(u64, String)>,
    unreported: usize,
    jitter: Jitter,
}

impl Names {
    /// Names with the time between two look-ups of each, in milliseconds. All are due at once.
    pub(crate) fn new(names: BTreeMap<String, u64>, now_ms: u64, jitter: Jitter) -> Self {
        let due = names.keys().map(|name| (now_ms, name.clone())).collect();
        let unreported = names.len();
        let names = names.into_iter().map(|(name, every_ms)| (name, Name::new(every_ms)));
        Names { names: names.collect(), due, unreported, jitter }
    }

    /// Whether each was reported once.
    pub(crate) fn all_reported(&self) -> bool {
        self.unreported == 0
    }

    /// When the next look-up is due.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// A name to look up now; its answer is expected.
    pub(crate) fn take_due(&mut self, now_ms: u64) -> Option<String> {
        if self.next_due_ms()? > now_ms {
            return None;
        }
        self.due.pop_first().map(|(_, name)| name)
    }

    /// What a name stands for as far as is known.
    pub(crate) fn addresses(&self, name: &str) -> &[SocketAddr] {
        self.names.get(name).map_or(&[], |known| &known.addresses)
    }

    /// What the broker before this one knew, which counts until there is an answer. Says whether
    /// that changes anything.
    pub(crate) fn recall(&mut self, name: &str, addresses: Vec<SocketAddr>) -> bool {
        let Some(known) = self.names.get_mut(name).filter(|known| !known.is_reported) else {
            return false;
        };
        known.addresses = addresses;
        true
    }

    /// Looking up a name had this answer, addresses or the reason for none.
    pub(crate) fn answered(
        &mut self,
        name: &str,
        answer: Result<Vec<SocketAddr>, String>,
        now_ms: u64,
    ) -> Outcome {
        let Some(known) = self.names.get_mut(name) else { return Outcome::default() };
        self.due.insert((now_ms + self.jitter.around(known.every_ms), name.to_owned()));
        let answer = match answer {
            Ok(addresses) if addresses.is_empty() => Err("it has no address".to_owned()),
            answer => answer,
        };
        let was_failing = std::mem::replace(&mut known.is_failing, answer.is_err());
        let (addresses, turn) = match answer {
            Ok(addresses) => (tidy(addresses), was_failing.then_some(Turn::Works)),
            Err(reason) => (known.addresses.clone(), (!was_failing).then_some(Turn::Fails(reason))),
        };
        let is_first = !std::mem::replace(&mut known.is_reported, true);
        self.unreported -= usize::from(is_first);
        let report = (is_first || addresses != known.addresses).then(|| addresses.clone());
        known.addresses = addresses;
        Outcome { report, turn }
    }
}

impl Name {
    fn new(every_ms: u64) -> Self {
        Name { every_ms, addresses: Vec::new(), is_reported: false, is_failing: false }
    }
}

/// Sorted, so that servers that a resolver names in another order each time are the same ones.
fn tidy(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(hosts: &[u8]) -> Vec<SocketAddr> {
        hosts.iter().map(|host| SocketAddr::from(([10, 0, 0, *host], 80))).collect()
    }

    fn one_name() -> Names {
        Names::new(BTreeMap::from([("a:80".to_owned(), 1000)]), 0, Jitter::new(1))
    }

    /// Answers in turn, each with the addresses that are then reported and whether an operator
    /// hears of it; none stands for a failure.
    type Case<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, Option<&'a str>);

    fn check(mut names: Names, cases: &[Case<'_>]) {
        for (step, (answer, report, turn)) in cases.iter().enumerate() {
            let answer = answer.map(addresses).ok_or_else(|| "no such host".to_owned());
            let outcome = names.answered("a:80", answer, 0);
            assert_eq!(outcome.report, report.map(addresses), "step {step}");
            let heard = outcome.turn.map(|turn| match turn {
                Turn::Fails(reason) => reason,
                Turn::Works => "works".to_owned(),
            });
            assert_eq!(heard.as_deref(), *turn, "step {step}");
        }
    }

    #[test]
    fn the_first_answer_is_reported_and_then_only_changes() {
        check(
            one_name(),
            &[
                (Some(&[2, 1, 2]), Some(&[1, 2]), None),
                (Some(&[1, 2]), None, None),
                (Some(&[2, 1]), None, None),
                (Some(&[3]), Some(&[3]), None),
            ],
        );
    }

    #[test]
    fn a_name_that_resolves_no_more_keeps_its_addresses_and_is_warned_of_once() {
        check(
            one_name(),
            &[
                (Some(&[1]), Some(&[1]), None),
                (None, None, Some("no such host")),
                (None, None, None),
                (Some(&[1]), None, Some("works")),
                (Some(&[]), None, Some("it has no address")),
                (Some(&[2]), Some(&[2]), Some("works")),
            ],
        );
    }

    #[test]
    fn a_name_that_never_resolved_is_reported_with_nothing() {
        check(
            one_name(),
            &[
                (None, Some(&[]), Some("no such host")),
                (None, None, None),
                (Some(&[1]), Some(&[1]), Some("works")),
            ],
        );
    }

    #[test]
    fn what_the_broker_before_knew_counts_until_there_is_an_answer() {
        let mut names = one_name();
        assert!(names.recall("a:80", addresses(&[7])));
        assert!(!names.recall("other:80", addresses(&[7])));
        assert_eq!(names.addresses("a:80"), addresses(&[7]));
        check(
            names,
            &[(None, Some(&[7]), Some("no such host")), (Some(&[8]), Some(&[8]), Some("works"))],
        );

        let mut names = one_name();
        names.answered("a:80", Ok(addresses(&[1])), 0);
        assert!(!names.recall("a:80", addresses(&[7])));
    }

    #[test]
    fn no_name_stands_for_more_addresses_than_can_be_told() {
        let many = (0..=ADDRESSES_MAX as u16).map(|port| SocketAddr::from(([10, 0, 0, 1], port)));
        let outcome = one_name().answered("a:80", Ok(many.collect()), 0);
        assert_eq!(outcome.report.map(|addresses| addresses.len()), Some(ADDRESSES_MAX));
    }

    #[test]
    fn each_name_is_looked_up_at_once_and_then_about_every_so_often() {
        let every = [("a:80", 1000), ("b:80", 60_000)].map(|(name, ms)| (name.to_owned(), ms));
        let mut names = Names::new(BTreeMap::from(every), 5, Jitter::new(1));
        assert_eq!(names.take_due(4), None);
        for expect in ["a:80", "b:80"] {
            assert_eq!(names.take_due(5).as_deref(), Some(expect));
        }
        assert_eq!(names.next_due_ms(), None, "both are being looked up");
        assert!(!names.all_reported());
        names.answered("b:80", Err("timed out".to_owned()), 100);
        names.answered("a:80", Ok(addresses(&[1])), 200);
        assert!(names.all_reported());
        assert!(names.next_due_ms().is_some_and(|due_ms| (1100..=1300).contains(&due_ms)));
        assert_eq!(names.take_due(1300).as_deref(), Some("a:80"));
        assert!(names.next_due_ms().is_some_and(|due_ms| (54_100..=66_100).contains(&due_ms)));
    }
}
