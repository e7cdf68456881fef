//! The stream's row of `ficus.apply`: how far it is, whether it may apply, and on whose authority.

use pg::Lsn;
use tokio_postgres::{Client, Row, Statement, types::PgLsn};

const COLUMNS: &str =
    "mode, epoch, lsn, peer_system_id, peer_timeline, copied, paused, gave_up, tables";

/// What the row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApplyRow {
    pub(crate) mode: Mode,
    /// Changes with every change of `mode`: an applier that holds an older one applies nothing.
    pub(crate) epoch: i64,
    /// Commit end of the last source transaction that was applied.
    pub(crate) lsn: Lsn,
    pub(crate) peer_system_id: String,
    pub(crate) peer_timeline: i32,
    pub(crate) copied: bool,
    pub(crate) paused: bool,
    /// Why the stream was given up.
    pub(crate) gave_up: Option<String>,
    /// Grows with every change to how the stream's tables stand.
    pub(crate) tables: i64,
}

/// Whether rows may be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They are.
    Apply,
    /// The side that is written owns the capability: nothing may come.
    Stopped,
}

/// The fence's barrier as it arrived in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Barrier {
    pub(crate) epoch: i64,
    /// JSON object of the old owner's sequences.
    pub(crate) sequences: String,
}

impl Mode {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Stopped => "stopped",
        }
    }
}

/// Reads the row; `None` when the stream was not started, or nothing was installed at all.
///
/// # Errors
/// What the database said.
pub(crate) async fn read(
    client: &Client,
    stream: &str,
) -> Result<Option<ApplyRow>, tokio_postgres::Error> {
    let sql = format!("SELECT {COLUMNS} FROM ficus.apply WHERE stream = $1");
    match client.query_opt(&sql, &[&stream]).await {
        Ok(row) => Ok(row.as_ref().map(apply_row)),
        Err(error) if is_not_installed(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The statements of every target transaction, prepared once for a session.
#[derive(Clone)]
pub(crate) struct Statements {
    lock: Statement,
    advance: Statement,
    log: Statement,
}

/// How far the log of the database that is written goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TargetLog {
    pub(crate) written: Lsn,
    pub(crate) flushed: Lsn,
}

impl Statements {
    /// Prepares them.
    ///
    /// # Errors
    /// What the database said.
    pub(crate) async fn prepare(client: &Client) -> Result<Self, tokio_postgres::Error> {
        let lock = format!("SELECT {COLUMNS} FROM ficus.apply WHERE stream = $1 FOR UPDATE");
        let advance = "UPDATE ficus.apply SET lsn = $5, barrier_seen = coalesce($6, barrier_seen),
                 barrier_sequences = coalesce($7::text::jsonb, barrier_sequences)
             WHERE stream = $1 AND epoch = $2 AND lsn = $3 AND mode = $4";
        let log = "SELECT pg_current_wal_insert_lsn(), pg_current_wal_flush_lsn()";
        Ok(Self {
            lock: client.prepare(&lock).await?,
            advance: client.prepare(advance).await?,
            log: client.prepare(log).await?,
        })
    }

    /// How far the log of this database goes now.
    ///
    /// # Errors
    /// What the database said.
    pub(crate) async fn log(&self, client: &Client) -> Result<TargetLog, tokio_postgres::Error> {
        let row = client.query_one(&self.log, &[]).await?;
        let lsn = |place: usize| Lsn::new(row.get::<_, PgLsn>(place).into());
        Ok(TargetLog { written: lsn(0), flushed: lsn(1) })
    }

    /// Reads the row and holds it until the end of the transaction.
    ///
    /// # Errors
    /// What the database said.
    pub(crate) async fn lock(
        &self,
        client: &Client,
        stream: &str,
    ) -> Result<Option<ApplyRow>, tokio_postgres::Error> {
        Ok(client.query_opt(&self.lock, &[&stream]).await?.as_ref().map(apply_row))
    }

    /// Moves the row from `row` to `lsn`, on the condition that it still is as `row` says. Answers
    /// whether it was.
    ///
    /// # Errors
    /// What the database said.
    pub(crate) async fn advance(
        &self,
        client: &Client,
        stream: &str,
        row: &ApplyRow,
        lsn: Lsn,
        barrier: Option<&Barrier>,
    ) -> Result<bool, tokio_postgres::Error> {
        let (from, to) = (PgLsn::from(row.lsn.as_u64()), PgLsn::from(lsn.as_u64()));
        let (epoch, sequences) = match barrier {
            Some(barrier) => (Some(barrier.epoch), Some(barrier.sequences.as_str())),
            None => (None, None),
        };
        let mode = row.mode.as_str();
        let count = client
            .execute(&self.advance, &[&stream, &row.epoch, &from, &mode, &to, &epoch, &sequences])
            .await?;
        Ok(count == 1)
    }
}

impl std::fmt::Debug for Statements {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Statements").finish_non_exhaustive()
    }
}

fn apply_row(row: &Row) -> ApplyRow {
    let lsn: PgLsn = row.get("lsn");
    let mode: &str = row.get("mode");
    ApplyRow {
        mode: if mode == "apply" { Mode::Apply } else { Mode::Stopped },
        epoch: row.get("epoch"),
        lsn: Lsn::new(lsn.into()),
        peer_system_id: row.get("peer_system_id"),
        peer_timeline: row.get("peer_timeline"),
        copied: row.get("copied"),
        paused: row.get("paused"),
        gave_up: row.get("gave_up"),
        tables: row.get("tables"),
    }
}

/// No `ficus.apply`, or no right to look at it: nothing was installed for us.
fn is_not_installed(error: &tokio_postgres::Error) -> bool {
    let code = error.code().map(tokio_postgres::error::SqlState::code);
    matches!(code, Some("42P01" | "3F000"))
}
