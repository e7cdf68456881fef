//! Calls the functions of `sql/ficus.sql` on one side.

use std::time::Duration;

use cutover::{Epoch, GuardRow, GuardState};
use tokio_postgres::{Client, Row};

use crate::{GuardError, connect};

/// A connection to one side of a capability.
#[derive(Debug)]
pub struct GuardClient {
    client: Client,
}

/// One capability's guard on one side, with the stream that applies into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardRecord {
    /// Name of the capability.
    pub capability: String,
    /// The guard row.
    pub row: GuardRow,
    /// The inbound transfer stream; none until it was started.
    pub inbound: Option<Inbound>,
}

/// State of the stream that applies the other side's writes here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// Whether it may apply rows.
    pub applies: bool,
    /// Epoch of the last barrier it has applied; `Epoch::NONE` since it was last armed.
    pub barrier_seen: Epoch,
}

impl GuardClient {
    /// Connects to one side.
    ///
    /// # Errors
    /// When the server can not be reached or the role may not be taken.
    pub async fn connect(url: &str, application_name: &str) -> Result<Self, GuardError> {
        Ok(Self { client: connect(url, application_name).await? })
    }

    /// Whether the connection is known to be gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// The underlying connection, for reads that belong to the same session.
    #[must_use]
    pub const fn sql(&self) -> &Client {
        &self.client
    }

    /// All guards of this side.
    ///
    /// # Errors
    /// [`GuardError`]; what could not be read is unknown.
    pub async fn view(&self) -> Result<Vec<GuardRecord>, GuardError> {
        let rows = self
            .client
            .query(
                "SELECT capability, state, epoch, prepared, overdue, mode, barrier_seen \
                 FROM ficus.view()",
                &[],
            )
            .await?;
        rows.iter().map(record).collect()
    }

    /// OPEN(`expected`) → FENCED(`expected` + 1), waiting at most `lock_timeout` for each table's writers.
    ///
    /// # Errors
    /// [`GuardError::LockTimeout`] leaves everything as it was.
    pub async fn fence(
        &self,
        capability: &str,
        expected: Epoch,
        ttl: Duration,
        lock_timeout: Duration,
    ) -> Result<GuardRow, GuardError> {
        let (ttl, lock_timeout) = (millis(ttl), millis(lock_timeout));
        let row = self
            .client
            .query_one(
                "SELECT state, epoch, prepared FROM ficus.fence($1, $2, $3, $4)",
                &[&capability, &number(expected)?, &ttl, &lock_timeout],
            )
            .await?;
        guard_row(&row)
    }

    /// FENCED(`epoch`) → OPEN(`epoch` + 1): by anyone once overdue, before that only with `force`.
    ///
    /// # Errors
    /// [`GuardError::Refused`] when it was decided or is not overdue.
    pub async fn expire(
        &self,
        capability: &str,
        epoch: Epoch,
        force: bool,
    ) -> Result<GuardRow, GuardError> {
        let row = self
            .client
            .query_one(
                "SELECT state, epoch, prepared FROM ficus.expire($1, $2, $3)",
                &[&capability, &number(epoch)?, &force],
            )
            .await?;
        guard_row(&row)
    }

    /// On the new owner, after the barrier of `epoch` was applied: stops inbound apply and moves the
    /// sequences `gap` past the old owner's.
    ///
    /// # Errors
    /// [`GuardError::Refused`] when the barrier was not applied here.
    pub async fn prepare(
        &self,
        capability: &str,
        epoch: Epoch,
        gap: i64,
    ) -> Result<GuardRow, GuardError> {
        let row = self
            .client
            .query_one(
                "SELECT state, epoch, prepared FROM ficus.prepare($1, $2, $3)",
                &[&capability, &number(epoch)?, &gap],
            )
            .await?;
        guard_row(&row)
    }

    /// Undoes `prepare` after an abort; `proof` is the old owner's epoch, past `epoch`.
    ///
    /// # Errors
    /// [`GuardError::Refused`] without proof.
    pub async fn unprepare(
        &self,
        capability: &str,
        epoch: Epoch,
        proof: Epoch,
    ) -> Result<GuardRow, GuardError> {
        let row = self
            .client
            .query_one(
                "SELECT state, epoch, prepared FROM ficus.unprepare($1, $2, $3)",
                &[&capability, &number(epoch)?, &number(proof)?],
            )
            .await?;
        guard_row(&row)
    }

    /// The point of no return, on the old owner: FENCED(`epoch`) → MOVED(`epoch`), at least `margin`
    /// before the deadline. `prepared` is what the caller read on the new owner.
    ///
    /// # Errors
    /// [`GuardError::Refused`] when it is too late or the new owner is not prepared.
    pub async fn decide(
        &self,
        capability: &str,
        epoch: Epoch,
        prepared: Epoch,
        margin: Duration,
    ) -> Result<GuardRow, GuardError> {
        let row = self
            .client
            .query_one(
                "SELECT state, epoch, prepared FROM ficus.decide($1, $2, $3, $4)",
                &[&capability, &number(epoch)?, &number(prepared)?, &millis(margin)],
            )
            .await?;
        guard_row(&row)
    }

    /// On the new owner: MOVED → OPEN(`epoch`). `decided` is the epoch at which the caller read the old
    /// owner MOVED.
    ///
    /// # Errors
    /// [`GuardError::Refused`] when it was not decided.
    pub async fn open(
        &self,
        capability: &str,
        epoch: Epoch,
        decided: Epoch,
    ) -> Result<GuardRow, GuardError> {
        let row = self
            .client
            .query_one(
                "SELECT state, epoch, prepared FROM ficus.open($1, $2, $3)",
                &[&capability, &number(epoch)?, &number(decided)?],
            )
            .await?;
        guard_row(&row)
    }
}

fn record(row: &Row) -> Result<GuardRecord, GuardError> {
    let mode: Option<String> = row.try_get("mode")?;
    let inbound = match mode {
        Some(mode) => Some(Inbound {
            applies: mode == "apply",
            barrier_seen: epoch(row.try_get("barrier_seen")?)?,
        }),
        None => None,
    };
    let overdue = row.try_get("overdue")?;
    Ok(GuardRecord {
        capability: row.try_get("capability")?,
        row: GuardRow { overdue, ..guard_row(row)? },
        inbound,
    })
}

fn guard_row(row: &Row) -> Result<GuardRow, GuardError> {
    let state: String = row.try_get("state")?;
    let state: GuardState = state.parse().map_err(|_| GuardError::Corrupt(state))?;
    Ok(GuardRow {
        state,
        epoch: epoch(row.try_get("epoch")?)?,
        prepared: epoch(row.try_get("prepared")?)?,
        overdue: false,
    })
}

fn epoch(stored: i64) -> Result<Epoch, GuardError> {
    u64::try_from(stored).map(Epoch).map_err(|_| GuardError::Corrupt(format!("epoch {stored}")))
}

fn number(epoch: Epoch) -> Result<i64, GuardError> {
    i64::try_from(epoch.0).map_err(|_| GuardError::Corrupt(format!("epoch {epoch}")))
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
