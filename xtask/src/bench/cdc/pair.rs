//! Two durable clusters with one table in both, and the proof that both sides are equal.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt as _;
use testkit::tokio_postgres::{Client, RowStream};
use testkit::{Cluster, wait_until};
use tokio::time::{Instant, sleep};

use super::workload::Shape;

/// Longest a replicator may take to copy or to catch up.
pub(super) const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(1_800);

/// Pause between two looks at the target while the clock runs.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The row that the last transaction of a load changes. Rows with a smaller id belong to the writers of a
/// fixed rate.
const MARK_ID: i64 = 0;

/// Writers of a fixed rate, at most.
pub(super) const WRITERS: u32 = 4;

/// What both servers are started with, beyond `fsync` and `full_page_writes`. Autovacuum would begin at
/// another moment in every run; the shorter interval lets a subscription start its workers at once.
pub(super) const SETTINGS: [&str; 5] = [
    "shared_buffers = '256MB'",
    "max_wal_size = '8GB'",
    "checkpoint_timeout = '30min'",
    "autovacuum = off",
    "wal_retrieve_retry_interval = '100ms'",
];

/// Both databases of a turn have the same name.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) source: Cluster,
    pub(super) target: Cluster,
}

/// Rows that are not the same on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the run does not count: {differing} rows differ between source and target")]
pub(super) struct Different {
    pub(super) differing: usize,
}

impl Pair {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let builder = SETTINGS
            .iter()
            .fold(Cluster::builder().durable(true), |builder, line| builder.setting(*line));
        let pair = Self { source: builder.clone().start().await?, target: builder.start().await? };
        for cluster in [&pair.source, &pair.target] {
            cluster.execute("postgres", "CREATE ROLE ficus_applier LOGIN REPLICATION").await?;
        }
        pair.target.create_role("ficus_control").await?;
        Ok(pair)
    }

    /// A database on both sides with the table, filled on the source only, everything written out.
    pub(super) async fn lay_out(
        &self,
        database: &str,
        shape: Shape,
        rows: u32,
    ) -> anyhow::Result<()> {
        for cluster in [&self.source, &self.target] {
            cluster.create_database(database).await?;
            cluster.execute(database, shape.table()).await?;
        }
        let fill = shape.fill(MARK_ID - i64::from(WRITERS), rows);
        self.source.execute(database, &fill).await?;
        for cluster in [&self.source, &self.target] {
            for index in shape.indexes() {
                cluster.execute(database, index).await?;
            }
        }
        self.source.execute(database, "VACUUM (ANALYZE) bench").await?;
        self.checkpoint().await
    }

    pub(super) async fn checkpoint(&self) -> anyhow::Result<()> {
        for cluster in [&self.source, &self.target] {
            cluster.execute("postgres", "CHECKPOINT").await?;
        }
        Ok(())
    }

    /// Drops both databases with their slots.
    pub(super) async fn clear(&self, database: &str) -> anyhow::Result<()> {
        self.drop_subscriptions(database).await?;
        self.until_no_slot_is_active(database).await?;
        let source = self.source.connect("postgres").await?;
        let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
                    WHERE database = $1";
        source.execute(drop, &[&database]).await?;
        for cluster in [&self.source, &self.target] {
            let drop = format!("DROP DATABASE {database} WITH (FORCE)");
            cluster.execute("postgres", &drop).await?;
        }
        // those of a dropped database stay, and there is room for a few only
        let drop = "SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin";
        self.target.execute("postgres", drop).await
    }

    /// A turn that failed may have left its subscription.
    async fn drop_subscriptions(&self, database: &str) -> anyhow::Result<()> {
        let target = self.target.connect(database).await?;
        let left = "SELECT subname::text FROM pg_subscription WHERE subdbid = \
                    (SELECT oid FROM pg_database WHERE datname = current_database())";
        for row in target.query(left, &[]).await? {
            let name: String = row.get(0);
            for change in ["DISABLE", "SET (slot_name = NONE)"] {
                target.batch_execute(&format!("ALTER SUBSCRIPTION {name} {change}")).await?;
            }
            target.batch_execute(&format!("DROP SUBSCRIPTION {name}")).await?;
        }
        Ok(())
    }

    /// Waits until nobody follows the database.
    pub(super) async fn until_no_slot_is_active(&self, database: &str) -> anyhow::Result<()> {
        let source = self.source.connect("postgres").await?;
        let left = "SELECT count(*) FROM pg_replication_slots WHERE database = $1 AND active";
        wait_until(Duration::from_secs(60), || async {
            let active: i64 = source.query_one(left, &[&database]).await?.get(0);
            Ok((active == 0).then_some(()))
        })
        .await
        .context("a slot is still in use")
    }

    /// Runs the load on the source and sets the mark after it. The load's own commits are not flushed one
    /// by one: that would be all that is seen of it.
    pub(super) async fn write(&self, database: &str, load: &str, mark: i32) -> anyhow::Result<()> {
        let source = self.source.connect(database).await?;
        source.batch_execute("SET synchronous_commit = off").await?;
        source.batch_execute(load).await.context("write on the source")?;
        source.batch_execute("SET synchronous_commit = on").await?;
        let set = "UPDATE bench SET version = $1 WHERE id = $2";
        source.execute(set, &[&mark, &MARK_ID]).await?;
        Ok(())
    }

    /// Waits until the target has the mark.
    pub(super) async fn until_marked(&self, target: &Client, mark: i32) -> anyhow::Result<()> {
        let look = target.prepare("SELECT version = $1 FROM bench WHERE id = $2").await?;
        until("the target did not get the last row", || async {
            let row = target.query_opt(&look, &[&mark, &MARK_ID]).await?;
            Ok(row.is_some_and(|row| row.get(0)))
        })
        .await
    }

    /// Compares number and hash of all rows; where these differ, counts the rows that do.
    ///
    /// # Errors
    /// [`Different`].
    pub(super) async fn ensure_equal(&self, database: &str) -> anyhow::Result<()> {
        let hash = "SELECT count(*)::text || ' rows, hash ' || \
                    coalesce(sum(hashtextextended(bench::text, 0)::numeric), 0)::text FROM bench";
        let mut found = Vec::new();
        for cluster in [&self.source, &self.target] {
            let row = cluster.connect(database).await?.query_one(hash, &[]).await?;
            found.push(row.get::<_, String>(0));
        }
        if found.first() == found.last() {
            return Ok(());
        }
        let source = hashes(&self.source.connect(database).await?).await?;
        let mut target = hashes(&self.target.connect(database).await?).await?;
        let differs = |(id, hash): &(i64, i64)| target.remove(id) != Some(*hash);
        let differing = source.into_iter().filter(differs).count();
        Err(Different { differing: differing + target.len() }.into())
    }
}

