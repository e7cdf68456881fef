//! What the guard functions of `ficus.sql` do, as pure functions over one side's rows. The model
//! check and the simulation drive these; the database runs the SQL. Has no clock: whether a fence is
//! overdue is part of the row.

use crate::{Epoch, GuardPair, GuardRow, GuardState, Side};

/// The row of `ficus.apply` for the transfer stream that applies into a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InboundRow {
    /// Whether the stream may apply; checked in the transaction that writes the rows.
    pub applies: bool,
    /// Grows whenever the stream is stopped or armed, so that a zombie's transaction fails.
    pub epoch: Epoch,
    /// Epoch of the last barrier applied here; `Epoch::NONE` since the stream was last armed.
    pub barrier_seen: Epoch,
}

impl InboundRow {
    const fn stopped(self) -> Self {
        Self { applies: false, epoch: self.epoch.next(), barrier_seen: self.barrier_seen }
    }

    const fn armed(self) -> Self {
        Self { applies: true, epoch: self.epoch.next(), barrier_seen: Epoch::NONE }
    }
}

/// The guard is not in the state the call expects; nothing was changed (SQLSTATE FC002).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guard is {state:?}({epoch}), expected {expected}")]
pub struct Refused {
    /// State found.
    pub state: GuardState,
    /// Epoch found.
    pub epoch: Epoch,
    /// What the call needs.
    pub expected: &'static str,
}

const fn refused<T>(row: &GuardRow, expected: &'static str) -> Result<T, Refused> {
    Err(Refused { state: row.state, epoch: row.epoch, expected })
}

/// OPEN(`expected`) → FENCED(`expected` + 1) on the old owner.
///
/// # Errors
/// When the guard is not open at that epoch.
pub fn fence(row: GuardRow, expected: Epoch) -> Result<GuardRow, Refused> {
    if row.state == GuardState::Fenced && row.epoch == expected.next() {
        return Ok(row);
    }
    if row.state != GuardState::Open || row.epoch != expected {
        return refused(&row, "OPEN at the expected epoch");
    }
    Ok(GuardRow { state: GuardState::Fenced, epoch: expected.next(), overdue: false, ..row })
}

/// FENCED(`epoch`) → OPEN(`epoch` + 1), by anyone once overdue, before that only with `force`.
///
/// # Errors
/// When the fence was decided, was expired already at another epoch, or is not overdue.
pub fn expire(row: GuardRow, epoch: Epoch, force: bool) -> Result<GuardRow, Refused> {
    if row.state == GuardState::Open && row.epoch == epoch.next() {
        return Ok(row);
    }
    if row.state != GuardState::Fenced || row.epoch != epoch {
        return refused(&row, "FENCED at the expected epoch");
    }
    if !force && !row.overdue {
        return refused(&row, "a fence past its deadline");
    }
    Ok(GuardRow { state: GuardState::Open, epoch: epoch.next(), overdue: false, ..row })
}

/// On the new owner: stops the inbound stream, which has applied the barrier of `epoch`.
///
/// # Errors
/// When the barrier was not applied here or this side is not closed and unprepared.
pub fn prepare(
    row: GuardRow,
    inbound: InboundRow,
    epoch: Epoch,
) -> Result<(GuardRow, InboundRow), Refused> {
    if row.state == GuardState::Moved && row.prepared == epoch {
        return Ok((row, inbound));
    }
    if row.state != GuardState::Moved || row.prepared != Epoch::NONE || row.epoch >= epoch {
        return refused(&row, "MOVED at an earlier epoch, prepared for nothing");
    }
    if !inbound.applies || inbound.barrier_seen != epoch {
        return refused(&row, "the barrier of this epoch applied by the inbound stream");
    }
    Ok((GuardRow { prepared: epoch, ..row }, inbound.stopped()))
}

