//! JSON API and dashboard. Reads are answered by every control, commands by the leader alone; every
//! command says who asks for it and is written down before it is carried out.

mod comparisons;
mod handlers;
mod ndjson;

pub(crate) use ndjson::Lines;

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use axum::{
    Router,
    routing::{get, post},
};
use tokio::net::TcpListener;

use crate::core::Core;

/// Serves until the process stops.
pub(crate) async fn serve(core: Arc<Core>, listener: TcpListener) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!(%address, "JSON API and dashboard listening");
    let stop = core.stop.clone();
    let service = router(core).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .context("HTTP server")
}

fn router(core: Arc<Core>) -> Router {
    Router::new()
        .route("/", get(handlers::dashboard))
        .route("/fragment", get(handlers::fragment))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(handlers::ready))
        .route("/metrics", get(handlers::metrics))
        .route("/api/v1/status", get(handlers::status))
        .route("/api/v1/transfers/{id}", get(handlers::transfer))
        .route("/api/v1/journal", get(handlers::journal))
        .route("/api/v1/changes", get(handlers::changes))
        .route("/api/v1/mismatches", get(comparisons::mismatches))
        .route("/mismatches", get(comparisons::page))
        .route("/api/v1/capabilities/{name}/shifts", get(comparisons::shifts))
        .route("/api/v1/capabilities/{name}/table", post(handlers::table))
        .route("/api/v1/capabilities/{name}/start", post(handlers::start))
        .route("/api/v1/capabilities/{name}/verify", post(handlers::verify))
        .route("/api/v1/capabilities/{name}/shift", post(handlers::shift))
        .route("/api/v1/capabilities/{name}/cutover", post(handlers::cutover))
        .route("/api/v1/capabilities/{name}/rollback", post(handlers::rollback))
        .route("/api/v1/capabilities/{name}/complete", post(handlers::complete))
        .route("/api/v1/capabilities/{name}/pause", post(handlers::pause))
        .route("/api/v1/capabilities/{name}/resume", post(handlers::resume))
        .with_state(core)
}
