//! Ticket numbers of the kind `Date`: UTC day, system id, and a counter that starts anew every day.

use sqlx::PgConnection;

const SYSTEM_ID: &str = "10";

/// Takes the next number. The counter's row stays locked until the transaction ends, so tickets are created one
/// after the other.
pub(super) async fn next(transaction: &mut PgConnection) -> Result<String, sqlx::Error> {
    let (day, counter): (String, i64) = sqlx::query_as(
        "WITH today AS (SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD') AS day)
         INSERT INTO ticket_number_counter (counter, counter_uid, create_time)
         SELECT 1, $1 || '_' || day, now() AT TIME ZONE 'UTC' FROM today
         ON CONFLICT (counter_uid) DO UPDATE SET counter = ticket_number_counter.counter + EXCLUDED.counter
         RETURNING (SELECT day FROM today), counter",
    )
    .bind(SYSTEM_ID)
    .fetch_one(transaction)
    .await?;
    Ok(format!("{day}{SYSTEM_ID}{counter:05}"))
}
