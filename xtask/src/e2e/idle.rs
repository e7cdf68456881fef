//! `cargo xtask e2e idle`: a published database in which nothing happens, beside a busy one on the same
//! server. A slot that is not moved on would make the server keep the busy one's whole log.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use serde::Serialize;
use testkit::tokio_postgres::Client;
use testkit::{Cluster, wait_until};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::replicator::{Migration, Replicator, Side, make_roles};
use crate::operator::{number, talk};

const MB: f64 = 1_048_576.0;

/// What may be kept however little is written: four segments of the server's log. It recycles whole ones.
const KEPT_MB: f64 = 64.0;

/// A slot moves on when the server has logged which transactions run (every 15 s where something is
/// written) and the replicator has confirmed a position behind that (a heartbeat every 10 s).
const BEHIND_S: f64 = 25.0;

/// The source server recycles its log early, so that what the slot keeps shows in the directory.
const MAX_WAL_MB: f64 = 64.0;

/// Pause between two writes of the busy database.
const WRITE_EVERY: Duration = Duration::from_millis(250);

/// Rows of one write; with about 1 KiB each and its headers the unit of `--kilobytes`.
const TABLES: &str = "CREATE TABLE load (id bigserial PRIMARY KEY, note text NOT NULL)";

const QUIET: &str = "CREATE TABLE quiet (id integer PRIMARY KEY, note text NOT NULL)";

/// Watch how much of the log an idle source's slot keeps while another database is busy.
#[derive(Debug, Args)]
pub(super) struct Idle {
    /// How long to watch.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Log the busy database writes, in KiB a second.
    #[arg(long, default_value_t = 1_500)]
    rate: u32,
}

/// The last line of standard output.
#[derive(Clone, Debug, Default, Serialize)]
struct Report {
    minutes: u64,
    /// Log the server wrote meanwhile.
    wal_written_mb: f64,
    /// Most that the slot kept, and what it kept at the end.
    retained_max_mb: f64,
    retained_last_mb: f64,
    /// The most `retained_max_mb` may be.
    retained_bound_mb: f64,
    /// Largest size of the log's directory.
    wal_dir_max_mb: f64,
}

impl Idle {
    pub(super) async fn drive(&self) -> anyhow::Result<()> {
        let ficus = super::ficus(None).await?;
        let dir = super::folder("idle")?;
        let outcome = self.run(&ficus, dir.path()).await;
        if outcome.is_err() {
            super::keep(dir);
        }
        let report = outcome?;
        println!("{}", serde_json::to_string(&report)?);
        report.verdict()
    }

    async fn run(&self, ficus: &Path, dir: &Path) -> anyhow::Result<Report> {
        let source = Cluster::builder()
            .setting(format!("max_wal_size = '{MAX_WAL_MB}MB'"))
            .setting("min_wal_size = '32MB'")
            .setting("checkpoint_timeout = '30s'")
            .start()
            .await?;
        let target = Cluster::start().await?;
        make_roles(&source, &target).await?;
        for (cluster, database, sql) in
            [(&source, "busy", TABLES), (&source, "idle", QUIET), (&target, "idle", QUIET)]
        {
            cluster.create_database(database).await?;
            cluster.execute(database, sql).await?;
        }
        let fill = "INSERT INTO quiet SELECT i, 'note ' || i FROM generate_series(1, 1000) i";
        source.execute("idle", fill).await?;
        let tables = ["public.quiet".to_owned()];
        let migration = Migration {
            capability: "quiet",
            source: Side { cluster: &source, database: "idle" },
            target: Side { cluster: &target, database: "idle" },
            tables: &tables,
            routes: &["GET /quiet", "POST /quiet"],
            shadowed: &[],
            proxy: None,
        };
        let replicator = Replicator::start(ficus, dir, &migration).await?;
        replicator.act("start").await?;
        let stop = CancellationToken::new();
        let load = write(source.connect("busy").await?, self.rate, stop.clone());
        let report = self.watch(&source, &load).await;
        stop.cancel();
        load.await.context("the busy database's writer panicked")??;
        let report = report?;
        still_streams(&source, &target, &replicator).await?;
        replicator.stop().await?;
        Ok(report)
    }

    /// Looks every second, for as long as the load goes on.
    async fn watch(&self, source: &Cluster, load: &Load) -> anyhow::Result<Report> {
        let client = source.connect("postgres").await?;
        let bound = KEPT_MB + f64::from(self.rate) / 1024.0 * BEHIND_S;
        let mut report =
            Report { minutes: self.minutes, retained_bound_mb: bound, ..Report::default() };
        let first = Sample::take(&client).await?;
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = Instant::now() + Duration::from_secs(self.minutes * 60);
        let mut told = Instant::now();
        while Instant::now() < end && !load.is_finished() {
            tick.tick().await;
            let sample = Sample::take(&client).await?;
            report.add(&first, &sample);
            if told.elapsed() >= Duration::from_secs(60) {
                told = Instant::now();
                talk(&format!(
                    "{:.0} MB written, {:.1} MB kept for the slot, {:.0} MB in the directory",
                    report.wal_written_mb,
                    report.retained_last_mb,
                    sample.directory / MB
                ));
            }
        }
        Ok(report)
    }
}

