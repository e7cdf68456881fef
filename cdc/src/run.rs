//! Puts the replicator together and runs it.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use cutover::StreamKind;
use routes::Config;
use rpc::v1::replicator_server::ReplicatorServer;
use telemetry::Readiness;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

use crate::{
    dirty::DirtyKeys,
    keeper::Keeper,
    probe::Probe,
    server::{Service, StreamHandles},
    spec::StreamSpec,
    status::StreamShared,
    verify::{Rhythm, Verifier},
    watch::Watcher,
};

/// What a replicator needs.
#[derive(Clone, Debug)]
pub struct Options {
    /// The compiled `routes.toml`; port 0 in `[cdc]` takes any free port.
    pub config: Arc<Config>,
}

/// A replicator whose ports are bound and which does not run yet.
#[derive(Debug)]
pub struct Replicator {
    options: Options,
    grpc: TcpListener,
    admin: TcpListener,
    grpc_address: SocketAddr,
    admin_address: SocketAddr,
}

/// Why the replicator does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A port could not be bound.
    #[error("could not listen on {address}, choose another address in [cdc]")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The gRPC server ended.
    #[error("the gRPC server failed")]
    Grpc(#[source] tonic::transport::Error),
    /// The admin server ended.
    #[error("the admin server failed: {0}")]
    Admin(String),
    /// A part ended before its time.
    #[error("a part of the replicator ended unexpectedly")]
    Part(#[source] tokio::task::JoinError),
}

/// Binds and runs a replicator until `stop` is cancelled. Dropping the future stops it as a crash
/// would: what was not committed is read again.
///
/// # Errors
/// [`RunError`]; trouble with databases is no reason to end.
pub async fn run(options: Options, stop: CancellationToken) -> Result<(), RunError> {
    Replicator::bind(options).await?.run(stop).await
}

impl Replicator {
    /// Binds the ports of `[cdc]`.
    ///
    /// # Errors
    /// [`RunError::Listen`]
    pub async fn bind(options: Options) -> Result<Self, RunError> {
        let (grpc, grpc_address) = listen(options.config.cdc.grpc).await?;
        let (admin, admin_address) = listen(options.config.cdc.admin).await?;
        Ok(Self { options, grpc, admin, grpc_address, admin_address })
    }

    /// Where the service `Replicator` is.
    #[must_use]
    pub const fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Where health, readiness and metrics are.
    #[must_use]
    pub const fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Runs until `stop` is cancelled.
    ///
    /// # Errors
    /// [`RunError`]
    pub async fn run(self, stop: CancellationToken) -> Result<(), RunError> {
        let Self { options, grpc, admin, grpc_address, .. } = self;
        let parts_stop = stop.child_token();
        let mut parts = JoinSet::new();
        let service = assemble(&options.config, &mut parts, &parts_stop);
        let readiness = Readiness::default();
        readiness.set(true);
        let admin = telemetry::serve_admin(admin, readiness, parts_stop.clone());
        let server = tonic::transport::Server::builder()
            .add_service(ReplicatorServer::new(service))
            .serve_with_incoming_shutdown(
                TcpListenerStream::new(grpc),
                parts_stop.clone().cancelled_owned(),
            );
        tracing::info!(address = %grpc_address, "replicator listening");
        let ended = tokio::select! {
            // Open answers (watches) do not keep the process alive.
            () = stop.cancelled() => Ok(()),
            result = server => result.map_err(RunError::Grpc),
            result = admin => result.map_err(|error| RunError::Admin(error.to_string())),
            Some(Err(error)) = parts.join_next() => Err(RunError::Part(error)),
        };
        parts_stop.cancel();
        while let Some(result) = parts.join_next().await {
            if let Err(error) = result {
                tracing::error!(%error, "a part of the replicator did not stop in order");
            }
        }
        ended
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), RunError> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound.await.map_err(|source| RunError::Listen { address, source })
}

/// Starts a keeper and a probe for every stream, a verifier for every capability, and the watcher.
fn assemble(config: &Config, parts: &mut JoinSet<()>, stop: &CancellationToken) -> Service {
    let mut dirty: BTreeMap<String, Arc<DirtyKeys>> = BTreeMap::new();
    let mut streams: BTreeMap<(String, StreamKind), StreamHandles> = BTreeMap::new();
    for spec in StreamSpec::all(config) {
        let (capability, kind) = (spec.capability.to_string(), spec.kind);
        let tables = config.capabilities.get(&capability).map_or(0, |found| found.tables.len());
        let new = || Arc::new(DirtyKeys::new(tables));
        let touched = Arc::clone(dirty.entry(capability.clone()).or_insert_with(new));
        let shared = Arc::new(StreamShared::new(spec, touched));
        let (keeper, keeper_handle) = Keeper::new(Arc::clone(&shared));
        let (probe, barrier) = Probe::new(Arc::clone(&shared));
        parts.spawn(keeper.keep(stop.clone()));
        parts.spawn(probe.run(stop.clone()));
        let handles = StreamHandles { shared, keeper: keeper_handle, barrier };
        streams.insert((capability, kind), handles);
    }
    let mut verifiers = BTreeMap::new();
    for (name, touched) in dirty {
        let Some(capability) = config.capabilities.get(&name) else { continue };
        let running = [StreamKind::Forward, StreamKind::Reverse, StreamKind::Reference]
            .into_iter()
            .filter_map(|kind| {
                let stream = streams.get(&(name.clone(), kind))?;
                Some((kind, (Arc::clone(&stream.shared), stream.barrier.clone())))
            })
            .collect();
        let verifier = Arc::new(Verifier::new(config, capability, touched, running));
        let rhythm =
            Rhythm { every: config.cdc.verify_every, rows_per_second: config.cdc.verify_rate };
        parts.spawn(Arc::clone(&verifier).keep_comparing(rhythm, stop.clone()));
        verifiers.insert(name, verifier);
    }
    let (watcher, guards) = Watcher::new(config);
    parts.spawn(watcher.run(stop.clone()));
    Service {
        instance: format!("{:016x}", rand::random::<u64>()),
        streams: Arc::new(streams),
        verifiers: Arc::new(verifiers),
        guards,
    }
}
