//! Following the guards: what a pair of guard rows means for a transfer, whoever brought it about.

use super::{Action, State, Transition, enter, release};
use crate::{Direction, Epoch, GuardPair, GuardRow, GuardState};

/// What a coordinator that comes back does, from the journaled state and the guards as they are now:
/// before the decision it aborts, after it it rolls forward, and when somebody else expired the fence
/// or opened the new owner meanwhile it follows. Never guesses: the guards decide.
#[must_use]
pub fn recover(direction: Direction, state: &State, observed: &GuardPair) -> Transition {
    follow(state, observed.side(direction.old_owner()), observed.side(direction.new_owner()))
}

pub(super) fn follow(state: &State, old: &GuardRow, new: &GuardRow) -> Transition {
    match state {
        State::Done { .. } | State::Aborted { .. } => (state.clone(), Vec::new()),
        // nothing was fenced and nothing was published yet
        State::Preflight | State::AttachingReverse { .. } => {
            enter(State::Aborted { reason: interrupted(state) })
        }
        State::Holding { .. }
        | State::Fencing { .. }
        | State::Draining { .. }
        | State::Verifying { .. }
        | State::Preparing { .. }
        | State::Deciding { .. } => by_guards(interrupted(state), old, new),
        State::Aborting { reason } => by_guards(reason.clone(), old, new),
        State::Opening { epoch } | State::Releasing { epoch } => decided(*epoch, old, new),
    }
}

fn interrupted(state: &State) -> String {
    format!("the coordinator was interrupted while {}", state.as_str())
}

fn by_guards(reason: String, old: &GuardRow, new: &GuardRow) -> Transition {
    match (old.state, new.state) {
        (GuardState::Moved, GuardState::Open | GuardState::Fenced) => {
            enter(State::Releasing { epoch: new.epoch })
        }
        (GuardState::Moved, GuardState::Moved)
            if new.prepared == old.epoch && old.epoch != Epoch::NONE =>
        {
            enter(State::Opening { epoch: old.epoch })
        }
        (GuardState::Fenced, GuardState::Moved | GuardState::Fenced | GuardState::Open) => {
            (State::Aborting { reason }, vec![Action::Expire { epoch: old.epoch }])
        }
        (GuardState::Open, GuardState::Moved)
            if new.prepared != Epoch::NONE && new.prepared < old.epoch =>
        {
            let unprepare = Action::Unprepare { epoch: new.prepared, proof: old.epoch };
            (State::Aborting { reason }, vec![unprepare])
        }
        // The old owner serves, or a later transfer the other way is under way: nothing of ours is left.
        (GuardState::Open | GuardState::Moved, GuardState::Moved)
        | (GuardState::Open, GuardState::Open | GuardState::Fenced) => release(reason),
    }
}

/// The decision was seen once, so the guards can only show it, its opening, or what came later.
fn decided(epoch: Epoch, old: &GuardRow, new: &GuardRow) -> Transition {
    match (old.state, new.state) {
        (GuardState::Moved, GuardState::Moved) if new.prepared == epoch => {
            enter(State::Opening { epoch })
        }
        (GuardState::Moved, GuardState::Open) => enter(State::Releasing { epoch: new.epoch }),
        (GuardState::Moved, GuardState::Moved | GuardState::Fenced)
        | (
            GuardState::Open | GuardState::Fenced,
            GuardState::Open | GuardState::Fenced | GuardState::Moved,
        ) => (State::Done { epoch }, Vec::new()),
    }
}
