//! How long to wait before a worker that died is replaced.
//!
//! A worker that lived is replaced at once. One that dies right after its start would do so again, and
//! a loop of forks helps nobody, so each further young death doubles the delay.

use std::time::Duration;

/// Delays of the replacements of one worker index.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    young_deaths: u32,
}

/// What decides about a delay; see [`crate::Settings`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) young: Duration,
    pub(crate) delay_min: Duration,
    pub(crate) delay_max: Duration,
}

impl Backoff {
    /// Notes a death at this age, and answers how long to wait with the replacement.
    pub(crate) fn after_death(&mut self, age: Duration, limits: Limits) -> Duration {
        if age >= limits.young {
            self.young_deaths = 0;
            return Duration::ZERO;
        }
        let delay = limits.delay_min.saturating_mul(2u32.saturating_pow(self.young_deaths));
        self.young_deaths = self.young_deaths.saturating_add(1);
        delay.min(limits.delay_max)
    }

    /// The same for one that a script has tainted at this age. It did start, and so will the next, so
    /// that the first is replaced at once, and the delay of others does not grow: it keeps the machine
    /// from forking for each bad request, and requests wait as short as that allows.
    pub(crate) fn after_taint(&mut self, age: Duration, limits: Limits) -> Duration {
        match self.after_death(age, limits) {
            Duration::ZERO => Duration::ZERO,
            _ if self.young_deaths == 1 => Duration::ZERO,
            _ => limits.delay_min,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ages_ms: &[u64], expect_ms: &[u64]) {
        check_each(Backoff::after_death, ages_ms, expect_ms);
    }

    fn check_each(
        after: fn(&mut Backoff, Duration, Limits) -> Duration,
        ages_ms: &[u64],
        expect_ms: &[u64],
    ) {
        let milliseconds = Duration::from_millis;
        let limits = Limits {
            young: milliseconds(1000),
            delay_min: milliseconds(100),
            delay_max: milliseconds(5000),
        };
        let mut backoff = Backoff::default();
        let delays: Vec<u128> = ages_ms
            .iter()
            .map(|age| after(&mut backoff, milliseconds(*age), limits).as_millis())
            .collect();
        let expect: Vec<u128> = expect_ms.iter().map(|delay| u128::from(*delay)).collect();
        assert_eq!(delays, expect);
    }

    #[test]
    fn a_worker_that_lived_is_replaced_at_once() {
        check(&[1000, 60_000], &[0, 0]);
    }

    #[test]
    fn each_young_death_doubles_the_delay_up_to_its_limit() {
        check(&[5; 8], &[100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        check(&[0; 200], &[&[100, 200, 400, 800, 1600, 3200][..], &[5000; 194]].concat());
    }

    #[test]
    fn one_that_lived_forgives_the_young_deaths_before_it() {
        check(&[5, 5, 2000, 5], &[100, 200, 0, 100]);
    }

    #[test]
    fn the_first_tainted_worker_is_replaced_at_once_and_the_next_ones_soon() {
        check_each(Backoff::after_taint, &[5; 6], &[0, 100, 100, 100, 100, 100]);
        check_each(Backoff::after_taint, &[5, 5, 2000, 5, 5], &[0, 100, 0, 0, 100]);
    }
}
