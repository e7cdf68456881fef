//! One function for each path: reads the request, calls the command, shapes the answer.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json,
    body::Bytes,
    extract::{ConnectInfo, FromRequestParts, Path, Query, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{Html, IntoResponse, Response},
};
use cutover::Direction;
use prometheus::{Encoder, TextEncoder};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use super::ndjson::Lines;
use crate::{
    api::{ChangedTable, JournalEntry, Status, TableAnswer, Transfer},
    commands::{self, Actor, ShiftTo},
    core::Core,
    dashboard,
    problem::Problem,
    status,
    store::AuditEntry,
};

/// Longest name of an actor that is recorded.
const ACTOR_MAX: usize = 200;

pub(super) type Answer<T> = Result<T, Problem>;

/// A command's sender. Its header also keeps pages of other sites out: a browser may not send it
/// unasked.
impl<S: Send + Sync> FromRequestParts<S> for Actor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let name = parts.headers.get("x-ficus-actor").and_then(|value| value.to_str().ok());
        let name = name.map(str::trim).filter(|name| !name.is_empty() && name.len() <= ACTOR_MAX);
        let Some(name) = name else {
            return Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "actor_missing",
                "every command says who asks for it in the header X-Ficus-Actor",
            )
            .remedy("curl -H 'X-Ficus-Actor: your name' …, or use the ficus command"));
        };
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or_else(String::new, |ConnectInfo(address)| address.to_string());
        Ok(Self { name: name.to_owned(), peer })
    }
}

/// Only a leader, only with an actor, only after it was written down.
async fn admit(core: &Core, actor: &Actor, command: &str, name: &str, body: &Bytes) -> Answer<()> {
    if core.capability(name).is_none() {
        let known: Vec<&str> = core.config.capabilities.keys().map(String::as_str).collect();
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "unknown_capability",
            format!("routes.toml has no capability {name:?}"),
        )
        .remedy(format!("one of: {}", known.join(", "))));
    }
    if core.term().is_none() {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_leader",
            "this control stands by and takes no commands",
        )
        .remedy(core.leader_hint().await));
    }
    let detail = String::from_utf8_lossy(body).into_owned();
    let (actor, peer) = (actor.name.as_str(), actor.peer.as_str());
    core.store
        .audit(&AuditEntry { actor, peer, command, capability: name, detail: &detail })
        .await?;
    Ok(())
}

fn parse<T: DeserializeOwned + Default>(body: &Bytes) -> Answer<T> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|error| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "body",
            format!("the body is not understood: {error}"),
        )
    })
}

fn done() -> Response {
    Json(json!({ "ok": true })).into_response()
}

/// Whether commands are taken here: a standby is healthy, and not ready.
pub(super) async fn ready(State(core): State<Arc<Core>>) -> (StatusCode, &'static str) {
    match core.term() {
        Some(_) => (StatusCode::OK, "leading"),
        None => (StatusCode::SERVICE_UNAVAILABLE, "standing by"),
    }
}

pub(super) async fn status(State(core): State<Arc<Core>>) -> Answer<Json<Status>> {
    Ok(Json(status::status(&core).await?))
}

pub(super) async fn transfer(
    State(core): State<Arc<Core>>,
    Path(id): Path<i64>,
) -> Answer<Json<Transfer>> {
    let found = core.store.transfer(id).await?;
    found.map(Json).ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "unknown_transfer",
            format!("there is no transfer {id}"),
        )
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct JournalQuery {
    capability: Option<String>,
}

pub(super) async fn journal(
    State(core): State<Arc<Core>>,
    Query(query): Query<JournalQuery>,
) -> Answer<Json<Vec<JournalEntry>>> {
    Ok(Json(core.store.entries(query.capability.as_deref()).await?))
}

