//! What was said about a ticket: reading it, and adding to it.

mod insert;
mod post;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use sqlx::{FromRow, PgPool};

use crate::app::App;
use crate::auth::{Caller, Permission};
use crate::error::ApiError;
use crate::request::{Success, path_id, success};
use crate::tickets::{self, ticket_id};
use crate::timestamp::Micros;

pub(crate) use insert::NewArticle;
pub(crate) use post::{Draft, add, create};

/// An article with its content.
#[derive(Debug, Serialize, FromRow)]
pub(crate) struct Article {
    article_sender_type_id: i16,
    pub(crate) body: String,
    communication_channel_id: i64,
    content_type: String,
    create_by: i32,
    pub(crate) create_time: Micros,
    pub(crate) from: String,
    id: i64,
    is_visible_for_customer: bool,
    pub(crate) subject: String,
    ticket_id: i64,
    to: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Articles {
    data: Vec<Article>,
    success: bool,
    total: usize,
}

/// `GET /api/v1/tickets/{id}/articles`, oldest first.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Articles>, ApiError> {
    let id = ticket_id(&id)?;
    tickets::require(&app.pool, id, &caller, Permission::Read).await?;
    let data = fetch(&app.pool, id, None).await?;
    Ok(Json(Articles { total: data.len(), data, success: true }))
}

/// `GET /api/v1/tickets/{id}/articles/{article_id}`.
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((id, article_id)): Path<(String, String)>,
) -> Result<Json<Success<Article>>, ApiError> {
    let id = ticket_id(&id)?;
    let article_id = path_id(&article_id, "Invalid article ID")?;
    tickets::require(&app.pool, id, &caller, Permission::Read).await?;
    let mut found = fetch(&app.pool, id, Some(article_id)).await?;
    found.pop().map(success).ok_or(ApiError::NotFound("Article not found"))
}

/// The articles of a ticket, or just one of them.
pub(crate) async fn fetch(
    pool: &PgPool,
    ticket_id: i64,
    article_id: Option<i64>,
) -> Result<Vec<Article>, sqlx::Error> {
    sqlx::query_as(
        r#"SELECT a.id, a.ticket_id, a.article_sender_type_id, a.communication_channel_id,
                  a.is_visible_for_customer = 1 AS is_visible_for_customer, a.create_by, a.create_time,
                  COALESCE(m.a_subject, '') AS subject, COALESCE(m.a_body, '') AS body,
                  COALESCE(m.a_content_type, '') AS content_type,
                  COALESCE(m.a_from, '') AS "from", COALESCE(m.a_to, '') AS "to"
           FROM article a LEFT JOIN article_data_mime m ON m.article_id = a.id
           WHERE a.ticket_id = $1 AND ($2::bigint IS NULL OR a.id = $2) ORDER BY a.id"#,
    )
    .bind(ticket_id)
    .bind(article_id)
    .fetch_all(pool)
    .await
}
