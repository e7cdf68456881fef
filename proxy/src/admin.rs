//! The admin server: health, readiness and figures as in every process of Ficus, and what only a proxy
//! has: where its capabilities stand, and samples of answers that differed. For operators, never public.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use prometheus::{Encoder, TextEncoder};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    explain::{self, Explanation, Question},
    plan::Planned,
    plan::Standing,
    shadow::Mismatch,
    shared::Shared,
};

#[derive(Debug, Serialize)]
struct Routes {
    generation: u64,
    config_digest: String,
    capabilities: Vec<Capability>,
}

#[derive(Debug, Serialize)]
struct Capability {
    name: String,
    phase: String,
    owner: &'static str,
    guards: &'static str,
    holding: bool,
    held: u64,
    inflight_writes: u64,
    /// Absent when not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_bound_ms: Option<u128>,
    peers: Vec<Peer>,
}

#[derive(Debug, Serialize)]
struct Peer {
    upstream: String,
    address: String,
    healthy: bool,
}

/// Serves until told to stop.
///
/// # Errors
/// When accepting connections fails for good.
pub(crate) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let app = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/routes", get(routes))
        .route("/mismatches", get(mismatches))
        .route("/identity/jwks.json", get(identity))
        .route("/explain", post(explain))
        .with_state(shared);
    axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn ready(State(shared): State<Arc<Shared>>) -> (StatusCode, &'static str) {
    if shared.is_ready() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Result<String, StatusCode> {
    shared.refresh_gauges();
    let mut text = Vec::new();
    TextEncoder::new()
        .encode(&prometheus::gather(), &mut text)
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    String::from_utf8(text).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

async fn routes(State(shared): State<Arc<Shared>>) -> Json<Routes> {
    let snapshot = shared.snapshot.load();
    let capabilities = snapshot.plan.capabilities.iter().zip(&snapshot.standings);
    Json(Routes {
        generation: snapshot.generation,
        config_digest: snapshot.plan.config.digest.clone(),
        capabilities: capabilities
            .map(|(planned, standing)| capability(planned, *standing))
            .collect(),
    })
}

async fn mismatches(State(shared): State<Arc<Shared>>) -> Json<Vec<Mismatch>> {
    Json(shared.mismatches.places())
}

/// The public keys of identities; an empty set where none are signed.
async fn identity(State(shared): State<Arc<Shared>>) -> Json<serde_json::Value> {
    let snapshot = shared.snapshot.load();
    let signer = snapshot.plan.policies.signer();
    Json(signer.map_or_else(|| serde_json::json!({ "keys": [] }), |signer| signer.jwks().clone()))
}

async fn explain(
    State(shared): State<Arc<Shared>>,
    Json(question): Json<Question>,
) -> Result<Json<Explanation>, (StatusCode, String)> {
    explain::explain_live(&shared, &question)
        .map(Json)
        .map_err(|error| (StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
}

fn capability(planned: &Planned, standing: Standing) -> Capability {
    let traffic = planned.live.gate.traffic();
    let peer = |peer: &crate::upstream::Peer| Peer {
        upstream: planned.service.config.name.clone(),
        address: peer.address.to_string(),
        healthy: peer.is_healthy(),
    };
    Capability {
        name: planned.live.name.clone(),
        phase: standing.phase.to_string(),
        owner: standing.owner.as_str(),
        guards: standing.sight.as_str(),
        holding: traffic.holding,
        held: traffic.held,
        inflight_writes: traffic.inflight,
        lag_bound_ms: planned.live.catch_up.lag_bound().map(|lag| lag.as_millis()),
        peers: planned.service.peers().iter().map(peer).collect(),
    }
}