pub(super) async fn changes(
    State(core): State<Arc<Core>>,
    Query(query): Query<JournalQuery>,
) -> Answer<Json<Vec<ChangedTable>>> {
    Ok(Json(commands::changes(&core, query.capability.as_deref()).await?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TableBody {
    action: String,
    table: String,
    #[serde(default)]
    stream: String,
}

pub(super) async fn table(
    State(core): State<Arc<Core>>,
    Path(name): Path<String>,
    actor: Actor,
    body: Bytes,
) -> Answer<Json<TableAnswer>> {
    admit(&core, &actor, "table", &name, &body).await?;
    let TableBody { action, table, stream } = parse(&body)?;
    let wanted = commands::TableWanted { action, table, stream };
    Ok(Json(commands::table(&core, &name, wanted).await?))
}

pub(super) async fn start(
    State(core): State<Arc<Core>>,
    Path(name): Path<String>,
    actor: Actor,
    body: Bytes,
) -> Answer<Response> {
    admit(&core, &actor, "start", &name, &body).await?;
    commands::start(&core, &name, &actor).await?;
    Ok(done())
}

pub(super) async fn verify(
    State(core): State<Arc<Core>>,
    Path(name): Path<String>,
    actor: Actor,
    body: Bytes,
) -> Answer<Response> {
    admit(&core, &actor, "verify", &name, &body).await?;
    let what = parse::<commands::Comparing>(&body)?;
    let progress = commands::begin_verify(&core, &name, &what).await?;
    let (lines, answer) = Lines::answer();
    let work = Arc::clone(&core);
    core.tasks.spawn(async move {
        let mut progress = progress;
        while let Some(line) = commands::next_line(&work, &name, &actor, &mut progress).await {
            lines.write(&line).await;
        }
    });
    Ok(answer)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShiftBody {
    to: Option<ShiftTo>,
}

pub(super) async fn shift(
    State(core): State<Arc<Core>>,
    Path(name): Path<String>,
    actor: Actor,
    body: Bytes,
) -> Answer<Response> {
    admit(&core, &actor, "shift", &name, &body).await?;
    let to = parse::<ShiftBody>(&body)?.to.ok_or_else(|| {
        Problem::new(StatusCode::BAD_REQUEST, "body", "say where to: {\"to\": 10}")
            .remedy("\"replicating\", \"shadowing\", \"auto\", or 0 to 100")
    })?;
    commands::shift(&core, &name, &actor, &to).await?;
    Ok(done())
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TransferBody {
    dry_run: bool,
}

pub(super) async fn cutover(
    State(core): State<Arc<Core>>,
    Path(name): Path<String>,
    actor: Actor,
    body: Bytes,
) -> Answer<Response> {
    admit(&core, &actor, "cutover", &name, &body).await?;
    run_transfer(&core, name, Direction::Forward, actor, &body)
}

pub(super) async fn rollback(
    State(core): State<Arc<Core>>,
    Path(name): Path<String>,
    actor: Actor,
    body: Bytes,
) -> Answer<Response> {
    admit(&core, &actor, "rollback", &name, &body).await?;
    run_transfer(&core, name, Direction::Back, actor, &body)
}

fn run_transfer(
    core: &Arc<Core>,
    name: String,
    direction: Direction,
    actor: Actor,
    body: &Bytes,
) -> Answer<Response> {
    let dry_run = parse::<TransferBody>(body)?.dry_run;
    let reservation = commands::admit_transfer(core, &name, direction)?;
    let (lines, answer) = Lines::answer();
    let work = Arc::clone(core);
    core.tasks.spawn(async move {
        let wanted = commands::Wanted { name, direction, actor, dry_run };
        commands::transfer(&work, wanted, reservation, lines).await;
    });
    Ok(answer)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CompleteBody {
    confirm: String,
    force: bool,
}

pub(super) async fn complete(
    State(core): State<Arc<Core>>,
    Path(name): Path<String>,
    actor: Actor,
    body: Bytes,
) -> Answer<Response> {
    admit(&core, &actor, "complete", &name, &body).await?;
    let wanted = parse::<CompleteBody>(&body)?;
    if wanted.confirm != name {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "not_confirmed",
            "completing can not be undone: confirm it with the capability's name",
        )
        .remedy(format!("{{\"confirm\": {name:?}}}")));
    }
    commands::complete(&core, &name, &actor, wanted.force).await?;
    Ok(done())
}

pub(super) async fn pause(
    State(core): State<Arc<Core>>,
    Path(name): Path<String>,
    actor: Actor,
    body: Bytes,
) -> Answer<Response> {
    admit(&core, &actor, "pause", &name, &body).await?;
    commands::set_paused(&core, &name, true).await?;
    Ok(done())
}

pub(super) async fn resume(
    State(core): State<Arc<Core>>,
    Path(name): Path<String>,
    actor: Actor,
    body: Bytes,
) -> Answer<Response> {
    admit(&core, &actor, "resume", &name, &body).await?;
    commands::set_paused(&core, &name, false).await?;
    Ok(done())
}

async fn shown(core: &Arc<Core>) -> Answer<(Status, Vec<JournalEntry>)> {
    Ok((status::status(core).await?, core.store.entries(None).await?))
}

pub(super) async fn dashboard(State(core): State<Arc<Core>>) -> Answer<Response> {
    let (status, journal) = shown(&core).await?;
    Ok(with_policy(dashboard::page(&status, &journal).into_string()))
}

/// A page, and what it may load: nothing but what it carries.
pub(super) fn with_policy(page: String) -> Response {
    let mut headers = HeaderMap::new();
    if let Ok(policy) = dashboard::content_security_policy().parse() {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, header::HeaderValue::from_static("no-referrer"));
    (headers, Html(page)).into_response()
}

pub(super) async fn fragment(State(core): State<Arc<Core>>) -> Answer<Html<String>> {
    let (status, journal) = shown(&core).await?;
    Ok(Html(dashboard::fragment(&status, &journal).into_string()))
}

pub(super) async fn metrics() -> Answer<String> {
    let mut text = Vec::new();
    let encoded = TextEncoder::new().encode(&prometheus::gather(), &mut text);
    encoded.ok().and_then(|()| String::from_utf8(text).ok()).ok_or_else(|| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "metrics", "metrics could not be written")
    })
}
