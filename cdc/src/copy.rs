//! The first copy: every row that the slot's snapshot sees, by several workers, table by table and
//! block range by block range.
//!
//! ```text
//! as it is:  COPY (range) TO STDOUT binary ──bytes──> COPY table FROM STDIN binary
//! mapped:    COPY (range) TO STDOUT ──bytes──> staging table ── INSERT ... SELECT ──> table
//! ```

mod rewritten;
mod worker;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::{
    StreamError, catalog,
    mapping::TablePlan,
    session,
    status::{StreamShared, table_statuses},
};
use worker::Worker;

/// Blocks in one range: 64 MiB, a fraction of a second to a few seconds of work.
const RANGE_PAGES: u64 = 8_192;

/// A part of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unit {
    table: usize,
    range: Range,
}

/// Which rows of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    /// All of them.
    Whole,
    /// Those in the blocks from `from` up to and without `to`.
    Pages { from: u64, to: Option<u64> },
}

/// What is left to do, shared by the workers.
#[derive(Debug)]
struct Work {
    shared: Arc<StreamShared>,
    plans: Arc<[TablePlan]>,
    snapshot: String,
    queue: Mutex<Queue>,
}

#[derive(Debug)]
struct Queue {
    units: VecDeque<Unit>,
    /// For each table the units that are not done.
    left: Vec<usize>,
}

/// Copies all tables. Nothing else may use the connection that the snapshot came from meanwhile.
///
/// # Errors
/// The copy starts again from nothing then.
pub(crate) async fn copy(
    shared: &Arc<StreamShared>,
    plans: &Arc<[TablePlan]>,
    snapshot: &str,
) -> Result<(), StreamError> {
    let spec = &shared.spec;
    let queue = plan_units(shared, plans).await?;
    let work = Arc::new(Work {
        shared: Arc::clone(shared),
        plans: Arc::clone(plans),
        snapshot: snapshot.to_owned(),
        queue: Mutex::new(queue),
    });
    let mut workers = JoinSet::new();
    for _ in 0..spec.copy_workers.max(1) {
        workers.spawn(Worker::work(Arc::clone(&work)));
    }
    while let Some(result) = workers.join_next().await {
        result.map_err(|_| StreamError::Worker)??;
    }
    analyze(shared, plans).await;
    let writer = session::open(spec.write_url(), spec.writes(), "ficus-cdc-copy").await?;
    writer
        .execute("UPDATE ficus.apply SET copied = true WHERE stream = $1", &[&spec.key()])
        .await
        .map_err(StreamError::database("note the end of the copy", spec.writes()))?;
    tracing::info!(stream = spec.key(), "tables copied");
    Ok(())
}

async fn plan_units(shared: &Arc<StreamShared>, plans: &[TablePlan]) -> Result<Queue, StreamError> {
    let spec = &shared.spec;
    let reader = session::open_for_catalogs(spec.read_url(), spec.reads()).await?;
    let mut statuses = table_statuses(spec, "pending");
    let mut units = VecDeque::new();
    let mut left = Vec::new();
    for (table, plan) in plans.iter().enumerate() {
        let found = catalog::read_table(&reader, &plan.read)
            .await
            .map_err(StreamError::database("read the catalog", spec.reads()))?
            .ok_or_else(|| StreamError::Operator(format!("table {} is gone", plan.read)))?;
        let ranges = ranges(found.has_storage, found.pages);
        left.push(ranges.len());
        units.extend(ranges.into_iter().map(|range| Unit { table, range }));
        if let Some(status) = statuses.get_mut(table) {
            status.rows_estimated = found.rows_estimated;
        }
    }
    shared.set_tables(statuses);
    Ok(Queue { units, left })
}

/// The last range is open: the table may have grown, and the snapshot does not see by how much.
fn ranges(has_storage: bool, pages: u64) -> Vec<Range> {
    if !has_storage || pages <= RANGE_PAGES {
        return vec![Range::Whole];
    }
    let mut ranges = Vec::new();
    let mut from = 0;
    while from + RANGE_PAGES < pages {
        ranges.push(Range::Pages { from, to: Some(from + RANGE_PAGES) });
        from += RANGE_PAGES;
    }
    ranges.push(Range::Pages { from, to: None });
    ranges
}

impl Work {
    fn next(&self) -> Option<Unit> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).units.pop_front()
    }

    /// Answers whether the whole table is done now.
    fn done(&self, table: usize) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(left) = queue.left.get_mut(table) else { return false };
        *left = left.saturating_sub(1);
        *left == 0
    }
}

/// Fresh statistics, so that the first statements of the stream find their indexes. Only the owner
/// of a table may do this; without the owner's URL autovacuum will.
async fn analyze(shared: &StreamShared, plans: &[TablePlan]) {
    let side = shared.spec.writes();
    let result: Result<(), tokio_postgres::Error> = async {
        let owner: Client = session::open_as_owner(shared.spec.databases.owner_url(side)).await?;
        owner.batch_execute("SET client_min_messages = error").await?;
        for plan in plans {
            owner.batch_execute(&format!("ANALYZE {}", plan.write.quoted())).await?;
        }
        Ok(())
    }
    .await;
    if let Err(error) = result {
        tracing::warn!(stream = shared.spec.key(), %error, "copied tables could not be analyzed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_a_table_without_gap_and_the_last_one_is_open() {
        assert_eq!(ranges(true, 0), [Range::Whole]);
        assert_eq!(ranges(false, 1_000_000), [Range::Whole]);
        let ranges = ranges(true, RANGE_PAGES * 2 + 1);
        let mut expected_from = 0;
        for range in &ranges {
            let Range::Pages { from, to } = *range else { panic!("a big table is split") };
            assert_eq!(from, expected_from);
            expected_from = to.unwrap_or(u64::MAX);
        }
        assert_eq!(expected_from, u64::MAX);
        assert_eq!(ranges.len(), 3);
    }
}
