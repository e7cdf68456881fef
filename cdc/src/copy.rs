//! The first copy: every row that the slot's snapshot sees, by several workers, table by table and
//! block range by block range.
//!
//! ```text
//! as it is:  COPY (range) TO STDOUT ──bytes──> COPY table FROM STDIN
//! mapped:    COPY (range) TO STDOUT ──bytes──> staging table ── INSERT ... SELECT ──> table
//! ```
//!
//! Secondary indexes and statistics come after the rows. The rows are noted as copied before them: a
//! crash while indexes are built does not cost the copy.

mod indexes;
mod progress;
mod rewritten;
mod units;
mod worker;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use guard::GuardError;
use pg::Lsn;
use telemetry::Chain;
use tokio::{task::JoinSet, time::Instant};
use tokio_postgres::{Client, types::PgLsn};

use crate::{
    StreamError, catalog,
    mapping::TablePlan,
    replica, session,
    spec::StreamSpec,
    status::{State, StreamShared, table_statuses},
};
pub(crate) use progress::CopyProgress;
use progress::Extent;
use units::{Unit, largest_first, units};
use worker::Worker;

/// What is left to do, shared by the workers.
#[derive(Debug)]
struct Work {
    shared: Arc<StreamShared>,
    plans: Arc<[TablePlan]>,
    snapshot: String,
    progress: Arc<CopyProgress>,
    queue: Mutex<Queue>,
    /// Tables that are not ready without the indexes they get back, by the monolith's names.
    indexed: BTreeSet<String>,
}

#[derive(Debug)]
struct Queue {
    units: VecDeque<Unit>,
    /// For each table the units that are not done.
    left: Vec<usize>,
}

/// Copies all tables as the snapshot has them, for the stream that begins where it was taken. Nothing
/// else may use the connection that the snapshot came from meanwhile.
///
/// # Errors
/// The copy starts again from nothing then. [`StreamError::Stale`] when the stream was made anew
/// meanwhile: what was copied is not what that one begins with.
pub(crate) async fn copy(
    shared: &Arc<StreamShared>,
    plans: &Arc<[TablePlan]>,
    (snapshot, begin): (&str, Lsn),
) -> Result<(), StreamError> {
    let spec = &shared.spec;
    replica::check_copy(spec, plans).await?;
    let (queue, extents) = plan_units(shared, plans).await?;
    let bytes: Vec<u64> = extents.iter().map(|extent| extent.bytes).collect();
    indexes::take_away(spec, plans, &bytes).await;
    let waiting = indexes::waiting(spec).await?;
    let progress = Arc::new(CopyProgress::new(Instant::now(), &extents));
    shared.copies(Arc::clone(&progress));
    let work = Arc::new(Work {
        shared: Arc::clone(shared),
        plans: Arc::clone(plans),
        snapshot: snapshot.to_owned(),
        progress,
        queue: Mutex::new(queue),
        indexed: waiting.into_iter().map(|index| index.source).collect(),
    });
    let mut workers = JoinSet::new();
    for _ in 0..spec.copy_workers.max(1) {
        workers.spawn(Worker::work(Arc::clone(&work)));
    }
    while let Some(result) = workers.join_next().await {
        result.map_err(|_| StreamError::Worker)??;
    }
    let writer = session::open(spec.write_url(), spec.writes(), "ficus-cdc-copy").await?;
    let noted = writer
        .execute(
            "UPDATE ficus.apply SET copied = true WHERE stream = $1 AND lsn = $2 AND NOT copied",
            &[&spec.key(), &PgLsn::from(begin.as_u64())],
        )
        .await
        .map_err(StreamError::database("note the end of the copy", spec.writes()))?;
    if noted == 0 {
        return Err(StreamError::Stale);
    }
    tracing::info!(stream = spec.key(), "tables copied");
    Ok(())
}

/// Builds what indexes wait, if any; and brings the statistics up to date after that, or after a copy
/// in any case.
///
/// # Errors
/// As the building of an index. The rows are copied, and it goes on from here then.
pub(crate) async fn finish(
    shared: &Arc<StreamShared>,
    plans: &[TablePlan],
    has_copied: bool,
) -> Result<(), StreamError> {
    let waiting = indexes::waiting(&shared.spec).await?;
    if waiting.is_empty() && !has_copied {
        return Ok(());
    }
    shared.set_state(State::Copying, "");
    for index in &waiting {
        shared.update_table(&index.source, |table| "indexing".clone_into(&mut table.state));
    }
    shared.indexes_left(waiting.len());
    indexes::build(&shared.spec, waiting, |source, left_of_table, left| {
        shared.indexes_left(left);
        if left_of_table == 0 {
            shared.update_table(source, |table| "ready".clone_into(&mut table.state));
        }
    })
    .await?;
    analyze(shared, plans).await;
    Ok(())
}

/// Gives a stream that ends its tables' indexes back. What can not be built stays listed for the next
/// start.
pub(crate) async fn give_back_indexes(spec: &StreamSpec) {
    let built = async {
        let waiting = indexes::waiting(spec).await?;
        indexes::build(spec, waiting, |_, _, _| {}).await
    };
    if let Err(error) = built.await {
        tracing::warn!(stream = spec.key(), error = %Chain(&error), "indexes were not built");
    }
}

async fn plan_units(
    shared: &Arc<StreamShared>,
    plans: &[TablePlan],
) -> Result<(Queue, Vec<Extent>), StreamError> {
    let spec = &shared.spec;
    let side = spec.reads();
    let reader = session::open_for_catalogs(spec.read_url(), side).await?;
    let mut statuses = table_statuses(spec, "pending");
    let mut tables = Vec::new();
    let mut extents = Vec::new();
    for (table, plan) in plans.iter().enumerate() {
        let found = catalog::read_table(&reader, &plan.read)
            .await
            .map_err(StreamError::database("read the catalog", side))?
            .ok_or_else(|| StreamError::Operator(format!("table {} is gone", plan.read)))?;
        let parts = catalog::read_parts(&reader, &plan.read)
            .await
            .map_err(StreamError::database("read the catalog", side))?;
        let units = units(table, &plan.read, &parts, spec.copy_workers);
        let bytes = units.iter().map(|unit| unit.bytes).sum();
        extents.push(Extent { bytes, rows_estimated: found.rows_estimated });
        tables.push(units);
        if let Some(status) = statuses.get_mut(table) {
            status.rows_estimated = found.rows_estimated;
        }
    }
    shared.set_tables(statuses);
    let left = tables.iter().map(Vec::len).collect();
    Ok((Queue { units: largest_first(tables), left }, extents))
}

impl Work {
    fn next(&self) -> Option<Unit> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).units.pop_front()
    }

    /// Answers whether all rows of the table are there now.
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
    let result: Result<(), GuardError> = async {
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
