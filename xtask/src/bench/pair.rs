//! Two durable clusters with one table in both, the writes that a replicator has to follow, and the proof
//! that both sides are equal after them.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt as _;
use testkit::tokio_postgres::Client;
use testkit::{Cluster, wait_until};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::machine::cpu_seconds;

/// Longest a replicator may take to copy or to catch up.
pub(super) const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(1_800);

/// Rows of one of the larger transactions.
const BATCH: u32 = 100;

/// Eight columns, about 145 bytes a row with its header.
const TABLE: &str = "
CREATE TABLE bench (
    id bigint PRIMARY KEY, queue_id integer NOT NULL, state_id smallint NOT NULL,
    version integer NOT NULL, amount numeric(12,2) NOT NULL, created_at timestamptz NOT NULL,
    title varchar(200) NOT NULL, note text);
CREATE INDEX bench_queue ON bench (queue_id, state_id);";

/// Both databases of a phase have the same name.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) source: Cluster,
    pub(super) target: Cluster,
}

/// How the updates are cut into transactions.
#[derive(Clone, Copy, Debug)]
pub(super) enum Writes {
    /// Each row once, in the order of the key, 100 in a transaction.
    Batches,
    /// A tenth of the rows, scattered, one in a transaction.
    Singles,
}

/// How a load went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Applied {
    /// From the begin of the load to its end on the source.
    pub(super) written_s: f64,
    /// From the begin of the load until the target has its last row.
    pub(super) applied_s: f64,
    /// CPU of both servers over that time.
    pub(super) servers_cpu_s: f64,
}

impl Pair {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let builder = Cluster::builder()
            .durable(true)
            .setting("shared_buffers = '256MB'")
            .setting("max_wal_size = '4GB'")
            .setting("checkpoint_timeout = '30min'");
        let pair = Self { source: builder.clone().start().await?, target: builder.start().await? };
        for cluster in [&pair.source, &pair.target] {
            cluster.execute("postgres", "CREATE ROLE ficus_applier LOGIN REPLICATION").await?;
        }
        pair.target.create_role("ficus_control").await?;
        Ok(pair)
    }

    /// A database on both sides with the table, filled on the source only, everything written out.
    pub(super) async fn lay_out(&self, database: &str, rows: u32) -> anyhow::Result<()> {
        for cluster in [&self.source, &self.target] {
            cluster.create_database(database).await?;
            cluster.execute(database, TABLE).await?;
        }
        let fill = format!(
            "INSERT INTO bench SELECT i, i % 50, i % 9, 0, (i % 100000)::numeric / 100,
                 timestamptz '2026-01-01 00:00:00Z' + i * interval '1 second',
                 'Ticket number ' || i, md5(i::text) || md5((i + 1)::text)
             FROM generate_series(1, {rows}) AS i"
        );
        self.source.execute(database, &fill).await?;
        self.source.execute(database, "VACUUM (ANALYZE) bench").await?;
        for cluster in [&self.source, &self.target] {
            cluster.execute("postgres", "CHECKPOINT").await?;
        }
        Ok(())
    }

    /// Drops both databases with their slots.
    pub(super) async fn clear(&self, database: &str) -> anyhow::Result<()> {
        let source = self.source.connect("postgres").await?;
        let left = "SELECT count(*) FROM pg_replication_slots WHERE database = $1 AND active";
        wait_until(Duration::from_secs(30), || async {
            let active: i64 = source.query_one(left, &[&database]).await?.get(0);
            Ok((active == 0).then_some(()))
        })
        .await
        .context("a slot of the last phase is still in use")?;
        let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
                    WHERE database = $1";
        source.execute(drop, &[&database]).await?;
        for cluster in [&self.source, &self.target] {
            let drop = format!("DROP DATABASE {database} WITH (FORCE)");
            cluster.execute("postgres", &drop).await?;
        }
        Ok(())
    }

    /// Pipes `COPY … TO STDOUT` into `COPY … FROM STDIN`, both binary, over so many streams, each of
    /// which has a range of the table's blocks. Answers the seconds it took.
    pub(super) async fn raw_copy(&self, database: &str, streams: u16) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let source = self.source.connect(database).await?;
        let pages = "SELECT (pg_relation_size('bench') / 8192)::bigint";
        let pages: i64 = source.query_one(pages, &[]).await?.get(0);
        let mut running = JoinSet::new();
        for stream in 0..i64::from(streams) {
            let bound = |stream: i64| pages * stream / i64::from(streams);
            // blocks beyond the last one are empty
            let (from, to) = (bound(stream), bound(stream + 1));
            let read = format!(
                "COPY (SELECT * FROM bench WHERE ctid >= '({from},0)' AND ctid < '({to},0)') \
                 TO STDOUT (FORMAT binary)"
            );
            let (source, target) =
                (self.source.connect(database).await?, self.target.connect(database).await?);
            running.spawn(async move {
                let sink = target.copy_in("COPY bench FROM STDIN (FORMAT binary)").await?;
                source.copy_out(&read).await?.forward(sink).await
            });
        }
        while let Some(ended) = running.join_next().await {
            ended.context("a stream panicked")?.context("copy a range")?;
        }
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Writes on the source and waits until the target has the last row.
    pub(super) async fn apply(
        &self,
        database: &str,
        writes: Writes,
        rows: u32,
    ) -> anyhow::Result<Applied> {
        let (source, target) =
            (self.source.connect(database).await?, self.target.connect(database).await?);
        let (load, mark) = (writes.sql(rows), writes.mark());
        let cpu = self.cpu_seconds()?;
        let begun = Instant::now();
        // The source's own flushes are not what is measured, and would be all that is.
        source.batch_execute("SET synchronous_commit = off").await?;
        source.batch_execute(&load).await.context("write on the source")?;
        source.batch_execute("SET synchronous_commit = on").await?;
        source.execute("UPDATE bench SET version = $1 WHERE id = 1", &[&mark]).await?;
        let written_s = begun.elapsed().as_secs_f64();
        wait_until(CAUGHT_UP_WITHIN, || async {
            Ok((version_of_first(&target).await? == mark).then_some(()))
        })
        .await
        .context("the target did not get the last row")?;
        let applied_s = begun.elapsed().as_secs_f64();
        Ok(Applied { written_s, applied_s, servers_cpu_s: self.cpu_seconds()? - cpu })
    }

    /// Fails when the two tables are not equal.
    pub(super) async fn ensure_equal(&self, database: &str) -> anyhow::Result<()> {
        let hash = "SELECT count(*)::text || ' rows, hash ' || \
                    coalesce(sum(hashtextextended(bench::text, 0)::numeric), 0)::text FROM bench";
        let mut found = Vec::new();
        for cluster in [&self.source, &self.target] {
            let row = cluster.connect(database).await?.query_one(hash, &[]).await?;
            found.push(row.get::<_, String>(0));
        }
        let equal = found.windows(2).all(|pair| pair.first() == pair.last());
        anyhow::ensure!(equal, "the run does not count: source and target differ: {found:?}");
        Ok(())
    }

    fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let mut sum = 0.0;
        for cluster in [&self.source, &self.target] {
            let file = cluster.data_dir().join("postmaster.pid");
            let text =
                fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            let pid = text.lines().next().context("an empty postmaster.pid")?.trim();
            sum += cpu_seconds(pid.parse().context("read the server's process id")?)?;
        }
        Ok(sum)
    }
}

