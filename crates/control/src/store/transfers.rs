//! Transfers and their journal.

use cutover::{Direction, State};
use sqlx::types::Json;

use super::{Store, StoreError, unsigned};
use crate::api::{Step, Transfer};

/// A transfer that is about to begin.
#[derive(Debug)]
pub(crate) struct NewTransfer<'a> {
    pub(crate) capability: &'a str,
    pub(crate) direction: Direction,
    pub(crate) actor: &'a str,
    pub(crate) state: &'a State,
}

/// A transfer that a coordinator left behind.
#[derive(Clone, Debug)]
pub(crate) struct Unfinished {
    pub(crate) state: State,
    pub(crate) capability: String,
    pub(crate) record: Transfer,
}

/// One line of the journal, with the state it led to.
#[derive(Debug)]
pub(crate) struct JournalLine<'a> {
    pub(crate) transfer: i64,
    pub(crate) step: &'a Step,
    pub(crate) event: &'a str,
    pub(crate) state: &'a State,
}

type TransferRow = (i64, String, String, String, String, i64, i64, i64);

const COLUMNS: &str = "SELECT id, direction, outcome, reason, actor,
    (extract(epoch FROM started) * 1000)::bigint, total_ms, hold_ms FROM ficus_control.transfer ";

fn direction(stored: &str) -> Result<Direction, StoreError> {
    [Direction::Forward, Direction::Back]
        .into_iter()
        .find(|direction| direction.as_str() == stored)
        .ok_or_else(|| StoreError::Corrupt(stored.to_owned()))
}

impl Store {
    /// `None` when another transfer of this capability is under way.
    pub(crate) async fn begin_transfer(
        &self,
        new: &NewTransfer<'_>,
    ) -> Result<Option<i64>, StoreError> {
        let row: Option<(i64,)> = sqlx::query_as(
            "INSERT INTO ficus_control.transfer (capability, direction, actor, state)
             VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING id",
        )
        .bind(new.capability)
        .bind(new.direction.as_str())
        .bind(new.actor)
        .bind(Json(new.state))
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|(id,)| id))
    }

    /// One line and the new state, together.
    pub(crate) async fn journal(&self, line: &JournalLine<'_>) -> Result<(), StoreError> {
        sqlx::query(
            "WITH moved AS (UPDATE ficus_control.transfer SET state = $6 WHERE id = $1)
             INSERT INTO ficus_control.journal (transfer, seq, step, event, ms, detail)
             SELECT $1, coalesce(max(seq), 0) + 1, $2, $3, $4, $5
             FROM ficus_control.journal WHERE transfer = $1",
        )
        .bind(line.transfer)
        .bind(&line.step.step)
        .bind(line.event)
        .bind(line.step.ms)
        .bind(&line.step.detail)
        .bind(Json(line.state))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The end of a transfer, with its final state.
    pub(crate) async fn end_transfer(
        &self,
        record: &Transfer,
        state: &State,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE ficus_control.transfer SET state = $2, outcome = $3, reason = $4, total_ms = $5,
                hold_ms = $6, ended = now() WHERE id = $1",
        )
        .bind(record.id)
        .bind(Json(state))
        .bind(&record.outcome)
        .bind(&record.reason)
        .bind(i64::try_from(record.total_ms).unwrap_or(i64::MAX))
        .bind(i64::try_from(record.hold_ms).unwrap_or(i64::MAX))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    pub(crate) async fn unfinished(&self) -> Result<Vec<Unfinished>, StoreError> {
        let rows: Vec<(i64, String, Json<State>)> = sqlx::query_as(
            "SELECT id, capability, state FROM ficus_control.transfer WHERE ended IS NULL ORDER BY id",
        )
        .fetch_all(&self.pool)
        .await?;
        let mut found = Vec::new();
        for (id, capability, Json(state)) in rows {
            let Some(record) = self.transfer(id).await? else { continue };
            found.push(Unfinished { state, capability, record });
        }
        Ok(found)
    }

    pub(crate) async fn transfer(&self, id: i64) -> Result<Option<Transfer>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE id = $1"));
        let row: Option<TransferRow> =
            sqlx::query_as(sql).bind(id).fetch_optional(&self.pool).await?;
        self.with_steps(row).await
    }

    pub(crate) async fn last_transfer(
        &self,
        capability: &str,
    ) -> Result<Option<Transfer>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!(
            "{COLUMNS} WHERE capability = $1 ORDER BY id DESC LIMIT 1"
        ));
        let row: Option<TransferRow> =
            sqlx::query_as(sql).bind(capability).fetch_optional(&self.pool).await?;
        self.with_steps(row).await
    }

    async fn with_steps(&self, row: Option<TransferRow>) -> Result<Option<Transfer>, StoreError> {
        let Some((id, way, outcome, reason, actor, started, total_ms, hold_ms)) = row else {
            return Ok(None);
        };
        let steps: Vec<(String, f64, String)> = sqlx::query_as(
            "SELECT step, ms, detail FROM ficus_control.journal WHERE transfer = $1 ORDER BY seq",
        )
        .bind(id)
        .fetch_all(&self.pool)
        .await?;
        let steps = steps.into_iter().map(|(step, ms, detail)| Step { step, ms, detail }).collect();
        Ok(Some(Transfer {
            id,
            direction: direction(&way)?,
            outcome,
            reason,
            actor,
            started_unix_ms: unsigned(started),
            total_ms: unsigned(total_ms),
            hold_ms: unsigned(hold_ms),
            steps,
        }))
    }
}
