//! The stream to control: route tables in, reports out. While it is away the last table stays in force.

use std::{net::SocketAddr, sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use cutover::Side;
use rpc::v1::{self, control_client::ControlClient};
use telemetry::Chain;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::{backoff::Backoff, keeper::Update, live::Live, metrics, shared::Shared};

/// A report is sent at least so often.
const REPORT_EVERY: Duration = Duration::from_millis(500);

/// Percentiles cover one to two of these many reports.
const REPORTS_PER_WINDOW: u32 = 20;

/// A control that answers nothing for so long is away.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// Mismatches are reported at most so often.
const MISMATCHES_EVERY: Duration = Duration::from_secs(1);

/// Longest time a stopping proxy waits until control has heard that it leaves.
const FAREWELL_MAX: Duration = Duration::from_millis(500);

/// Reports waiting for the network; the next one replaces what did not fit.
const REPORTS_MAX: usize = 16;

/// What identifies this process to control.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) proxy_id: String,
    pub(crate) version: String,
    /// Where downstreams connect.
    pub(crate) addresses: Vec<String>,
    /// Name of the machine; empty when it is not known.
    pub(crate) host: String,
}

/// What this stream has told control of the mismatches, and when.
#[derive(Debug, Default)]
struct Told {
    version: u64,
    at: Option<Instant>,
}

/// A lazily connected channel whose death is noticed within seconds.
pub(crate) async fn connect(address: SocketAddr) -> Result<Channel, tonic::transport::Error> {
    endpoint(address)?.connect().await
}

/// As [`connect`], without waiting: the first call connects.
pub(crate) fn endpoint(address: SocketAddr) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(Duration::from_secs(1))
        .http2_keep_alive_interval(KEEP_ALIVE / 2)
        .keep_alive_timeout(KEEP_ALIVE / 2)
        .keep_alive_while_idle(true))
}

/// Keeps the stream open until told to stop.
pub(crate) async fn run(
    address: SocketAddr,
    identity: Identity,
    shared: Arc<Shared>,
    updates: mpsc::Sender<Update>,
    stop: CancellationToken,
) {
    let connected = metrics::CONNECTED.with_label_values(&["control"]);
    let mut backoff = Backoff::new();
    loop {
        let outcome = watch(address, &identity, &shared, &updates, &mut backoff, &stop).await;
        connected.set(0);
        if stop.is_cancelled() {
            return;
        }
        match outcome {
            Ok(()) => tracing::warn!("control ended the stream; the last route table stays"),
            Err(error) => {
                tracing::warn!(error = %Chain(&*error), "control is away; the last route table stays");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = backoff.wait() => {}
        }
    }
}

async fn watch(
    address: SocketAddr,
    identity: &Identity,
    shared: &Shared,
    updates: &mpsc::Sender<Update>,
    backoff: &mut Backoff,
    stop: &CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let opened = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        channel = connect(address) => ControlClient::new(channel?),
    };
    let mut client = opened;
    let (reports, receiver) = mpsc::channel(REPORTS_MAX);
    let mut told = Told::default();
    let mut send = |leaving| {
        let report = report(identity, shared, &mut told, leaving);
        if reports.try_send(report).is_err() {
            tracing::debug!("a report was left out: the stream to control is slow");
        }
    };
    send(false);
    let mut tables = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        opened = client.watch(ReceiverStream::new(receiver)) => opened?.into_inner(),
    };
    metrics::CONNECTED.with_label_values(&["control"]).set(1);
    tracing::info!(%address, "connected to control");
    let mut tick = tokio::time::interval(REPORT_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            table = tables.message() => match table? {
                Some(table) => {
                    backoff.reset();
                    updates.send(Update::Table(table)).await?;
                }
                None => return Ok(()),
            },
            () = shared.report.notified() => send(false),
            _ = tick.tick() => send(false),
            () = stop.cancelled() => {
                send(true);
                break;
            }
        }
    }
    // the end of the reports ends the stream, once the last of them has arrived
    drop(reports);
    let ended = async { while let Ok(Some(_)) = tables.message().await {} };
    if tokio::time::timeout(FAREWELL_MAX, ended).await.is_err() {
        tracing::debug!("control did not end the stream in time");
    }
    Ok(())
}

/// Refreshes gauges and percentile windows for as long as the process runs, with control or without.
pub(crate) async fn keep_figures(shared: Arc<Shared>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(REPORT_EVERY);
    let mut ticks = 0_u32;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        shared.refresh_gauges();
        ticks += 1;
        if ticks == REPORTS_PER_WINDOW {
            ticks = 0;
            for planned in &shared.snapshot.load().plan.capabilities {
                planned.live.rotate();
            }
        }
    }
}

/// The generation is read first, then each gate: what the gates say is true for that generation or a
/// later one.
fn report(identity: &Identity, shared: &Shared, told: &mut Told, leaving: bool) -> v1::ProxyReport {
    let generation = shared.applied();
    let snapshot = shared.snapshot.load();
    v1::ProxyReport {
        proxy_id: identity.proxy_id.clone(),
        version: identity.version.clone(),
        config_digest: snapshot.plan.config.digest.clone(),
        generation,
        capabilities: snapshot.plan.capabilities.iter().map(|c| traffic(&c.live)).collect(),
        addresses: identity.addresses.clone(),
        host: identity.host.clone(),
        leaving,
        mismatches: told.news(shared),
    }
}

impl Told {
    /// What control does not know yet, not too often: it may be long.
    fn news(&mut self, shared: &Shared) -> Option<v1::Mismatches> {
        let version = shared.mismatches.version();
        let is_due = self.at.is_none_or(|at| at.elapsed() >= MISMATCHES_EVERY);
        if version == self.version || !is_due {
            return None;
        }
        (self.version, self.at) = (version, Some(Instant::now()));
        Some(shared.mismatches.report())
    }
}

fn traffic(live: &Live) -> v1::CapabilityTraffic {
    let gate = live.gate.traffic();
    let (source, target) = (live.cohort(Side::Source), live.cohort(Side::Target));
    let millis = |duration: Duration| duration.as_secs_f64() * 1_000.0;
    v1::CapabilityTraffic {
        capability: live.name.clone(),
        held: gate.held,
        inflight_writes: gate.inflight,
        holding: gate.holding,
        requests_source: source.requests.load(Relaxed),
        requests_target: target.requests.load(Relaxed),
        errors_source: source.errors.load(Relaxed),
        errors_target: target.errors.load(Relaxed),
        shadow_compared: live.shadow.compared.load(Relaxed),
        shadow_mismatched: live.shadow.mismatched.load(Relaxed),
        shadow_skipped: live.shadow.skipped.load(Relaxed),
        p99_source_ms: millis(source.latency.p99()),
        p99_target_ms: millis(target.latency.p99()),
        held_max_ms: u64::try_from(gate.longest_hold.as_millis()).unwrap_or(u64::MAX),
        failures_in_a_row: target.errors_in_a_row.load(Relaxed),
    }
}
