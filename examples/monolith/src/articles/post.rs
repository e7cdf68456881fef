//! `POST /api/v1/tickets/{id}/articles`, and the same from a page's form.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::insert::NewArticle;
use crate::app::App;
use crate::auth::{Caller, Permission};
use crate::error::ApiError;
use crate::request::{created, json_body};
use crate::tickets::history::{Change, record};
use crate::tickets::{LockedTicket, mark_seen, ticket_id};
use crate::timestamp::Micros;

/// An article as a client sends it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Draft {
    subject: String,
    body: String,
    content_type: Option<String>,
    article_type: Option<String>,
    #[serde(alias = "is_visible", alias = "is_visible_to_customer")]
    is_visible_for_customer: Option<bool>,
    article_sender_type_id: Option<i16>,
    sender_type: Option<String>,
    communication_channel_id: Option<i64>,
    from: Option<String>,
    to: Option<String>,
    cc: Option<String>,
    reply_to: Option<String>,
    in_reply_to: Option<String>,
    references: Option<String>,
    message_id: Option<String>,
    incoming_time: Option<i32>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Added {
    article_sender_type_id: i16,
    body: String,
    cc: String,
    communication_channel_id: i64,
    content_type: String,
    create_by: i32,
    create_time: Micros,
    from: String,
    id: i64,
    is_visible_for_customer: bool,
    message_id: String,
    subject: String,
    ticket_id: i64,
    ticket_updated: bool,
    to: String,
}

impl Draft {
    /// An internal note in plain text.
    pub(crate) fn note(subject: String, body: String) -> Self {
        Self { subject, body, ..Self::default() }
    }

    /// 1 agent (the default), 2 system, 3 customer.
    fn sender_type_id(&self) -> Result<i16, ApiError> {
        let named = match self.sender_type.as_deref() {
            None | Some("agent") => Some(1),
            Some("system") => Some(2),
            Some("customer") => Some(3),
            Some(_) => None,
        };
        let id = self.article_sender_type_id.or(named).filter(|id| (1..=3).contains(id));
        id.ok_or_else(|| ApiError::invalid("Invalid sender type"))
    }

    /// 1 email, 2 phone, 3 note (the default), 4 chat.
    fn channel_id(&self) -> Result<i64, ApiError> {
        let by_type = match self.article_type.as_deref() {
            Some("email" | "email-external" | "email-internal") => 1,
            Some("phone") => 2,
            _ => 3,
        };
        let id = self.communication_channel_id.unwrap_or(by_type);
        if (1..=4).contains(&id) {
            Ok(id)
        } else {
            Err(ApiError::invalid("Invalid communication channel"))
        }
    }

    fn is_visible(&self) -> bool {
        self.is_visible_for_customer.unwrap_or(matches!(
            self.article_type.as_deref(),
            Some("email" | "email-external" | "phone" | "note-external" | "webrequest")
        ))
    }
}

/// `POST /api/v1/tickets/{id}/articles`.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let draft: Draft = json_body(&body, "Invalid request body")?;
    Ok(created(add(&app, &caller, &id, draft).await?))
}

/// Adds an article to the ticket that `id`, a part of a path, names.
pub(crate) async fn add(
    app: &App,
    caller: &Caller,
    id: &str,
    draft: Draft,
) -> Result<Added, ApiError> {
    let id = ticket_id(id)?;
    let mut transaction = app.pool.begin().await?;
    LockedTicket::lock(&mut transaction, id, caller, Permission::Note).await?;
    if draft.body.trim().is_empty() {
        return Err(ApiError::invalid("Article body is required"));
    }
    let (sender_type_id, channel_id) = (draft.sender_type_id()?, draft.channel_id()?);
    touch(&mut transaction, id, caller.id()).await?;
    let article = NewArticle {
        ticket_id: id,
        sender_type_id,
        channel_id,
        is_visible: draft.is_visible(),
        is_searchable: true,
        from: draft.from.as_deref(),
        reply_to: draft.reply_to.as_deref(),
        to: draft.to.as_deref(),
        cc: draft.cc.as_deref(),
        subject: &draft.subject,
        message_id: draft.message_id.as_deref(),
        in_reply_to: draft.in_reply_to.as_deref(),
        references: draft.references.as_deref(),
        content_type: draft.content_type.as_deref().unwrap_or("text/plain"),
        body: &draft.body,
        incoming_time: draft.incoming_time,
        user_id: caller.id(),
    };
    let inserted = article.insert(&mut transaction).await?;
    let change = Change::Noted { article_id: inserted.id, body: &draft.body };
    record(&mut transaction, id, &change, caller.id()).await?;
    mark_seen(&mut transaction, id, caller.id()).await?;
    transaction.commit().await?;
    Ok(Added {
        article_sender_type_id: sender_type_id,
        is_visible_for_customer: draft.is_visible(),
        content_type: article.content_type.to_owned(),
        body: draft.body,
        cc: draft.cc.unwrap_or_default(),
        communication_channel_id: channel_id,
        create_by: caller.id(),
        create_time: inserted.create_time,
        from: draft.from.unwrap_or_default(),
        id: inserted.id,
        message_id: draft.message_id.unwrap_or_default(),
        subject: draft.subject,
        ticket_id: id,
        ticket_updated: true,
        to: draft.to.unwrap_or_default(),
    })
}

async fn touch(
    transaction: &mut PgConnection,
    ticket_id: i64,
    user_id: i32,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE ticket SET change_time = now() AT TIME ZONE 'UTC', change_by = $2 WHERE id = $1",
    )
    .bind(ticket_id)
    .bind(user_id)
    .execute(transaction)
    .await?;
    Ok(())
}
