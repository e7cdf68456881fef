//! A replicator that copies whole tables: it does at a barrier what the real one does all the time.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use cutover::{Direction, GuardState, StreamKind};
use futures::{Stream, StreamExt, stream};
use guard::GuardClient;
use rpc::v1::{
    BarrierReply, BarrierRequest, GuardViews, StatusReply, StatusRequest, StreamReply,
    StreamRequest, StreamStatus, TableStatus, Verification, VerifyProgress, VerifyRequest,
    WalStatus, WatchGuardsRequest,
    replicator_server::{Replicator, ReplicatorServer},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a test can change while it runs.
#[derive(Clone, Debug)]
pub(crate) struct Mood {
    /// `None`: unknown.
    pub(crate) lag_ms: Option<u64>,
    /// Barriers are applied.
    pub(crate) applies: bool,
    /// What a comparison under the fence finds.
    pub(crate) dirty_differences: u64,
    /// So many passes over touched keys find nothing, whatever `dirty_differences` says.
    pub(crate) clean_passes: u64,
    /// Every call that was made, in order.
    pub(crate) calls: Vec<String>,
    started: Vec<StreamKind>,
    verified: bool,
}

pub(crate) struct FakeReplicator {
    pub(crate) mood: Arc<Mutex<Mood>>,
    tasks: Vec<JoinHandle<()>>,
}

struct Service {
    mood: Arc<Mutex<Mood>>,
    capability: String,
    urls: [String; 2],
}

impl FakeReplicator {
    pub(crate) async fn start(address: SocketAddr, capability: &str, urls: [String; 2]) -> Self {
        let mood = Mood {
            lag_ms: Some(5),
            applies: true,
            dirty_differences: 0,
            clean_passes: 0,
            calls: Vec::new(),
            started: Vec::new(),
            verified: false,
        };
        let mood = Arc::new(Mutex::new(mood));
        let listener = TcpListener::bind(address).await.unwrap();
        let service = Service {
            mood: Arc::clone(&mood),
            capability: capability.to_owned(),
            urls: urls.clone(),
        };
        let served = tonic::transport::Server::builder()
            .add_service(ReplicatorServer::new(service))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let serving = tokio::spawn(async move { served.await.unwrap() });
        let applying = tokio::spawn(apply(Arc::clone(&mood), capability.to_owned(), urls));
        Self { mood, tasks: vec![serving, applying] }
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Mood)) {
        change(&mut self.mood.lock().unwrap());
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.mood.lock().unwrap().calls.clone()
    }
}

impl Drop for FakeReplicator {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Looks for a fence on either side, carries the rows over, then records the barrier.
async fn apply(mood: Arc<Mutex<Mood>>, capability: String, [source, target]: [String; 2]) {
    let mut clients = Vec::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let (applies, started) = {
            let mood = mood.lock().unwrap();
            (mood.applies, !mood.started.is_empty())
        };
        if !applies || !started {
            continue;
        }
        if clients.is_empty() {
            for url in [&source, &target] {
                clients.push(GuardClient::connect(url, "fake-replicator").await.unwrap());
            }
        }
        for (from, to) in [(0, 1), (1, 0)] {
            let records = clients[from].view().await.unwrap();
            let fenced = records.into_iter().find(|record| {
                record.capability == capability && record.row.state == GuardState::Fenced
            });
            if let Some(record) = fenced {
                carry(&clients[from], &clients[to], &capability, record.row.epoch.0).await;
            }
        }
    }
}

async fn carry(from: &GuardClient, to: &GuardClient, capability: &str, epoch: u64) {
    let rows = from.sql().query("SELECT id, name FROM item", &[]).await.unwrap();
    for row in &rows {
        let (id, name): (i64, String) = (row.get(0), row.get(1));
        to.sql()
            .execute(
                "INSERT INTO item VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET name = excluded.name",
                &[&id, &name],
            )
            .await
            .unwrap();
    }
    let last = from.sql().query_one("SELECT coalesce(max(id), 1) FROM item", &[]).await.unwrap();
    let sequences = serde_json::json!({ "public.item.id": last.get::<_, i64>(0) }).to_string();
    to.sql()
        .execute(
            "UPDATE ficus.apply SET barrier_seen = $2, barrier_sequences = $3::text::jsonb
             WHERE capability = $1 AND mode = 'apply' AND kind <> 'reference' AND barrier_seen < $2",
            &[&capability, &i64::try_from(epoch).unwrap(), &sequences],
        )
        .await
        .unwrap();
}

impl Service {
    fn note(&self, call: String) {
        self.mood.lock().unwrap().calls.push(call);
    }

