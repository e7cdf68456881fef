//! A coordinator that comes back with any journaled state, on any reachable pair of guards: the machine's
//! own actions must end with exactly one side open.

use cutover::{
    Action, Direction, Epoch, Event, GuardPair, GuardState, Ownership, State as Machine,
    guard_rules::{self, InboundRow},
    recover, step,
};

use crate::state::State;

/// More steps than any way out needs.
const STEPS_MAX: usize = 12;

pub(crate) fn ends_with_one_open(state: &State) -> bool {
    [Direction::Forward, Direction::Back].into_iter().all(|direction| {
        let pair = state.pair();
        let epoch = pair.side(direction.old_owner()).epoch;
        let journaled = [
            Machine::Fencing { from: Epoch(epoch.0.saturating_sub(1)), attempt: 1 },
            Machine::Deciding { epoch },
            Machine::Aborting { reason: String::new() },
        ];
        journaled.iter().all(|machine| ends(direction, machine, state))
    })
}

fn ends(direction: Direction, machine: &Machine, state: &State) -> bool {
    let mut pair = state.pair();
    // a transfer the other way that is under way ends by its own coordinator, or by repair
    if !is_ours(direction, &pair) {
        return true;
    }
    let [source, target] = state.databases.map(|database| database.inbound.row());
    let mut inbound = match direction.new_owner() {
        cutover::Side::Source => source,
        cutover::Side::Target => target,
    };
    let (mut machine, mut actions) = recover(direction, machine, &pair);
    for _step in 0..STEPS_MAX {
        let Some(action) = actions.first().cloned() else {
            return machine.is_finished() && matches!(pair.ownership(), Ownership::Owned { .. });
        };
        let event = carried_out(direction, &action, &mut pair, &mut inbound);
        let Ok(next) = step(&machine, event) else { return false };
        (machine, actions) = next;
    }
    false
}

/// Whether the guards are in a place this direction's transfer can have left them in.
fn is_ours(direction: Direction, pair: &GuardPair) -> bool {
    let (old, new) = (pair.side(direction.old_owner()), pair.side(direction.new_owner()));
    match (old.state, new.state) {
        (GuardState::Open | GuardState::Fenced, _) => new.state == GuardState::Moved,
        (GuardState::Moved, GuardState::Moved) => {
            new.prepared == old.epoch && old.epoch != Epoch::NONE
        }
        (GuardState::Moved, GuardState::Open) => true,
        (GuardState::Moved, GuardState::Fenced) => false,
    }
}

fn carried_out(
    direction: Direction,
    action: &Action,
    pair: &mut GuardPair,
    inbound: &mut InboundRow,
) -> Event {
    let (old, new) = match direction {
        Direction::Forward => (&mut pair.source, &mut pair.target),
        Direction::Back => (&mut pair.target, &mut pair.source),
    };
    let refused = |error: guard_rules::Refused| Event::Failed { reason: error.to_string() };
    match *action {
        Action::Observe => Event::Observed { old: *old, new: *new },
        Action::Expire { epoch } => match guard_rules::expire(*old, epoch, true) {
            Ok(row) => {
                *old = row;
                Event::Expired { epoch: row.epoch }
            }
            Err(error) => refused(error),
        },
        Action::Unprepare { epoch, proof } => {
            match guard_rules::unprepare(*new, *inbound, epoch, proof) {
                Ok(rows) => {
                    (*new, *inbound) = rows;
                    Event::Unprepared
                }
                Err(error) => refused(error),
            }
        }
        Action::Open { epoch } => match guard_rules::open(*new, epoch, old.epoch) {
            Ok(row) => {
                *new = row;
                Event::Opened { epoch: row.epoch }
            }
            Err(error) => refused(error),
        },
        Action::PublishOwner { .. } => Event::Published,
        Action::Release => Event::Released,
        Action::RunPreflight
        | Action::AttachReverse
        | Action::PublishHold
        | Action::Fence { .. }
        | Action::AwaitBarrier { .. }
        | Action::VerifyDirty
        | Action::Prepare { .. }
        | Action::Decide { .. } => panic!("a recovering coordinator must not {}", action.as_str()),
    }
}
