//! List, read and add articles.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use kit::time::rfc3339_micros;
use kit::{ApiError, Caller, Mode};
use serde::Serialize;

use super::{App, Success, body, path};
use crate::tickets::articles::Article;
use crate::tickets::draft::Draft;

#[derive(Debug, Serialize)]
pub(super) struct Listing {
    data: Vec<Row>,
    success: bool,
    total: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct Row {
    article_sender_type_id: i16,
    body: String,
    communication_channel_id: i64,
    content_type: String,
    create_by: i32,
    create_time: String,
    from: String,
    id: i64,
    is_visible_for_customer: bool,
    subject: String,
    ticket_id: i64,
    to: String,
}

#[derive(Debug, Serialize)]
struct Added {
    article_sender_type_id: i16,
    body: String,
    cc: String,
    communication_channel_id: i64,
    content_type: String,
    create_by: i32,
    create_time: String,
    from: String,
    id: i64,
    is_visible_for_customer: bool,
    message_id: String,
    subject: String,
    ticket_id: i64,
    ticket_updated: bool,
    to: String,
}

/// `GET /api/v1/tickets/{id}/articles`.
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Listing>, ApiError> {
    let articles = app.tickets.articles(&caller, path::ticket_id(&id)?).await?;
    let data: Vec<Row> = articles.into_iter().map(Into::into).collect();
    Ok(Json(Listing { total: data.len(), data, success: true }))
}

/// `GET /api/v1/tickets/{id}/articles/{article_id}`.
pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path((id, article_id)): Path<(String, String)>,
) -> Result<Json<Success<Row>>, ApiError> {
    let (id, article_id) = (path::ticket_id(&id)?, path::article_id(&article_id)?);
    let article = app.tickets.article(&caller, id, article_id).await?;
    Ok(Json(Success::new(article.into())))
}

/// `POST /api/v1/tickets/{id}/articles`.
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    mode: Mode,
    body: Bytes,
) -> Result<Response, ApiError> {
    let draft: Draft = body::json(&body, "Invalid request body")?;
    let ticket_id = path::ticket_id(&id)?;
    let (article, written) = app.tickets.add_article(&caller, ticket_id, draft, mode).await?;
    let added = Added {
        article_sender_type_id: article.sender_type_id,
        body: article.body,
        cc: article.cc.unwrap_or_default(),
        communication_channel_id: article.channel_id,
        content_type: article.content_type,
        create_by: caller.user_id,
        create_time: rfc3339_micros(written.created_at),
        from: article.from.unwrap_or_default(),
        id: written.id,
        is_visible_for_customer: article.is_visible,
        message_id: article.message_id.unwrap_or_default(),
        subject: article.subject,
        ticket_id,
        ticket_updated: true,
        to: article.to.unwrap_or_default(),
    };
    Ok((StatusCode::CREATED, mode, Json(Success::new(added))).into_response())
}

impl From<Article> for Row {
    fn from(article: Article) -> Self {
        Self {
            article_sender_type_id: article.sender_type_id,
            body: article.body.unwrap_or_default(),
            communication_channel_id: article.channel_id,
            content_type: article.content_type.unwrap_or_default(),
            create_by: article.created_by,
            create_time: rfc3339_micros(article.created_at),
            from: article.sender.unwrap_or_default(),
            id: article.id,
            is_visible_for_customer: article.visible_to_customer == 1,
            subject: article.subject.unwrap_or_default(),
            ticket_id: article.ticket_id,
            to: article.recipient.unwrap_or_default(),
        }
    }
}
