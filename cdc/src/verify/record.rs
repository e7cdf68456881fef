//! What the last comparison found, kept in the service's database over restarts of the replicator.
//! What was touched is not kept: after a restart a transfer needs a new comparison of every row.

use cutover::Side;
use tokio_postgres::Client;

use super::outcome::Outcome;
use crate::StreamError;

/// Reads the last result; `None` when there is none, or nowhere to keep one.
///
/// # Errors
/// What the database said.
pub(super) async fn load(
    client: &Client,
    capability: &str,
) -> Result<Option<Outcome>, StreamError> {
    let row = client
        .query_opt(
            "SELECT rows, missing, extra, different, repaired, samples, finished_unix_ms, clean_unix_ms
             FROM ficus.verification WHERE capability = $1",
            &[&capability],
        )
        .await;
    let row = match row {
        // Installed before there was such a table: `ficus start` adds it.
        Err(error) if error.code().is_some_and(|c| matches!(c.code(), "42P01" | "3F000")) => None,
        row => row.map_err(StreamError::database("read the last verification", Side::Target))?,
    };
    Ok(row.map(|row| {
        let number = |place: usize| u64::try_from(row.get::<_, i64>(place)).unwrap_or(0);
        Outcome {
            rows: number(0),
            missing: number(1),
            extra: number(2),
            different: number(3),
            repaired: number(4),
            samples: row.get(5),
            finished_unix_ms: number(6),
            clean_unix_ms: number(7),
        }
    }))
}

/// Keeps a result.
///
/// # Errors
/// What the database said.
pub(super) async fn save(
    client: &Client,
    capability: &str,
    found: &Outcome,
) -> Result<(), StreamError> {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    client
        .execute(
            "INSERT INTO ficus.verification (capability, rows, missing, extra, different, repaired,
                 samples, finished_unix_ms, clean_unix_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             ON CONFLICT (capability) DO UPDATE SET rows = excluded.rows, missing = excluded.missing,
                 extra = excluded.extra, different = excluded.different,
                 repaired = excluded.repaired, samples = excluded.samples,
                 finished_unix_ms = excluded.finished_unix_ms, clean_unix_ms = excluded.clean_unix_ms",
            &[
                &capability,
                &number(found.rows),
                &number(found.missing),
                &number(found.extra),
                &number(found.different),
                &number(found.repaired),
                &found.samples,
                &number(found.finished_unix_ms),
                &number(found.clean_unix_ms),
            ],
        )
        .await
        .map_err(StreamError::database("keep the result of the verification", Side::Target))?;
    Ok(())
}
