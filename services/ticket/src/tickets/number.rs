//! Ticket numbers: UTC date, system id, and a counter of that day with at least five digits.

use kit::{ApiError, Work};

/// The installation's id, part of every number.
const SYSTEM_ID: &str = "10";

/// Takes the next number of the day. Concurrent takers wait for each other, so that a number is
/// neither skipped nor given twice.
pub(super) async fn next(work: &mut Work) -> Result<String, ApiError> {
    let sign = work.id_sign();
    let (day, counter): (String, i64) = sqlx::query_as(
        "insert into number_counters as c (id, counter, scope, created_at)
         select nextval('number_counters_id_seq') * $1, 1,
                $2 || '_' || to_char(now() at time zone 'UTC', 'YYYYMMDD'), now()
         on conflict (scope) do update set counter = c.counter + 1
         returning to_char(now() at time zone 'UTC', 'YYYYMMDD'), c.counter",
    )
    .bind(sign)
    .bind(SYSTEM_ID)
    .fetch_one(work.connection())
    .await?;
    Ok(format(&day, counter))
}

fn format(day: &str, counter: i64) -> String {
    format!("{day}{SYSTEM_ID}{counter:05}")
}

#[cfg(test)]
mod tests {
    use super::format;

    #[test]
    fn a_number_is_date_system_id_and_padded_counter() {
        assert_eq!(format("20260207", 1), "202602071000001");
        assert_eq!(format("20260207", 123_456), "2026020710123456");
    }
}
