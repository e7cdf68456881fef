//! The replicators: each reads one side's WAL and applies to the other, one record at a time. A
//! restarted applier's unfinished transaction stays under way, as a zombie's would.

use super::{APPLY_EVERY_MS, Record, SETTLED_BY_MS, Task, World};
use crate::{Epoch, Side};

#[derive(Debug, Default)]
pub(super) struct Applier {
    life: u32,
}

impl World {
    /// The applier of the stream into `side` reads its next record and sends the transaction.
    pub(super) fn read(&mut self, side: Side, life: u32) {
        if self.applier(side).life != life {
            return;
        }
        let (epoch, position) = (self.database(side).inbound.epoch, self.database(side).position);
        if position < self.database(side.other()).wal.len() {
            self.send(Task::Apply { side, epoch, position });
        }
        if self.now < SETTLED_BY_MS {
            self.after(APPLY_EVERY_MS, Task::Read { side, life });
        }
    }

    /// The transaction checks mode, epoch and position together with its rows.
    pub(super) fn apply(&mut self, side: Side, epoch: Epoch, position: usize) {
        let Some(record) = self.database(side.other()).wal.get(position).copied() else { return };
        let database = self.database(side);
        let inbound = database.inbound;
        if !inbound.applies || inbound.epoch != epoch || database.position != position {
            return;
        }
        database.position += 1;
        match record {
            Record::Barrier(barrier) => database.inbound.barrier_seen = barrier,
            // what this stream's opposite wrote comes back with its origin mark
            Record::Write { replicated: true, .. } => {}
            Record::Write { id, replicated: false } => database.write(id, true),
        }
    }

    pub(super) fn restart_applier(&mut self, side: Side) {
        self.applier(side).life += 1;
        let life = self.applier(side).life;
        let down = self.rng.between(10, 1500);
        self.after(down, Task::Read { side, life });
    }
}
