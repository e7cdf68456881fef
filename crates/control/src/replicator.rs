//! Client of the replicator, and the last answer to "how are the streams".

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use cutover::{Direction, StreamKind};
use rpc::v1::{
    ChangedTable, ChangesRequest, StatusReply, StatusRequest, StreamRequest, StreamStatus,
    TableReply, TableRequest, VerifyProgress, VerifyRequest, replicator_client::ReplicatorClient,
};
use tokio::time::Instant;
use tonic::{Status, Streaming, transport::Channel};

/// Starting a stream creates a slot, which waits for every transaction running at that time.
const START_WITHIN: Duration = Duration::from_secs(60);
/// Everything else is quick.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What was last heard.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// `Err`: why nothing is known.
    pub(crate) status: Result<StatusReply, String>,
    /// Since when the answer has been good, or bad.
    pub(crate) since: Instant,
}

/// Cheap calls over one connection that is made when needed and made again when lost.
#[derive(Debug)]
pub(crate) struct Replicator {
    channel: Channel,
    heard: ArcSwap<Heard>,
}

impl Replicator {
    /// Nothing is connected yet.
    pub(crate) fn new(address: std::net::SocketAddr) -> anyhow::Result<Self> {
        let channel = Channel::from_shared(format!("http://{address}"))?
            .connect_timeout(Duration::from_secs(2))
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(5))
            .connect_lazy();
        let heard = Heard {
            status: Err("the replicator was not asked yet".to_owned()),
            since: Instant::now(),
        };
        Ok(Self { channel, heard: ArcSwap::from_pointee(heard) })
    }

    fn client(&self) -> ReplicatorClient<Channel> {
        ReplicatorClient::new(self.channel.clone())
    }

    fn request(
        capability: &str,
        kind: StreamKind,
        within: Duration,
    ) -> tonic::Request<StreamRequest> {
        let mut request = tonic::Request::new(StreamRequest {
            capability: capability.to_owned(),
            kind: kind.as_str().to_owned(),
        });
        request.set_timeout(within);
        request
    }

    /// Creates slot and apply row and starts the stream; idempotent.
    pub(crate) async fn start(&self, capability: &str, kind: StreamKind) -> Result<String, Status> {
        let request = Self::request(capability, kind, START_WITHIN);
        Ok(self.client().start(request).await?.into_inner().state)
    }

    /// Stops the stream and drops its slot and apply row; idempotent.
    pub(crate) async fn drop_stream(
        &self,
        capability: &str,
        kind: StreamKind,
    ) -> Result<(), Status> {
        let request = Self::request(capability, kind, START_WITHIN);
        self.client().drop(request).await.map(drop)
    }

    pub(crate) async fn pause(&self, capability: &str, kind: StreamKind) -> Result<(), Status> {
        let request = Self::request(capability, kind, ANSWER_WITHIN);
        self.client().pause(request).await.map(drop)
    }

    pub(crate) async fn resume(&self, capability: &str, kind: StreamKind) -> Result<(), Status> {
        let request = Self::request(capability, kind, ANSWER_WITHIN);
        self.client().resume(request).await.map(drop)
    }

    /// Puts one table right that waits, or copies it again.
    pub(crate) async fn table(&self, request: TableRequest) -> Result<TableReply, Status> {
        let mut request = tonic::Request::new(request);
        request.set_timeout(START_WITHIN);
        Ok(self.client().table(request).await?.into_inner())
    }

    /// The tables that wait because their shape changed; of all capabilities when the name is empty.
    pub(crate) async fn changes(&self, capability: &str) -> Result<Vec<ChangedTable>, Status> {
        let mut request = tonic::Request::new(ChangesRequest { capability: capability.to_owned() });
        request.set_timeout(START_WITHIN);
        Ok(self.client().changes(request).await?.into_inner().tables)
    }

    /// Asks now, and remembers the answer.
    pub(crate) async fn ask(&self) -> Result<StatusReply, String> {
        let mut request = tonic::Request::new(StatusRequest::default());
        request.set_timeout(ANSWER_WITHIN);
        let answer = match self.client().status(request).await {
            Ok(reply) => Ok(reply.into_inner()),
            Err(status) => Err(format!("the replicator did not answer: {}", in_words(&status))),
        };
        let before = self.heard.load();
        let same = before.status.is_ok() == answer.is_ok();
        let since = if same { before.since } else { Instant::now() };
        self.heard.store(Arc::new(Heard { status: answer.clone(), since }));
        answer
    }

    /// The last answer.
    pub(crate) fn heard(&self) -> Arc<Heard> {
        self.heard.load_full()
    }

    /// Begins a comparison of every row, or of those in the tables that are named.
    pub(crate) async fn verify(
        &self,
        capability: &str,
        direction: Direction,
        tables: &[String],
        repair: bool,
    ) -> Result<Streaming<VerifyProgress>, Status> {
        let request = VerifyRequest {
            capability: capability.to_owned(),
            scope: "full".to_owned(),
            direction: direction.draining_stream().as_str().to_owned(),
            tables: tables.to_vec(),
            repair,
            quiet: false,
        };
        Ok(self.client().verify(request).await?.into_inner())
    }

    /// Begins a comparison of what was touched, for a transfer; on `quiet` sides nothing is on its way.
    pub(crate) async fn verify_touched(
        &self,
        capability: &str,
        direction: Direction,
        quiet: bool,
    ) -> Result<Streaming<VerifyProgress>, Status> {
        let request = VerifyRequest {
            capability: capability.to_owned(),
            scope: "dirty".to_owned(),
            direction: direction.draining_stream().as_str().to_owned(),
            quiet,
            ..VerifyRequest::default()
        };
        Ok(self.client().verify(request).await?.into_inner())
    }
}

/// One stream of a capability in an answer.
pub(crate) fn stream_of<'a>(
    reply: &'a StatusReply,
    capability: &str,
    kind: StreamKind,
) -> Option<&'a StreamStatus> {
    reply
        .streams
        .iter()
        .find(|stream| stream.capability == capability && stream.kind == kind.as_str())
}

/// A gRPC error as a person wants it.
pub(crate) fn in_words(status: &Status) -> String {
    if status.message().is_empty() {
        status.code().to_string()
    } else {
        status.message().to_owned()
    }
}
