//! How many requests may be sent once more: a share of all requests, so that retries cannot multiply
//! the load of an upstream that fails because of its load. And how long to wait before each.

use std::{
    sync::atomic::{AtomicI64, Ordering::Relaxed},
    time::Duration,
};

/// One retry, in the unit of the account.
const RETRY: i64 = 1_000;

/// Most that can be saved: a burst of ten retries.
const SAVED_MAX: i64 = 10 * RETRY;

/// An account that every request pays into, and every retry is paid from.
#[derive(Debug)]
pub(crate) struct Budget(AtomicI64);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicI64::new(SAVED_MAX))
    }
}

impl Budget {
    /// One request is sent for the first time; `share` is from 0 to 1.
    pub(crate) fn pay_in(&self, share: f64) {
        if self.0.load(Relaxed) < SAVED_MAX {
            #[expect(clippy::cast_possible_truncation, reason = "at most a thousand")]
            let paid = (share * 1_000.0) as i64;
            let step = |saved: i64| Some((saved + paid).min(SAVED_MAX));
            let _before = self.0.fetch_update(Relaxed, Relaxed, step);
        }
    }

    /// Whether one more retry is paid for; takes it if so.
    pub(crate) fn take(&self) -> bool {
        let step = |saved: i64| (saved >= RETRY).then_some(saved - RETRY);
        self.0.fetch_update(Relaxed, Relaxed, step).is_ok()
    }
}

/// Wait before the retry with this number, from 1; `part` is a random number from 0 to 1.
pub(crate) fn backoff(longest_first: Duration, retry: u32, part: f64) -> Duration {
    let doublings = retry.saturating_sub(1).min(10);
    longest_first.saturating_mul(1 << doublings).mul_f64(part.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_first_ten_only_the_share_of_all_requests_is_sent_again() {
        let budget = Budget::default();
        assert_eq!((0..100).filter(|_| budget.take()).count(), 10);
        let mut retries = 0;
        for _ in 0..1_000 {
            budget.pay_in(0.2);
            retries += usize::from(budget.take());
        }
        assert_eq!(retries, 200);
    }

    #[test]
    fn a_quiet_time_saves_no_more_than_ten() {
        let budget = Budget::default();
        (0..100_000).for_each(|_| budget.pay_in(1.0));
        assert_eq!((0..100).filter(|_| budget.take()).count(), 10);
    }

    #[test]
    fn the_wait_doubles_and_is_a_random_part_of_that() {
        let wait = |retry, part| backoff(Duration::from_millis(25), retry, part).as_millis();
        assert_eq!([wait(1, 1.0), wait(2, 1.0), wait(3, 1.0)], [25, 50, 100]);
        assert_eq!([wait(3, 0.0), wait(3, 0.5)], [0, 50]);
    }
}
