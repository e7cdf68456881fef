//! Serving REST and gRPC on given listeners until a token is cancelled, finishing what is in flight.

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use http::StatusCode;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;

use crate::error::Chain;
use crate::health::{self, Operations};
use crate::request;
use crate::shutdown::grace_over;

/// What a service answers, and where.
#[derive(Debug)]
pub struct Server {
    /// Bound listener for REST; port 0 is fine, the bound address is logged.
    pub http: TcpListener,
    /// Bound listener for gRPC.
    pub grpc: TcpListener,
    /// The capability's routes. Health, readiness and metrics are added.
    pub routes: Router,
    /// The capability's gRPC services.
    pub services: Routes,
    /// What health, readiness and metrics look at; its token ends the server.
    pub operations: Operations,
    /// How long requests in flight may take once the token is cancelled.
    pub grace: Duration,
}

/// A server that did not end as asked.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A listener has no address.
    #[error("read the address of a listener")]
    Address(#[source] io::Error),
    /// The REST server ended by itself.
    #[error("serve rest")]
    Rest(#[source] io::Error),
    /// The gRPC server ended by itself.
    #[error("serve grpc")]
    Grpc(#[source] tonic::transport::Error),
}

impl Server {
    /// Serves until the token of [`Operations`] is cancelled and requests in flight are finished,
    /// or until `grace` has passed since. Requests still open then are cut, and a warning says so.
    ///
    /// # Errors
    /// When a listener fails; the token is cancelled then, so that the rest of the process ends too.
    pub async fn serve(self) -> Result<(), ServeError> {
        let Self { http, grpc, routes, services, operations, grace } = self;
        let http_addr = http.local_addr().map_err(ServeError::Address)?;
        let grpc_addr = grpc.local_addr().map_err(ServeError::Address)?;
        let shutdown = operations.shutdown.clone();
        let metrics = operations.metrics.clone();

        let observe = from_fn_with_state(metrics, request::observe);
        let rest = Router::new()
            .merge(routes)
            .merge(health::router(operations))
            .fallback(not_found)
            .method_not_allowed_fallback(not_found)
            .layer(observe.clone());
        let rest = axum::serve(http, rest)
            .with_graceful_shutdown(shutdown.clone().cancelled_owned())
            .into_future();
        let services = Routes::from(services.into_axum_router().layer(observe));
        let grpc =
            tonic::transport::Server::builder().add_routes(services).serve_with_incoming_shutdown(
                TcpIncoming::from(grpc).with_nodelay(Some(true)),
                shutdown.clone().cancelled_owned(),
            );
        // On the heap: the futures of the two servers are large.
        let grpc = Box::pin(async { grpc.await.map_err(ServeError::Grpc) });
        let rest = Box::pin(async { rest.await.map_err(ServeError::Rest) });
        tracing::info!(%http_addr, %grpc_addr, "serving");

        let both = async { tokio::try_join!(ending(&shutdown, rest), ending(&shutdown, grpc)) };
        tokio::select! {
            ended = both => ended.map(|_| tracing::info!("requests in flight finished")),
            () = grace_over(shutdown.clone(), grace) => {
                tracing::warn!(grace_s = grace.as_secs_f64(), "requests cut at the end of the grace period");
                Ok(())
            }
        }
    }
}

/// Unknown paths and wrong methods, as the monolith answers them.
async fn not_found() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "404 page not found")
}

/// One server failing ends the other.
async fn ending(
    shutdown: &CancellationToken,
    server: impl Future<Output = Result<(), ServeError>>,
) -> Result<(), ServeError> {
    server.await.inspect_err(|error| {
        tracing::error!(error = %Chain(error), "listener failed");
        shutdown.cancel();
    })
}
