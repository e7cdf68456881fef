//! Changing fields of a ticket.

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use kit::{ApiError, Caller, Mode, Work};

use super::event::{Event, EventKind};
use super::locked::LockedTicket;
use super::{TITLE_BYTES_MAX, Tickets, articles, reference};
use crate::access::Permission;

/// The fields to change; absent ones stay.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the fields are the columns of the same names")]
pub struct Change {
    pub title: Option<String>,
    pub queue_id: Option<i32>,
    pub type_id: Option<i16>,
    pub state_id: Option<i16>,
    pub priority_id: Option<i16>,
    pub lock_id: Option<i16>,
    pub customer_id: Option<String>,
    pub customer_user_id: Option<String>,
    pub owner_id: Option<i32>,
    /// `Some(None)` sets it to null, which the database refuses, as the monolith's does.
    pub responsible_id: Option<Option<i32>>,
}

/// A ticket as it is in its table.
#[derive(Debug, Clone, sqlx::FromRow)]
#[expect(missing_docs, reason = "the fields are the columns of the same names")]
pub struct Ticket {
    pub id: i64,
    pub number: String,
    pub title: Option<String>,
    pub queue_id: i32,
    pub type_id: Option<i16>,
    pub state_id: i16,
    pub priority_id: i16,
    pub lock_id: i16,
    pub customer_id: Option<String>,
    pub customer_user_id: Option<String>,
    pub owner_id: i32,
    pub responsible_id: i32,
    pub created_at: DateTime<Utc>,
    pub created_by: i32,
    pub updated_at: DateTime<Utc>,
    pub updated_by: i32,
}

impl Tickets {
    /// Changes a ticket and records what kind of change it was. `None` is a change that names no
    /// field at all.
    ///
    /// # Errors
    /// 400, 403 or 404 in the monolith's words, the fence, or the database's failure.
    pub async fn update(
        &self,
        caller: &Caller,
        id: i64,
        change: Option<&Change>,
        mode: Mode,
    ) -> Result<Ticket, ApiError> {
        let mut work = self.begin(mode).await?;
        let outcome = update(&mut work, caller, id, change).await;
        work.finish(outcome).await
    }
}

async fn update(
    work: &mut Work,
    caller: &Caller,
    id: i64,
    change: Option<&Change>,
) -> Result<Ticket, ApiError> {
    let before = LockedTicket::lock(work, id, caller, Permission::Write).await?;
    let change = change.ok_or_else(|| bad("No fields to update"))?;
    check(work, change).await?;
    let after = write(work, id, change, caller.user_id)
        .await
        .map_err(|error| ApiError::from(error).saying("Failed to update ticket"))?;
    for event in events(work, &before, &after).await? {
        event.record(work, caller.user_id).await?;
    }
    articles::mark_seen(work, id, caller.user_id).await?;
    Ok(after)
}

async fn write(work: &mut Work, id: i64, change: &Change, by: i32) -> Result<Ticket, sqlx::Error> {
    sqlx::query_as(
        "update tickets set
             title = coalesce($2, title), queue_id = coalesce($3, queue_id),
             type_id = coalesce($4, type_id), state_id = coalesce($5, state_id),
             priority_id = coalesce($6, priority_id), lock_id = coalesce($7, lock_id),
             customer_id = coalesce($8, customer_id),
             customer_user_id = coalesce($9, customer_user_id),
             owner_id = coalesce($10, owner_id),
             responsible_id = case when $11 then $12 else responsible_id end,
             updated_at = now(), updated_by = $13
         where id = $1
         returning id, number, title, queue_id, type_id, state_id, priority_id, lock_id,
             customer_id, customer_user_id, owner_id, responsible_id, created_at, created_by,
             updated_at, updated_by",
    )
    .bind(id)
    .bind(&change.title)
    .bind(change.queue_id)
    .bind(change.type_id)
    .bind(change.state_id)
    .bind(change.priority_id)
    .bind(change.lock_id)
    .bind(&change.customer_id)
    .bind(&change.customer_user_id)
    .bind(change.owner_id)
    .bind(change.responsible_id.is_some())
    .bind(change.responsible_id.flatten())
    .bind(by)
    .fetch_one(work.connection())
    .await
}

/// What the history says: a new state, a new owner, or just that something changed.
async fn events(
    work: &mut Work,
    before: &LockedTicket,
    after: &Ticket,
) -> Result<Vec<Event>, ApiError> {
    let event = |kind, name| Event { kind, ticket_id: after.id, article_id: None, name };
    let mut events = Vec::with_capacity(2);
    if before.state_id != after.state_id {
        let to = reference::state(work.connection(), after.state_id).await?;
        let to = to.map(|state| state.name).unwrap_or_default();
        events.push(event(EventKind::StateUpdate, super::state::change_name(&before.state, &to)));
    }
    if before.owner_id != after.owner_id {
        let owner = reference::agent_name(work.connection(), after.owner_id).await?;
        let owner = owner.unwrap_or_else(|| "nobody".to_owned());
        events.push(event(EventKind::OwnerUpdate, format!("Assigned to {owner}")));
    }
    if events.is_empty() {
        events.push(event(EventKind::Misc, "Ticket updated".to_owned()));
    }
    Ok(events)
}

async fn check(work: &mut Work, change: &Change) -> Result<(), ApiError> {
    if let Some(title) = &change.title {
        if title.is_empty() {
            return Err(bad("Title cannot be empty"));
        }
        if title.len() > TITLE_BYTES_MAX {
            return Err(bad("Title too long (max 255 characters)"));
        }
    }
    let connection = work.connection();
    if let Some(id) = change.queue_id
        && !reference::queue_exists(connection, id).await?
    {
        return Err(bad("Invalid queue_id"));
    }
    if let Some(id) = change.state_id
        && reference::state(connection, id).await?.is_none()
    {
        return Err(bad("Invalid state_id"));
    }
    if let Some(id) = change.priority_id
        && !reference::priority_exists(connection, id).await?
    {
        return Err(bad("Invalid priority_id"));
    }
    if let Some(id) = change.type_id
        && !reference::type_exists(connection, id).await?
    {
        return Err(bad("Invalid type_id"));
    }
    Ok(())
}

fn bad(message: &'static str) -> ApiError {
    ApiError::refused(StatusCode::BAD_REQUEST, message)
}
