//! `ficus up`, `proxy`, `cdc`, `control`: the long-running parts, alone or together.

use std::path::Path;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config;

/// Which parts this process runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    pub(crate) proxy: bool,
    pub(crate) cdc: bool,
    pub(crate) control: bool,
}

/// Runs until SIGTERM or Ctrl-C, or until one part fails.
pub(crate) async fn run(path: &Path, parts: Parts) -> anyhow::Result<()> {
    let config = config::load(path)?;
    let stop = CancellationToken::new();
    let mut running: JoinSet<anyhow::Result<()>> = JoinSet::new();
    if parts.control {
        let options = control::Options { config: config.clone() };
        let stop = stop.clone();
        running.spawn(async move { control::run(options, stop).await.context("control") });
    }
    if parts.cdc {
        let options = cdc::Options { config: config.clone() };
        let stop = stop.clone();
        running.spawn(async move { cdc::run(options, stop).await.context("replicator") });
    }
    if parts.proxy {
        let options = proxy::Options { config_path: path.to_owned(), config };
        let stop = stop.clone();
        running.spawn(async move { proxy::run(options, stop).await.context("proxy") });
    }
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let first = tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted.context("listen for Ctrl-C"),
        ended = running.join_next() => flatten(ended),
    };
    stop.cancel();
    let mut outcome = first;
    while let Some(ended) = running.join_next().await {
        outcome = outcome.and(flatten(Some(ended)));
    }
    outcome
}

fn flatten(
    ended: Option<Result<anyhow::Result<()>, tokio::task::JoinError>>,
) -> anyhow::Result<()> {
    match ended {
        None => Ok(()),
        Some(Ok(outcome)) => outcome,
        Some(Err(error)) => Err(error).context("a part ended without an answer"),
    }
}
