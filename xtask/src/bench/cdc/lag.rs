//! How long after a commit on the source its rows are visible on the target, at a fixed rate.
//!
//! Every transaction changes a row of its writer and one more. The source tells its clock just before the
//! commit, the target tells it with each look; both are the clock of this machine.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use testkit::tokio_postgres::Client;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::cost::{Figures, Meter};
use super::pair::{CAUGHT_UP_WITHIN, Pair, WRITERS};
use crate::bench::quantile;

/// Pause between two looks at the target; the lag is told too long by up to this, one query, and the
/// timer's own step of a millisecond.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Microseconds since 1970.
type Clock = i64;

/// A load at a fixed rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Transactions a second.
    pub(super) rate: u32,
    /// Rows of the table.
    pub(super) rows: u32,
}

/// Writers that keep the pace until they are stopped.
#[derive(Debug)]
pub(super) struct Load {
    stop: CancellationToken,
    writers: JoinSet<anyhow::Result<(i64, Vec<Clock>)>>,
    begun: Instant,
}

/// When each transaction was about to commit, by writer. The first has the version 1.
#[derive(Debug)]
pub(super) struct Written {
    committed: BTreeMap<i64, Vec<Clock>>,
    seconds: f64,
}

/// Versions of a writer's row that were seen on the target, and when.
type Seen = BTreeMap<i64, Vec<(i32, Clock)>>;

impl Load {
    pub(super) async fn begin(pair: &Pair, database: &str, pace: Pace) -> anyhow::Result<Self> {
        let (stop, begun) = (CancellationToken::new(), Instant::now());
        let mut writers = JoinSet::new();
        for writer in 1..=i64::from(WRITERS) {
            let client = pair.source.connect(database).await?;
            let stop = stop.clone();
            writers
                .spawn(async move { Ok((-writer, write(&client, -writer, pace, &stop).await?)) });
        }
        Ok(Self { stop, writers, begun })
    }

    /// Every writer ends its transaction.
    pub(super) async fn end(mut self) -> anyhow::Result<Written> {
        let seconds = self.begun.elapsed().as_secs_f64();
        self.stop.cancel();
        let mut committed = BTreeMap::new();
        while let Some(ended) = self.writers.join_next().await {
            let (writer, times) = ended.context("a writer panicked")??;
            committed.insert(writer, times);
        }
        Ok(Written { committed, seconds })
    }
}

impl Written {
    fn transactions(&self) -> usize {
        self.committed.values().map(Vec::len).sum()
    }

    pub(super) fn rate(&self) -> f64 {
        self.transactions() as f64 / self.seconds
    }

    /// Waits until the target shows the last transaction of every writer.
    pub(super) async fn until_seen(&self, pair: &Pair, database: &str) -> anyhow::Result<()> {
        let target = pair.target.connect(database).await?;
        let has_last = |seen: &Seen| {
            self.committed.iter().all(|(writer, times)| {
                let last = seen.get(writer).and_then(|of_writer| of_writer.last());
                let version = last.and_then(|(version, _)| usize::try_from(*version).ok());
                version.unwrap_or(0) >= times.len()
            })
        };
        let watching = timeout(CAUGHT_UP_WITHIN, watch(&target, has_last));
        watching.await.context("the target does not catch up")??;
        Ok(())
    }
}