/// On the new owner after an abort; `proof` is an epoch of the old owner past `epoch`.
///
/// # Errors
/// Without proof, or when this side is prepared for another epoch.
pub fn unprepare(
    row: GuardRow,
    inbound: InboundRow,
    epoch: Epoch,
    proof: Epoch,
) -> Result<(GuardRow, InboundRow), Refused> {
    if row.state == GuardState::Moved && row.prepared == Epoch::NONE {
        return Ok((row, inbound));
    }
    if row.state != GuardState::Moved || row.prepared != epoch || proof <= epoch {
        return refused(&row, "MOVED, prepared for this epoch, with proof of a later one");
    }
    Ok((GuardRow { prepared: Epoch::NONE, ..row }, inbound.armed()))
}

/// The point of no return on the old owner: FENCED(`epoch`) → MOVED(`epoch`). `prepared` is what the
/// caller read on the new owner. Arms the inbound stream that brings the new owner's writes back.
///
/// # Errors
/// When it is too late or the new owner is not prepared for this epoch.
pub fn decide(
    row: GuardRow,
    inbound: InboundRow,
    epoch: Epoch,
    prepared: Epoch,
) -> Result<(GuardRow, InboundRow), Refused> {
    if row.state == GuardState::Moved && row.epoch == epoch {
        return Ok((row, inbound));
    }
    if row.state != GuardState::Fenced || row.epoch != epoch || prepared != epoch {
        return refused(&row, "FENCED at this epoch and the new owner prepared for it");
    }
    if row.overdue {
        return refused(&row, "a fence before its deadline");
    }
    let decided =
        GuardRow { state: GuardState::Moved, prepared: Epoch::NONE, overdue: false, ..row };
    Ok((decided, inbound.armed()))
}

/// On the new owner: MOVED → OPEN(`epoch`). `decided` is the epoch at which the caller read the old
/// owner MOVED.
///
/// # Errors
/// When this side is not prepared for the epoch or it was not decided.
pub fn open(row: GuardRow, epoch: Epoch, decided: Epoch) -> Result<GuardRow, Refused> {
    if row.state == GuardState::Open && row.epoch == epoch {
        return Ok(row);
    }
    if row.state != GuardState::Moved
        || row.epoch >= epoch
        || row.prepared != epoch
        || decided != epoch
    {
        return refused(&row, "MOVED, prepared for this epoch, which was decided");
    }
    Ok(GuardRow { state: GuardState::Open, epoch, overdue: false, ..row })
}

/// The one thing left to do on a pair of guards that nobody is working on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Call `expire` on this side.
    Expire {
        /// The fenced side.
        side: Side,
        /// The fence's epoch.
        epoch: Epoch,
    },
    /// Call `open` on this side: the other one has decided.
    Open {
        /// The prepared side.
        side: Side,
        /// The decided epoch.
        epoch: Epoch,
    },
    /// Call `unprepare` on this side: the transfer it was prepared for was aborted.
    Unprepare {
        /// The prepared side.
        side: Side,
        /// The epoch it was prepared for.
        epoch: Epoch,
        /// The other side's later epoch.
        proof: Epoch,
    },
}

/// What anyone may do to end a transfer that nobody is working on; `None` when one side is open and
/// nothing is left over. With `abandoned` a fence counts as expired before its deadline: only for the
/// leader that knows no transfer is running.
#[must_use]
pub fn repair(pair: &GuardPair, abandoned: bool) -> Option<Repair> {
    repair_side(pair, Side::Source, abandoned)
        .or_else(|| repair_side(pair, Side::Target, abandoned))
}

fn repair_side(pair: &GuardPair, side: Side, abandoned: bool) -> Option<Repair> {
    let (row, other) = (pair.side(side), pair.side(side.other()));
    match row.state {
        GuardState::Fenced if row.overdue || abandoned => {
            Some(Repair::Expire { side, epoch: row.epoch })
        }
        GuardState::Moved if row.prepared != Epoch::NONE => {
            let epoch = row.prepared;
            if other.state == GuardState::Moved && other.epoch == epoch {
                Some(Repair::Open { side, epoch })
            } else if other.epoch > epoch {
                Some(Repair::Unprepare { side, epoch, proof: other.epoch })
            } else {
                None
            }
        }
        GuardState::Open | GuardState::Fenced | GuardState::Moved => None,
    }
}

#[cfg(test)]
mod tests;
