//! Copies a table while the stream goes on, chunk by chunk along its key, so that a crash costs one
//! chunk. Each chunk has a snapshot of its own; the changes of the whole time are parked, and one
//! counts for a key only where the snapshot of the key's chunk does not see its transaction.
//!
//! ```text
//! source ── chunk, own snapshot ──> stage <── parked changes, by their chunk's snapshot
//!                                     └── merge, once it is exact at the stream's position ──> table
//! ```
//!
//! Everything but the merge leaves the table as it is; the merge is one transaction. What is parked
//! behind it is replayed by the stream.

mod chunk;
mod decode;
mod merge;
mod rule;
mod stage;
mod table;
mod write;

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use telemetry::Chain;
use tokio::sync::Mutex;

use crate::{StreamError, error::ErrorClass, mapping::TablePlan, status::StreamShared, tables};
pub(crate) use stage::stage_name;
use table::TableResync;

/// Between two attempts, and between two looks at how far the stream is.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// What the resyncs of a stream share.
#[derive(Debug)]
struct Resyncs {
    shared: Arc<StreamShared>,
    /// Merges take the same replication origin.
    origin: Mutex<()>,
}

/// Copies these tables again, several at a time, and then waits for ever: the stream notices by
/// itself that a table was merged. A table that cannot be copied is put aside, the others go on.
pub(crate) async fn run(
    shared: &Arc<StreamShared>,
    plans: &Arc<[TablePlan]>,
    wanted: Vec<usize>,
) -> std::convert::Infallible {
    let resyncs = Resyncs { shared: Arc::clone(shared), origin: Mutex::new(()) };
    let workers = usize::from(shared.spec.copy_workers.max(1));
    futures::stream::iter(wanted)
        .for_each_concurrent(workers, |table| resyncs.table(plans, table))
        .await;
    std::future::pending().await
}

impl Resyncs {
    async fn table(&self, plans: &[TablePlan], table: usize) {
        let Some(plan) = plans.get(table) else { return };
        loop {
            match self.attempt(plan).await {
                Ok(()) => return,
                Err(error) if error.class() == ErrorClass::NeedsOperator => {
                    if self.give_up(plan, &error).await {
                        return;
                    }
                }
                Err(error) => {
                    let (stream, table) = (self.shared.spec.key(), plan.source.to_string());
                    let error = Chain(&error).to_string();
                    tracing::warn!(stream, table, error, "resync will be tried again");
                }
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }

    async fn attempt(&self, plan: &TablePlan) -> Result<(), StreamError> {
        let mut table = TableResync::open(&self.shared, plan).await?;
        while !table.is_whole() {
            table.read_chunk().await?;
            table.replay().await?;
        }
        loop {
            table.replay().await?;
            if table.is_exact().await? {
                let _one_at_a_time = self.origin.lock().await;
                return table.merge().await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Trying again does not help: the table waits for an operator. Answers whether that was noted.
    async fn give_up(&self, plan: &TablePlan, error: &StreamError) -> bool {
        let source = plan.source.to_string();
        let reason = format!("the resync failed: {}", Chain(error));
        match tables::abandon_resync(&self.shared, &source, &reason).await {
            Ok(()) => true,
            Err(error) => {
                let error = Chain(&error).to_string();
                tracing::warn!(table = source, error, "the end of a resync was not noted");
                false
            }
        }
    }
}