/// Writes at the pace for so long and watches the target until it has everything.
pub(super) async fn measure(
    pair: &Pair,
    database: &str,
    (pace, duration): (Pace, Duration),
    processes: Vec<i32>,
) -> anyhow::Result<Figures> {
    let watcher = pair.target.connect(database).await?;
    let meter = Meter::begin(pair, processes)?;
    let ended = CancellationToken::new();
    let writing = async {
        let load = Load::begin(pair, database, pace).await?;
        sleep(duration).await;
        let written = load.end().await?;
        // this catches up, too; the watcher goes on until then, so that it has seen everything
        written.until_seen(pair, database).await?;
        ended.cancel();
        anyhow::Ok(written)
    };
    let watching = watch(&watcher, |_| ended.is_cancelled());
    let (written, seen) = tokio::try_join!(writing, watching)?;
    let cost = meter.end()?;
    let lags = lags(&written.committed, &seen);
    anyhow::ensure!(lags.len() == written.transactions(), "transactions were not seen");
    let of = |q| quantile(lags.iter().copied(), q);
    let mut figures = vec![
        ("lag_p50_ms", of(0.5)),
        ("lag_p99_ms", of(0.99)),
        ("lag_p999_ms", of(0.999)),
        ("lag_max_ms", of(1.0)),
        ("rate", written.rate()),
    ];
    // every transaction changes two rows; the writers are a part of the source
    let rows = u32::try_from(written.transactions() * 2)?;
    let is_told = |(name, _): &(&str, f64)| !matches!(*name, "seconds" | "rows_per_s");
    figures.extend(cost.figures(rows).into_iter().filter(is_told));
    Ok(figures)
}

/// One transaction each tick, late ones at once; answers the source's clock before each commit.
async fn write(
    client: &Client,
    own: i64,
    pace: Pace,
    stop: &CancellationToken,
) -> anyhow::Result<Vec<Clock>> {
    let update = "UPDATE bench SET version = $1 WHERE id IN ($2, $3) \
                  RETURNING (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    let update = client.prepare(update).await?;
    let step = Duration::from_secs(1) / pace.rate.max(1);
    let first = Instant::now() + step * u32::try_from(-own)?;
    let mut ticks = interval_at(first, step * WRITERS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut committed = Vec::new();
    for version in 1_i32.. {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let number = i64::from(version) * i64::from(WRITERS) - own;
        let other = number * 7919 % i64::from(pace.rows) + 1;
        let rows = client.query(&update, &[&version, &own, &other]).await?;
        let clock = rows.iter().map(|row| row.get::<_, Clock>(0)).max();
        committed.push(clock.context("a writer's row is missing")?);
    }
    Ok(committed)
}

/// Every change that is seen of the writers' rows, with one more look when it is over.
async fn watch(client: &Client, is_over: impl Fn(&Seen) -> bool) -> anyhow::Result<Seen> {
    let look = "SELECT id, version, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint \
                FROM bench WHERE id < 0";
    let look = client.prepare(look).await?;
    let mut seen = Seen::new();
    loop {
        let is_last_look = is_over(&seen);
        for row in client.query(&look, &[]).await? {
            let (version, clock) = (row.get(1), row.get(2));
            let of_writer = seen.entry(row.get(0)).or_default();
            if of_writer.last().map_or(0, |(last, _)| *last) < version {
                of_writer.push((version, clock));
            }
        }
        if is_last_look {
            return Ok(seen);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// The lag of each transaction in ms.
fn lags(committed: &BTreeMap<i64, Vec<Clock>>, seen: &Seen) -> Vec<f64> {
    let mut lags = Vec::new();
    for (writer, times) in committed {
        let mut seen = seen.get(writer).into_iter().flatten().peekable();
        for (version, at) in (1..).zip(times) {
            while seen.next_if(|(seen, _)| *seen < version).is_some() {}
            let Some((_, visible)) = seen.peek() else { break };
            lags.push((visible - at).max(0) as f64 / 1000.0);
        }
    }
    lags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_shows_several_transactions_counts_for_each_and_each_writer_for_itself() {
        let committed = BTreeMap::from([(-1, vec![0, 10_000, 20_000, 30_000]), (-2, vec![15_000])]);
        let mut seen =
            Seen::from([(-1, vec![(1, 3_000), (3, 25_000), (4, 29_000)]), (-2, vec![(1, 16_500)])]);
        assert_eq!(lags(&committed, &seen), [1.5, 3.0, 15.0, 5.0, 0.0]);
        seen.insert(-1, vec![(1, 3_000)]);
        assert_eq!(lags(&committed, &seen).len(), 2);
    }
}