/// Looks until it is so, often enough for a clock that runs meanwhile.
pub(super) async fn until<F, Fut>(otherwise: &str, mut is_so: F) -> anyhow::Result<()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<bool>>,
{
    let deadline = Instant::now() + CAUGHT_UP_WITHIN;
    while !is_so().await? {
        anyhow::ensure!(Instant::now() < deadline, "{otherwise} within {CAUGHT_UP_WITHIN:?}");
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// A hash of each row by its id.
async fn hashes(client: &Client) -> anyhow::Result<HashMap<i64, i64>> {
    let none: [i32; 0] = [];
    let query = "SELECT id, hashtextextended(bench::text, 0) FROM bench";
    let rows: RowStream = client.query_raw(query, none).await?;
    let mut rows = pin!(rows);
    let mut hashes = HashMap::new();
    while let Some(row) = rows.next().await {
        let row = row?;
        hashes.insert(row.get(0), row.get(1));
    }
    Ok(hashes)
}

#[cfg(test)]
mod tests {
    use super::super::raw;
    use super::*;

    #[tokio::test]
    async fn a_copy_in_ranges_is_whole_and_differing_rows_are_counted() {
        let pair = Pair::start().await.expect("two clusters");
        pair.lay_out("shop", Shape::Indexed, 2_000).await.expect("a filled table");
        let missing = pair.ensure_equal("shop").await.expect_err("nothing was copied yet");
        assert!(missing.to_string().contains("2005 rows differ"), "{missing}");
        raw::copy(&pair, "shop", 3).await.expect("a copy");
        pair.ensure_equal("shop").await.expect("equal after the copy");
        let change = "UPDATE bench SET amount = amount + 0.01 WHERE id IN (7, 1999);
                      DELETE FROM bench WHERE id = 8";
        pair.target.execute("shop", change).await.expect("changed rows");
        let error = pair.ensure_equal("shop").await.expect_err("rows differ");
        assert_eq!(error.downcast_ref(), Some(&Different { differing: 3 }));
        pair.clear("shop").await.expect("both databases dropped");
    }
}
