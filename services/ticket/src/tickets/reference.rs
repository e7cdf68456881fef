//! Questions to the replicated reference tables.

use kit::ApiError;
use sqlx::PgConnection;

/// A state, as far as writes care.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct State {
    pub(super) name: String,
    pub(super) type_id: i16,
}

/// The state with this id, if it exists.
pub(super) async fn state(
    connection: &mut PgConnection,
    id: i16,
) -> Result<Option<State>, ApiError> {
    Ok(sqlx::query_as("select name, type_id from states where id = $1")
        .bind(id)
        .fetch_optional(connection)
        .await?)
}

/// The group a valid queue belongs to.
pub(super) async fn group_of_queue(
    connection: &mut PgConnection,
    id: i32,
) -> Result<Option<i32>, ApiError> {
    Ok(sqlx::query_scalar("select group_id from queues where id = $1 and valid_id = 1")
        .bind(id)
        .fetch_optional(connection)
        .await?)
}

/// Whether the queue exists, valid or not.
pub(super) async fn queue_exists(connection: &mut PgConnection, id: i32) -> Result<bool, ApiError> {
    Ok(sqlx::query_scalar("select exists (select 1 from queues where id = $1)")
        .bind(id)
        .fetch_one(connection)
        .await?)
}

/// Whether the priority exists.
pub(super) async fn priority_exists(
    connection: &mut PgConnection,
    id: i16,
) -> Result<bool, ApiError> {
    Ok(sqlx::query_scalar("select exists (select 1 from priorities where id = $1)")
        .bind(id)
        .fetch_one(connection)
        .await?)
}

/// Whether the ticket type exists.
pub(super) async fn type_exists(connection: &mut PgConnection, id: i16) -> Result<bool, ApiError> {
    Ok(sqlx::query_scalar("select exists (select 1 from ticket_types where id = $1)")
        .bind(id)
        .fetch_one(connection)
        .await?)
}

/// First and last name of an agent, if there is such an agent.
pub(super) async fn agent_name(
    connection: &mut PgConnection,
    id: i32,
) -> Result<Option<String>, ApiError> {
    Ok(sqlx::query_scalar("select first_name || ' ' || last_name from agents where id = $1")
        .bind(id)
        .fetch_optional(connection)
        .await?)
}
