//! What can happen next. A proxy may send any write anywhere at any time: nothing that is published is
//! trusted, so a stale proxy needs no state of its own. A coordinator may act on anything that was ever
//! true. An applier's transaction may arrive at any time after it was read.

use cutover::{Epoch, GuardState, guard_rules};

use crate::state::{DETACHED, Guard, Record, SIDES, Side, State, Write, other};

/// One rule broken at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    None,
    NoTableLock,
    SnapshotGuard,
    ProxyOnlyGuard,
    ProxyRetry,
    LagHeuristic,
    PositionBeforeLock,
    NoProgressCas,
    NoApplyMode,
    NoOriginFilter,
    ExpireNoCas,
    OpenBeforeDecide,
    OpenNoEpoch,
    DecideNoEpoch,
    DecideNoState,
    LateReverseSlot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The first statement of a write reaches this side.
    Begin(u8, Side),
    /// A REPEATABLE READ transaction takes its snapshot there; its first write comes later.
    Snapshot(u8, Side),
    Execute(u8),
    Commit(u8),
    CommitWithoutAnswer(u8),
    Abort(u8),
    Retry(u8),
    Fence(Side),
    Expire(Side),
    /// The stream into this side applies the record at this position.
    Apply(Side, u8),
    Prepare(Side),
    /// With a belief that the other side is prepared for this epoch.
    Decide(Side, u8),
    /// With a belief that the other side was decided at this epoch.
    Open(Side, u8),
    Unprepare(Side),
    Capture,
    Attach(Side),
}

/// All steps worth trying in a state.
pub(crate) fn steps(state: &State, mutant: Mutant, writes: usize) -> Vec<Step> {
    let mut steps = Vec::with_capacity(32);
    let mut idle_seen = false;
    for (index, write) in state.writes.iter().enumerate().take(writes) {
        let id = u8::try_from(index).unwrap();
        match write {
            // writes are interchangeable while nobody has sent them
            Write::Idle if idle_seen => {}
            Write::Idle => {
                idle_seen = true;
                for side in SIDES {
                    steps.extend([Step::Begin(id, side), Step::Snapshot(id, side)]);
                }
            }
            Write::Snapshot(_) => steps.push(Step::Execute(id)),
            Write::InTransaction(_) => {
                steps.extend([Step::Commit(id), Step::Abort(id)]);
                if mutant == Mutant::ProxyRetry {
                    steps.push(Step::CommitWithoutAnswer(id));
                }
            }
            Write::Unknown if !state.retried => steps.push(Step::Retry(id)),
            Write::Unknown | Write::Acknowledged(_) | Write::Refused => {}
        }
    }
    if mutant == Mutant::PositionBeforeLock {
        steps.push(Step::Capture);
    }
    for side in SIDES {
        steps.extend([Step::Fence(side), Step::Expire(side), Step::Prepare(side)]);
        steps.extend([Step::Unprepare(side), Step::Attach(side)]);
        for epoch in
            1..=state.databases[side].guard.epoch.max(state.databases[other(side)].guard.epoch)
        {
            steps.extend([Step::Decide(side, epoch), Step::Open(side, epoch)]);
        }
        let position = state.databases[side].inbound.position;
        let oldest = if mutant == Mutant::NoProgressCas { 0 } else { position };
        if position != DETACHED {
            steps.extend((oldest..=position).map(|at| Step::Apply(side, at)));
        }
    }
    steps
}

