//! What waits to be written: the changes of whole transactions, and those of one that is still arriving.

use pg::{Lsn, pgoutput::Commit};

use crate::{apply_row::Barrier, change::Change};

/// Rows in one target transaction: enough to make statements and commits cheap, few enough to
/// answer a barrier in a fraction of a second.
const ROWS_MAX: usize = 8_000;
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// Changes that were read and not handed to the writer.
#[derive(Debug, Default)]
pub(super) struct Batch {
    changes: Vec<Change>,
    bytes: usize,
    /// Of the changes those that belong to whole transactions.
    complete: usize,
    transactions: u64,
    end: Option<Lsn>,
    commit_time_us: i64,
    barrier: Option<Barrier>,
    /// Earlier changes of the first transaction are in the open target transaction.
    is_begun: bool,
}

/// What the writer does at once.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) changes: Vec<Change>,
    /// `None`: the transaction goes on.
    pub(super) commit: Option<WorkCommit>,
}

/// How a piece of work ends.
#[derive(Debug)]
pub(super) struct WorkCommit {
    pub(super) end: Lsn,
    pub(super) transactions: u64,
    pub(super) commit_time_us: i64,
    pub(super) barrier: Option<Barrier>,
}

impl Batch {
    pub(super) fn push(&mut self, change: Change) {
        self.bytes += change.size();
        self.changes.push(change);
    }

    /// The transaction whose changes came last is complete.
    pub(super) fn commit(&mut self, commit: &Commit, has_rows: bool, barrier: Option<Barrier>) {
        self.complete = self.changes.len();
        self.end = Some(commit.end_lsn);
        self.commit_time_us = commit.commit_time_us;
        self.transactions += u64::from(has_rows);
        self.barrier = barrier;
    }

    /// Whether nothing is to be written, now or when the transaction that arrives is complete.
    pub(super) const fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.is_settled()
    }

    /// Whether there is something that the writer could do.
    pub(super) const fn is_due(&self) -> bool {
        self.complete > 0 || !self.is_settled() && self.end.is_some() || self.is_full()
    }

    /// Whether nothing may be added before the writer took what is there. Nothing may join a barrier:
    /// the transfer waits for it.
    pub(super) const fn is_full(&self) -> bool {
        self.changes.len() >= ROWS_MAX || self.bytes >= BYTES_MAX || self.barrier.is_some()
    }

    /// Whether the open target transaction holds a part of a source transaction.
    pub(super) const fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// The position behind transactions that left nothing to write.
    pub(super) fn take_empty_end(&mut self) -> Option<Lsn> {
        if self.complete == 0 && self.is_settled() { self.end.take() } else { None }
    }

    /// Takes the whole transactions; where there are none, what has come of the one that arrives.
    pub(super) fn take(&mut self) -> Work {
        let mut batch = std::mem::take(self);
        let Some(end) = batch.end else {
            self.is_begun = true;
            return Work { changes: batch.changes, commit: None };
        };
        let rest = batch.changes.split_off(batch.complete);
        for change in rest {
            self.push(change);
        }
        let commit = WorkCommit {
            end,
            transactions: batch.transactions,
            commit_time_us: batch.commit_time_us,
            barrier: batch.barrier,
        };
        Work { changes: batch.changes, commit: Some(commit) }
    }

    const fn is_settled(&self) -> bool {
        !self.is_begun && self.barrier.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change() -> Change {
        Change::Truncate { tables: vec![0] }
    }

    fn commit(end: u64) -> Commit {
        Commit { commit_lsn: Lsn::new(end - 1), end_lsn: Lsn::new(end), commit_time_us: 0 }
    }

    #[test]
    fn only_whole_transactions_are_committed_and_the_rest_waits() {
        let mut batch = Batch::default();
        batch.push(change());
        assert!(!batch.is_due() && !batch.is_empty());
        batch.commit(&commit(10), true, None);
        batch.push(change());
        batch.push(change());
        let work = batch.take();
        assert_eq!(work.changes.len(), 1);
        assert_eq!(work.commit.map(|commit| commit.end), Some(Lsn::new(10)));
        assert!(!batch.is_due() && !batch.is_empty());
        batch.commit(&commit(20), true, None);
        assert_eq!(batch.take().changes.len(), 2);
        assert!(batch.is_empty());
    }

    #[test]
    fn a_large_transaction_is_written_in_pieces_and_committed_even_when_nothing_is_left() {
        let mut batch = Batch::default();
        for _ in 0..ROWS_MAX {
            batch.push(change());
        }
        assert!(batch.is_full() && batch.is_due());
        assert!(batch.take().commit.is_none());
        assert!(!batch.is_empty() && !batch.is_due());
        batch.commit(&commit(10), true, None);
        assert!(batch.is_due());
        assert!(batch.take().commit.is_some());
        assert!(batch.is_empty());
    }

    #[test]
    fn nothing_joins_a_barrier() {
        let mut batch = Batch::default();
        let barrier = Barrier { epoch: 3, sequences: String::new() };
        batch.commit(&commit(10), false, Some(barrier.clone()));
        assert!(batch.is_full() && batch.is_due() && batch.take_empty_end().is_none());
        assert_eq!(batch.take().commit.and_then(|commit| commit.barrier), Some(barrier));
        assert!(!batch.is_full());
    }

    #[test]
    fn transactions_without_rows_only_move_the_position() {
        let mut batch = Batch::default();
        batch.commit(&commit(10), false, None);
        assert!(!batch.is_due());
        assert_eq!(batch.take_empty_end(), Some(Lsn::new(10)));
        assert_eq!(batch.take_empty_end(), None);
    }
}
