//! Breadth first over all states within the bounds, with the invariants and what must be reachable.

use std::collections::HashMap;

use cutover::{
    GuardState, Ownership,
    guard_rules::{self, Repair, repair},
};

use crate::{
    model::{Mutant, Step, after, steps},
    recovery,
    state::{Record, SIDES, State, Write, other},
};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) writes: usize,
    pub(crate) epoch_max: u8,
    pub(crate) states_max: usize,
}

/// What must be possible, so that the invariants do not hold merely because nothing happens.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reached {
    acknowledged_at_target: bool,
    rolled_back_with_a_write: bool,
    cut_after_an_expiry: bool,
    cut_again_after_a_rollback: bool,
}

#[derive(Debug)]
pub(crate) struct Verdict {
    /// The invariant and the shortest way there.
    pub(crate) violation: Option<String>,
    pub(crate) reached: Reached,
    pub(crate) states: usize,
    pub(crate) depth: usize,
    /// Every state within the bounds was visited.
    pub(crate) complete: bool,
}

struct Node {
    state: State,
    parent: u32,
    step: Option<Step>,
}

/// Looks for broken invariants, and, with `liveness`, for states that nobody can end.
pub(crate) fn search(mutant: Mutant, bounds: Bounds, liveness: bool) -> Verdict {
    let first = Node { state: State::first(), parent: 0, step: None };
    let mut known: HashMap<State, ()> = HashMap::from([(first.state, ())]);
    let mut nodes = vec![first];
    let mut verdict = Verdict {
        violation: None,
        reached: Reached::default(),
        states: 1,
        depth: 0,
        complete: true,
    };
    let (mut next, mut level_end) = (0, 1);
    while next < nodes.len() {
        if next == level_end {
            verdict.depth += 1;
            level_end = nodes.len();
        }
        let state = nodes[next].state;
        verdict.reached.see(&state);
        let lives = || liveness.then(|| broken_liveness(&state)).flatten();
        if let Some(broken) = broken_invariant(&state).or_else(lives) {
            verdict.violation =
                Some(format!("{broken} after {:?} in {state:?}", way(&nodes, next)));
            break;
        }
        for step in steps(&state, mutant, bounds.writes) {
            let Some(new) = after(&state, step, mutant, bounds.epoch_max) else { continue };
            if known.insert(new, ()).is_none() {
                let parent = u32::try_from(next).unwrap();
                nodes.push(Node { state: new, parent, step: Some(step) });
            }
        }
        if nodes.len() > bounds.states_max {
            verdict.complete = false;
            break;
        }
        next += 1;
    }
    verdict.states = nodes.len();
    verdict
}

fn way(nodes: &[Node], mut index: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    while let Some(step) = nodes[index].step {
        steps.push(step);
        index = usize::try_from(nodes[index].parent).unwrap();
    }
    steps.reverse();
    steps
}

fn broken_invariant(state: &State) -> Option<&'static str> {
    if SIDES.iter().all(|side| state.is_open(*side)) {
        return Some("I1 both sides are open");
    }
    let ids = || (0..).take(state.writes.len());
    for side in SIDES {
        let (here, there) = (&state.databases[side].wal, &state.databases[other(side)].wal);
        if state.is_open(side) && ids().any(|id| there.own(id) > 0 && here.count(id) == 0) {
            return Some("I2/I3 the open side lacks a commit of the other");
        }
        if ids().any(|id| here.count(id) > 1) {
            return Some("I4 a write was applied twice on a side");
        }
    }
    let [source, target] = &state.databases;
    if ids().any(|id| source.wal.own(id) + target.wal.own(id) > 1) {
        return Some("I5 a write was executed twice");
    }
    for (write, id) in state.writes.iter().zip(ids()) {
        if *write == Write::Refused && source.wal.count(id) + target.wal.count(id) > 0 {
            return Some("I6 a refused write is somewhere");
        }
    }
    if SIDES.iter().any(|side| !can_drain(state, *side)) {
        return Some("I7 the barrier of a standing fence was neither seen nor lies ahead");
    }
    None
}

/// While the other side is fenced and this one applies, draining must be able to end.
fn can_drain(state: &State, side: usize) -> bool {
    let (here, there) = (&state.databases[side], &state.databases[other(side)]);
    let epoch = there.guard.epoch;
    let waits = there.guard.state == GuardState::Fenced
        && here.guard.state == GuardState::Moved
        && here.guard.prepared == 0
        && here.inbound.applies;
    let ahead = || {
        let rest = there.wal.iter().skip(usize::from(here.inbound.position));
        rest.into_iter().any(|record| record == Record::Barrier(epoch))
    };
    !waits || here.inbound.barrier_seen == epoch || ahead()
}

fn broken_liveness(state: &State) -> Option<&'static str> {
    if !ends_with_one_open(state) {
        return Some("liveness: nobody can end this with exactly one side open");
    }
    if !recovery::ends_with_one_open(state) {
        return Some("liveness: a coordinator that comes back does not end this");
    }
    None
}

/// Whoever comes by may repair: that alone must end every transfer.
fn ends_with_one_open(state: &State) -> bool {
    let mut pair = state.pair();
    let [mut source, mut target] = state.databases.map(|database| database.inbound.row());
    for _attempt in 0..6 {
        let Some(found) = repair(&pair, true) else {
            return matches!(pair.ownership(), Ownership::Owned { .. });
        };
        let side = match found {
            Repair::Expire { side, .. }
            | Repair::Open { side, .. }
            | Repair::Unprepare { side, .. } => side,
        };
        let (row, inbound) = match side {
            cutover::Side::Source => (&mut pair.source, &mut source),
            cutover::Side::Target => (&mut pair.target, &mut target),
        };
        let repaired = match found {
            Repair::Expire { epoch, .. } => guard_rules::expire(*row, epoch, true),
            Repair::Open { epoch, .. } => guard_rules::open(*row, epoch, epoch),
            Repair::Unprepare { epoch, proof, .. } => {
                guard_rules::unprepare(*row, *inbound, epoch, proof).map(|(row, armed)| {
                    *inbound = armed;
                    row
                })
            }
        };
        let Ok(repaired) = repaired else { return false };
        *row = repaired;
    }
    false
}

impl Reached {
    fn see(&mut self, state: &State) {
        let [source, target] = &state.databases;
        let barriers = |wal: &crate::state::Wal| {
            wal.iter().filter(|record| matches!(record, Record::Barrier(_))).count()
        };
        self.acknowledged_at_target |= state.writes.contains(&Write::Acknowledged(1));
        let replicated = |record| matches!(record, Record::Write { replicated: true, .. });
        self.rolled_back_with_a_write |= state.is_open(0) && source.wal.iter().any(replicated);
        let target_open = target.guard.state == GuardState::Open;
        self.cut_after_an_expiry |= target_open && barriers(&source.wal) >= 2;
        self.cut_again_after_a_rollback |=
            target_open && barriers(&target.wal) >= 1 && barriers(&source.wal) >= 2;
    }

    pub(crate) fn missing(self) -> Vec<&'static str> {
        [
            (self.acknowledged_at_target, "a write acknowledged at the target"),
            (self.rolled_back_with_a_write, "a rollback that carries a write back"),
            (self.cut_after_an_expiry, "a cutover after an expired fence"),
            (self.cut_again_after_a_rollback, "a second cutover after a rollback"),
        ]
        .into_iter()
        .filter_map(|(reached, name)| (!reached).then_some(name))
        .collect()
    }
}
