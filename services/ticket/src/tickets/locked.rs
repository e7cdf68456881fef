//! Finding the ticket a request is about, with the permission it needs.

use axum::http::StatusCode;
use kit::{ApiError, Caller, Work};
use sqlx::PgConnection;

use crate::access::{Access, NO_GROUP, Permission};

/// A ticket whose row is locked until the transaction ends, as it was before the change.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct LockedTicket {
    pub(super) state_id: i16,
    /// Empty when there is no such state.
    pub(super) state: String,
    pub(super) owner_id: i32,
    group_id: i32,
}

impl LockedTicket {
    /// Locks the row if the caller has `permission` on its queue; 404 or 403 otherwise.
    pub(super) async fn lock(
        work: &mut Work,
        id: i64,
        caller: &Caller,
        permission: Permission,
    ) -> Result<Self, ApiError> {
        let ticket: Self = sqlx::query_as(
            "select t.state_id, coalesce(s.name, '') as state, t.owner_id,
                    coalesce(q.group_id, $2) as group_id
             from tickets t
             left join queues q on q.id = t.queue_id and q.valid_id = 1
             left join states s on s.id = t.state_id
             where t.id = $1 for update of t",
        )
        .bind(id)
        .bind(NO_GROUP)
        .fetch_optional(work.connection())
        .await?
        .ok_or_else(not_found)?;
        Access::load(work.connection(), caller).await?.require(permission, ticket.group_id)?;
        Ok(ticket)
    }
}

/// Refuses unless the ticket exists and the caller may read it.
pub(super) async fn require_read(
    connection: &mut PgConnection,
    id: i64,
    caller: &Caller,
) -> Result<(), ApiError> {
    let (group_id, customer): (i32, Option<String>) = sqlx::query_as(
        "select coalesce(q.group_id, $2), t.customer_user_id
         from tickets t left join queues q on q.id = t.queue_id and q.valid_id = 1
         where t.id = $1",
    )
    .bind(id)
    .bind(NO_GROUP)
    .fetch_optional(&mut *connection)
    .await?
    .ok_or_else(not_found)?;
    Access::load(connection, caller).await?.require_read(group_id, customer.as_deref())
}

pub(super) fn not_found() -> ApiError {
    ApiError::refused(StatusCode::NOT_FOUND, "Ticket not found")
}
