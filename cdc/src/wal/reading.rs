//! Asks the database that is read about its log, the stream's slot, and what holds the slot back.

use std::time::Duration;

use pg::Lsn;
use tokio_postgres::{Client, types::PgLsn};

/// One row whatever is there: a slot that does not exist has no columns. Transactions of others are
/// visible only to members of `pg_read_all_stats`; our own copies hold nothing back for long.
const SQL: &str = "
    SELECT pg_current_wal_flush_lsn(), s.slot_name IS NOT NULL, s.wal_status, s.safe_wal_size,
        pg_wal_lsn_diff(pg_current_wal_insert_lsn(), s.restart_lsn)::bigint, s.confirmed_flush_lsn,
        st.spill_bytes,
        CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE') THEN coalesce(greatest(
            (SELECT max(extract(epoch FROM clock_timestamp() - xact_start)) FROM pg_stat_activity
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
                AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL)
                AND application_name NOT LIKE 'ficus-cdc-%'),
            (SELECT max(extract(epoch FROM clock_timestamp() - prepared)) FROM pg_prepared_xacts)
        ), 0)::float8 END
    FROM (SELECT 1) one
    LEFT JOIN pg_replication_slots s ON s.slot_name = $1
    LEFT JOIN pg_stat_replication_slots st ON st.slot_name = s.slot_name";

/// What the database said about itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    /// How far its log is flushed.
    pub(crate) flushed: Lsn,
    /// `None`: there is no such slot.
    pub(crate) slot: Option<SlotReading>,
    /// How long its oldest transaction runs, zero without one; `None`: we may not know.
    pub(crate) oldest_transaction: Option<Duration>,
}

/// What it said about the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotReading {
    pub(crate) status: SlotStatus,
    /// From where the slot needs the log to its end, bytes.
    pub(crate) retained: Option<u64>,
    /// Log that may be written before the server gives the slot up, bytes; `None`: it never does.
    pub(crate) safe: Option<i64>,
    /// Up to where the stream has confirmed.
    pub(crate) confirmed: Option<Lsn>,
    /// What decoding has spilled to the server's disk since its figures were reset, bytes.
    pub(crate) spilled: Option<u64>,
}

/// `wal_status` of the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotStatus {
    Reserved,
    Extended,
    /// Some of its log goes with the next checkpoint.
    Unreserved,
    Lost,
    /// The server does not say.
    Unknown,
}

impl SlotStatus {
    /// Those that the server says.
    pub(crate) const ALL: [Self; 4] =
        [Self::Reserved, Self::Extended, Self::Unreserved, Self::Lost];

    /// As the server writes it; empty when it does not say.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Extended => "extended",
            Self::Unreserved => "unreserved",
            Self::Lost => "lost",
            Self::Unknown => "",
        }
    }

    fn from_server(said: Option<&str>) -> Self {
        Self::ALL.into_iter().find(|each| Some(each.as_str()) == said).unwrap_or(Self::Unknown)
    }
}

/// Reads it.
///
/// # Errors
/// What the server said.
pub(crate) async fn read(client: &Client, slot: &str) -> Result<Reading, tokio_postgres::Error> {
    let row = client.query_one(SQL, &[&slot]).await?;
    let lsn = |value: PgLsn| Lsn::new(value.into());
    let count = |value: i64| u64::try_from(value).ok();
    let slot = row.get::<_, bool>(1).then(|| SlotReading {
        status: SlotStatus::from_server(row.get(2)),
        safe: row.get(3),
        retained: row.get::<_, Option<i64>>(4).and_then(count),
        confirmed: row.get::<_, Option<PgLsn>>(5).map(lsn),
        spilled: row.get::<_, Option<i64>>(6).and_then(count),
    });
    let oldest: Option<f64> = row.get(7);
    Ok(Reading {
        flushed: lsn(row.get(0)),
        slot,
        oldest_transaction: oldest
            .and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok()),
    })
}
