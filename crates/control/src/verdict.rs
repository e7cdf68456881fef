//! Whether the service answers reads well enough, from what the proxies counted. Pure.
//! Three answers: what is too little to tell is neither good nor bad.

mod proportion;

use std::time::Duration;

use routes::Abort;
use serde::Serialize;

use crate::tally::Tally;
use proportion::{Comparison, compare};

/// Fewer requests answered by the service are too few to call a step good.
const REQUESTS_MIN: u64 = 50;
/// Fewer compared answers say nothing about mismatches or coverage.
const COMPARED_MIN: u64 = 20;
/// Lag may be unknown for this long, while the replicator restarts.
const UNKNOWN_LAG_MAX: Duration = Duration::from_secs(5);
/// So many failures one after the other need no statistics.
const FAILURES_IN_A_ROW_MAX: u64 = 5;
/// Caches are cold after a step: times are not held against the service for so long.
const GRACE: Duration = Duration::from_secs(30);
/// A smaller difference of p99 is not worth a step back, whatever the ratio.
const SLOWER_BY_MS_MIN: f64 = 20.0;
/// A p99 of fewer requests is the chance of one of them.
const TIMED_MIN: u64 = 200;
/// A slow p99 is bad when it stays: longer than the window that the proxies take it from.
const SLOW_MAX: Duration = Duration::from_secs(20);

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

/// What a verdict is made from. Kept with every automatic step, so that it can be looked at later.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Evidence {
    /// Of the last ten seconds.
    pub(crate) recent: Tally,
    /// Since the last step.
    pub(crate) since_step: Tally,
    /// Of the monolith's reads; the worst proxy's.
    pub(crate) p99_source_ms: f64,
    /// Of the service's reads; the worst proxy's.
    pub(crate) p99_target_ms: f64,
    /// For how long the service's p99 has been too high without a break.
    pub(crate) slow_for: Duration,
    /// Requests in a row that the service failed to answer; the worst proxy's.
    pub(crate) failures_in_a_row: u64,
    /// How far the stream is behind; absent: unknown.
    pub(crate) lag: Option<Duration>,
    /// For how long the lag has been unknown.
    pub(crate) lag_unknown_for: Duration,
    /// Time since the last step.
    pub(crate) step_age: Duration,
}

/// Judges the evidence. What is bad is said before what is unknown.
pub(crate) fn verdict(evidence: &Evidence, limits: &Abort) -> Verdict {
    let judgements = [
        lag(evidence, limits),
        failures(evidence),
        mismatches(&evidence.recent, limits),
        mismatches(&evidence.since_step, limits),
        errors(&evidence.recent, limits),
        errors(&evidence.since_step, limits),
        latency(evidence, limits),
        enough(&evidence.since_step),
        coverage(&evidence.since_step, limits),
    ];
    let mut waits = None;
    for judgement in judgements {
        match judgement {
            Verdict::Bad(reason) => return Verdict::Bad(reason),
            Verdict::Inconclusive(reason) => {
                waits.get_or_insert(reason);
            }
            Verdict::Good => {}
        }
    }
    waits.map_or(Verdict::Good, Verdict::Inconclusive)
}

/// Whether the service's p99 is so much above the monolith's that it counts.
pub(crate) fn is_slow(source_ms: f64, target_ms: f64, limits: &Abort) -> bool {
    source_ms > 0.0
        && target_ms > source_ms * limits.p99_ratio
        && target_ms - source_ms > SLOWER_BY_MS_MIN
}

fn lag(evidence: &Evidence, limits: &Abort) -> Verdict {
    match evidence.lag {
        Some(lag) if lag > limits.max_lag => {
            Verdict::Bad(format!("lag is {lag:?}, more than {:?}", limits.max_lag))
        }
        Some(_) => Verdict::Good,
        None if evidence.lag_unknown_for > UNKNOWN_LAG_MAX => {
            Verdict::Bad(format!("lag has been unknown for {:?}", evidence.lag_unknown_for))
        }
        None => Verdict::Inconclusive("lag is unknown".to_owned()),
    }
}

/// Failures of an earlier step do not count: none of them was made since this one.
fn failures(evidence: &Evidence) -> Verdict {
    let in_a_row = evidence.failures_in_a_row.min(evidence.since_step.errors_target);
    if in_a_row >= FAILURES_IN_A_ROW_MAX {
        return Verdict::Bad(format!("the service failed {in_a_row} times in a row"));
    }
    Verdict::Good
}

fn mismatches(window: &Tally, limits: &Abort) -> Verdict {
    let (mismatched, compared) = (window.mismatched, window.compared);
    if compared >= COMPARED_MIN && share(mismatched, compared) > limits.mismatch {
        return Verdict::Bad(format!("{mismatched} of {compared} compared answers differ"));
    }
    Verdict::Good
}

fn errors(window: &Tally, limits: &Abort) -> Verdict {
    let target = (window.errors_target, window.requests_target);
    let source = (window.errors_source, window.requests_source);
    let said = || {
        format!(
            "{} of {} requests failed at the service, {} of {} at the monolith",
            target.0, target.1, source.0, source.1
        )
    };
    match compare(target, source, limits.error_delta) {
        Comparison::Above => Verdict::Bad(said()),
        Comparison::Unclear => Verdict::Inconclusive(said()),
        Comparison::Within => Verdict::Good,
    }
}

fn latency(evidence: &Evidence, limits: &Abort) -> Verdict {
    let (source, target) = (evidence.p99_source_ms, evidence.p99_target_ms);
    if !is_slow(source, target, limits) {
        return Verdict::Good;
    }
    let said = format!("p99 is {target:.0} ms at the service, {source:.0} ms at the monolith");
    let timed = evidence.recent.requests_source.min(evidence.recent.requests_target);
    let is_settled = evidence.step_age >= GRACE && evidence.slow_for >= SLOW_MAX;
    if is_settled && timed >= TIMED_MIN {
        return Verdict::Bad(format!("{said} for {} s", evidence.slow_for.as_secs()));
    }
    Verdict::Inconclusive(said)
}

fn enough(window: &Tally) -> Verdict {
    if window.requests_target < REQUESTS_MIN {
        let requests = window.requests_target;
        return Verdict::Inconclusive(format!("only {requests} requests answered by the service"));
    }
    Verdict::Good
}

/// Few mismatches say little when most answers were not compared.
fn coverage(window: &Tally, limits: &Abort) -> Verdict {
    let tried = window.compared + window.skipped;
    if tried >= COMPARED_MIN && share(window.compared, tried) < limits.coverage {
        return Verdict::Inconclusive(format!(
            "only {} of {tried} shadowed answers could be compared",
            window.compared
        ));
    }
    Verdict::Good
}

#[expect(clippy::cast_precision_loss, reason = "counts of a window are far below 2^52")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests;
