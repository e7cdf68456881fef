//! What the source keeps of its log for an idle database while another one is busy.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::cost::Figures;
use super::pair::Pair;

/// The busy database.
const BUSY: &str = "busy";

/// How often it is written to, and how often is looked.
const WRITE_EVERY: Duration = Duration::from_millis(100);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// About 200 kB of log.
const WRITE: &str = "INSERT INTO noise SELECT i, md5(i::text) FROM generate_series(1, 2000) AS i";

/// Bytes since the begin, and the most that a slot of the database keeps.
const LOOK: &str = "
SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), $2::text::pg_lsn)::float8,
       coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)), 0)::float8
FROM pg_replication_slots WHERE database = $1";

/// Writes to another database for so long and watches the slots of this one.
pub(super) async fn measure(
    pair: &Pair,
    database: &str,
    duration: Duration,
) -> anyhow::Result<Figures> {
    pair.source.create_database(BUSY).await?;
    let busy = pair.source.connect(BUSY).await?;
    busy.batch_execute("CREATE TABLE noise (id integer, text text)").await?;
    let watcher = pair.source.connect(database).await?;
    let begin = watcher.query_one("SELECT pg_current_wal_lsn()::text", &[]).await?;
    let begin: String = begin.get(0);
    let ends = Instant::now() + duration;
    let write = async {
        let mut ticks = interval(WRITE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while Instant::now() < ends {
            ticks.tick().await;
            busy.batch_execute(WRITE).await?;
        }
        anyhow::Ok(())
    };
    let look = async {
        let mut ticks = interval(LOOK_EVERY);
        let mut looks: Vec<(f64, f64)> = Vec::new();
        while Instant::now() < ends {
            ticks.tick().await;
            let row = watcher.query_one(LOOK, &[&database, &begin]).await?;
            looks.push((row.get(0), row.get(1)));
        }
        anyhow::Ok(looks)
    };
    let ((), looks) = tokio::try_join!(write, look)?;
    drop(busy);
    pair.source.execute("postgres", &format!("DROP DATABASE {BUSY} WITH (FORCE)")).await?;
    let mb = |bytes: f64| bytes / 1_048_576.0;
    let last = looks.last().copied().unwrap_or_default();
    Ok(vec![
        ("written_mb", mb(last.0)),
        ("retained_max_mb", mb(looks.iter().map(|look| look.1).fold(0.0, f64::max))),
        ("retained_end_mb", mb(last.1)),
    ])
}
