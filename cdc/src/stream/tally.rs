//! What the open target transaction holds: counted when it is committed, and not before.

use crate::{
    change::Change,
    mapping::TablePlan,
    metrics::{ChangeKind, StreamMeters},
};

/// Changes that were written and not committed.
#[derive(Debug)]
pub(super) struct Tally {
    meters: StreamMeters,
    /// For each table, by kind of change.
    tables: Vec<[u64; ChangeKind::COUNT]>,
    rows: u64,
    bytes: u64,
}

impl Tally {
    pub(super) fn new(stream: &str, plans: &[TablePlan]) -> Self {
        let tables: Vec<String> = plans.iter().map(|plan| plan.write.to_string()).collect();
        Self {
            meters: StreamMeters::new(stream, &tables),
            tables: vec![[0; ChangeKind::COUNT]; plans.len()],
            rows: 0,
            bytes: 0,
        }
    }

    /// These were written.
    pub(super) fn add(&mut self, changes: &[Change]) {
        for change in changes {
            if matches!(change, Change::Parked(_)) {
                // It counts when it is replayed.
                continue;
            }
            self.rows += 1;
            self.bytes += u64::try_from(change.size()).unwrap_or(u64::MAX);
            match change {
                Change::Insert { table, .. } => self.count(*table, ChangeKind::Insert),
                Change::Update { table, .. } => self.count(*table, ChangeKind::Update),
                Change::Delete { table, .. } => self.count(*table, ChangeKind::Delete),
                Change::Truncate { tables } => {
                    for table in tables {
                        self.count(*table, ChangeKind::Truncate);
                    }
                }
                Change::Parked(_) => {}
            }
        }
    }

    /// The transaction was committed; answers how many rows it changed.
    pub(super) fn committed(&mut self) -> u64 {
        if self.rows > 0 {
            self.meters.batch(self.rows, self.bytes);
        }
        for (table, kinds) in self.tables.iter_mut().enumerate() {
            for (kind, count) in ChangeKind::ALL.into_iter().zip(kinds.iter_mut()) {
                self.meters.changes(table, kind, std::mem::take(count));
            }
        }
        self.bytes = 0;
        std::mem::take(&mut self.rows)
    }

    /// So many bytes of a transaction that has not committed went to our disk.
    pub(super) fn spilled(&self, bytes: usize) {
        self.meters.spilled(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    fn count(&mut self, table: usize, kind: ChangeKind) {
        let kinds = self.tables.get_mut(table);
        if let Some(count) = kinds.and_then(|kinds| kinds.get_mut(kind.place())) {
            *count += 1;
        }
    }
}
