//! The gRPC service `Replicator`: what control and proxies ask.

use std::{collections::BTreeMap, pin::Pin, sync::Arc, time::Duration};

use cutover::StreamKind;
use futures::{FutureExt, Stream, StreamExt, stream};
use rpc::v1::{self, replicator_server::Replicator};
use telemetry::Chain;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, WatchStream};
use tonic::{Request, Response, Status};

use crate::{
    StreamError,
    error::ErrorClass,
    keeper::{KeeperHandle, Request as Ask},
    probe::{BarrierError, BarrierHandle},
    status::{State, StreamShared},
    tables::{TableCommand, TableState, changed_tables},
    verify::{Asker, Request as Wanted, Scope, Verifier, VerifyError},
    watch::{AllGuards, views},
};

/// A barrier that is asked for without a limit.
const BARRIER_WITHIN: Duration = Duration::from_secs(10);

/// Progress messages that may wait for a slow reader.
const PROGRESS_MAX: usize = 64;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Everything there is to ask.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) instance: String,
    pub(crate) streams: Arc<BTreeMap<(String, StreamKind), StreamHandles>>,
    pub(crate) verifiers: Arc<BTreeMap<String, Arc<Verifier>>>,
    pub(crate) guards: watch::Receiver<Arc<AllGuards>>,
}

/// The handles of one stream.
#[derive(Clone, Debug)]
pub(crate) struct StreamHandles {
    pub(crate) shared: Arc<StreamShared>,
    pub(crate) keeper: KeeperHandle,
    pub(crate) barrier: BarrierHandle,
}

impl Service {
    fn stream(&self, capability: &str, kind: &str) -> Result<&StreamHandles, Status> {
        let kind: StreamKind = kind.parse().map_err(|_| {
            Status::invalid_argument(format!(
                "unknown kind of stream {kind:?}: forward, reverse, reference"
            ))
        })?;
        self.streams.get(&(capability.to_owned(), kind)).ok_or_else(|| {
            Status::not_found(format!(
                "routes.toml gives {capability} no {} stream: it needs tables, and `database` for both \
                 upstreams",
                kind.as_str()
            ))
        })
    }

    /// The stream that is meant when a table is named: where it waits, else where it is copied.
    fn stream_of_table(
        &self,
        capability: &str,
        kind: &str,
        table: &str,
    ) -> Result<&StreamHandles, Status> {
        if !kind.is_empty() {
            return self.stream(capability, kind);
        }
        let mut known = Vec::new();
        let mut found: Option<&StreamHandles> = None;
        for kind in [StreamKind::Forward, StreamKind::Reference, StreamKind::Reverse] {
            let Some(stream) = self.streams.get(&(capability.to_owned(), kind)) else { continue };
            let Some(report) = stream.shared.report() else { continue };
            known.extend(report.tables.iter().map(|each| each.source.clone()));
            let Some(status) = report.tables.iter().find(|each| each.source == table) else {
                continue;
            };
            if found.is_none() || status.state != TableState::Ready.as_str() {
                found = Some(stream);
            }
            if status.state != TableState::Ready.as_str() {
                break;
            }
        }
        known.sort_unstable();
        known.dedup();
        found.ok_or_else(|| {
            Status::not_found(format!(
                "no running stream of {capability} has a table {table}; its tables: {}",
                known.join(", ")
            ))
        })
    }

    async fn ask(
        &self,
        request: Request<v1::StreamRequest>,
        ask: Ask,
    ) -> Result<Response<v1::StreamReply>, Status> {
        let v1::StreamRequest { capability, kind } = request.into_inner();
        let stream = self.stream(&capability, &kind)?;
        match stream.keeper.ask(ask).await {
            Ok(state) => Ok(reply(state)),
            Err(error) => Err(stream_status(&error)),
        }
    }
}

#[tonic::async_trait]
impl Replicator for Service {
    type WatchGuardsStream = Answers<v1::GuardViews>;
    type VerifyStream = Answers<v1::VerifyProgress>;

    async fn start(
        &self,
        request: Request<v1::StreamRequest>,
    ) -> Result<Response<v1::StreamReply>, Status> {
        self.ask(request, Ask::Start).await
    }

    async fn drop(
        &self,
        request: Request<v1::StreamRequest>,
    ) -> Result<Response<v1::StreamReply>, Status> {
        self.ask(request, Ask::Drop).await
    }

    async fn pause(
        &self,
        request: Request<v1::StreamRequest>,
    ) -> Result<Response<v1::StreamReply>, Status> {
        self.ask(request, Ask::Pause).await
    }

    async fn resume(
        &self,
        request: Request<v1::StreamRequest>,
    ) -> Result<Response<v1::StreamReply>, Status> {
        self.ask(request, Ask::Resume).await
    }

    async fn table(
        &self,
        request: Request<v1::TableRequest>,
    ) -> Result<Response<v1::TableReply>, Status> {
        let v1::TableRequest { capability, kind, table, action } = request.into_inner();
        let command: TableCommand = action.parse().map_err(|()| {
            Status::invalid_argument(format!(
                "unknown action {action:?}: retry, skip, resync, accept"
            ))
        })?;
        let stream = self.stream_of_table(&capability, &kind, &table)?;
        let kind = stream.shared.spec.kind.as_str().to_owned();
        match stream.keeper.ask(Ask::Table(table.clone(), command)).await {
            Ok(_) => {
                let state = match command {
                    TableCommand::Resync => TableState::Resyncing,
                    TableCommand::Retry | TableCommand::Skip | TableCommand::Accept => {
                        TableState::Replaying
                    }
                };
                let state = state.as_str().to_owned();
                Ok(Response::new(v1::TableReply { kind, table, state }))
            }
            Err(error) => Err(stream_status(&error)),
        }
    }

