//! What Kiln did by itself: each answer that no script and no server gave, and each exchange that it cut
//! off, is counted by its reason and told in the log.
//!
//! Anybody can cause as many of these as he likes, so only some lines a second are written, and the next
//! one says how many were left out. What clients do has a limit of its own: it must not crowd out
//! what servers do.

use std::net::SocketAddr;

use heritage::{Blame, REASONS_MAX, Reason, ReasonCounts, TARGET_BYTES_MAX};

/// Lines a second of one worker, about clients and about everything else: enough to see what happens,
/// and nothing that fills a disk.
const LINES_MAX: u64 = 10;

const SECOND_MS: u64 = 1000;

/// What a request was about, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    pub(crate) client: SocketAddr,
    /// As the client sent it; empty if no head could be read.
    pub(crate) target: &'a [u8],
    /// Empty before a script has decided.
    pub(crate) upstream: &'a str,
    pub(crate) server: Option<SocketAddr>,
}

/// Lines of one kind.
#[derive(Debug, Default)]
struct Lines {
    second_ms: u64,
    written: u64,
    left_out: u64,
}

impl Lines {
    /// Whether one more may be written. If so, gives how many were not since the last one.
    fn next(&mut self, now_ms: u64) -> Option<u64> {
        if now_ms >= self.second_ms + SECOND_MS {
            *self = Lines { second_ms: now_ms, written: 0, left_out: self.left_out };
        }
        if self.written == LINES_MAX {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.left_out))
    }

    /// How many were not written, once their second is over.
    fn settle(&mut self, now_ms: u64) -> u64 {
        match now_ms >= self.second_ms + SECOND_MS {
            true => std::mem::take(&mut self.left_out),
            false => 0,
        }
    }
}

/// Counts and lines of one worker.
#[derive(Debug)]
pub(crate) struct Notices {
    counts: ReasonCounts,
    /// Whether one has changed since they were last taken.
    has_changed: bool,
    of_clients: Lines,
    of_others: Lines,
    /// Whether queries may be told.
    pub(crate) tells_queries: bool,
}

impl Default for Notices {
    fn default() -> Self {
        Notices {
            counts: [0; REASONS_MAX],
            has_changed: false,
            of_clients: Lines::default(),
            of_others: Lines::default(),
            tells_queries: false,
        }
    }
}

impl Notices {
    /// Takes note of one.
    pub(crate) fn note(&mut self, reason: Reason, about: About<'_>, now_ms: u64) {
        self.counts[reason as usize] += 1;
        self.has_changed = true;
        let lines = match reason.blame() {
            Blame::Client => &mut self.of_clients,
            Blame::Server | Blame::Operator => &mut self.of_others,
        };
        let Some(left_out) = lines.next(now_ms) else { return };
        let target = printable(about.target, self.tells_queries);
        let About { client, upstream, server, .. } = about;
        let server = server.map(tracing::field::display);
        let left_out = (left_out > 0).then_some(left_out);
        let (name, status) = (reason.name(), reason.status());
        let status = (status > 0).then_some(status);
        let text = reason.sentence().trim_end_matches('.');
        let upstream = (!upstream.is_empty()).then_some(upstream);
        match reason.blame() {
            Blame::Client => {
                tracing::info!(reason = name, status, upstream, server, %client, target, left_out, "{text}");
            }
            Blame::Server | Blame::Operator => {
                tracing::warn!(reason = name, status, upstream, server, %client, target, left_out, "{text}");
            }
        }
    }

    /// Says how many lines were left out where no further one does.
    pub(crate) fn settle(&mut self, now_ms: u64) {
        for (whose, lines) in [("clients", &mut self.of_clients), ("servers", &mut self.of_others)]
        {
            let left_out = lines.settle(now_ms);
            if left_out > 0 {
                tracing::warn!(whose, left_out, "more was answered or cut off by Kiln itself");
            }
        }
    }

    /// The counts, if they have changed since this was last asked.
    pub(crate) fn changed(&mut self) -> Option<&ReasonCounts> {
        std::mem::take(&mut self.has_changed).then_some(&self.counts)
    }
}

/// The beginning of a target, without its query if that may be nobody's to read.
fn printable(target: &[u8], tells_queries: bool) -> String {
    let told = match tells_queries {
        true => target,
        false => target.split(|byte| *byte == b'?').next().unwrap_or_default(),
    };
    told[..told.len().min(TARGET_BYTES_MAX)].escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_lines_a_second_are_written_and_the_others_are_counted() {
        let mut lines = Lines::default();
        let written = (0..25).filter(|_| lines.next(5000).is_some()).count() as u64;
        assert_eq!(written, LINES_MAX);
        assert_eq!(lines.settle(5999), 0, "the second is not over");
        assert_eq!(lines.next(6000), Some(15));
        assert_eq!(lines.next(6000), Some(0));
        let written = (0..20).filter(|_| lines.next(6001).is_some()).count();
        assert_eq!((written, lines.settle(7000)), (8, 12));
        assert_eq!(lines.settle(9000), 0);
    }

    #[test]
    fn clients_cannot_crowd_out_servers() {
        let mut notices = Notices::default();
        let client = SocketAddr::from(([127, 0, 0, 1], 1));
        let about = About { client, target: b"/", upstream: "", server: None };
        (0..100).for_each(|_| notices.note(Reason::RequestLine, about, 5000));
        assert_eq!((notices.of_clients.written, notices.of_others.written), (LINES_MAX, 0));
        notices.note(Reason::ConnectRefused, about, 5000);
        assert_eq!(notices.of_others.written, 1);
        let counts = notices.changed().copied().expect("there is something new");
        assert_eq!(counts[Reason::RequestLine as usize], 100);
        assert_eq!(counts.iter().sum::<u64>(), 101);
        assert_eq!(notices.changed(), None);
    }

    #[test]
    fn what_is_told_of_a_target_is_printable_short_and_without_its_query() {
        let check = |target: &[u8], queries, expect: &str| {
            assert_eq!(printable(target, queries), expect);
        };
        check(b"/a?token=1", false, "/a");
        check(b"/a?token=1", true, "/a?token=1");
        check(b"/\x1b[2J\n", false, "/\\x1b[2J\\n");
        assert_eq!(printable(&[b'/'; 5000], false).len(), TARGET_BYTES_MAX);
    }
}
