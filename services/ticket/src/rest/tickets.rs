//! List, create, read and change tickets.

mod request;
mod shape;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use kit::{ApiError, Caller, Mode};
use serde_json::{Map, Value};

use self::request::{Fields, NewTicket};
use self::shape::{Created, Detail, Listing, Updated, UpdatedUnread};
use super::query::Parameters;
use super::{App, Success, body, path};
use crate::tickets::list::{ListQuery, Page, Sort, Status};
use crate::tickets::update::Change;

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
    let request: NewTicket = body::json(&body, "Invalid ticket request")?;
    let ticket = request.try_into()?;
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
    let change: Change = body::fields::<Fields>(fields, "Invalid request body")?.into();
    let change = Some(&change).filter(|_| !names_nothing);
    let ticket = app.tickets.update(&caller, id, change, mode).await?;
    if ticket.type_id.is_none() {
        // The monolith has never been able to read such a ticket back.
        return Ok((mode, Json(UpdatedUnread::new(id))).into_response());
    }
    Ok((mode, Json(Success::new(Updated::from(ticket)))).into_response())
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
