//! `cargo xtask bench cdc`: the replicator beside what others offer, workload by workload, each checked
//! row by row.

mod contestant;
mod cost;
mod idle;
mod lag;
mod markdown;
mod pair;
mod pgcopydb;
mod raw;
mod replicator;
mod result;
mod turn;
mod workload;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use self::contestant::Contestant;
use self::pair::{Different, Pair};
use self::result::Results;
use self::turn::Turn;
use self::workload::Workload;
use super::{ficus_binary, machine, peers};
use crate::operator::talk;

/// Copy tables, follow their writes, and compare with what PostgreSQL and others can do.
#[derive(Debug, Args)]
pub(super) struct CdcBench {
    /// Only these workloads (default: all but idle, huge-transaction and huge-copy).
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Workload>,
    /// Size of everything; 1 is the size that is published.
    #[arg(long, default_value_t = 1.0, value_parser = scale)]
    scale: f64,
    /// Rounds, in each of which every contestant has its turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Streams of the copy, of everybody who can have several.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    streams: u16,
    /// Transactions a second of `latency` and `copy-under-load`.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Seconds of `latency`.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3600))]
    lag_seconds: u32,
    /// Minutes of `idle`.
    #[arg(long, default_value_t = 10.0, value_parser = minutes)]
    idle_minutes: f64,
    /// Only Ficus; nothing to compare with.
    #[arg(long)]
    alone: bool,
    /// Install nothing; leave out who is not there.
    #[arg(long)]
    no_install: bool,
    /// Measure this `ficus` instead of building one.
    #[arg(long)]
    ficus: Option<PathBuf>,
    /// Write the tables of the measured workloads into this page, in place of the last ones.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

impl CdcBench {
    pub(super) async fn drive(&self) -> anyhow::Result<Value> {
        crate::setup::Setup::unattended(self.no_install).run()?;
        if !self.no_install && !self.alone && self.has(Contestant::Pgcopydb) {
            peers::install(&[(pgcopydb::PROGRAM, pgcopydb::PROGRAM)]);
        }
        let ficus = ficus_binary(self.ficus.as_deref()).await?;
        let machine = machine::look();
        let mut dir = tempfile::Builder::new().prefix("ficus-bench-").tempdir()?;
        let pair = Pair::start().await?;
        let mut results = Results::default();
        for workload in self.workloads() {
            self.rounds(workload, (&pair, &ficus, dir.path()), &mut results).await;
        }
        if results.has_failures() {
            dir.disable_cleanup(true);
            talk(&format!("bench: the processes' logs are in {}", dir.path().display()));
        }
        let mut object = results.object();
        object.extend([
            ("scale".to_owned(), json!(self.scale)),
            ("rounds".to_owned(), json!(self.rounds)),
            ("streams".to_owned(), json!(self.streams)),
            ("rate".to_owned(), json!(self.rate)),
            ("machine".to_owned(), machine),
            ("versions".to_owned(), versions(&pair, &ficus).await?),
            ("settings".to_owned(), json!(pair::SETTINGS)),
        ]);
        let object = Value::Object(object);
        if let Some(page) = &self.markdown {
            markdown::write(page, &results, &object)?;
        }
        Ok(object)
    }

    /// Who comes first finds another machine than who comes last: the order turns with the rounds.
    async fn rounds(
        &self,
        workload: Workload,
        (pair, ficus, dir): (&Pair, &Path, &Path),
        results: &mut Results,
    ) {
        let contestants = self.contestants(workload);
        for round in 1..=self.rounds {
            let mut order = contestants.clone();
            order.rotate_left((round as usize - 1) % contestants.len().max(1));
            for contestant in order {
                let name = format!("{}_{}_{round}", contestant.name(), workload.name());
                let database = name.replace('-', "_");
                let dir = dir.join(&database);
                let bench = self;
                let (database, dir) = (database.as_str(), dir.as_path());
                let turn = Turn { bench, pair, ficus, dir, workload, contestant, database };
                let place = (workload, contestant, round);
                match measured(turn).await {
                    Ok(figures) => results.add(place, &figures),
                    Err(error) => results.fail(place, &error, error.downcast_ref::<Different>()),
                }
            }
        }
    }

