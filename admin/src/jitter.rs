//! A little disorder: what is done regularly for many servers must not be done for all at once.

/// A sequence of numbers that nobody needs to be unable to guess (splitmix64).
#[derive(Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    /// The sequence that this number begins.
    pub(crate) fn new(seed: u64) -> Self {
        Jitter(seed)
    }

    /// Less than `limit_ms`, evenly; 0 for 0.
    pub(crate) fn below(&mut self, limit_ms: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).checked_rem(limit_ms).unwrap_or(0)
    }

    /// Within a tenth of `period_ms`, and some time: what is done again is not done at once.
    pub(crate) fn around(&mut self, period_ms: u64) -> u64 {
        (period_ms - period_ms / 10 + self.below(period_ms / 5 + 1)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_differ_by_a_tenth_at_most_and_are_right_on_average() {
        let mut jitter = Jitter::new(1);
        let periods: Vec<u64> = (0..1000).map(|_| jitter.around(1000)).collect();
        assert!(periods.iter().all(|period| (900..=1100).contains(period)));
        let mean = periods.iter().sum::<u64>() / 1000;
        assert!((990..1010).contains(&mean), "{mean}");
        assert_eq!((jitter.below(0), jitter.around(0)), (0, 1));
    }
}
