//! Whether the service answers reads well enough, from what the proxies counted in a window. Pure.
//! Three answers: too few requests is neither good nor bad.

use std::time::Duration;

use routes::Abort;

use crate::api::Traffic;

/// Fewer requests of either cohort say nothing about errors.
const REQUESTS_MIN: u64 = 50;
/// Fewer compared answers say nothing about mismatches.
const COMPARED_MIN: u64 = 20;
/// Lag may be unknown for this long, while the replicator restarts.
const UNKNOWN_LAG_MAX: Duration = Duration::from_secs(5);

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on.
    Good,
    /// Take the reads back, now.
    Bad(String),
    /// Wait.
    Inconclusive(String),
}

/// What is known about the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lag {
    /// So far behind.
    Known(Duration),
    /// Unknown for this long.
    Unknown(Duration),
}

/// Judges the window between two readings of the proxies' counters.
pub(crate) fn verdict(before: &Traffic, now: &Traffic, lag: Lag, limits: &Abort) -> Verdict {
    match lag {
        Lag::Known(lag) if lag > limits.max_lag => {
            return Verdict::Bad(format!("lag is {lag:?}, more than {:?}", limits.max_lag));
        }
        Lag::Unknown(since) if since > UNKNOWN_LAG_MAX => {
            return Verdict::Bad(format!("lag has been unknown for {since:?}"));
        }
        Lag::Known(_) | Lag::Unknown(_) => {}
    }
    let compared = delta(before.shadow_compared, now.shadow_compared);
    let mismatches = delta(before.shadow_mismatched, now.shadow_mismatched);
    if compared >= COMPARED_MIN && ratio(mismatches, compared) > limits.mismatch {
        return Verdict::Bad(format!("{mismatches} of {compared} compared answers differ"));
    }
    let source = delta(before.requests_source, now.requests_source);
    let target = delta(before.requests_target, now.requests_target);
    if target < REQUESTS_MIN {
        return Verdict::Inconclusive(format!("only {target} requests answered by the service"));
    }
    let source_errors = ratio(delta(before.errors_source, now.errors_source), source);
    let target_errors = ratio(delta(before.errors_target, now.errors_target), target);
    if target_errors - source_errors > limits.error_delta {
        return Verdict::Bad(format!(
            "{:.2}% errors at the service, {:.2}% at the monolith",
            target_errors * 100.0,
            source_errors * 100.0
        ));
    }
    if source < REQUESTS_MIN {
        // with nearly all reads moved there is nothing left to compare times with
        return Verdict::Good;
    }
    if now.p99_source_ms > 0.0 && now.p99_target_ms > now.p99_source_ms * limits.p99_ratio {
        return Verdict::Inconclusive(format!(
            "p99 is {:.0} ms at the service, {:.0} ms at the monolith",
            now.p99_target_ms, now.p99_source_ms
        ));
    }
    Verdict::Good
}

/// Counters start again when a proxy does.
const fn delta(before: u64, now: u64) -> u64 {
    now.saturating_sub(before)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a window are far below 2^52")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use routes::Abort;

    use super::{Lag, Verdict, verdict};
    use crate::api::Traffic;

    const LIMITS: Abort = Abort {
        error_delta: 0.01,
        p99_ratio: 1.5,
        mismatch: 0.001,
        max_lag: Duration::from_secs(2),
    };
    const FRESH: Lag = Lag::Known(Duration::from_millis(20));

    fn window(requests: u64, errors_target: u64) -> Traffic {
        Traffic {
            requests_source: requests,
            requests_target: requests,
            errors_target,
            shadow_compared: requests,
            ..Traffic::default()
        }
    }

    fn judged(now: &Traffic, lag: Lag) -> Verdict {
        verdict(&Traffic::default(), now, lag, &LIMITS)
    }

    #[test]
    fn enough_requests_without_errors_are_good() {
        assert_eq!(judged(&window(100, 0), FRESH), Verdict::Good);
    }

    #[test]
    fn too_few_requests_are_inconclusive_however_many_failed() {
        assert!(matches!(judged(&window(10, 10), FRESH), Verdict::Inconclusive(_)));
    }

    #[test]
    fn more_errors_than_the_monolith_has_are_bad() {
        assert!(matches!(judged(&window(100, 2), FRESH), Verdict::Bad(_)));
        let both = Traffic { errors_source: 2, ..window(100, 2) };
        assert_eq!(judged(&both, FRESH), Verdict::Good, "the monolith fails as often");
    }

    #[test]
    fn a_mismatch_is_bad_only_among_enough_comparisons() {
        let one = Traffic { shadow_mismatched: 1, ..window(100, 0) };
        assert!(matches!(judged(&one, FRESH), Verdict::Bad(_)));
        let few = Traffic { shadow_mismatched: 1, shadow_compared: 5, ..window(100, 0) };
        assert_eq!(judged(&few, FRESH), Verdict::Good);
    }

    #[test]
    fn lag_is_bad_when_high_and_when_unknown_for_too_long() {
        let fine = window(100, 0);
        assert!(matches!(judged(&fine, Lag::Known(Duration::from_secs(3))), Verdict::Bad(_)));
        assert_eq!(judged(&fine, Lag::Unknown(Duration::from_secs(4))), Verdict::Good);
        assert!(matches!(judged(&fine, Lag::Unknown(Duration::from_secs(6))), Verdict::Bad(_)));
    }

    #[test]
    fn a_slow_service_waits_and_a_restarted_proxy_is_not_held_against_it() {
        let slow = Traffic { p99_source_ms: 10.0, p99_target_ms: 30.0, ..window(100, 0) };
        assert!(matches!(judged(&slow, FRESH), Verdict::Inconclusive(_)));
        let restarted = verdict(&window(900, 9), &window(10, 0), FRESH, &LIMITS);
        assert!(matches!(restarted, Verdict::Inconclusive(_)));
    }
}
