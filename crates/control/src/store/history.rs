//! Audit, verifications and the journal people read.

use sqlx::types::Json;

use super::{Store, StoreError, unsigned};
use crate::api::{JournalEntry, VerificationStatus, VerifyLine};

/// How many journal entries one answer carries.
const ENTRIES_MAX: i64 = 200;

/// A command as it came in.
#[derive(Debug)]
pub(crate) struct AuditEntry<'a> {
    pub(crate) actor: &'a str,
    pub(crate) peer: &'a str,
    pub(crate) command: &'a str,
    pub(crate) capability: &'a str,
    pub(crate) detail: &'a str,
}

impl Store {
    pub(crate) async fn audit(&self, entry: &AuditEntry<'_>) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO ficus_control.audit (actor, peer, command, capability, detail)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(entry.actor)
        .bind(entry.peer)
        .bind(entry.command)
        .bind(entry.capability)
        .bind(entry.detail)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    pub(crate) async fn add_verification(
        &self,
        capability: &str,
        actor: &str,
        result: &VerifyLine,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO ficus_control.verification (capability, actor, rows, differences, samples)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(capability)
        .bind(actor)
        .bind(i64::try_from(result.rows).unwrap_or(i64::MAX))
        .bind(i64::try_from(result.differences).unwrap_or(i64::MAX))
        .bind(Json(&result.samples))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The last one recorded; what was touched since is the replicator's to know.
    pub(crate) async fn last_verification(
        &self,
        capability: &str,
    ) -> Result<Option<VerificationStatus>, StoreError> {
        let row: Option<(i64, i64, i64, Json<Vec<String>>)> = sqlx::query_as(
            "SELECT rows, differences, (extract(epoch FROM finished) * 1000)::bigint, samples
             FROM ficus_control.verification WHERE capability = $1 ORDER BY id DESC LIMIT 1",
        )
        .bind(capability)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|(rows, differences, finished, Json(samples))| VerificationStatus {
            rows: unsigned(rows),
            differences: unsigned(differences),
            finished_unix_ms: unsigned(finished),
            dirty_keys: 0,
            dirty_ranges: 0,
            dirty_overflow: false,
            samples,
            clean_unix_ms: None,
            running: None,
        }))
    }

    /// Commands, phases and transfer steps of one capability or of all, newest first.
    pub(crate) async fn entries(
        &self,
        capability: Option<&str>,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        type Row = (i64, String, Option<i64>, String, String, String);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT (extract(epoch FROM at) * 1000)::bigint, capability, transfer, actor, what, detail
             FROM (
                SELECT at, capability, NULL::bigint AS transfer, actor, command AS what, detail
                FROM ficus_control.audit
                UNION ALL
                SELECT at, capability, NULL, actor, 'phase ' || phase, reason
                FROM ficus_control.shift
                UNION ALL
                SELECT j.at, t.capability, t.id, t.actor, j.step || ' ' || j.event,
                    trim(j.detail || ' (' || round(j.ms::numeric, 1) || ' ms)')
                FROM ficus_control.journal j JOIN ficus_control.transfer t ON t.id = j.transfer
             ) AS entry
             WHERE $1::text IS NULL OR capability = $1 ORDER BY at DESC LIMIT $2",
        )
        .bind(capability)
        .bind(ENTRIES_MAX)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(at, capability, transfer, actor, what, detail)| JournalEntry {
                at_unix_ms: unsigned(at),
                capability,
                transfer,
                actor,
                what,
                detail,
            })
            .collect())
    }
}
