//! How many requests may be sent again: a share of those that were sent, and a few to begin with.
//!
//! Retries help while few requests fail. When most do, they only multiply the load of what fails
//! already; then the budget is soon spent, and failures are told to clients at once.

/// What one retry costs. Each request earns its percentage of this.
const RETRY: u64 = 100;

/// Retries that can be saved up: what a server that dies with its connections busy costs at once.
const SAVED_MAX: u64 = 128 * RETRY;

/// Retries to begin with, so that the first failure of a quiet upstream is retried.
const SAVED_AT_START: u64 = 32 * RETRY;

#[derive(Debug)]
pub(super) struct RetryBudget(u64);

impl Default for RetryBudget {
    fn default() -> Self {
        RetryBudget(SAVED_AT_START)
    }
}

impl RetryBudget {
    pub(super) fn earn(&mut self, percent: u64) {
        self.0 = (self.0 + percent).min(SAVED_MAX);
    }

    pub(super) fn spend(&mut self) -> bool {
        let left = self.0.checked_sub(RETRY);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_requests_may_be_sent_again_and_a_few_to_begin_with() {
        let mut budget = RetryBudget::default();
        let mut retried = 0;
        for _ in 0..1000 {
            budget.earn(20);
            retried += u64::from(budget.spend());
        }
        assert_eq!(retried, 1000 / 5 + SAVED_AT_START / RETRY);
    }

    #[test]
    fn what_is_saved_has_a_limit() {
        let mut budget = RetryBudget::default();
        (0..1_000_000).for_each(|_| budget.earn(100));
        assert_eq!((0..1_000).filter(|_| budget.spend()).count() as u64, SAVED_MAX / RETRY);
    }
}
