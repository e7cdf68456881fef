//! A proxy without requests: it applies tables, holds when told to, and reports.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use rpc::v1::{
    CapabilityTraffic, Mismatches, ProxyReport, RouteTable, control_client::ControlClient,
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

const REPORT_EVERY: Duration = Duration::from_millis(100);

/// What a test sees and changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Face {
    /// The last table.
    pub(crate) table: Option<RouteTable>,
    /// Every table, in order.
    pub(crate) seen: Vec<RouteTable>,
    /// Writes that are said to be in flight.
    pub(crate) inflight: u64,
    /// What is said to have been counted.
    pub(crate) counted: CapabilityTraffic,
    /// Where answers are said to differ.
    pub(crate) mismatches: Option<Mismatches>,
}

pub(crate) struct FakeProxy {
    pub(crate) face: Arc<Mutex<Face>>,
    task: JoinHandle<()>,
}

impl FakeProxy {
    /// Connects again and again until it is dropped.
    pub(crate) fn start(control: SocketAddr, id: &str, digest: &str) -> Self {
        let face = Arc::new(Mutex::new(Face::default()));
        let (seen, id, digest) = (Arc::clone(&face), id.to_owned(), digest.to_owned());
        let task = tokio::spawn(async move {
            loop {
                let _ended = converse(control, &id, &digest, &seen).await.is_err();
                tokio::time::sleep(REPORT_EVERY).await;
            }
        });
        Self { face, task }
    }

    /// The state of a capability as last published.
    pub(crate) fn state(&self, capability: &str) -> Option<rpc::v1::RouteState> {
        let face = self.face.lock().unwrap();
        let table = face.table.as_ref()?;
        table.capabilities.iter().find(|state| state.capability == capability).cloned()
    }

    /// Changes what it says it has counted.
    pub(crate) fn count(&self, change: impl FnOnce(&mut CapabilityTraffic)) {
        change(&mut self.face.lock().unwrap().counted);
    }

    pub(crate) fn set_inflight(&self, inflight: u64) {
        self.face.lock().unwrap().inflight = inflight;
    }
}

impl Drop for FakeProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn report(id: &str, digest: &str, face: &Mutex<Face>) -> ProxyReport {
    let face = face.lock().unwrap();
    let table = face.table.clone().unwrap_or_default();
    let capabilities = table.capabilities.iter().map(|state| CapabilityTraffic {
        capability: state.capability.clone(),
        inflight_writes: face.inflight,
        holding: state.hold,
        ..face.counted.clone()
    });
    ProxyReport {
        proxy_id: id.to_owned(),
        config_digest: digest.to_owned(),
        generation: table.generation,
        capabilities: capabilities.collect(),
        addresses: vec!["10.0.0.7:8080".to_owned()],
        version: "9.9.9".to_owned(),
        mismatches: face.mismatches.clone(),
        ..ProxyReport::default()
    }
}

async fn converse(
    control: SocketAddr,
    id: &str,
    digest: &str,
    face: &Mutex<Face>,
) -> anyhow::Result<()> {
    let channel = Channel::from_shared(format!("http://{control}"))?.connect().await?;
    let mut client = ControlClient::new(channel);
    let (reports, receiver) = mpsc::channel(8);
    reports.send(report(id, digest, face)).await?;
    let mut tables = client.watch(ReceiverStream::new(receiver)).await?.into_inner();
    let mut tick = tokio::time::interval(REPORT_EVERY);
    loop {
        tokio::select! {
            table = tables.message() => {
                let Some(table) = table? else { return Ok(()) };
                let mut face = face.lock().unwrap();
                let known = face.table.as_ref().map_or(0, |known| known.generation);
                assert!(table.generation >= known, "generations never go back");
                face.seen.push(table.clone());
                face.table = Some(table);
            }
            _ = tick.tick() => {}
        }
        reports.send(report(id, digest, face)).await?;
    }
}
