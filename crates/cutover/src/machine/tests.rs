//! The whole table: every state with every event.

use super::{Action, Event, State, recover, step};
use crate::{Direction, Epoch, GuardPair, GuardRow, GuardState};

const FROM: Epoch = Epoch(4);
const FENCE: Epoch = Epoch(5);

fn row(state: GuardState, epoch: Epoch, prepared: Epoch) -> GuardRow {
    GuardRow { state, epoch, prepared, overdue: false }
}

fn undecided() -> Vec<State> {
    vec![
        State::Preflight,
        State::AttachingReverse { from: FROM },
        State::Holding { from: FROM },
        State::Fencing { from: FROM, attempt: 1 },
        State::Fencing { from: FROM, attempt: 5 },
        State::Draining { epoch: FENCE },
        State::Verifying { epoch: FENCE },
        State::Preparing { epoch: FENCE },
        State::Deciding { epoch: FENCE },
    ]
}

fn states() -> Vec<State> {
    let mut all = undecided();
    all.extend([
        State::Opening { epoch: FENCE },
        State::Releasing { epoch: FENCE },
        State::Done { epoch: FENCE },
        State::Aborting { reason: "why".to_owned() },
        State::Aborted { reason: "why".to_owned() },
    ]);
    all
}

fn guard_rows() -> Vec<GuardRow> {
    let mut rows = Vec::new();
    for state in [GuardState::Open, GuardState::Fenced, GuardState::Moved] {
        for epoch in [Epoch::NONE, FROM, FENCE, FENCE.next()] {
            for prepared in [Epoch::NONE, FROM, FENCE] {
                rows.push(row(state, epoch, prepared));
            }
        }
    }
    rows
}

fn events() -> Vec<Event> {
    let reason = || "why".to_owned();
    let mut all = vec![
        Event::PreflightPassed { epoch: FROM },
        Event::PreflightRefused { findings: vec![reason()] },
        Event::ReverseAttached,
        Event::Held { silent: 0 },
        Event::FenceBlocked { blockers: reason() },
        Event::Verified { rows: 1 },
        Event::Differs { differences: 1, samples: vec![reason()] },
        Event::Published,
        Event::Unprepared,
        Event::Released,
        Event::Failed { reason: reason() },
        Event::Cancelled { reason: reason() },
    ];
    for epoch in [FROM, FENCE, FENCE.next()] {
        all.extend([
            Event::Fenced { epoch },
            Event::BarrierApplied { epoch },
            Event::Prepared { epoch },
            Event::Decided { epoch },
            Event::Opened { epoch },
            Event::Expired { epoch },
        ]);
    }
    for old in guard_rows() {
        all.extend(guard_rows().into_iter().map(|new| Event::Observed { old, new }));
    }
    all
}

/// The events that mean success in a state, and where they lead.
fn success(state: &State) -> Option<(Event, State)> {
    let epoch = FENCE;
    match state {
        State::Preflight => {
            Some((Event::PreflightPassed { epoch: FROM }, State::AttachingReverse { from: FROM }))
        }
        State::AttachingReverse { from } => {
            Some((Event::ReverseAttached, State::Holding { from: *from }))
        }
        State::Holding { from } => {
            Some((Event::Held { silent: 1 }, State::Fencing { from: *from, attempt: 1 }))
        }
        State::Fencing { .. } => Some((Event::Fenced { epoch }, State::Draining { epoch })),
        State::Draining { .. } => {
            Some((Event::BarrierApplied { epoch }, State::Verifying { epoch }))
        }
        State::Verifying { .. } => Some((Event::Verified { rows: 3 }, State::Preparing { epoch })),
        State::Preparing { .. } => Some((Event::Prepared { epoch }, State::Deciding { epoch })),
        State::Deciding { .. } => Some((Event::Decided { epoch }, State::Opening { epoch })),
        State::Opening { .. } => Some((Event::Opened { epoch }, State::Releasing { epoch })),
        State::Releasing { .. } => Some((Event::Published, State::Done { epoch })),
        State::Aborting { reason } => {
            Some((Event::Released, State::Aborted { reason: reason.clone() }))
        }
        State::Done { .. } | State::Aborted { .. } => None,
    }
}

#[test]
fn each_success_leads_to_the_next_step_and_its_own_action() {
    for state in states() {
        let Some((event, next)) = success(&state) else { continue };
        let actions = next.entry_actions();
        assert_eq!(step(&state, event), Ok((next, actions)), "from {}", state.as_str());
    }
}

#[test]
fn before_the_decision_every_failure_and_every_cancellation_aborts() {
    for state in undecided() {
        for event in [
            Event::Failed { reason: "lost".to_owned() },
            Event::Cancelled { reason: "lost".to_owned() },
        ] {
            let (next, actions) = step(&state, event).unwrap();
            assert!(
                matches!(&next, State::Aborted { reason } | State::Aborting { reason } if reason == "lost"),
                "{} leads to {}",
                state.as_str(),
                next.as_str()
            );
            let looks_first = matches!(actions.as_slice(), [Action::Observe]);
            let may_have_fenced = !matches!(
                state,
                State::Preflight | State::AttachingReverse { .. } | State::Holding { .. }
            );
            assert_eq!(looks_first, may_have_fenced, "in {}", state.as_str());
        }
    }
}

