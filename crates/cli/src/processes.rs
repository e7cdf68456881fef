//! `ficus up`, `proxy`, `cdc`, `control`: the long-running parts, alone or together.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use proxy::{Proxy, ReloadHandle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{config, successor};

/// Which parts this process runs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts {
    pub(crate) proxy: bool,
    /// The proxy may give its sockets to another process: not while it shares its own with other parts.
    pub(crate) hands_over: bool,
    /// The proxy takes the sockets of the one that runs.
    pub(crate) upgrade: bool,
    pub(crate) cdc: bool,
    pub(crate) control: bool,
}

/// Runs until SIGTERM or Ctrl-C, until one part fails, or until another proxy has taken over. SIGHUP makes
/// the proxy read its file again, SIGUSR2 starts this program anew to take over.
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
        let mut config = config;
        config.proxy.operations.handover.take_if(|_| !parts.hands_over);
        let options = proxy::Options::new(path.to_owned(), config);
        let options = proxy::Options { take_over: parts.upgrade, ..options };
        let proxy = Proxy::bind(options).await?;
        reload = Some(proxy.reload_handle());
        let stop = stop.clone();
        running.spawn(async move { proxy.run(stop).await.context("proxy") });
    }
    let first = tokio::select! {
        asked = asked_to_stop(reload, parts.hands_over) => asked,
        ended = running.join_next() => flatten(ended),
    };
    stop.cancel();
    let mut outcome = first;
    while let Some(ended) = running.join_next().await {
        outcome = outcome.and(flatten(Some(ended)));
    }
    outcome
}

/// Returns at SIGTERM or Ctrl-C; serves SIGHUP and SIGUSR2 until then.
async fn asked_to_stop(reload: Option<ReloadHandle>, hands_over: bool) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    let mut upgrade = signal(SignalKind::user_defined2()).context("listen for SIGUSR2")?;
    loop {
        tokio::select! {
            _ = upgrade.recv() => {
                if hands_over {
                    successor::start();
                }
            }
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
