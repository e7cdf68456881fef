//! The changes of tables that wait: the log's own messages, in the log's order, in `ficus.parked` of
//! the database that is written. They are written with the stream's position and deleted with their
//! effect, so that each counts once.
//!
//! A table's description comes before its changes and stays until the table is ready, so that a
//! replay can start anywhere. Positions are those where commit records start.

use std::collections::HashMap;

use bytes::Bytes;
use pg::Lsn;
use tokio_postgres::{Client, Row, types::PgLsn};

use crate::{StreamError, spec::StreamSpec};

/// Rows and bytes that one step of a replay reads.
const STEP_ROWS: i64 = 10_000;
const STEP_BYTES: i64 = 16 * 1024 * 1024;

/// A message to park.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Parked {
    /// Number of the table in the stream's plans.
    pub(crate) table: usize,
    /// The top-level transaction.
    pub(crate) xid: u32,
    pub(crate) commit_lsn: Lsn,
    pub(crate) message: Bytes,
}

/// A parked message as it is read back.
#[derive(Clone)]
pub(crate) struct ParkedRow {
    pub(crate) seq: i64,
    pub(crate) xid: u32,
    pub(crate) message: Bytes,
}

/// How much is parked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ParkedSize {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// Parks messages, in order, in the caller's transaction. `sources` are the tables' names by number.
///
/// # Errors
/// What the database said.
pub(crate) async fn insert(
    client: &Client,
    spec: &StreamSpec,
    sources: &[String],
    parked: &[Parked],
) -> Result<(), StreamError> {
    let mut tables = Vec::with_capacity(parked.len());
    let mut xids = Vec::with_capacity(parked.len());
    let mut lsns = Vec::with_capacity(parked.len());
    let mut messages = Vec::with_capacity(parked.len());
    for each in parked {
        tables.push(sources.get(each.table).ok_or(StreamError::Worker)?.as_str());
        xids.push(i64::from(each.xid));
        lsns.push(PgLsn::from(each.commit_lsn.as_u64()));
        messages.push(each.message.as_ref());
    }
    client
        .execute(
            "INSERT INTO ficus.parked (stream, source, xid, lsn, message)
             SELECT $1, source, xid, lsn, message
             FROM unnest($2::text[], $3::bigint[], $4::pg_lsn[], $5::bytea[])
                 WITH ORDINALITY AS p(source, xid, lsn, message, place)
             ORDER BY place",
            &[&spec.key(), &tables, &xids, &lsns, &messages],
        )
        .await
        .map(drop)
        .map_err(StreamError::database("park changes", spec.writes()))
}

/// The next messages of a table behind `after`, of transactions that committed before `before` when
/// that is given; empty when there are none.
///
/// # Errors
/// What the database said.
pub(crate) async fn next(
    client: &Client,
    spec: &StreamSpec,
    source: &str,
    after: i64,
    before: Option<Lsn>,
) -> Result<Vec<ParkedRow>, StreamError> {
    let sql = format!(
        "SELECT seq, xid, message FROM
             (SELECT *, sum(octet_length(message)) OVER (ORDER BY seq) - octet_length(message) AS read
              FROM (SELECT seq, xid, message FROM ficus.parked
                    WHERE stream = $1 AND source = $2 AND seq > $3 AND lsn < $4
                    ORDER BY seq LIMIT {STEP_ROWS}) AS step) AS step
         WHERE read < {STEP_BYTES} ORDER BY seq"
    );
    let before = PgLsn::from(before.map_or(u64::MAX, Lsn::as_u64));
    let rows = client
        .query(&sql, &[&spec.key(), &source, &after, &before])
        .await
        .map_err(StreamError::database("read parked changes", spec.writes()))?;
    rows.iter().map(parked_row).collect()
}

/// Removes messages that took effect; answers how many were there. Runs in the transaction that
/// writes the effect.
///
/// # Errors
/// What the database said.
pub(crate) async fn delete(
    client: &Client,
    spec: &StreamSpec,
    source: &str,
    seqs: &[i64],
) -> Result<u64, StreamError> {
    client
        .execute(
            "DELETE FROM ficus.parked WHERE stream = $1 AND source = $2 AND seq = ANY ($3)",
            &[&spec.key(), &source, &seqs],
        )
        .await
        .map_err(StreamError::database("remove parked changes", spec.writes()))
}

/// Removes everything that is parked for a table.
///
/// # Errors
/// What the database said.
pub(crate) async fn drop_all(
    client: &Client,
    spec: &StreamSpec,
    source: &str,
) -> Result<u64, StreamError> {
    client
        .execute(
            "DELETE FROM ficus.parked WHERE stream = $1 AND source = $2",
            &[&spec.key(), &source],
        )
        .await
        .map_err(StreamError::database("drop parked changes", spec.writes()))
}

/// How much is parked for each table that has something parked.
///
/// # Errors
/// What the database said; [`StreamError::Operator`] when its schema is from an earlier version.
pub(crate) async fn sizes(
    client: &Client,
    spec: &StreamSpec,
) -> Result<HashMap<String, ParkedSize>, StreamError> {
    let rows = client
        .query(
            "SELECT source, count(*), coalesce(sum(octet_length(message)), 0)::bigint
             FROM ficus.parked WHERE stream = $1 GROUP BY source",
            &[&spec.key()],
        )
        .await
        .map_err(|source| super::store::outdated(spec, source))?;
    let count = |value: i64| u64::try_from(value).unwrap_or(0);
    let size = |row: &Row| ParkedSize { rows: count(row.get(1)), bytes: count(row.get(2)) };
    Ok(rows.iter().map(|row| (row.get(0), size(row))).collect())
}

fn parked_row(row: &Row) -> Result<ParkedRow, StreamError> {
    let xid = u32::try_from(row.get::<_, i64>(1)).map_err(|_| {
        StreamError::Operator("ficus.parked holds a transaction number that is none".to_owned())
    })?;
    Ok(ParkedRow { seq: row.get(0), xid, message: Bytes::from(row.get::<_, Vec<u8>>(2)) })
}

/// Lengths, never values.
impl std::fmt::Debug for Parked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Parked({}, {}, {} bytes)", self.table, self.xid, self.message.len())
    }
}

impl ParkedSize {
    pub(crate) fn add(&mut self, message: usize) {
        self.rows += 1;
        self.bytes += u64::try_from(message).unwrap_or(u64::MAX);
    }

    pub(crate) fn remove(&mut self, other: Self) {
        self.rows = self.rows.saturating_sub(other.rows);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}
