//! How long after a commit on the source its row is visible on the target, at a fixed rate.

use std::time::Duration;

use anyhow::Context;
use testkit::tokio_postgres::Client;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::pair::{CAUGHT_UP_WITHIN, Pair, version_of_first};
use super::quantile;

/// Pause between two looks at the target; the lag is told too long by up to this and one query.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The version of the first transaction; far from what the loads before made of it.
const FIRST_VERSION: i32 = 1_000_000_000;

/// A load at a fixed rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Transactions a second.
    pub(super) rate: u32,
    pub(super) seconds: u32,
    /// Rows of the table.
    pub(super) rows: u32,
}

/// Writes at the pace and watches the target until it has the last row; answers quantiles of the lag, and
/// the rate that was really reached.
pub(super) async fn measure(
    pair: &Pair,
    database: &str,
    pace: Pace,
) -> anyhow::Result<[(&'static str, f64); 4]> {
    let (writer, watcher) =
        (pair.source.connect(database).await?, pair.target.connect(database).await?);
    let count = pace.rate.max(1) * pace.seconds.max(1);
    let last = FIRST_VERSION + i32::try_from(count)? - 1;
    let begun = Instant::now();
    let bound = Duration::from_secs(u64::from(pace.seconds)) + CAUGHT_UP_WITHIN;
    let watching = async { timeout(bound, watch(&watcher, last)).await };
    let (committed, seen) = tokio::join!(write(&writer, pace, last), watching);
    let committed = committed?;
    let seen = seen.context("the target did not get the last row")??;
    let spent = committed.last().map_or(0.0, |at| (*at - begun).as_secs_f64());
    let lags = lags(&committed, &seen);
    anyhow::ensure!(lags.len() == committed.len(), "the target skipped transactions");
    let of = |q| quantile(lags.iter().copied(), q);
    Ok([
        ("lag_p50_ms", of(0.5)),
        ("lag_p99_ms", of(0.99)),
        ("lag_max_ms", of(1.0)),
        ("lag_rate", f64::from(count) / spent),
    ])
}

/// One transaction each tick, late ones at once; answers when each commit was acknowledged.
async fn write(client: &Client, pace: Pace, last: i32) -> anyhow::Result<Vec<Instant>> {
    let update = "UPDATE bench SET version = $1 WHERE id IN (1, $2)";
    let update = client.prepare(update).await?;
    let mut ticks = interval(Duration::from_secs(1) / pace.rate.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut committed = Vec::new();
    for version in FIRST_VERSION..=last {
        ticks.tick().await;
        let other = i64::from(version) * 7919 % i64::from(pace.rows) + 1;
        client.execute(&update, &[&version, &other]).await?;
        committed.push(Instant::now());
    }
    Ok(committed)
}

/// Every change that was seen, with its time: all transactions up to this one are visible.
async fn watch(client: &Client, last: i32) -> anyhow::Result<Vec<(i32, Instant)>> {
    let mut seen: Vec<(i32, Instant)> = Vec::new();
    loop {
        let version = version_of_first(client).await?;
        if version >= FIRST_VERSION && seen.last().is_none_or(|(last, _)| version > *last) {
            seen.push((version, Instant::now()));
        }
        if version == last {
            return Ok(seen);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The lag of each commit in ms; 0 when the target was faster than the acknowledgement.
fn lags(committed: &[Instant], seen: &[(i32, Instant)]) -> Vec<f64> {
    let mut seen = seen.iter().peekable();
    let mut lags = Vec::with_capacity(committed.len());
    for (version, at) in (FIRST_VERSION..).zip(committed) {
        while seen.next_if(|(seen, _)| *seen < version).is_some() {}
        let Some((_, visible)) = seen.peek() else { break };
        lags.push(visible.saturating_duration_since(*at).as_secs_f64() * 1000.0);
    }
    lags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_shows_several_transactions_counts_for_each() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let committed = [at(0), at(10), at(20), at(30)];
        let seen =
            [(FIRST_VERSION, at(3)), (FIRST_VERSION + 2, at(25)), (FIRST_VERSION + 3, at(29))];
        assert_eq!(lags(&committed, &seen), [3.0, 15.0, 5.0, 0.0]);
        assert_eq!(lags(&committed, &seen[..2]).len(), 3);
    }
}