/// The state after a step; `None` when it is refused, changes nothing or leaves the bounds.
pub(crate) fn after(before: &State, step: Step, mutant: Mutant, epoch_max: u8) -> Option<State> {
    let mut state = *before;
    match step {
        Step::Begin(id, side) => {
            let let_in = state.is_open(side) || mutant == Mutant::ProxyOnlyGuard && side == 0;
            let at = u8::try_from(side).unwrap();
            state.writes[usize::from(id)] =
                if let_in { Write::InTransaction(at) } else { Write::Refused };
        }
        Step::Snapshot(id, side) => {
            if !state.is_open(side) {
                return None;
            }
            state.writes[usize::from(id)] = Write::Snapshot(u8::try_from(side).unwrap());
        }
        Step::Execute(id) => execute(&mut state, id, mutant)?,
        Step::Commit(id) => commit(&mut state, id, true)?,
        Step::CommitWithoutAnswer(id) => commit(&mut state, id, false)?,
        Step::Abort(id) => state.writes[usize::from(id)] = Write::Refused,
        Step::Retry(id) => {
            state.writes[usize::from(id)] = Write::Idle;
            state.retried = true;
        }
        Step::Fence(side) => fence(&mut state, side, mutant)?,
        Step::Expire(side) => expire(&mut state, side, mutant)?,
        Step::Apply(side, position) => apply(&mut state, side, position, mutant)?,
        Step::Prepare(side) => prepare(&mut state, side, mutant)?,
        Step::Decide(side, epoch) => decide(&mut state, side, epoch, mutant)?,
        Step::Open(side, epoch) => open(&mut state, side, epoch, mutant)?,
        Step::Unprepare(side) => unprepare(&mut state, side)?,
        Step::Capture => state.early = Some(state.databases[0].wal.len()),
        Step::Attach(side) => {
            if state.databases[side].inbound.position != DETACHED {
                return None;
            }
            state.databases[side].inbound.position = state.databases[other(side)].wal.len();
        }
    }
    state.databases.iter_mut().for_each(crate::state::Database::remember);
    let in_bounds = state.databases.iter().all(|database| database.guard.epoch <= epoch_max);
    (in_bounds && state != *before).then_some(state)
}

fn execute(state: &mut State, id: u8, mutant: Mutant) -> Option<()> {
    let Write::Snapshot(side) = state.writes[usize::from(id)] else { return None };
    let let_in = state.is_open(usize::from(side)) || mutant == Mutant::SnapshotGuard;
    state.writes[usize::from(id)] =
        if let_in { Write::InTransaction(side) } else { Write::Refused };
    Some(())
}

fn commit(state: &mut State, id: u8, answered: bool) -> Option<()> {
    let Write::InTransaction(side) = state.writes[usize::from(id)] else { return None };
    state.databases[usize::from(side)].wal.push(Record::Write { id, replicated: false })?;
    state.writes[usize::from(id)] =
        if answered { Write::Acknowledged(side) } else { Write::Unknown };
    Some(())
}

/// Purely local: the old owner does not look at the other side.
fn fence(state: &mut State, side: Side, mutant: Mutant) -> Option<()> {
    if state.is_busy(side) && mutant != Mutant::NoTableLock {
        return None;
    }
    let database = &mut state.databases[side];
    let row = guard_rules::fence(database.guard.row(), database.guard.row().epoch).ok()?;
    database.guard = Guard::from_row(&row);
    database.wal.push(Record::Barrier(database.guard.epoch))
}

/// By anyone, at any time: whether a fence is overdue is up to the clock.
fn expire(state: &mut State, side: Side, mutant: Mutant) -> Option<()> {
    let guard = &mut state.databases[side].guard;
    if mutant == Mutant::ExpireNoCas && guard.state == GuardState::Moved && guard.epoch > 0 {
        *guard = Guard { state: GuardState::Open, epoch: guard.epoch + 1, ..*guard };
        return Some(());
    }
    *guard = Guard::from_row(&guard_rules::expire(guard.row(), guard.row().epoch, true).ok()?);
    if side == 0 {
        state.early = None;
    }
    Some(())
}

