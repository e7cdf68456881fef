//! `ficus up`, `proxy`, `cdc`, `control`: the long-running parts, alone or together.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use proxy::{Proxy, ReloadHandle};
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

/// Runs until SIGTERM or Ctrl-C, or until one part fails. SIGHUP makes the proxy read its file again.
pub(crate) async fn run(path: &Path, parts: Parts) -> anyhow::Result<()> {
    // the proxy opens no database
    let needs_secrets = parts.cdc || parts.control;
    let config = if needs_secrets { config::load(path)? } else { config::load_for_proxy(path)? };
    let stop = CancellationToken::new();
    let mut running: JoinSet<anyhow::Result<()>> = JoinSet::new();
    if parts.control {
        let options = control::Options { config: config.clone() };
        let stop = stop.clone();
        running.spawn(async move { control::run(options, stop).await.context("control") });
    }
    if parts.cdc {
        let options = cdc::Options { config: Arc::new(config.clone()) };
        let stop = stop.clone();
        running.spawn(async move { cdc::run(options, stop).await.context("replicator") });
    }
    let mut reload = None;
    if parts.proxy {
        let proxy = Proxy::bind(proxy::Options::new(path.to_owned(), config)).await?;
        reload = Some(proxy.reload_handle());
        let stop = stop.clone();
        running.spawn(async move { proxy.run(stop).await.context("proxy") });
    }
    let first = tokio::select! {
        asked = asked_to_stop(reload) => asked,
        ended = running.join_next() => flatten(ended),
    };
    stop.cancel();
    let mut outcome = first;
    while let Some(ended) = running.join_next().await {
        outcome = outcome.and(flatten(Some(ended)));
    }
    outcome
}

/// Returns at SIGTERM or Ctrl-C; serves SIGHUP until then.
async fn asked_to_stop(reload: Option<ReloadHandle>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            interrupted = tokio::signal::ctrl_c() => return interrupted.context("listen for Ctrl-C"),
            _ = hangup.recv() => {
                if let Some(reload) = &reload {
                    // the outcome is logged by the proxy; one that has stopped ends this process anyway
                    let _outcome = reload.reload().await;
                }
            }
        }
    }
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
