//! One simulated database: its guard, its inbound stream, its WAL and its rows.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Epoch, GuardRow, GuardState,
    guard_rules::{self, InboundRow, Refused},
};

/// A record of the WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// A committed write; `replicated` is its origin mark.
    Write { id: u64, replicated: bool },
    /// Written by the fence.
    Barrier(Epoch),
}

#[derive(Debug)]
pub(crate) struct Database {
    guard: GuardRow,
    deadline: u64,
    pub(crate) inbound: InboundRow,
    /// How far the inbound stream has applied the other side's WAL.
    pub(crate) position: usize,
    pub(crate) wal: Vec<Record>,
    rows: BTreeMap<u64, u32>,
    in_transaction: BTreeSet<u64>,
    twice: bool,
}

impl Database {
    pub(super) fn owner() -> Self {
        Self::new(GuardState::Open, Epoch(1), false)
    }

    pub(super) fn other() -> Self {
        Self::new(GuardState::Moved, Epoch::NONE, true)
    }

    fn new(state: GuardState, epoch: Epoch, applies: bool) -> Self {
        Self {
            guard: GuardRow { state, epoch, prepared: Epoch::NONE, overdue: false },
            deadline: 0,
            inbound: InboundRow { applies, epoch: Epoch(1), barrier_seen: Epoch::NONE },
            position: 0,
            wal: Vec::new(),
            rows: BTreeMap::new(),
            in_transaction: BTreeSet::new(),
            twice: false,
        }
    }

    /// The guard row as it is read at this time.
    pub(crate) fn row(&self, now: u64) -> GuardRow {
        let overdue = self.guard.state == GuardState::Fenced && now >= self.deadline;
        GuardRow { overdue, ..self.guard }
    }

    /// A writer's first statement: lets it in unless the trigger is on.
    pub(super) fn begin(&mut self, write: u64) -> bool {
        let open = self.guard.state == GuardState::Open;
        if open {
            self.in_transaction.insert(write);
        }
        open
    }

    pub(super) fn commit(&mut self, write: u64) {
        self.in_transaction.remove(&write);
        self.write(write, false);
    }

    /// A committed row, from a client or from the other side.
    pub(super) fn write(&mut self, id: u64, replicated: bool) {
        let count = self.rows.entry(id).or_insert(0);
        *count += 1;
        self.twice |= *count > 1;
        self.wal.push(Record::Write { id, replicated });
    }

    /// `None` while a writer holds its table lock.
    pub(crate) fn fence(
        &mut self,
        expected: Epoch,
        deadline: u64,
    ) -> Option<Result<Epoch, Refused>> {
        if !self.in_transaction.is_empty() {
            return None;
        }
        Some(guard_rules::fence(self.guard, expected).map(|row| {
            if row != self.guard {
                self.deadline = deadline;
                self.wal.push(Record::Barrier(row.epoch));
            }
            self.guard = row;
            row.epoch
        }))
    }

    pub(crate) fn expire(&mut self, epoch: Epoch, force: bool, now: u64) -> Result<Epoch, Refused> {
        self.guard = guard_rules::expire(self.row(now), epoch, force)?;
        Ok(self.guard.epoch)
    }

    pub(crate) fn prepare(&mut self, epoch: Epoch) -> Result<(), Refused> {
        (self.guard, self.inbound) = guard_rules::prepare(self.guard, self.inbound, epoch)?;
        Ok(())
    }

    pub(crate) fn unprepare(&mut self, epoch: Epoch, proof: Epoch) -> Result<(), Refused> {
        (self.guard, self.inbound) =
            guard_rules::unprepare(self.guard, self.inbound, epoch, proof)?;
        Ok(())
    }

    pub(crate) fn decide(
        &mut self,
        epoch: Epoch,
        prepared: Epoch,
        now: u64,
    ) -> Result<(), Refused> {
        let row = self.row(now);
        (self.guard, self.inbound) = guard_rules::decide(row, self.inbound, epoch, prepared)?;
        Ok(())
    }

    pub(crate) fn open(&mut self, epoch: Epoch, decided: Epoch) -> Result<(), Refused> {
        self.guard = guard_rules::open(self.guard, epoch, decided)?;
        Ok(())
    }

    pub(super) fn count(&self, write: u64) -> u32 {
        self.rows.get(&write).copied().unwrap_or(0)
    }

    pub(super) const fn has_twice(&self) -> bool {
        self.twice
    }

    pub(super) fn own_writes(&self) -> impl Iterator<Item = u64> {
        self.wal.iter().filter_map(|record| match record {
            Record::Write { id, replicated: false } => Some(*id),
            Record::Write { replicated: true, .. } | Record::Barrier(_) => None,
        })
    }

    pub(crate) fn holds(&self, mut writes: impl Iterator<Item = u64>) -> bool {
        writes.all(|write| self.rows.contains_key(&write))
    }

    /// Whether both hold the same rows.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        self.rows == other.rows
    }
}