fn apply(state: &mut State, side: Side, position: u8, mutant: Mutant) -> Option<()> {
    let record = state.databases[other(side)].wal.get(position)?;
    let inbound = &mut state.databases[side].inbound;
    // the transaction's own check; its epoch is the present one, older ones fail by themselves
    if !inbound.applies && mutant != Mutant::NoApplyMode {
        return None;
    }
    if inbound.position != position && mutant != Mutant::NoProgressCas {
        return None;
    }
    inbound.position = inbound.position.max(position + 1);
    match record {
        Record::Barrier(epoch) => inbound.barrier_seen = epoch,
        Record::Write { replicated: true, .. } if mutant != Mutant::NoOriginFilter => {}
        Record::Write { id, .. } => {
            state.databases[side].wal.push(Record::Write { id, replicated: true })?;
        }
    }
    Some(())
}

fn prepare(state: &mut State, side: Side, mutant: Mutant) -> Option<()> {
    let fenced = state.databases[other(side)].guard;
    let early = state.early;
    let database = &mut state.databases[side];
    let mut seen = database.inbound;
    if mutant == Mutant::LagHeuristic && fenced.state == GuardState::Fenced {
        seen.barrier_seen = fenced.epoch;
    }
    if mutant == Mutant::PositionBeforeLock && side == 1 {
        if fenced.state != GuardState::Fenced || early.is_none_or(|early| seen.position < early) {
            return None;
        }
        seen.barrier_seen = fenced.epoch;
    }
    let epoch = seen.row().barrier_seen;
    let (row, inbound) = guard_rules::prepare(database.guard.row(), seen.row(), epoch).ok()?;
    database.guard = Guard::from_row(&row);
    database.inbound = database.inbound.with(&inbound);
    Some(())
}

fn decide(state: &mut State, side: Side, epoch: u8, mutant: Mutant) -> Option<()> {
    let believed = state.databases[other(side)].ever_prepared;
    let wanted =
        if mutant == Mutant::DecideNoEpoch { believed >> 1 } else { believed >> epoch & 1 };
    if wanted == 0 {
        return None;
    }
    let database = &mut state.databases[side];
    let mut row = database.guard.row();
    let epoch = Epoch(u64::from(epoch));
    if mutant == Mutant::DecideNoState && row.state == GuardState::Open && row.epoch == epoch.next()
    {
        row.state = GuardState::Fenced;
        row.epoch = epoch;
    }
    let (row, inbound) = guard_rules::decide(row, database.inbound.row(), epoch, epoch).ok()?;
    database.guard = Guard::from_row(&row);
    database.inbound = database.inbound.with(&inbound);
    if mutant == Mutant::LateReverseSlot {
        database.inbound.position = DETACHED;
    }
    Some(())
}

fn open(state: &mut State, side: Side, epoch: u8, mutant: Mutant) -> Option<()> {
    let old = state.databases[other(side)];
    let database = &mut state.databases[side];
    if mutant == Mutant::OpenNoEpoch {
        if database.guard.state != GuardState::Moved || old.ever_moved >> 1 == 0 {
            return None;
        }
        let epoch = database.guard.epoch.max(database.guard.prepared);
        database.guard = Guard { state: GuardState::Open, epoch, ..database.guard };
        return Some(());
    }
    let fenced = old.guard.state == GuardState::Fenced && old.guard.epoch == epoch;
    let early = mutant == Mutant::OpenBeforeDecide && fenced;
    if old.ever_moved >> epoch & 1 == 0 && !early {
        return None;
    }
    let epoch = Epoch(u64::from(epoch));
    database.guard = Guard::from_row(&guard_rules::open(database.guard.row(), epoch, epoch).ok()?);
    Some(())
}

/// An epoch never goes back, so an old proof is as good as a fresh one.
fn unprepare(state: &mut State, side: Side) -> Option<()> {
    let proof = state.databases[other(side)].guard.row().epoch;
    let database = &mut state.databases[side];
    let (row, inbound) = (database.guard.row(), database.inbound.row());
    let (row, inbound) = guard_rules::unprepare(row, inbound, row.prepared, proof).ok()?;
    database.guard = Guard::from_row(&row);
    database.inbound = database.inbound.with(&inbound);
    Some(())
}