    fn workloads(&self) -> Vec<Workload> {
        if self.only.is_empty() { Workload::ORDINARY.to_vec() } else { self.only.clone() }
    }

    /// Those that are there.
    fn contestants(&self, workload: Workload) -> Vec<Contestant> {
        let is_there = |contestant: &Contestant| match contestant {
            Contestant::Ficus => true,
            Contestant::Native | Contestant::NativeDurable => !self.alone,
            Contestant::RawCopy | Contestant::RawCopyIndexesAfter => {
                !self.alone && raw::psql().is_some()
            }
            Contestant::Pgcopydb => !self.alone && machine::program(pgcopydb::PROGRAM).is_some(),
        };
        let (there, missing): (Vec<_>, Vec<_>) =
            workload.contestants().iter().copied().partition(is_there);
        for contestant in missing {
            talk(&format!("bench: {}: {} is left out", workload.name(), contestant.name()));
        }
        there
    }

    fn has(&self, contestant: Contestant) -> bool {
        self.workloads().iter().any(|workload| workload.contestants().contains(&contestant))
    }
}

/// A turn's figures; its databases and processes are gone afterwards, whatever happened.
async fn measured(turn: Turn<'_>) -> anyhow::Result<cost::Figures> {
    std::fs::create_dir_all(turn.dir)?;
    let figures = turn.take().await;
    let cleared = turn.pair.clear(turn.database).await;
    let figures = figures?;
    cleared.context("clear the databases")?;
    Ok(figures)
}

async fn versions(pair: &Pair, ficus: &Path) -> anyhow::Result<Value> {
    let server = pair.source.connect("postgres").await?;
    let server = server.query_one("SHOW server_version", &[]).await?;
    let pgcopydb = machine::program(pgcopydb::PROGRAM);
    Ok(json!({
        "postgresql": server.get::<_, String>(0),
        "ficus": machine::version(ficus, "--version"),
        "pgcopydb": pgcopydb.map(|program| machine::version(&program, "--version")),
    }))
}

fn scale(text: &str) -> Result<f64, String> {
    let scale: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0001..=10.0).contains(&scale) { Ok(scale) } else { Err("from 0.0001 to 10".to_owned()) }
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if minutes > 0.0 && minutes <= 1440.0 { Ok(minutes) } else { Err("up to 1440".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The harness as it runs without a build of Ficus.
    #[tokio::test]
    async fn a_subscription_is_measured_over_a_backlog_and_for_its_lag_and_leaves_nothing() {
        let text = ["cdc", "--scale", "0.002", "--lag-seconds", "1", "--rate", "200"];
        let bench = parsed(&text);
        let pair = Pair::start().await.expect("two clusters");
        let dir = tempfile::tempdir().expect("a directory");
        let turn = |workload, database| Turn {
            bench: &bench,
            pair: &pair,
            ficus: Path::new("none"),
            dir: dir.path(),
            workload,
            contestant: Contestant::Native,
            database,
        };
        for (workload, database) in [(Workload::OneRow, "backlog"), (Workload::Latency, "late")] {
            let figures = measured(turn(workload, database)).await.expect("a turn that counts");
            let told = if workload == Workload::Latency { "lag_p50_ms" } else { "rows_per_s" };
            let value = figures.iter().find(|(name, _)| *name == told).expect("a figure").1;
            assert!(value > 0.0, "{workload:?}: {figures:?}");
        }
        let slots = "SELECT 1 FROM pg_replication_slots";
        let source = pair.source.connect("postgres").await.expect("a connection");
        assert!(source.query(slots, &[]).await.expect("a list").is_empty(), "slots are left");
    }

    fn parsed(text: &[&str]) -> CdcBench {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            bench: CdcBench,
        }
        <Line as clap::Parser>::parse_from(text).bench
    }
}