#[test]
fn after_the_decision_nothing_leads_back() {
    let harmful = |action: &Action| {
        matches!(action, Action::Expire { .. } | Action::Unprepare { .. } | Action::Release)
    };
    for state in [State::Opening { epoch: FENCE }, State::Releasing { epoch: FENCE }] {
        for event in events() {
            let Ok((next, actions)) = step(&state, event.clone()) else { continue };
            assert!(
                next.is_decided(),
                "{} leads {} to {}",
                event.as_str(),
                state.as_str(),
                next.as_str()
            );
            assert!(!actions.iter().any(harmful), "{actions:?}");
        }
    }
}

#[test]
fn only_a_decision_that_was_seen_leads_to_opening() {
    for state in states() {
        for event in events() {
            let Ok((next, actions)) = step(&state, event.clone()) else { continue };
            let opens = actions.iter().any(|action| matches!(action, Action::Open { .. }));
            let seen = matches!(&event, Event::Decided { .. })
                || matches!(&event, Event::Observed { old, new }
                    if old.state == GuardState::Moved && new.prepared == old.epoch)
                || state.is_decided();
            assert!(!opens || seen, "{} in {}", event.as_str(), state.as_str());
            assert!(
                !next.is_decided()
                    || seen
                    || matches!(&event, Event::Observed { old, new }
                    if old.state == GuardState::Moved && new.state != GuardState::Moved)
            );
        }
    }
}

#[test]
fn an_answer_for_another_epoch_is_never_a_reason_to_go_on() {
    let other = FENCE.next();
    for (state, event) in [
        (State::Fencing { from: FROM, attempt: 1 }, Event::Fenced { epoch: other }),
        (State::Draining { epoch: FENCE }, Event::BarrierApplied { epoch: other }),
        (State::Preparing { epoch: FENCE }, Event::Prepared { epoch: other }),
        (State::Deciding { epoch: FENCE }, Event::Decided { epoch: other }),
    ] {
        let (next, actions) = step(&state, event).unwrap();
        assert!(matches!(next, State::Aborting { .. }), "{}", next.as_str());
        assert_eq!(actions, [Action::Observe]);
    }
}

#[test]
fn a_blocked_fence_is_tried_five_times_and_then_only_released() {
    let mut state = State::Fencing { from: FROM, attempt: 1 };
    for attempt in 2..=5 {
        let blocked = Event::FenceBlocked { blockers: "pid 7".to_owned() };
        let (next, actions) = step(&state, blocked).unwrap();
        assert_eq!(next, State::Fencing { from: FROM, attempt });
        assert_eq!(actions, [Action::Fence { expected: FROM }]);
        state = next;
    }
    let (next, actions) =
        step(&state, Event::FenceBlocked { blockers: "pid 7".to_owned() }).unwrap();
    assert!(matches!(&next, State::Aborting { reason } if reason.contains("pid 7")));
    assert_eq!(actions, [Action::Release]);
}

#[test]
fn finished_states_take_no_event_but_an_observation_which_changes_nothing() {
    for state in states().into_iter().filter(State::is_finished) {
        for event in events() {
            if matches!(event, Event::Observed { .. }) {
                assert_eq!(step(&state, event), Ok((state.clone(), Vec::new())));
            } else {
                assert!(step(&state, event).is_err());
            }
        }
    }
}

#[test]
fn whatever_is_not_finished_always_has_something_to_do() {
    for state in states() {
        for event in events() {
            if let Ok((next, actions)) = step(&state, event) {
                assert_eq!(actions.is_empty(), next.is_finished(), "{}", next.as_str());
            }
        }
    }
}

#[test]
fn a_restarted_coordinator_aborts_before_the_decision_and_finishes_after_it() {
    let closed = row(GuardState::Moved, Epoch::NONE, Epoch::NONE);
    let prepared = row(GuardState::Moved, Epoch::NONE, FENCE);
    let opened = row(GuardState::Open, FENCE, FENCE);
    let fenced = row(GuardState::Fenced, FENCE, Epoch::NONE);
    let moved = row(GuardState::Moved, FENCE, Epoch::NONE);
    let expired = row(GuardState::Open, FENCE.next(), Epoch::NONE);
    let untouched = row(GuardState::Open, FROM, Epoch::NONE);
    let expire = Action::Expire { epoch: FENCE };
    let unprepare = Action::Unprepare { epoch: FENCE, proof: FENCE.next() };
    let open = Action::Open { epoch: FENCE };
    let publish = Action::PublishOwner { epoch: FENCE };
    for (source, target, wanted) in [
        (untouched, closed, Action::Release),
        (fenced, closed, expire.clone()),
        (fenced, prepared, expire),
        (expired, closed, Action::Release),
        (expired, prepared, unprepare),
        (moved, prepared, open),
        (moved, opened, publish),
    ] {
        for state in undecided().split_off(2) {
            let seen = recover(Direction::Forward, &state, &GuardPair { source, target });
            assert_eq!(seen.1, std::slice::from_ref(&wanted), "from {}", state.as_str());
            // the same the other way round: only the sides are swapped
            let mirrored = GuardPair { source: target, target: source };
            assert_eq!(recover(Direction::Back, &state, &mirrored), seen);
        }
    }
}

#[test]
fn every_state_survives_the_journal() {
    for state in states() {
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    }
}