    fn kind(request: &StreamRequest) -> StreamKind {
        request.kind.parse().unwrap()
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Replicator for Service {
    type WatchGuardsStream = Answers<GuardViews>;
    type VerifyStream = Answers<VerifyProgress>;

    async fn start(
        &self,
        request: Request<StreamRequest>,
    ) -> Result<Response<StreamReply>, Status> {
        let request = request.into_inner();
        let kind = Self::kind(&request);
        self.note(format!("start {}", request.kind));
        let side = |index: usize| GuardClient::connect(&self.urls[index], "fake-replicator");
        let (reads, writes) = match kind {
            StreamKind::Forward | StreamKind::Reference => (0, 1),
            StreamKind::Reverse => (1, 0),
        };
        let slot = kind.slot(&self.capability);
        let (from, to) = (side(reads).await.unwrap(), side(writes).await.unwrap());
        from.sql()
            .execute(
                "SELECT pg_create_logical_replication_slot($1, 'pgoutput') WHERE NOT EXISTS
                 (SELECT 1 FROM pg_replication_slots WHERE slot_name = $1)",
                &[&slot],
            )
            .await
            .unwrap();
        let mode = if kind == StreamKind::Reverse { "stopped" } else { "apply" };
        to.sql()
            .execute(
                "INSERT INTO ficus.apply (stream, capability, kind, mode, lsn, slot, peer_system_id,
                     peer_timeline) VALUES ($1, $2, $3, $4, '0/0', $5, '', 1) ON CONFLICT DO NOTHING",
                &[&kind.key(&self.capability), &self.capability, &kind.as_str(), &mode, &slot],
            )
            .await
            .unwrap();
        self.mood.lock().unwrap().started.push(kind);
        Ok(Response::new(StreamReply { state: "streaming".to_owned() }))
    }

    async fn drop(&self, request: Request<StreamRequest>) -> Result<Response<StreamReply>, Status> {
        let kind = Self::kind(request.get_ref());
        self.note(format!("drop {}", kind.as_str()));
        self.mood.lock().unwrap().started.retain(|started| *started != kind);
        Ok(Response::new(StreamReply { state: "stopped".to_owned() }))
    }

    async fn pause(
        &self,
        request: Request<StreamRequest>,
    ) -> Result<Response<StreamReply>, Status> {
        self.note(format!("pause {}", request.get_ref().kind));
        Ok(Response::new(StreamReply { state: "paused".to_owned() }))
    }

    async fn resume(
        &self,
        request: Request<StreamRequest>,
    ) -> Result<Response<StreamReply>, Status> {
        self.note(format!("resume {}", request.get_ref().kind));
        Ok(Response::new(StreamReply { state: "streaming".to_owned() }))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        let mood = self.mood.lock().unwrap().clone();
        let table = TableStatus {
            source: "public.item".to_owned(),
            target: "public.item".to_owned(),
            state: "ready".to_owned(),
            ..TableStatus::default()
        };
        let streams = mood.started.iter().map(|kind| StreamStatus {
            capability: self.capability.clone(),
            kind: kind.as_str().to_owned(),
            state: "streaming".to_owned(),
            lag_ms: mood.lag_ms,
            tables: vec![table.clone()],
            wal: Some(WalStatus { level: "ok".to_owned(), ..WalStatus::default() }),
            ..StreamStatus::default()
        });
        let verification = Verification {
            capability: self.capability.clone(),
            rows: 3,
            finished_unix_ms: 1,
            ..Verification::default()
        };
        Ok(Response::new(StatusReply {
            instance: "fake".to_owned(),
            streams: streams.collect(),
            verifications: mood.verified.then_some(verification).into_iter().collect(),
            guards: Vec::new(),
        }))
    }

    async fn table(
        &self,
        request: Request<rpc::v1::TableRequest>,
    ) -> Result<Response<rpc::v1::TableReply>, Status> {
        let rpc::v1::TableRequest { table, action, .. } = request.into_inner();
        if table != "public.item" {
            return Err(Status::not_found(format!("no running stream has a table {table}")));
        }
        self.note(format!("{action} {table}"));
        let (kind, state) = ("forward".to_owned(), "replaying".to_owned());
        Ok(Response::new(rpc::v1::TableReply { kind, table, state }))
    }

    async fn changes(
        &self,
        _: Request<rpc::v1::ChangesRequest>,
    ) -> Result<Response<rpc::v1::ChangesReply>, Status> {
        Ok(Response::new(rpc::v1::ChangesReply::default()))
    }

    async fn barrier(&self, _: Request<BarrierRequest>) -> Result<Response<BarrierReply>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }

    async fn watch_guards(
        &self,
        _: Request<WatchGuardsRequest>,
    ) -> Result<Response<Self::WatchGuardsStream>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }

    async fn verify(
        &self,
        request: Request<VerifyRequest>,
    ) -> Result<Response<Self::VerifyStream>, Status> {
        let request = request.into_inner();
        self.note(format!("verify {} {}", request.scope, request.direction));
        let differences = {
            let mut mood = self.mood.lock().unwrap();
            let is_full = request.scope == "full";
            mood.verified |= is_full;
            if is_full {
                0
            } else if let Some(left) = mood.clean_passes.checked_sub(1) {
                mood.clean_passes = left;
                0
            } else {
                mood.dirty_differences
            }
        };
        let under_way = VerifyProgress {
            table: "public.item".to_owned(),
            rows: 1,
            rows_total: 3,
            ..VerifyProgress::default()
        };
        let samples = if differences > 0 { vec!["public.item(1)".to_owned()] } else { Vec::new() };
        let last = VerifyProgress {
            done: true,
            rows: 3,
            rows_total: 3,
            differences,
            samples,
            ..VerifyProgress::default()
        };
        Ok(Response::new(stream::iter([Ok(under_way), Ok(last)]).boxed()))
    }
}

/// The word the replicator is asked with.
pub(crate) fn dirty(direction: Direction) -> String {
    format!("verify dirty {}", direction.draining_stream().as_str())
}
