//! Finding the ticket a request is about, with the permission it needs.

use sqlx::{FromRow, PgConnection, PgPool};

use crate::auth::{Caller, Permission};
use crate::error::ApiError;

/// A ticket whose row is locked until the transaction ends, as it was before the change.
#[derive(Debug, FromRow)]
pub(crate) struct LockedTicket {
    pub(crate) ticket_state_id: i16,
    pub(crate) state_name: String,
    pub(crate) user_id: i32,
    group_id: i32,
}

impl LockedTicket {
    /// Locks the ticket's row if the caller has `permission` on its queue.
    pub(crate) async fn lock(
        transaction: &mut PgConnection,
        id: i64,
        caller: &Caller,
        permission: Permission,
    ) -> Result<Self, ApiError> {
        let found: Option<Self> = sqlx::query_as(
            "SELECT t.ticket_state_id, COALESCE(s.name, '') AS state_name, t.user_id,
                    COALESCE(q.group_id, 0) AS group_id
             FROM ticket t
             LEFT JOIN queue q ON q.id = t.queue_id AND q.valid_id = 1
             LEFT JOIN ticket_state s ON s.id = t.ticket_state_id
             WHERE t.id = $1 FOR UPDATE OF t",
        )
        .bind(id)
        .fetch_optional(transaction)
        .await?;
        let ticket = found.ok_or_else(ApiError::no_ticket)?;
        caller.require(permission, ticket.group_id)?;
        Ok(ticket)
    }
}

/// Refuses unless the ticket exists and the caller has `permission` on its queue.
pub(crate) async fn require(
    pool: &PgPool,
    id: i64,
    caller: &Caller,
    permission: Permission,
) -> Result<(), ApiError> {
    let group_id: Option<i32> = sqlx::query_scalar(
        "SELECT COALESCE(q.group_id, 0)
         FROM ticket t LEFT JOIN queue q ON q.id = t.queue_id AND q.valid_id = 1 WHERE t.id = $1",
    )
    .bind(id)
    .fetch_optional(pool)
    .await?;
    caller.require(permission, group_id.ok_or_else(ApiError::no_ticket)?)
}

/// Notes that this user has seen the ticket as it now is.
pub(crate) async fn mark_seen(
    transaction: &mut PgConnection,
    ticket_id: i64,
    user_id: i32,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO ticket_flag (ticket_id, ticket_key, ticket_value, create_time, create_by)
         VALUES ($1, 'Seen', '1', now() AT TIME ZONE 'UTC', $2)
         ON CONFLICT (ticket_id, ticket_key, create_by)
         DO UPDATE SET ticket_value = EXCLUDED.ticket_value, create_time = EXCLUDED.create_time",
    )
    .bind(ticket_id)
    .bind(user_id)
    .execute(transaction)
    .await?;
    Ok(())
}
