//! `verify`: a comparison, line by line; a finished one of all tables is recorded.

use std::sync::Arc;

use cutover::{Direction, Phase, Side};
use rpc::v1::VerifyProgress;
use serde::Deserialize;
use tonic::Streaming;

use super::{Actor, no_transfer, published};
use crate::{api::VerifyLine, core::Core, problem::Problem, replicator::in_words};

/// A comparison in progress.
#[derive(Debug)]
pub(crate) struct Comparison {
    progress: Streaming<VerifyProgress>,
    /// Of a few tables: no verification of the capability.
    is_partial: bool,
    ended: bool,
}

/// What to compare, and whether to mend it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Comparing {
    /// Only these tables, by their names in the monolith.
    pub(crate) tables: Vec<String>,
    /// Write rows that differ anew, from their owner.
    pub(crate) repair: bool,
}

/// Begins; refuses when there is nothing to compare.
pub(crate) async fn begin_verify(
    core: &Arc<Core>,
    name: &str,
    what: &Comparing,
) -> Result<Comparison, Problem> {
    no_transfer(core, name)?;
    let published = published(core, name)?;
    if published.phase == Phase::Monolith {
        return Err(Problem::conflict("not_started", "nothing is replicated yet")
            .remedy("run: ficus start"));
    }
    let direction = match published.owner {
        Side::Source => Direction::Forward,
        Side::Target => Direction::Back,
    };
    let progress = core.replicator.verify(name, direction, &what.tables, what.repair).await?;
    Ok(Comparison { progress, is_partial: !what.tables.is_empty(), ended: false })
}

/// The next line of the answer; the last one is recorded. `None` after the last.
pub(crate) async fn next_line(
    core: &Arc<Core>,
    name: &str,
    actor: &Actor,
    comparison: &mut Comparison,
) -> Option<VerifyLine> {
    if comparison.ended {
        return None;
    }
    match comparison.progress.message().await {
        Ok(Some(progress)) => {
            let line = line(progress);
            if line.done {
                comparison.ended = true;
                if comparison.is_partial {
                    return Some(line);
                }
                if let Err(error) = core.store.add_verification(name, &actor.name, &line).await {
                    tracing::warn!(%error, "the result of a verification was not recorded");
                }
            }
            Some(line)
        }
        Ok(None) => broken(comparison, "the replicator ended the comparison early"),
        Err(status) => broken(comparison, &in_words(&status)),
    }
}

fn broken(comparison: &mut Comparison, error: &str) -> Option<VerifyLine> {
    comparison.ended = true;
    Some(VerifyLine { done: true, error: Some(error.to_owned()), ..VerifyLine::default() })
}

fn line(progress: VerifyProgress) -> VerifyLine {
    VerifyLine {
        done: progress.done,
        table: progress.table,
        rows: progress.rows,
        rows_total: progress.rows_total,
        differences: progress.differences,
        samples: progress.samples,
        missing: progress.missing,
        extra: progress.extra,
        different: progress.different,
        repaired: progress.repaired,
        error: None,
    }
}
