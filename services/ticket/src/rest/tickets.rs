//! List, create, read and change tickets.

mod shape;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use kit::{ApiError, Caller, Mode};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use self::shape::{Created, Detail, Listing, Updated, UpdatedUnread};
use super::query::Parameters;
use super::{App, Success, body, path};
use crate::tickets::create::NewTicket;
use crate::tickets::list::{ListQuery, Page, Sort, Status};
use crate::tickets::update::Change;

#[derive(Debug, Deserialize)]
struct CreateRequest {
    #[serde(default)]
    title: String,
    queue_id: Option<i32>,
    priority_id: Option<i16>,
    state_id: Option<i16>,
    type_id: Option<i16>,
    #[serde(default)]
    body: String,
    customer_email: Option<String>,
    customer_id: Option<String>,
    customer_user_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct UpdateRequest {
    title: Option<String>,
    queue_id: Option<i32>,
    type_id: Option<i16>,
    state_id: Option<i16>,
    priority_id: Option<i16>,
    ticket_lock_id: Option<i16>,
    customer_id: Option<String>,
    customer_user_id: Option<String>,
    user_id: Option<i32>,
    /// Null is not the same as absent.
    #[serde(default, deserialize_with = "given")]
    responsible_user_id: Option<Option<i32>>,
}

/// `GET /api/v1/tickets`.
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Json<Listing>, ApiError> {
    let include = parameters.text("include").unwrap_or_default();
    let shows = |what: &str| include.split(',').any(|part| part == what);
    let (with_count, with_last) = (shows("article_count"), shows("last_article"));
    let query = ListQuery {
        status: parameters.text("status").and_then(Status::from_name),
        queue_id: parameters.number("queue_id"),
        priority_id: parameters.number("priority_id"),
        customer_user_id: parameters.text("customer_user_id").map(str::to_owned),
        assigned_user_id: parameters.number("assigned_user_id"),
        search: parameters.text("search").map(str::to_owned),
        sort: sort(parameters.text("sort")),
        is_ascending: parameters.text("order") == Some("asc"),
        page: Page::new(
            parameters.number("page").unwrap_or_default(),
            parameters.number("per_page").unwrap_or_default(),
        ),
        with_articles: with_count || with_last,
    };
    let list = app.tickets.list(&caller, &query).await?;
    Ok(Json(Listing::new(list, query.page, with_count, with_last)))
}

/// `GET /api/v1/tickets/{id}`.
pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Success<Detail>>, ApiError> {
    let ticket = app.tickets.get(&caller, path::ticket_id(&id)?).await?;
    Ok(Json(Success::new(ticket.into())))
}

/// `POST /api/v1/tickets`.
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    mode: Mode,
    body: Bytes,
) -> Result<Response, ApiError> {
    let request: CreateRequest = body::json(&body, "Invalid ticket request")?;
    let queue_id = request.queue_id.filter(|_| !request.title.is_empty()).ok_or_else(|| {
        let message = "Invalid ticket request: missing title or queue";
        ApiError::refused(StatusCode::BAD_REQUEST, message)
    })?;
    let ticket = NewTicket {
        title: request.title,
        queue_id,
        priority_id: request.priority_id,
        state_id: request.state_id,
        type_id: request.type_id,
        body: request.body,
        customer_id: request.customer_id,
        customer_user_id: request.customer_user_id.or(request.customer_email),
    };
    let created = app.tickets.create(&caller, &ticket, mode).await?;
    let answer = Success::new(Created::from(created));
    Ok((StatusCode::CREATED, mode, Json(answer)).into_response())
}

/// `PUT /api/v1/tickets/{id}`.
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    mode: Mode,
    body: Bytes,
) -> Result<Response, ApiError> {
    let id = path::ticket_id(&id)?;
    let fields: Map<String, Value> = body::json(&body, "Invalid request body")?;
    let names_nothing = fields.is_empty();
    let request: UpdateRequest = body::fields(fields, "Invalid request body")?;
    let change = Change {
        title: request.title,
        queue_id: request.queue_id,
        type_id: request.type_id,
        state_id: request.state_id,
        priority_id: request.priority_id,
        lock_id: request.ticket_lock_id,
        customer_id: request.customer_id,
        customer_user_id: request.customer_user_id,
        owner_id: request.user_id,
        responsible_id: request.responsible_user_id,
    };
    let change = Some(&change).filter(|_| !names_nothing);
    let ticket = app.tickets.update(&caller, id, change, mode).await?;
    if ticket.type_id.is_none() {
        // The monolith has never been able to read such a ticket back.
        return Ok((mode, Json(UpdatedUnread::new(id))).into_response());
    }
    Ok((mode, Json(Success::new(Updated::from(ticket)))).into_response())
}

/// Tells a null from a missing field.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<i32>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn sort(name: Option<&str>) -> Sort {
    match name {
        Some("updated") => Sort::Updated,
        Some("priority") => Sort::Priority,
        Some("tn") => Sort::Number,
        Some("title") => Sort::Title,
        Some(_) | None => Sort::Created,
    }
}
