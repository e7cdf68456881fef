//! `cargo xtask bench cdc`: copy, apply and lag beside raw `COPY` and a native subscription.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::{Map, Value, json};

use super::lag::{self, Pace};
use super::pair::{Pair, Writes};
use super::replicator::{Replicator, Start};
use super::{Samples, ficus_binary, machine};
use crate::operator::talk;

/// `native` is a subscription as it is created by default: its commits are not flushed one by one.
/// `native_durable` flushes each, as Ficus does.
const CONTESTANTS: [&str; 3] = ["native", "native_durable", "ficus"];

/// Copy a table, follow its updates, and compare with what PostgreSQL can do by itself.
#[derive(Debug, Args)]
pub(super) struct CdcBench {
    /// Rows of the table.
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u32).range(1000..=10_000_000))]
    rows: u32,
    /// Rounds, in each of which every contestant has its turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Streams of the copy, of Ficus and of raw COPY.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    streams: u16,
    /// Transactions a second while the lag is measured.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Seconds of that.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    lag_seconds: u32,
    /// Measure this `ficus` instead of building one.
    #[arg(long)]
    ficus: Option<PathBuf>,
}

impl CdcBench {
    pub(super) async fn drive(&self) -> anyhow::Result<Value> {
        crate::setup::Setup::unattended(false).run()?;
        let ficus = ficus_binary(self.ficus.as_deref()).await?;
        let machine = machine::look();
        let mut dir = tempfile::Builder::new().prefix("ficus-bench-").tempdir()?;
        let pair = Pair::start().await?;
        let samples = self.rounds(&pair, &ficus, dir.path()).await;
        if samples.is_err() {
            dir.disable_cleanup(true);
            talk(&format!("bench: the processes' logs are in {}", dir.path().display()));
        }
        let setting = json!({
            "rows": self.rows, "rounds": self.rounds, "streams": self.streams, "rate": self.rate,
            "postgresql": pair.source.major(), "ficus_version": machine::version(&ficus, "--version"),
            "machine": machine,
        });
        let mut result = result(&samples?);
        result.extend(setting.as_object().cloned().unwrap_or_default());
        Ok(Value::Object(result))
    }

    async fn rounds(&self, pair: &Pair, ficus: &Path, dir: &Path) -> anyhow::Result<Samples> {
        let mut samples = Samples::default();
        for round in 1..=self.rounds {
            let turn = format!("round {round}");
            let database = format!("raw_{round}");
            pair.lay_out(&database, self.rows).await?;
            let seconds = pair.raw_copy(&database, self.streams).await?;
            pair.ensure_equal(&database).await?;
            pair.clear(&database).await?;
            samples.add("raw_copy", &turn, &[("copy_s", seconds)]);
            // who comes first finds another machine than who comes last
            let mut order = CONTESTANTS;
            order.rotate_left(usize::try_from(round)? % CONTESTANTS.len());
            for contestant in order {
                // slots and origins belong to the whole cluster: every turn has names of its own
                let database = format!("{contestant}_{round}");
                pair.lay_out(&database, self.rows).await?;
                let figures = async {
                    let dir = dir.join(&database);
                    let start = Start { program: ficus, dir: &dir, streams: self.streams };
                    let (replicator, copy_s) = match contestant {
                        "ficus" => Replicator::ficus(pair, &database, start).await?,
                        "native" => Replicator::native(pair, &database, "off").await?,
                        _ => Replicator::native(pair, &database, "on").await?,
                    };
                    self.turn(pair, &database, replicator, copy_s).await
                };
                let figures = figures.await.with_context(|| format!("{turn}, {contestant}"))?;
                samples.add(contestant, &turn, &figures);
                pair.clear(&database).await?;
            }
        }
        Ok(samples)
    }

    /// Loads, lag, and the proof that both sides are equal, after the copy and at the end.
    async fn turn(
        &self,
        pair: &Pair,
        database: &str,
        replicator: Replicator,
        copy_s: f64,
    ) -> anyhow::Result<Vec<(&'static str, f64)>> {
        pair.ensure_equal(database).await?;
        let mut figures = vec![("copy_s", copy_s)];
        for (writes, names) in [
            (Writes::Batches, ["written_s", "apply_s", "apply_cpu_s"]),
            (Writes::Singles, ["one_row_written_s", "one_row_apply_s", "one_row_apply_cpu_s"]),
        ] {
            let before = replicator.cpu_seconds()?;
            let applied = pair.apply(database, writes, self.rows).await?;
            let cpu_s = applied.servers_cpu_s + replicator.cpu_seconds()? - before;
            figures.extend(names.into_iter().zip([applied.written_s, applied.applied_s, cpu_s]));
        }
        let pace = Pace { rate: self.rate, seconds: self.lag_seconds, rows: self.rows };
        figures.extend(lag::measure(pair, database, pace).await?);
        pair.ensure_equal(database).await?;
        figures.extend(replicator.stop(pair, database).await?.map(|mb| ("peak_rss_mb", mb)));
        Ok(figures)
    }
}

/// Ratios are of speeds: above 1, Ficus was faster.
fn result(samples: &Samples) -> Map<String, Value> {
    let mut result = Map::new();
    for (name, figure, other) in [
        ("copy_ratio_to_raw_copy", "copy_s", "raw_copy"),
        ("copy_ratio_to_native", "copy_s", "native"),
        ("apply_ratio_to_native", "apply_s", "native"),
        ("apply_ratio_to_native_durable", "apply_s", "native_durable"),
        ("one_row_apply_ratio_to_native", "one_row_apply_s", "native"),
        ("one_row_apply_ratio_to_native_durable", "one_row_apply_s", "native_durable"),
    ] {
        result.insert(name.to_owned(), json!(samples.ratio(figure, other, "ficus")));
    }
    for name in ["lag_p50_ms", "lag_p99_ms", "peak_rss_mb"] {
        result.insert(name.to_owned(), json!(samples.median("ficus", name).map(super::rounded)));
    }
    result.extend(samples.objects());
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replicator_that_takes_twice_as_long_has_the_ratio_one_half() {
        let mut samples = Samples::default();
        samples.add("raw_copy", "round 1", &[("copy_s", 1.0)]);
        samples.add("ficus", "round 1", &[("copy_s", 2.0), ("peak_rss_mb", 9.5)]);
        let result = result(&samples);
        assert_eq!(result["copy_ratio_to_raw_copy"], json!(0.5));
        assert_eq!(result["peak_rss_mb"], json!(9.5));
    }
}
