//! One state of the model, small enough for millions of them.

use cutover::{Epoch, GuardPair, GuardRow, GuardState, guard_rules::InboundRow};

pub(crate) const WRITES_MAX: usize = 3;
const WAL_MAX: usize = 16;
/// The stream has no position yet; only a mutant gets there.
pub(crate) const DETACHED: u8 = u8::MAX;

/// Index of a side: 0 is the monolith.
pub(crate) type Side = usize;
pub(crate) const SIDES: [Side; 2] = [0, 1];

pub(crate) const fn other(side: Side) -> Side {
    1 - side
}

/// A record of the WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Record {
    Write { id: u8, replicated: bool },
    Barrier(u8),
}

/// Records in order; unused places hold the same filler, so that equal logs are equal values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Wal {
    len: u8,
    records: [Record; WAL_MAX],
}

impl Wal {
    const EMPTY: Self = Self { len: 0, records: [Record::Barrier(0); WAL_MAX] };

    pub(crate) const fn len(&self) -> u8 {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Record> {
        self.records.iter().take(usize::from(self.len)).copied()
    }

    pub(crate) fn get(&self, position: u8) -> Option<Record> {
        self.iter().nth(usize::from(position))
    }

    /// `None` when the bound is reached.
    pub(crate) fn push(&mut self, record: Record) -> Option<()> {
        *self.records.get_mut(usize::from(self.len))? = record;
        self.len += 1;
        Some(())
    }

    pub(crate) fn count(&self, id: u8) -> usize {
        self.iter()
            .filter(|record| matches!(record, Record::Write { id: i, .. } if *i == id))
            .count()
    }

    pub(crate) fn own(&self, id: u8) -> usize {
        self.iter().filter(|record| *record == Record::Write { id, replicated: false }).count()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Guard {
    pub(crate) state: GuardState,
    pub(crate) epoch: u8,
    pub(crate) prepared: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Inbound {
    pub(crate) applies: bool,
    pub(crate) epoch: u8,
    pub(crate) barrier_seen: u8,
    pub(crate) position: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Database {
    pub(crate) guard: Guard,
    pub(crate) inbound: Inbound,
    pub(crate) wal: Wal,
    /// Epochs this side was ever prepared for, and ever decided at, as bits: anything that was once
    /// true may still be believed by somebody.
    pub(crate) ever_prepared: u16,
    pub(crate) ever_moved: u16,
}

/// A client's write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Write {
    Idle,
    /// A transaction that took its snapshot while the side was open, and touches the table later.
    Snapshot(u8),
    /// It has written, and holds its table lock to the end.
    InTransaction(u8),
    Acknowledged(u8),
    Unknown,
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) databases: [Database; 2],
    pub(crate) writes: [Write; WRITES_MAX],
    /// For mutants: a position read before the lock, and whether a proxy has retried.
    pub(crate) early: Option<u8>,
    pub(crate) retried: bool,
}

fn small(epoch: Epoch) -> u8 {
    u8::try_from(epoch.0).unwrap()
}

impl Guard {
    pub(crate) fn row(self) -> GuardRow {
        GuardRow {
            state: self.state,
            epoch: Epoch(u64::from(self.epoch)),
            prepared: Epoch(u64::from(self.prepared)),
            overdue: false,
        }
    }

    pub(crate) fn from_row(row: &GuardRow) -> Self {
        Self { state: row.state, epoch: small(row.epoch), prepared: small(row.prepared) }
    }
}

impl Inbound {
    pub(crate) fn row(self) -> InboundRow {
        InboundRow {
            applies: self.applies,
            epoch: Epoch(u64::from(self.epoch)),
            barrier_seen: Epoch(u64::from(self.barrier_seen)),
        }
    }

    pub(crate) fn with(self, row: &InboundRow) -> Self {
        Self {
            applies: row.applies,
            epoch: small(row.epoch),
            barrier_seen: small(row.barrier_seen),
            position: self.position,
        }
    }
}

impl Database {
    const fn new(state: GuardState, epoch: u8, applies: bool) -> Self {
        Self {
            guard: Guard { state, epoch, prepared: 0 },
            inbound: Inbound { applies, epoch: 1, barrier_seen: 0, position: 0 },
            wal: Wal::EMPTY,
            ever_prepared: 0,
            ever_moved: 0,
        }
    }

    /// Remembers what is true now for whoever looks only once.
    pub(crate) fn remember(&mut self) {
        self.ever_prepared |= 1 << self.guard.prepared;
        if self.guard.state == GuardState::Moved {
            self.ever_moved |= 1 << self.guard.epoch;
        }
    }
}

impl State {
    pub(crate) fn first() -> Self {
        let mut databases =
            [Database::new(GuardState::Open, 1, false), Database::new(GuardState::Moved, 0, true)];
        databases.iter_mut().for_each(Database::remember);
        Self { databases, writes: [Write::Idle; WRITES_MAX], early: None, retried: false }
    }

    pub(crate) fn pair(&self) -> GuardPair {
        let [source, target] = &self.databases;
        GuardPair { source: source.guard.row(), target: target.guard.row() }
    }

    pub(crate) fn is_open(&self, side: Side) -> bool {
        self.databases[side].guard.state == GuardState::Open
    }

    pub(crate) fn is_busy(&self, side: Side) -> bool {
        self.writes
            .iter()
            .any(|write| matches!(write, Write::InTransaction(at) if usize::from(*at) == side))
    }
}
