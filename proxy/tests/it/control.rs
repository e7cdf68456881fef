//! A scripted control: serves `ficus.v1.Control` and keeps the reports.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context;
use rpc::v1::{
    CapabilityTraffic, ProxyReport, RouteState, RouteTable,
    control_server::{Control, ControlServer},
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::{
    StreamExt,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tonic::{Request, Response, Status, Streaming};

use crate::world::BOUND;

type Tables = mpsc::Sender<Result<RouteTable, Status>>;

/// Clones are the same control.
#[derive(Clone)]
pub(crate) struct ScriptedControl {
    pub(crate) address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    is_away: bool,
    table: RouteTable,
    streams: Vec<Tables>,
    reports: Vec<ProxyReport>,
}

/// The state of the capability `tickets`.
pub(crate) fn state(phase: &str, owner: &str, epoch: u64) -> RouteState {
    RouteState {
        capability: "tickets".to_owned(),
        phase: phase.to_owned(),
        owner: owner.to_owned(),
        epoch,
        hold: false,
        hold_lease_ms: 0,
    }
}

/// The same with its writes held.
pub(crate) fn held(state: RouteState, lease: Duration) -> RouteState {
    let hold_lease_ms = u64::try_from(lease.as_millis()).expect("a short lease");
    RouteState { hold: true, hold_lease_ms, ..state }
}

impl ScriptedControl {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let control = Self { address, inner: Arc::default() };
        control.inner().table.generation = 1;
        let server = tonic::transport::Server::builder()
            .add_service(ControlServer::new(control.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        Ok(control)
    }

    /// Publishes a state under the next generation, which is returned.
    pub(crate) fn publish(&self, state: RouteState) -> u64 {
        let generation = self.inner().table.generation + 1;
        self.send(&RouteTable { generation, capabilities: vec![state] });
        generation
    }

    /// Sends a table as it is.
    pub(crate) fn send(&self, table: &RouteTable) {
        let mut inner = self.inner();
        inner.table = table.clone();
        inner.streams.retain(|stream| stream.try_send(Ok(table.clone())).is_ok());
    }

    /// Publishes and waits until the proxy reports the generation.
    pub(crate) async fn apply(&self, state: RouteState) -> anyhow::Result<u64> {
        let generation = self.publish(state);
        self.report(|report| report.generation == generation).await?;
        Ok(generation)
    }

    /// Ends all streams and refuses new ones, or takes them again.
    pub(crate) fn set_away(&self, is_away: bool) {
        let mut inner = self.inner();
        inner.is_away = is_away;
        inner.streams.clear();
    }

    /// Forgets all reports, so that a later one is waited for.
    pub(crate) fn forget_reports(&self) {
        self.inner().reports.clear();
    }

    /// Waits for a report.
    pub(crate) async fn report(
        &self,
        is_wanted: impl Fn(&ProxyReport) -> bool,
    ) -> anyhow::Result<ProxyReport> {
        let look = || async { Ok(self.inner().reports.iter().find(|r| is_wanted(r)).cloned()) };
        testkit::wait_until(BOUND, look)
            .await
            .with_context(|| format!("the last report is {:?}", self.inner().reports.last()))
    }

    /// Whether a report was sent.
    pub(crate) fn was_reported(&self, is_wanted: impl Fn(&ProxyReport) -> bool) -> bool {
        self.inner().reports.iter().any(is_wanted)
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic")
    }
}

/// The traffic of the only capability.
pub(crate) fn traffic(report: &ProxyReport) -> &CapabilityTraffic {
    report.capabilities.first().expect("every report names the capability")
}

/// Whether a report says that no write can be sent any more under a generation.
pub(crate) fn is_ack(report: &ProxyReport, generation: u64) -> bool {
    let traffic = traffic(report);
    report.generation == generation && traffic.holding && traffic.inflight_writes == 0
}

#[tonic::async_trait]
impl Control for ScriptedControl {
    type WatchStream = ReceiverStream<Result<RouteTable, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<ProxyReport>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (sender, receiver) = mpsc::channel(64);
        {
            let mut inner = self.inner();
            if inner.is_away {
                return Err(Status::unavailable("away"));
            }
            sender.try_send(Ok(inner.table.clone())).expect("a new channel is empty");
            inner.streams.push(sender);
        }
        let (mut reports, control) = (request.into_inner(), self.clone());
        tokio::spawn(async move {
            while let Some(Ok(report)) = reports.next().await {
                control.inner().reports.push(report);
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
