//! Automatic steps: whether they go on, when, and what each was decided on.

use std::time::Duration;

use cutover::{Epoch, Phase};
use serde_json::Value;
use sqlx::types::Json;

use super::{Store, StoreError, number, unsigned};
use crate::api::ShiftEntry;

/// How many entries one answer carries.
const ENTRIES_MAX: i64 = 200;

/// How the automatic steps of a capability stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StepsRow {
    /// The share grows by the configured steps.
    pub(crate) automatic: bool,
    /// An operator paused them, or the whole capability.
    pub(crate) paused: bool,
    /// How often they took the reads back since they were begun by hand.
    pub(crate) step_backs: u32,
    /// Time left of the cool-down after the last step back.
    pub(crate) wait: Duration,
    /// How long ago the phase began.
    pub(crate) age: Duration,
}

/// An automatic step.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    pub(crate) phase: Phase,
    pub(crate) epoch: Epoch,
    pub(crate) reason: &'a str,
    pub(crate) evidence: Value,
    /// After it, whether further steps are made, and after which time; `None` leaves that as it is.
    pub(crate) back: Option<StepBack>,
}

/// What follows a step back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StepBack {
    pub(crate) automatic: bool,
    pub(crate) cool_down: Duration,
}

impl Store {
    /// How the automatic steps stand, the beginning when nothing is known.
    pub(crate) async fn steps(&self, name: &str) -> Result<StepsRow, StoreError> {
        let row: Option<(bool, bool, i32, f64, f64)> = sqlx::query_as(
            "SELECT automatic, steps_paused OR paused, step_backs,
                coalesce(extract(epoch FROM wait_until - now()), 0)::float8,
                extract(epoch FROM now() - since)::float8
             FROM ficus_control.capability WHERE name = $1",
        )
        .bind(name)
        .fetch_optional(&self.pool)
        .await?;
        let seconds = |value: f64| Duration::try_from_secs_f64(value.max(0.0)).unwrap_or_default();
        Ok(row.map_or_else(StepsRow::default, |(automatic, paused, step_backs, wait, age)| {
            StepsRow {
                automatic,
                paused,
                step_backs: u32::try_from(step_backs).unwrap_or(0),
                wait: seconds(wait),
                age: seconds(age),
            }
        }))
    }

    /// Records an automatic step, what it was decided on, and what follows from it, all or nothing.
    pub(crate) async fn record_step(&self, name: &str, step: Step<'_>) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query(
            "UPDATE ficus_control.capability SET epoch = $3, phase = $2,
                since = CASE WHEN phase = $2 THEN since ELSE now() END WHERE name = $1",
        )
        .bind(name)
        .bind(step.phase.to_string())
        .bind(number(step.epoch))
        .execute(&mut *transaction)
        .await?;
        if let Some(back) = step.back {
            sqlx::query(
                "UPDATE ficus_control.capability SET automatic = automatic AND $2,
                    step_backs = step_backs + automatic::integer,
                    wait_until = now() + make_interval(secs => $3) WHERE name = $1",
            )
            .bind(name)
            .bind(back.automatic)
            .bind(back.cool_down.as_secs_f64())
            .execute(&mut *transaction)
            .await?;
        }
        sqlx::query(
            "INSERT INTO ficus_control.shift (capability, phase, actor, reason, evidence)
             VALUES ($1, $2, 'automatic', $3, $4)",
        )
        .bind(name)
        .bind(step.phase.to_string())
        .bind(step.reason)
        .bind(Json(step.evidence))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Automatic steps are made from now on, or not any more; what they did before is forgotten.
    pub(crate) async fn set_automatic(
        &self,
        name: &str,
        automatic: bool,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO ficus_control.capability (name, automatic) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE
                SET automatic = excluded.automatic, step_backs = 0, wait_until = NULL",
        )
        .bind(name)
        .bind(automatic)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Pauses the automatic steps on, or lets them go on. Steps back are made all the same.
    pub(crate) async fn set_steps_paused(
        &self,
        name: &str,
        paused: bool,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO ficus_control.capability (name, steps_paused) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET steps_paused = excluded.steps_paused",
        )
        .bind(name)
        .bind(paused)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Shifts by hand and by themselves, newest first.
    pub(crate) async fn shifts(&self, name: &str) -> Result<Vec<ShiftEntry>, StoreError> {
        type Row = (i64, String, String, String, Option<Json<Value>>);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT (extract(epoch FROM at) * 1000)::bigint, phase, actor, reason, evidence
             FROM ficus_control.shift WHERE capability = $1 ORDER BY at DESC LIMIT $2",
        )
        .bind(name)
        .bind(ENTRIES_MAX)
        .fetch_all(&self.pool)
        .await?;
        let entry = |(at, phase, actor, reason, evidence): Row| ShiftEntry {
            at_unix_ms: unsigned(at),
            phase,
            actor,
            reason,
            evidence: evidence.map(|Json(evidence)| evidence),
        };
        Ok(rows.into_iter().map(entry).collect())
    }
}
