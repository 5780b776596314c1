//! How long to wait before a process that has ended is forked again.
//!
//! One that did start is replaced at once, and so is the next: those who wait for it should not. But a
//! loop of forks helps nobody, so that only a few in a row are, and then one in each interval. One
//! that ended before it had started would do so again: each further one doubles the delay.

use std::time::{Duration, Instant};

/// Replacements in a row that do not wait. Each costs some milliseconds of CPU time.
pub(crate) const AT_ONCE: u32 = 8;

/// Delays of the replacements of one process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    /// Ends in a row of those that had not started.
    false_starts: u32,
    /// When all replacements so far would have been made, had each waited for the one before
    /// (the generic cell rate algorithm of ITU-T I.371: its theoretical arrival time).
    spent_until: Option<Instant>,
}

/// What decides about a delay; see [`crate::Settings`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) delay_min: Duration,
    pub(crate) delay_max: Duration,
}

impl Backoff {
    /// Notes the end of one that had started, or not, and answers how long to wait.
    pub(crate) fn after(&mut self, has_started: bool, now: Instant, limits: Limits) -> Duration {
        if !has_started {
            let doubled = limits.delay_min.saturating_mul(2u32.saturating_pow(self.false_starts));
            self.false_starts = self.false_starts.saturating_add(1);
            return doubled.min(limits.delay_max);
        }
        self.false_starts = 0;
        let interval = limits.delay_min;
        let spent_until = self.spent_until.map_or(now, |until| until.max(now));
        self.spent_until = Some(spent_until + interval);
        (spent_until - now).saturating_sub(interval * (AT_ONCE - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { delay_min: Duration::from_millis(100), delay_max: Duration::from_millis(5000) };

    /// Ends, each some milliseconds after its process was forked, and the delays that follow.
    fn check(ends: &[(bool, u64)], expect_ms: &[u64]) {
        let mut now = Instant::now();
        let mut backoff = Backoff::default();
        let delay_after = |(has_started, age_ms): &(bool, u64)| {
            now += Duration::from_millis(*age_ms);
            let delay = backoff.after(*has_started, now, LIMITS);
            now += delay;
            u64::try_from(delay.as_millis()).expect("it is short")
        };
        let delays: Vec<u64> = ends.iter().map(delay_after).collect();
        assert_eq!(delays, expect_ms);
    }

    #[test]
    fn each_false_start_doubles_the_delay_up_to_its_limit() {
        check(&[(false, 5); 8], &[100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        let delays = [&[100, 200, 400, 800, 1600, 3200][..], &[5000; 194]].concat();
        check(&[(false, 0); 200], &delays);
    }

    #[test]
    fn one_that_started_forgives_the_false_starts_before_it() {
        check(&[(false, 5), (false, 5), (true, 5), (false, 5)], &[100, 200, 0, 100]);
    }

    #[test]
    fn some_that_started_are_replaced_at_once_and_then_one_in_each_interval() {
        check(&[(true, 0); 10], &[0, 0, 0, 0, 0, 0, 0, 0, 100, 100]);
        check(
            &[(true, 40); 16],
            &[[0; 12], [20, 60, 60, 60, 0, 0, 0, 0, 0, 0, 0, 0]].concat()[..16],
        );
    }

    #[test]
    fn those_that_live_an_interval_are_always_replaced_at_once() {
        check(&[(true, 100); 100], &[0; 100]);
        let twice_eight = [&[(true, 0); 8][..], &[(true, 800)], &[(true, 0); 7]].concat();
        check(&twice_eight, &[0; 16]);
    }
}
