//! What the proxies have counted of one capability, summed so that it only grows: a proxy that
//! restarts, leaves or comes back neither takes away nor adds what was there before.

use std::ops::AddAssign;

use rpc::v1::CapabilityTraffic;
use serde::Serialize;

/// Requests and comparisons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    /// Answered by the monolith.
    pub(crate) requests_source: u64,
    /// Answered by the service.
    pub(crate) requests_target: u64,
    /// Of the monolith's: 5xx and no answer.
    pub(crate) errors_source: u64,
    /// Of the service's.
    pub(crate) errors_target: u64,
    /// Shadowed answers that were compared.
    pub(crate) compared: u64,
    /// Of them, different.
    pub(crate) mismatched: u64,
    /// Shadowed answers that could not be compared.
    pub(crate) skipped: u64,
}

impl Tally {
    /// What a proxy counted since it started.
    pub(crate) const fn of(traffic: &CapabilityTraffic) -> Self {
        Self {
            requests_source: traffic.requests_source,
            requests_target: traffic.requests_target,
            errors_source: traffic.errors_source,
            errors_target: traffic.errors_target,
            compared: traffic.shadow_compared,
            mismatched: traffic.shadow_mismatched,
            skipped: traffic.shadow_skipped,
        }
    }

    /// What was counted between two readings; a counter that went back began again in between.
    pub(crate) const fn since(self, before: Self) -> Self {
        const fn grown(before: u64, now: u64) -> u64 {
            if now < before { now } else { now - before }
        }
        Self {
            requests_source: grown(before.requests_source, self.requests_source),
            requests_target: grown(before.requests_target, self.requests_target),
            errors_source: grown(before.errors_source, self.errors_source),
            errors_target: grown(before.errors_target, self.errors_target),
            compared: grown(before.compared, self.compared),
            mismatched: grown(before.mismatched, self.mismatched),
            skipped: grown(before.skipped, self.skipped),
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.requests_source += more.requests_source;
        self.requests_target += more.requests_target;
        self.errors_source += more.errors_source;
        self.errors_target += more.errors_target;
        self.compared += more.compared;
        self.mismatched += more.mismatched;
        self.skipped += more.skipped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_began_again_counts_from_its_new_beginning() {
        let before = Tally { requests_target: 900, errors_target: 9, ..Tally::default() };
        let restarted = Tally { requests_target: 10, ..Tally::default() };
        assert_eq!(restarted.since(before), restarted);
        let more = Tally { requests_target: 950, ..before };
        assert_eq!(more.since(before), Tally { requests_target: 50, ..Tally::default() });
    }
}
