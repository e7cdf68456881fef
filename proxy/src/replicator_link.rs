//! The streams to the replicator: guard rows in, barriers on demand. While it is away the guards count
//! as unknown and nobody as caught up.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use cutover::StreamKind;
use rpc::v1::{self, replicator_client::ReplicatorClient};
use telemetry::Chain;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::{
    backoff::Backoff,
    control_link::{connect, endpoint},
    keeper::Update,
    live::Live,
    metrics,
};

/// Longest time a barrier may take; one that takes longer proves too little to wait for.
const BARRIER_MAX: Duration = Duration::from_secs(5);

/// Pause after every barrier, so that a stream of writes does not ask without end.
const BARRIER_PAUSE: Duration = Duration::from_millis(20);

/// Keeps the stream of guard rows open until told to stop.
pub(crate) async fn watch_guards(
    address: SocketAddr,
    updates: mpsc::Sender<Update>,
    stop: CancellationToken,
) {
    let connected = metrics::CONNECTED.with_label_values(&["cdc"]);
    let mut backoff = Backoff::new();
    let mut is_known_away = false;
    loop {
        let mut is_up = false;
        let outcome = tokio::select! {
            () = stop.cancelled() => return,
            outcome = guards(address, &updates, &mut backoff, &mut is_up) => outcome,
        };
        connected.set(0);
        if is_up && updates.send(Update::GuardsLost).await.is_err() {
            return;
        }
        if is_up || !is_known_away {
            is_known_away = true;
            let reason = outcome.err().map(|error| Chain(&*error).to_string());
            tracing::warn!(error = reason, "the replicator is away: guards are unknown");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = backoff.wait() => {}
        }
    }
}

async fn guards(
    address: SocketAddr,
    updates: &mpsc::Sender<Update>,
    backoff: &mut Backoff,
    is_up: &mut bool,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut client = ReplicatorClient::new(connect(address).await?);
    let mut views = client.watch_guards(v1::WatchGuardsRequest {}).await?.into_inner();
    *is_up = true;
    metrics::CONNECTED.with_label_values(&["cdc"]).set(1);
    tracing::info!(%address, "watching the guards");
    while let Some(views) = views.message().await? {
        backoff.reset();
        updates.send(Update::Guards(views.guards)).await?;
    }
    Ok(())
}

/// Asks for the barriers of one capability until told to stop.
pub(crate) async fn ask_barriers(address: SocketAddr, live: Arc<Live>, stop: CancellationToken) {
    match endpoint(address) {
        Ok(endpoint) => {
            let client = ReplicatorClient::new(endpoint.connect_lazy());
            tokio::select! {
                () = stop.cancelled() => {}
                () = ask_when_wanted(client, &live) => {}
            }
        }
        Err(error) => {
            tracing::error!(error = %Chain(&error), %address, "no barriers: the address is not usable");
        }
    }
}

/// One barrier at a time: when a subject wrote or somebody waits, and at the capability's heartbeat.
async fn ask_when_wanted(mut client: ReplicatorClient<Channel>, live: &Live) {
    let mut backoff = Backoff::new();
    let mut heartbeat = live.heartbeat.subscribe();
    let mut last = None;
    loop {
        let every = *heartbeat.borrow_and_update();
        let next =
            every.zip(last).map_or_else(Instant::now, |(every, last): (_, Instant)| last + every);
        tokio::select! {
            changed = heartbeat.changed() => if changed.is_err() {
                return;
            },
            () = live.catch_up.asked() => {}
            () = sleep_until(next), if every.is_some() => {}
        }
        if heartbeat.borrow().is_none() && !live.catch_up.is_wanted() {
            continue;
        }
        let is_done = barrier(&mut client, live).await;
        last = Some(Instant::now());
        if is_done {
            backoff.reset();
            sleep(BARRIER_PAUSE).await;
        } else {
            backoff.wait().await;
        }
    }
}

async fn barrier(client: &mut ReplicatorClient<Channel>, live: &Live) -> bool {
    let request = v1::BarrierRequest {
        capability: live.name.clone(),
        kind: StreamKind::Forward.as_str().to_owned(),
        timeout_ms: u64::try_from(BARRIER_MAX.as_millis()).unwrap_or(u64::MAX),
    };
    let round = live.catch_up.begin();
    let outcome = match timeout(BARRIER_MAX, client.barrier(request)).await {
        Ok(Ok(_)) => {
            live.catch_up.complete(round);
            "completed"
        }
        Ok(Err(status)) => {
            tracing::debug!(capability = live.name, error = %status, "the barrier failed");
            "failed"
        }
        Err(_elapsed) => "timed_out",
    };
    metrics::BARRIERS.with_label_values(&[live.name.as_str(), outcome]).inc();
    outcome == "completed"
}