impl Report {
    fn add(&mut self, first: &Sample, sample: &Sample) {
        let rounded = |bytes: f64| (bytes / MB * 10.0).round() / 10.0;
        self.wal_written_mb = rounded(sample.written - first.written);
        self.retained_last_mb = rounded(sample.retained);
        self.retained_max_mb = self.retained_max_mb.max(self.retained_last_mb);
        self.wal_dir_max_mb = self.wal_dir_max_mb.max(rounded(sample.directory));
    }

    fn verdict(&self) -> anyhow::Result<()> {
        let Self { retained_max_mb: kept, retained_bound_mb: bound, .. } = self;
        ensure!(kept <= bound, "the slot kept {kept} MB of log, at most {bound} were expected");
        let directory = bound + 2.0 * MAX_WAL_MB;
        ensure!(
            self.wal_dir_max_mb <= directory,
            "the log's directory grew to {} MB, at most {directory} were expected",
            self.wal_dir_max_mb
        );
        ensure!(
            self.wal_written_mb > *bound,
            "only {} MB were written: a slot that keeps everything would have passed; watch longer",
            self.wal_written_mb
        );
        Ok(())
    }
}

type Load = JoinHandle<anyhow::Result<()>>;

/// Positions and sizes at one moment, in bytes.
#[derive(Clone, Copy, Debug)]
struct Sample {
    written: f64,
    retained: f64,
    directory: f64,
}

impl Sample {
    async fn take(client: &Client) -> anyhow::Result<Self> {
        let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8,
                pg_wal_lsn_diff(pg_current_wal_lsn(), min(restart_lsn))::float8,
                (SELECT sum(size) FROM pg_ls_waldir())::float8
            FROM pg_replication_slots WHERE database = 'idle'";
        let row = client.query_one(sql, &[]).await.context("look at the log")?;
        let retained: Option<f64> = row.try_get(1)?;
        Ok(Self {
            written: row.try_get(0)?,
            retained: retained.context("the idle database has no slot that keeps log")?,
            directory: row.try_get(2)?,
        })
    }
}

/// Writes about so many KiB of log a second, and takes the rows away again from time to time.
fn write(client: Client, rate: u32, stop: CancellationToken) -> Load {
    let rows = i64::from(rate) / 4;
    tokio::spawn(async move {
        let insert = "INSERT INTO load (note)
            SELECT repeat(md5((random() + i)::text), 28) FROM generate_series(1, $1::bigint) i";
        let mut tick = tokio::time::interval(WRITE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut since_truncated = 0;
        while !stop.is_cancelled() {
            tick.tick().await;
            client.execute(insert, &[&rows]).await.context("write into the busy database")?;
            since_truncated += 1;
            if since_truncated == 100 {
                since_truncated = 0;
                client.batch_execute("TRUNCATE load").await.context("empty the busy database")?;
            }
        }
        Ok(())
    })
}

/// A row written after all this arrives, and everything is equal.
async fn still_streams(
    source: &Cluster,
    target: &Cluster,
    replicator: &Replicator,
) -> anyhow::Result<()> {
    source.execute("idle", "INSERT INTO quiet VALUES (0, 'after the silence')").await?;
    let client = target.connect("idle").await?;
    wait_until(Duration::from_secs(30), || async {
        Ok(client.query_opt("SELECT FROM quiet WHERE id = 0", &[]).await?.map(|_| ()))
    })
    .await
    .context("a row written after the silence does not arrive")?;
    let verified = replicator.verify().await?;
    ensure!(number(&verified, "differences") == 0, "the two databases differ: {verified}");
    ensure!(number(&verified, "rows") == 1001, "not every row was verified: {verified}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(retained: f64, directory: f64, written: f64) -> Report {
        let bytes = |mb: f64| mb * MB;
        let mut report = Report { retained_bound_mb: 100.0, ..Report::default() };
        let first = Sample { written: 0.0, retained: 0.0, directory: 0.0 };
        let (written, retained, directory) = (bytes(written), bytes(retained), bytes(directory));
        report.add(&first, &Sample { written: written / 2.0, retained, directory });
        report.add(&first, &Sample { written, retained: 0.0, directory: 0.0 });
        report
    }

    #[test]
    fn the_largest_sample_counts_and_the_last_one_is_told() {
        let report = report(80.0, 150.0, 900.0);
        assert_eq!((report.retained_max_mb, report.retained_last_mb), (80.0, 0.0));
        report.verdict().expect("within the bounds");
    }

    #[test]
    fn a_slot_that_keeps_too_much_a_grown_directory_and_a_short_run_fail() {
        for wrong in
            [report(101.0, 150.0, 900.0), report(80.0, 229.0, 900.0), report(80.0, 90.0, 99.0)]
        {
            wrong.verdict().expect_err("out of bounds");
        }
    }
}
