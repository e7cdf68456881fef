//! Starting and stopping control.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use routes::Config;
use rpc::v1::control_server::ControlServer;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

use crate::{core::Core, failpoint::Failpoint, http, leader, store::Store, watch::WatchService};

/// How often the replicator is asked for its state.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Between two attempts to reach control's database at start.
const REACH_EVERY: Duration = Duration::from_secs(1);
/// Streams and transfers get so long to end when the process stops.
const END_WITHIN: Duration = Duration::from_secs(10);

/// What control needs.
#[derive(Clone, Debug)]
pub struct Options {
    /// The compiled routes.toml.
    pub config: Config,
}

/// Runs control until `stop` is cancelled: gRPC for the proxies, JSON API and dashboard, and, while it
/// leads, the coordinator. Listens on `[control]`'s two addresses.
///
/// # Errors
/// When `[control]` is missing, an address can not be bound, `FICUS_FAILPOINT` is malformed, or a
/// server fails for good.
pub async fn run(options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    run_with_failpoint(options, Failpoint::from_env()?, stop).await
}

/// As [`run`], with a failpoint given directly instead of by the environment.
///
/// # Errors
/// As [`run`].
pub async fn run_with_failpoint(
    options: Options,
    failpoint: Option<Failpoint>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let config = options.config;
    let control = config
        .control
        .clone()
        .context("routes.toml has no [control] section; give it a database to keep its state in")?;
    let http = bind(control.listen).await?;
    let grpc = bind(control.grpc).await?;
    let Some(store) = reach(control.database.expose(), &stop).await else { return Ok(()) };
    let core = Arc::new(Core::new(config, control, store, failpoint, stop.clone())?);
    let mut parts: JoinSet<anyhow::Result<()>> = JoinSet::new();
    parts.spawn(serve_grpc(Arc::clone(&core), grpc));
    parts.spawn(http::serve(Arc::clone(&core), http));
    parts.spawn(ask_replicator(Arc::clone(&core)));
    parts.spawn({
        let core = Arc::clone(&core);
        async move {
            leader::run(core).await;
            Ok(())
        }
    });
    let mut outcome = Ok(());
    while let Some(ended) = parts.join_next().await {
        let ended = ended.context("a part of control ended without an answer").flatten();
        // one part's end is the end of all: none of them works alone
        stop.cancel();
        outcome = outcome.and(ended);
    }
    core.tasks.close();
    if tokio::time::timeout(END_WITHIN, core.tasks.wait()).await.is_err() {
        tracing::warn!("some streams did not end in time");
    }
    core.store.close().await;
    outcome
}

async fn bind(address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))
}

/// Keeps trying: control may start before its database. `None` when told to stop.
async fn reach(url: &str, stop: &CancellationToken) -> Option<Store> {
    loop {
        match Store::open(url).await {
            Ok(store) => return Some(store),
            Err(error) => {
                tracing::warn!(error = %telemetry::Chain(&error), "waiting for control's database");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(REACH_EVERY) => {}
            () = stop.cancelled() => return None,
        }
    }
}

async fn serve_grpc(core: Arc<Core>, listener: TcpListener) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!(%address, "gRPC for proxies listening");
    let stop = core.stop.clone();
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(5)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
        .add_service(ControlServer::new(WatchService { core }))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.cancelled_owned())
        .await
        .context("gRPC server")
}

async fn ask_replicator(core: Arc<Core>) -> anyhow::Result<()> {
    let mut tick = tokio::time::interval(ASK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => drop(core.replicator.ask().await),
            () = core.stop.cancelled() => return Ok(()),
        }
    }
}