    async fn changes(
        &self,
        request: Request<v1::ChangesRequest>,
    ) -> Result<Response<v1::ChangesReply>, Status> {
        let wanted = request.into_inner().capability;
        let mut tables = Vec::new();
        for ((capability, _), stream) in self.streams.iter() {
            let is_wanted = wanted.is_empty() || *capability == wanted;
            if is_wanted && stream.shared.report().is_some() {
                let changed = changed_tables(&stream.shared.spec).await;
                tables.extend(changed.map_err(|error| stream_status(&error))?);
            }
        }
        Ok(Response::new(v1::ChangesReply { tables }))
    }

    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusReply>, Status> {
        let wanted = request.into_inner().capability;
        let is_wanted = |capability: &str| wanted.is_empty() || wanted == capability;
        let streams = self.streams.iter().filter(|((capability, _), _)| is_wanted(capability));
        let verifiers = self.verifiers.iter().filter(|(capability, _)| is_wanted(capability));
        let mut guards = views(&self.guards.borrow());
        guards.retain(|view| is_wanted(&view.capability));
        Ok(Response::new(v1::StatusReply {
            instance: self.instance.clone(),
            streams: streams.filter_map(|(_, stream)| stream.shared.report()).collect(),
            verifications: verifiers.filter_map(|(_, verifier)| verifier.report()).collect(),
            guards,
        }))
    }

    async fn barrier(
        &self,
        request: Request<v1::BarrierRequest>,
    ) -> Result<Response<v1::BarrierReply>, Status> {
        let v1::BarrierRequest { capability, kind, timeout_ms } = request.into_inner();
        let timeout =
            if timeout_ms == 0 { BARRIER_WITHIN } else { Duration::from_millis(timeout_ms) };
        match self.stream(&capability, &kind)?.barrier.wait(timeout).await {
            Ok(lsn) => Ok(Response::new(v1::BarrierReply { lsn: lsn.to_string() })),
            Err(error) => Err(barrier_status(&error)),
        }
    }

    async fn watch_guards(
        &self,
        _: Request<v1::WatchGuardsRequest>,
    ) -> Result<Response<Self::WatchGuardsStream>, Status> {
        let guards = WatchStream::new(self.guards.clone())
            .map(|guards| Ok(v1::GuardViews { guards: views(&guards) }));
        Ok(Response::new(Box::pin(guards)))
    }

    async fn verify(
        &self,
        request: Request<v1::VerifyRequest>,
    ) -> Result<Response<Self::VerifyStream>, Status> {
        let request = request.into_inner();
        let capability = request.capability.clone();
        let wanted = wanted(request)?;
        let verifier = self.verifiers.get(&capability).ok_or_else(|| {
            Status::not_found(format!("routes.toml gives {capability} no tables to verify"))
        })?;
        let (sender, receiver) = mpsc::channel(PROGRESS_MAX);
        let verifier = Arc::clone(verifier);
        // The pass runs as the answer is read, and ends when nobody reads it.
        let pass = async move { verifier.verify(wanted, sender).await };
        let failure = Box::pin(pass).into_stream().filter_map(|result| async move {
            result.err().map(|error| Err(verify_status(&error)))
        });
        let answers = stream::select(ReceiverStream::new(receiver).map(Ok), failure);
        Ok(Response::new(Box::pin(answers)))
    }
}

/// What a request for a verification says.
fn wanted(request: v1::VerifyRequest) -> Result<Wanted, Status> {
    let v1::VerifyRequest { capability: _, scope, direction, tables, repair, quiet } = request;
    let (asker, scope) = match scope.as_str() {
        "full" => (Asker::Operator, Scope::Full),
        "dirty" => (Asker::Transfer, Scope::Touched { quiet }),
        other => {
            let message = format!("unknown scope {other:?}: full, dirty");
            return Err(Status::invalid_argument(message));
        }
    };
    let direction = match direction.as_str() {
        "" | "forward" => StreamKind::Forward,
        "reverse" => StreamKind::Reverse,
        other => {
            let message = format!("unknown direction {other:?}: forward, reverse");
            return Err(Status::invalid_argument(message));
        }
    };
    Ok(Wanted { asker, scope, direction, tables, repair })
}

fn reply(state: State) -> Response<v1::StreamReply> {
    Response::new(v1::StreamReply { state: state.as_str().to_owned() })
}

fn stream_status(error: &StreamError) -> Status {
    let message = Chain(error).to_string();
    if matches!(error, StreamError::Gone) {
        return Status::not_found("the stream was not started");
    }
    match error.class() {
        ErrorClass::NeedsOperator => Status::failed_precondition(message),
        ErrorClass::Transient | ErrorClass::Reread => Status::unavailable(message),
    }
}

fn barrier_status(error: &BarrierError) -> Status {
    let message = error.to_string();
    match error {
        BarrierError::NotReading { .. } => Status::failed_precondition(message),
        BarrierError::Unknown(_) => Status::unavailable(message),
        BarrierError::Timeout { .. } => Status::deadline_exceeded(message),
    }
}

fn verify_status(error: &VerifyError) -> Status {
    let message = Chain(error).to_string();
    match error {
        VerifyError::Busy | VerifyError::NeedsFull(_) => Status::failed_precondition(message),
        VerifyError::Displaced | VerifyError::Moved(_) => Status::aborted(message),
        VerifyError::NoTable(_) => Status::invalid_argument(message),
        VerifyError::Stream(error) => stream_status(error),
        VerifyError::Barrier { .. } => Status::unavailable(message),
    }
}
