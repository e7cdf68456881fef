//! Active health checks: asks every peer of the current plan for its health path, and takes it out of
//! the turn after some failures.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, header};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    plan::Plan,
    shared::Shared,
    upstream::{Peer, Upstream, asking::Asker},
};

/// How often the plan is looked at for checks that are due.
const TICK: Duration = Duration::from_millis(100);

/// Longest time one check may take.
const CHECK_MAX: Duration = Duration::from_secs(2);

/// Longest answer to a check that is read.
const ANSWER_MAX: usize = 1 << 20;

/// Checks in a row with the same outcome, by upstream and address: they last over reloads.
#[derive(Debug, Default)]
struct Record {
    successes: u32,
    failures: u32,
    due: Option<Instant>,
}

/// Checks the peers of whatever plan is in force until told to stop.
pub(crate) async fn run(shared: Arc<Shared>, client: Arc<Asker>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(TICK);
    let mut records = HashMap::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let plan = Arc::clone(&shared.snapshot.load().plan);
        check_due(&plan, &client, &mut records).await;
    }
}

async fn check_due(
    plan: &Plan,
    client: &Arc<Asker>,
    records: &mut HashMap<(String, SocketAddr), Record>,
) {
    let mut checks = JoinSet::new();
    for upstream in plan.upstreams.values() {
        let Some(health) = &upstream.config.health else { continue };
        for (index, peer) in upstream.peers().iter().enumerate() {
            let key = (upstream.config.name.clone(), peer.address);
            let record = records.entry(key).or_default();
            let now = Instant::now();
            if record.due.is_some_and(|due| due > now) {
                continue;
            }
            record.due = Some(now + health.every);
            let (client, upstream) = (Arc::clone(client), Arc::clone(upstream));
            let path = health.path.clone();
            checks.spawn(async move {
                let peer = upstream.peers().get(index);
                let is_healthy = match peer {
                    Some(peer) => is_healthy(&client, peer, &path).await,
                    None => false,
                };
                (upstream, index, is_healthy)
            });
        }
    }
    while let Some(checked) = checks.join_next().await {
        let Ok((upstream, index, is_healthy)) = checked else { continue };
        let Some(peer) = upstream.peers().get(index) else { continue };
        let key = (upstream.config.name.clone(), peer.address);
        record(records.entry(key).or_default(), &upstream, peer, is_healthy);
    }
}

fn record(record: &mut Record, upstream: &Upstream, peer: &Peer, is_healthy: bool) {
    let Some(health) = &upstream.config.health else { return };
    if is_healthy {
        (record.successes, record.failures) = (record.successes.saturating_add(1), 0);
    } else {
        (record.successes, record.failures) = (0, record.failures.saturating_add(1));
    }
    let was_healthy = peer.is_healthy();
    let now_healthy = match was_healthy {
        true => record.failures < health.fall,
        false => record.successes >= health.rise,
    };
    if was_healthy != now_healthy {
        peer.set_healthy(now_healthy);
        let (name, address) = (&upstream.config.name, peer.address);
        tracing::warn!(upstream = name, %address, healthy = now_healthy, "a peer changed its health");
    }
}

async fn is_healthy(client: &Asker, peer: &Peer, path: &str) -> bool {
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static("ficus-health"));
    let asked = timeout(CHECK_MAX, client.ask(peer, path, &headers, ANSWER_MAX)).await;
    matches!(asked, Ok(Ok(answer)) if (200..300).contains(&answer.status))
}