impl Writes {
    /// What the first row's version is set to at the end; far from what the load itself makes of it.
    const fn mark(self) -> i32 {
        match self {
            Self::Batches => 500_000_000,
            Self::Singles => 600_000_000,
        }
    }

    fn sql(self, rows: u32) -> String {
        let (last, step, condition) = match self {
            Self::Batches => (rows, BATCH, format!("id > i AND id <= least(i + {BATCH}, {rows})")),
            Self::Singles => (rows / 10, 1, format!("id = i * 7919::bigint % {rows} + 1")),
        };
        format!(
            "DO $$ BEGIN FOR i IN 0..{last} - 1 BY {step} LOOP
                 UPDATE bench SET version = version + 1, amount = amount + 1, note = md5(i::text)
                 WHERE {condition};
                 COMMIT;
             END LOOP; END $$"
        )
    }
}

/// What the first row's `version` is on this side.
pub(super) async fn version_of_first(client: &Client) -> anyhow::Result<i32> {
    let row = client.query_opt("SELECT version FROM bench WHERE id = 1", &[]).await?;
    Ok(row.map_or(0, |row| row.get(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_copy_in_ranges_is_whole_and_one_differing_value_makes_the_run_not_count() {
        let pair = Pair::start().await.expect("two clusters");
        pair.lay_out("shop", 2_000).await.expect("a filled table");
        pair.ensure_equal("shop").await.expect_err("nothing was copied yet");
        pair.raw_copy("shop", 3).await.expect("a copy");
        pair.ensure_equal("shop").await.expect("equal after the copy");
        let change = "UPDATE bench SET amount = amount + 0.01 WHERE id = 1999";
        pair.target.execute("shop", change).await.expect("a changed value");
        let error = pair.ensure_equal("shop").await.expect_err("one value differs");
        assert!(error.to_string().contains("does not count"), "{error}");
        pair.clear("shop").await.expect("both databases dropped");
    }
}
