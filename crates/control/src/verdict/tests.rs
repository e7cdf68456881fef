//! Every judgement alone, and all of them together.

use super::*;

const LIMITS: Abort = Abort {
    error_delta: 0.01,
    p99_ratio: 1.5,
    mismatch: 0.001,
    coverage: 0.8,
    max_lag: Duration::from_secs(2),
};

fn tally(requests: u64, errors_target: u64) -> Tally {
    Tally {
        requests_source: requests,
        requests_target: requests,
        errors_target,
        compared: requests,
        ..Tally::default()
    }
}

fn window(window: Tally) -> Evidence {
    Evidence {
        recent: window,
        since_step: window,
        lag: Some(Duration::from_millis(20)),
        step_age: Duration::from_secs(60),
        ..Evidence::default()
    }
}

fn is_bad(evidence: &Evidence) -> bool {
    matches!(verdict(evidence, &LIMITS), Verdict::Bad(_))
}

fn waits(evidence: &Evidence) -> bool {
    matches!(verdict(evidence, &LIMITS), Verdict::Inconclusive(_))
}

#[test]
fn enough_requests_without_errors_are_good() {
    assert_eq!(verdict(&window(tally(100, 0)), &LIMITS), Verdict::Good);
    assert!(waits(&window(tally(49, 0))));
}

#[test]
fn more_errors_than_the_monolith_has_are_bad_when_they_are_hardly_chance() {
    assert!(is_bad(&window(tally(100, 20))));
    assert!(waits(&window(tally(100, 2))), "two of a hundred may be chance");
    let both = Tally { errors_source: 20, ..tally(100, 20) };
    assert_eq!(verdict(&window(both), &LIMITS), Verdict::Good, "the monolith fails as often");
}

#[test]
fn a_sudden_failure_is_bad_however_good_the_step_was_before() {
    let sudden = Evidence { recent: tally(100, 30), ..window(tally(1_000_000, 30)) };
    assert!(is_bad(&sudden));
}

#[test]
fn a_slow_leak_of_errors_is_bad_when_the_whole_step_shows_it() {
    let leak = Evidence { recent: tally(100, 3), ..window(tally(6_000, 180)) };
    assert!(is_bad(&leak));
    assert!(waits(&Evidence { since_step: tally(100, 3), ..leak }));
}

#[test]
fn five_failures_in_a_row_are_bad_at_once_but_not_those_of_an_earlier_step() {
    let dead = Evidence { failures_in_a_row: 5, ..window(tally(5, 5)) };
    assert!(is_bad(&dead));
    let earlier = Evidence { failures_in_a_row: 5, ..window(tally(100, 0)) };
    assert_eq!(verdict(&earlier, &LIMITS), Verdict::Good);
    assert!(!is_bad(&Evidence { failures_in_a_row: 4, ..window(tally(4, 4)) }));
}

#[test]
fn a_mismatch_is_bad_only_among_enough_comparisons() {
    assert!(is_bad(&window(Tally { mismatched: 1, ..tally(100, 0) })));
    let few = Tally { mismatched: 1, compared: 5, ..tally(100, 0) };
    assert_eq!(verdict(&window(few), &LIMITS), Verdict::Good);
}

#[test]
fn answers_that_were_mostly_not_compared_wait() {
    assert!(waits(&window(Tally { compared: 30, skipped: 70, ..tally(100, 0) })));
    let most = Tally { compared: 80, skipped: 20, ..tally(100, 0) };
    assert_eq!(verdict(&window(most), &LIMITS), Verdict::Good);
    let none_shadowed = Tally { compared: 0, skipped: 0, ..tally(100, 0) };
    assert_eq!(verdict(&window(none_shadowed), &LIMITS), Verdict::Good);
}

#[test]
fn lag_is_bad_when_high_and_when_unknown_for_too_long_and_waits_until_then() {
    let fine = window(tally(100, 0));
    assert!(is_bad(&Evidence { lag: Some(Duration::from_secs(3)), ..fine }));
    let unknown = |secs| Evidence {
        lag: None,
        lag_unknown_for: Duration::from_secs(secs),
        ..window(tally(100, 0))
    };
    assert!(waits(&unknown(4)));
    assert!(is_bad(&unknown(6)));
}

#[test]
fn a_slow_service_is_bad_when_it_stays_slow_after_the_grace() {
    let slow = Evidence {
        p99_source_ms: 30.0,
        p99_target_ms: 90.0,
        slow_for: Duration::from_secs(21),
        ..window(tally(300, 0))
    };
    assert!(is_bad(&slow));
    assert!(waits(&Evidence { step_age: Duration::from_secs(29), ..slow }), "grace");
    assert!(waits(&Evidence { slow_for: Duration::from_secs(5), ..slow }), "a moment");
    assert!(waits(&Evidence { recent: tally(100, 0), ..slow }), "too few to time");
    let small = Evidence { p99_source_ms: 2.0, p99_target_ms: 20.0, ..slow };
    assert_eq!(verdict(&small, &LIMITS), Verdict::Good, "below the floor");
}

#[test]
fn one_bad_thing_is_bad_whatever_else_is_unknown_or_good() {
    type Change = fn(&mut Evidence);
    let bad: [Change; 4] = [
        |e| e.lag = Some(Duration::from_secs(9)),
        |e| e.since_step.mismatched = 50,
        |e| (e.recent.errors_target, e.since_step.errors_target) = (90, 90),
        |e| (e.failures_in_a_row, e.since_step.errors_target) = (7, 7),
    ];
    let unknown: [Change; 4] = [
        |e| e.since_step.skipped = 9_000,
        |e| (e.p99_source_ms, e.p99_target_ms) = (1.0, 100.0),
        |e| e.step_age = Duration::ZERO,
        |e| e.recent = Tally::default(),
    ];
    for (which, make_bad) in bad.iter().enumerate() {
        for mask in 0_u32..16 {
            let mut evidence = window(tally(100, 0));
            for (bit, make_unknown) in unknown.iter().enumerate() {
                if mask & (1 << bit) != 0 {
                    make_unknown(&mut evidence);
                }
            }
            make_bad(&mut evidence);
            assert!(is_bad(&evidence), "bad thing {which}, unknown {mask:04b}: {evidence:?}");
        }
    }
}
