//! A scripted replicator: serves guard rows and barriers of `ficus.v1.Replicator`.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use cutover::{Epoch, GuardRow, GuardState};
use rpc::v1::{
    BarrierReply, BarrierRequest, ChangesReply, ChangesRequest, GuardView, GuardViews, StatusReply,
    StatusRequest, StreamReply, StreamRequest, TableReply, TableRequest, VerifyProgress,
    VerifyRequest, WatchGuardsRequest,
    replicator_server::{Replicator, ReplicatorServer},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status};

/// What becomes of a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Barriers {
    /// It completes.
    Complete,
    /// It waits until this changes.
    Wait,
    /// It fails.
    Fail,
}

/// Clones are the same replicator.
#[derive(Clone)]
pub(crate) struct ScriptedReplicator {
    pub(crate) address: SocketAddr,
    inner: Arc<Inner>,
}

type Views = mpsc::Sender<Result<GuardViews, Status>>;

struct Inner {
    barriers: watch::Sender<Barriers>,
    begun: AtomicUsize,
    guards: Mutex<(GuardViews, Vec<Views>)>,
}

/// A guard row.
pub(crate) fn row(state: GuardState, epoch: u64) -> GuardRow {
    GuardRow { state, epoch: Epoch(epoch), prepared: Epoch::NONE, overdue: false }
}

impl ScriptedReplicator {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let inner = Inner {
            barriers: watch::Sender::new(Barriers::Complete),
            begun: AtomicUsize::new(0),
            guards: Mutex::default(),
        };
        let replicator = Self { address: listener.local_addr()?, inner: Arc::new(inner) };
        let server = tonic::transport::Server::builder()
            .add_service(ReplicatorServer::new(replicator.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        Ok(replicator)
    }

    /// From now on barriers end this way, those that wait too.
    pub(crate) fn set_barriers(&self, barriers: Barriers) {
        self.inner.barriers.send_replace(barriers);
    }

    /// Barriers begun so far.
    pub(crate) fn begun(&self) -> usize {
        self.inner.begun.load(SeqCst)
    }

    /// Both guard rows of the capability changed.
    pub(crate) fn set_guards(&self, source: GuardRow, target: GuardRow) {
        let view = GuardView {
            capability: "tickets".to_owned(),
            source: Some(source.into()),
            target: Some(target.into()),
        };
        let mut guards = self.inner.guards.lock().expect("no panic");
        guards.0 = GuardViews { guards: vec![view] };
        let views = guards.0.clone();
        guards.1.retain(|stream| stream.try_send(Ok(views.clone())).is_ok());
    }
}

#[tonic::async_trait]
impl Replicator for ScriptedReplicator {
    type WatchGuardsStream = ReceiverStream<Result<GuardViews, Status>>;
    type VerifyStream = ReceiverStream<Result<VerifyProgress, Status>>;

    async fn barrier(
        &self,
        request: Request<BarrierRequest>,
    ) -> Result<Response<BarrierReply>, Status> {
        let request = request.into_inner();
        assert_eq!((request.capability.as_str(), request.kind.as_str()), ("tickets", "forward"));
        self.inner.begun.fetch_add(1, SeqCst);
        let mut barriers = self.inner.barriers.subscribe();
        let mode = barriers.wait_for(|mode| *mode != Barriers::Wait).await;
        match mode.map(|mode| *mode) {
            Ok(Barriers::Complete) => Ok(Response::new(BarrierReply { lsn: "0/1".to_owned() })),
            Ok(Barriers::Wait | Barriers::Fail) | Err(_) => Err(Status::unavailable("scripted")),
        }
    }

    async fn watch_guards(
        &self,
        _request: Request<WatchGuardsRequest>,
    ) -> Result<Response<Self::WatchGuardsStream>, Status> {
        let (sender, receiver) = mpsc::channel(64);
        let mut guards = self.inner.guards.lock().expect("no panic");
        sender.try_send(Ok(guards.0.clone())).expect("a new channel is empty");
        guards.1.push(sender);
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn table(&self, _: Request<TableRequest>) -> Result<Response<TableReply>, Status> {
        Err(Status::unimplemented("no proxy asks for it"))
    }

    async fn changes(&self, _: Request<ChangesRequest>) -> Result<Response<ChangesReply>, Status> {
        Err(Status::unimplemented("no proxy asks for it"))
    }

    async fn start(&self, _: Request<StreamRequest>) -> Result<Response<StreamReply>, Status> {
        Err(Status::unimplemented("no proxy asks for it"))
    }

    async fn drop(&self, _: Request<StreamRequest>) -> Result<Response<StreamReply>, Status> {
        Err(Status::unimplemented("no proxy asks for it"))
    }

    async fn pause(&self, _: Request<StreamRequest>) -> Result<Response<StreamReply>, Status> {
        Err(Status::unimplemented("no proxy asks for it"))
    }

    async fn resume(&self, _: Request<StreamRequest>) -> Result<Response<StreamReply>, Status> {
        Err(Status::unimplemented("no proxy asks for it"))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        Err(Status::unimplemented("no proxy asks for it"))
    }

    async fn verify(
        &self,
        _: Request<VerifyRequest>,
    ) -> Result<Response<Self::VerifyStream>, Status> {
        Err(Status::unimplemented("no proxy asks for it"))
    }
}
