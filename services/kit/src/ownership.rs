//! Whether this database's side owns a capability, as its own guard row says.
//!
//! Background jobs ask before each batch. Requests do not: the fence in the database refuses their
//! writes, and refuses them even when this answer is out of date a moment later.

use sqlx::PgExecutor;

const UNDEFINED_TABLE: &str = "42P01";
const INVALID_SCHEMA: &str = "3F000";

/// `true` only when the guard row of `capability` is there and says `OPEN`. A database that was
/// never prepared (no schema `ficus`, no row) owns nothing.
///
/// # Errors
/// Any other answer of the database, among them a missing SELECT privilege on `ficus.guard`.
pub async fn is_owner<'e>(
    executor: impl PgExecutor<'e>,
    capability: &str,
) -> Result<bool, sqlx::Error> {
    let state = sqlx::query_scalar("select state = 'OPEN' from ficus.guard where capability = $1")
        .bind(capability)
        .fetch_optional(executor)
        .await;
    match state {
        Ok(open) => Ok(open.unwrap_or(false)),
        Err(error) if is_unprepared(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_unprepared(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some(UNDEFINED_TABLE | INVALID_SCHEMA))
}
