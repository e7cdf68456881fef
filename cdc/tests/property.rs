//! Random schemas, types and operations between two real databases, with the real replicator in between:
//! at the end both sides are equal through the mapping, by a query that is not the product's own.
//!
//! `FICUS_PROPERTY_SEED=17 cargo test -p cdc --test property` runs one case again.

#[path = "property/case.rs"]
mod case;
#[path = "property/kinds.rs"]
mod kinds;
#[path = "property/lane.rs"]
mod lane;
#[path = "property/schema.rs"]
mod schema;
#[path = "property/script.rs"]
mod script;
#[path = "property/shrink.rs"]
mod shrink;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use tokio::task::JoinSet;

use crate::{
    case::{Case, Done},
    lane::Lane,
};

/// Cases in the ordinary test run.
const CASES: u64 = 50;

/// Cases at the same time: most of each is waiting.
const LANES: usize = 4;

/// Failed cases that are made smaller and printed in full; the others are named.
const SHOWN_MAX: usize = 3;

/// Statements of which fewer succeed prove nothing.
const SUCCEEDED_PERCENT_MIN: u64 = 50;

/// `FICUS_PROPERTY_<name>`.
fn setting(name: &str) -> anyhow::Result<Option<u64>> {
    let name = format!("FICUS_PROPERTY_{name}");
    let Ok(text) = std::env::var(&name) else { return Ok(None) };
    Ok(Some(text.parse().with_context(|| format!("{name} is a number"))?))
}

/// What all lanes share.
#[derive(Debug)]
struct Progress {
    seeds: Mutex<VecDeque<u64>>,
    done: Mutex<Done>,
    failed: Mutex<Vec<(u64, anyhow::Error)>>,
}

impl Progress {
    async fn run(&self, lane: &Lane) {
        loop {
            let seed = self.seeds.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(seed) = seed else { return };
            let case = Case::new(seed, lane);
            match lane.run(&case).await {
                Ok(done) => self.done.lock().unwrap_or_else(PoisonError::into_inner).add(done),
                Err(error) => {
                    self.failed.lock().unwrap_or_else(PoisonError::into_inner).push((seed, error));
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_tables_are_equal_after_random_operations() -> anyhow::Result<()> {
    let seed = setting("SEED")?;
    let cases = setting("CASES")?.unwrap_or_else(|| if seed.is_some() { 1 } else { CASES });
    let first = seed.unwrap_or(0);
    let cluster = lane::cluster().await?;
    let progress = Arc::new(Progress {
        seeds: Mutex::new((first..first.saturating_add(cases)).collect()),
        done: Mutex::default(),
        failed: Mutex::default(),
    });
    let mut lanes = JoinSet::new();
    for number in 0..LANES.min(usize::try_from(cases)?) {
        let lane = Lane::open(Arc::clone(&cluster), &format!("lane{number}")).await?;
        let progress = Arc::clone(&progress);
        lanes.spawn(async move { Box::pin(progress.run(&lane)).await });
    }
    while let Some(ended) = lanes.join_next().await {
        ended.context("a lane panicked")?;
    }
    let mut failed =
        std::mem::take(&mut *progress.failed.lock().unwrap_or_else(PoisonError::into_inner));
    failed.sort_by_key(|(seed, _)| *seed);
    report(cases, &failed)?;
    if !failed.is_empty() {
        let lane = Lane::open(cluster, "shrink").await?;
        let mut text = String::new();
        for (seed, error) in failed.iter().take(SHOWN_MAX) {
            text.push_str(&Box::pin(shrink::explain(&lane, *seed, error)).await);
        }
        let seeds: Vec<u64> = failed.iter().map(|(seed, _)| *seed).collect();
        anyhow::bail!("{} of {cases} cases failed, seeds {seeds:?}:\n{text}", failed.len());
    }
    let done = *progress.done.lock().unwrap_or_else(PoisonError::into_inner);
    let percent = done.succeeded * 100 / done.statements.max(1);
    anyhow::ensure!(
        percent >= SUCCEEDED_PERCENT_MIN,
        "only {percent} % of statements did anything"
    );
    anyhow::ensure!(done.rows > cases, "only {} rows were compared: {done:?}", done.rows);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_differs_on_one_side_is_found() -> anyhow::Result<()> {
    let lane = Lane::open(lane::cluster().await?, "differs").await?;
    let mut case = Case::new(1, &lane);
    case.tampers = true;
    let error = lane.run(&case).await.expect_err("the target was changed behind the replicator");
    anyhow::ensure!(
        error.to_string().contains("differ"),
        "it failed for another reason: {error:#}"
    );
    Ok(())
}

/// For whoever started this with `FICUS_PROPERTY_REPORT=file`.
fn report(cases: u64, failed: &[(u64, anyhow::Error)]) -> anyhow::Result<()> {
    let Ok(path) = std::env::var("FICUS_PROPERTY_REPORT") else { return Ok(()) };
    let seeds: Vec<u64> = failed.iter().map(|(seed, _)| *seed).collect();
    let report =
        serde_json::json!({ "cases": cases, "failed": seeds.len(), "seeds_failed": seeds });
    std::fs::write(&path, report.to_string()).with_context(|| format!("write {path}"))
}
