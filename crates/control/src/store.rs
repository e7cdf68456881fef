//! Control's own database: intent, journal, history. Losing it loses no write and blocks no abort.

mod history;
mod options;
mod steps;
mod transfers;

use std::time::Duration;

use cutover::{Epoch, Phase};
use sqlx::{PgPool, postgres::PgPoolOptions};

pub(crate) use history::AuditEntry;
pub(crate) use options::connect_options;
pub(crate) use steps::{Step, StepBack, StepsRow};
pub(crate) use transfers::{JournalLine, NewTransfer, Unfinished};

/// Statements are short; a few connections are plenty.
const CONNECTIONS_MAX: u32 = 6;

/// What the store could not do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The database refused or is away.
    #[error("control's database did not answer")]
    Database(#[from] sqlx::Error),
    /// The tables could not be created or brought up to date.
    #[error("control's tables could not be brought up to date")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A row this version does not understand.
    #[error("unexpected value in control's database: {0}")]
    Corrupt(String),
}

/// A capability's remembered state.
#[derive(Clone, Debug)]
pub(crate) struct CapabilityRow {
    pub(crate) phase: Phase,
    pub(crate) paused: bool,
    pub(crate) epoch: Epoch,
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pool: PgPool,
}

pub(crate) fn number(epoch: Epoch) -> i64 {
    i64::try_from(epoch.0).unwrap_or(i64::MAX)
}

pub(crate) fn unsigned(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

impl Store {
    /// Connects and brings the tables up to date.
    ///
    /// # Errors
    /// When the database is away, or its tables belong to a newer version.
    pub(crate) async fn open(url: &str) -> Result<Self, StoreError> {
        // a role of the schema's own name would find another migrations table at its second start
        let options = connect_options(url)?.options([("search_path", "public")]);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(Duration::from_secs(3))
            .connect_with(options)
            .await?;
        sqlx::migrate!().run(&pool).await?;
        Ok(Self { pool })
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// The first of a fresh block of generations.
    pub(crate) async fn next_generations(&self) -> Result<u64, StoreError> {
        let (first,): (i64,) = sqlx::query_as("SELECT nextval('ficus_control.generation')")
            .fetch_one(&self.pool)
            .await?;
        Ok(unsigned(first))
    }

    pub(crate) async fn announce_leader(&self, address: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO ficus_control.leader (address) VALUES ($1)
             ON CONFLICT (one) DO UPDATE SET address = excluded.address, since = now()",
        )
        .bind(address)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Where the leader was last seen.
    pub(crate) async fn leader(&self) -> Result<Option<String>, StoreError> {
        let row: Option<(String,)> = sqlx::query_as("SELECT address FROM ficus_control.leader")
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|(address,)| address))
    }

    /// The remembered state, the beginning when there is none.
    pub(crate) async fn capability(&self, name: &str) -> Result<CapabilityRow, StoreError> {
        let row: Option<(String, bool, i64)> = sqlx::query_as(
            "SELECT phase, paused, epoch
             FROM ficus_control.capability WHERE name = $1",
        )
        .bind(name)
        .fetch_optional(&self.pool)
        .await?;
        let Some((phase, paused, epoch)) = row else {
            return Ok(CapabilityRow { phase: Phase::Monolith, paused: false, epoch: Epoch::NONE });
        };
        let phase = phase.parse().map_err(|_| StoreError::Corrupt(phase))?;
        Ok(CapabilityRow { phase, paused, epoch: Epoch(unsigned(epoch)) })
    }

    /// Records a phase and who brought it about.
    pub(crate) async fn set_phase(
        &self,
        name: &str,
        phase: Phase,
        epoch: Epoch,
        (actor, reason): (&str, &str),
    ) -> Result<(), StoreError> {
        sqlx::query(
            "WITH kept AS (
                INSERT INTO ficus_control.capability AS c (name, phase, epoch) VALUES ($1, $2, $3)
                ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, phase = excluded.phase,
                    since = CASE WHEN c.phase = excluded.phase THEN c.since ELSE now() END)
             INSERT INTO ficus_control.shift (capability, phase, actor, reason)
             VALUES ($1, $2, $4, $5)",
        )
        .bind(name)
        .bind(phase.to_string())
        .bind(number(epoch))
        .bind(actor)
        .bind(reason)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    pub(crate) async fn set_paused(&self, name: &str, paused: bool) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO ficus_control.capability (name, paused) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET paused = excluded.paused",
        )
        .bind(name)
        .bind(paused)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
