//! Walks every state of the breaker that small rules can reach.

use std::collections::{HashSet, VecDeque};

use super::*;

/// Longest time the walk looks at; every state within it is visited.
const END: u64 = 9;

fn rules(failures: u32, probes: u32) -> routes::Breaker {
    routes::Breaker { failures, open: Duration::from_millis(2), probes }
}

/// A state, the time, and the permits of requests under way.
type Node = (State, u64, Vec<Permit>);

/// Every state that any order of requests, ends, losses and time leads to.
fn reachable(rules: &routes::Breaker) -> Vec<Node> {
    let first: Node = (State::Closed { failures: 0 }, 0, Vec::new());
    let (mut seen, mut todo) = (HashSet::from([first.clone()]), VecDeque::from([first]));
    while let Some((state, now, permits)) = todo.pop_front() {
        let mut next: Vec<Node> = Vec::new();
        if now < END {
            next.push((state, now + 1, permits.clone()));
        }
        let (admitted, permit) = state.admit(rules, now);
        if let (Some(permit), true) = (permit, permits.len() < 3) {
            let mut with = permits.clone();
            with.push(permit);
            next.push((admitted, now, with));
        }
        for index in 0..permits.len() {
            let mut without = permits.clone();
            let permit = without.remove(index);
            for is_failure in [true, false] {
                next.push((state.after(permit, is_failure, rules, now), now, without.clone()));
            }
            next.push((state, now, without));
        }
        for (_, _, permits) in &mut next {
            permits.sort_by_key(|permit| format!("{permit:?}"));
        }
        todo.extend(next.into_iter().filter(|node| seen.insert(node.clone())));
    }
    seen.into_iter().collect()
}

fn every_node(mut check: impl FnMut(&routes::Breaker, &Node)) {
    for rules in [rules(1, 1), rules(1, 2), rules(2, 1), rules(3, 2)] {
        let nodes = reachable(&rules);
        assert!(nodes.len() > 100, "the walk saw only {} states", nodes.len());
        for node in &nodes {
            check(&rules, node);
        }
    }
}

#[test]
fn nothing_is_sent_while_it_is_open() {
    every_node(|rules, (state, now, _)| {
        if let State::Open { until } = state {
            let (_, permit) = state.admit(rules, *now);
            assert_eq!(permit.is_some(), now >= until, "{state:?} at {now}");
        }
    });
}

#[test]
fn a_round_has_no_more_probes_than_configured_and_closes_only_when_all_succeeded() {
    every_node(|rules, (state, now, permits)| {
        let State::HalfOpen { until, admitted, succeeded } = *state else { return };
        assert!(succeeded < rules.probes && admitted <= rules.probes && succeeded <= admitted);
        let out = permits.iter().filter(|p| **p == Permit::Probe { until }).count();
        assert!(u32::try_from(out).expect("few") + succeeded <= admitted, "{state:?}");
        let after = state.after(Permit::Probe { until }, false, rules, *now);
        let closes = after == State::Closed { failures: 0 };
        assert_eq!(closes, succeeded + 1 == rules.probes, "{state:?} -> {after:?}");
    });
}

#[test]
fn a_failed_probe_opens_it_again_for_the_whole_time() {
    every_node(|rules, (state, now, _)| {
        let State::HalfOpen { until, .. } = *state else { return };
        let after = state.after(Permit::Probe { until }, true, rules, *now);
        assert_eq!(after, State::Open { until: now + 2 });
    });
}

#[test]
fn an_end_that_comes_after_its_state_changes_nothing() {
    every_node(|rules, (state, now, permits)| {
        for permit in permits {
            let is_current = match (state, permit) {
                (State::Closed { .. }, Permit::Normal) => true,
                (State::HalfOpen { until, .. }, Permit::Probe { until: of }) => until == of,
                (State::Closed { .. } | State::Open { .. } | State::HalfOpen { .. }, _) => false,
            };
            if !is_current {
                assert_eq!(state.after(*permit, true, rules, *now), *state);
                assert_eq!(state.after(*permit, false, rules, *now), *state);
            }
        }
    });
}

#[test]
fn from_everywhere_it_closes_when_the_upstream_is_well_again() {
    every_node(|rules, (state, now, _)| {
        let (mut state, mut now) = (*state, *now);
        for _ in 0..20 {
            let (next, permit) = state.admit(rules, now);
            state = permit.map_or(next, |permit| next.after(permit, false, rules, now));
            now += 1;
        }
        assert_eq!(state, State::Closed { failures: 0 });
    });
}

#[test]
fn only_failures_in_a_row_open_it() {
    let rules = rules(3, 1);
    let breaker = Breaker::default();
    for is_failure in [true, true, false, true, true] {
        assert!(!breaker.record(Permit::Normal, is_failure, &rules, 0));
    }
    assert_eq!(breaker.state(), State::Closed { failures: 2 });
    assert!(breaker.record(Permit::Normal, true, &rules, 0));
    assert_eq!(breaker.admit(&rules, 1), None);
}

#[test]
fn every_state_survives_its_word() {
    every_node(|_, (state, _, _)| assert_eq!(State::from_word(state.to_word()), *state));
    let far = State::HalfOpen { until: (1 << 40) - 1, admitted: 1_000, succeeded: 999 };
    assert_eq!(State::from_word(far.to_word()), far);
    let many = State::Closed { failures: 10_000 };
    assert_eq!(State::from_word(many.to_word()), many);
}
