//! Where the states of a stream's tables are kept: `ficus.copy` in the database that is written.

use std::collections::HashMap;

use pg::Lsn;
use tokio_postgres::{Client, Row, types::PgLsn};

use crate::{StreamError, spec::StreamSpec, tables::TableState};

/// What is kept of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableRow {
    pub(crate) state: TableState,
    /// Why it waits; empty when it does not.
    pub(crate) reason: String,
    /// The row that a conflict was about, where it is known.
    pub(crate) key: Option<String>,
    /// How far the stream was when the table stopped: what stopped it comes after.
    pub(crate) lsn: Option<Lsn>,
    /// Parked changes were dropped: what is parked is not all there is.
    pub(crate) missed: bool,
    /// The replay may leave out the change that stopped the table.
    pub(crate) skips: bool,
    /// Changes that were left out so far.
    pub(crate) skipped: u64,
    pub(crate) rows_copied: u64,
    /// The columns when the mapping last fitted.
    pub(crate) shape: Option<String>,
    /// The stage is exact once everything up to here was replayed onto it; unknown until the last
    /// chunk was read.
    pub(crate) complete_lsn: Option<Lsn>,
}

/// A state to write, with what explains it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewState<'a> {
    pub(crate) state: TableState,
    pub(crate) reason: &'a str,
    pub(crate) key: Option<&'a str>,
    pub(crate) skips: bool,
}

/// The rows of a stream's tables by the name that the monolith gives them.
///
/// # Errors
/// What the database said; [`StreamError::Operator`] when its schema is from an earlier version.
pub(crate) async fn read(
    client: &Client,
    spec: &StreamSpec,
) -> Result<HashMap<String, TableRow>, StreamError> {
    let rows = client
        .query(
            "SELECT source, state, reason, key, lsn, missed, skips, skipped, rows_copied, shape,
                 complete_lsn FROM ficus.copy WHERE stream = $1",
            &[&spec.key()],
        )
        .await
        .map_err(|source| outdated(spec, source))?;
    rows.iter().map(|row| Ok((row.get(0), table_row(spec, row)?))).collect()
}

/// Writes a table's state, without it ever counting as applied for a transfer that was fenced before:
/// a fence's barrier passes only while all tables are ready. Answers whether the table was there. Runs
/// in the caller's transaction.
///
/// # Errors
/// What the database said.
pub(crate) async fn set_state(
    client: &Client,
    spec: &StreamSpec,
    source: &str,
    new: NewState<'_>,
) -> Result<bool, StreamError> {
    let doing = StreamError::database("write the table's state", spec.writes());
    let NewState { state, reason, key, skips } = new;
    let count = client
        .execute(
            "WITH stream AS (
                 UPDATE ficus.apply SET tables = tables + 1, barrier_seen = 0 WHERE stream = $1
                 RETURNING lsn)
             UPDATE ficus.copy SET state = $3, reason = $4, key = $5, skips = $6,
                 lsn = CASE WHEN $3 IN ('quarantined', 'changed') THEN stream.lsn
                     WHEN $3 = 'replaying' THEN copy.lsn END
             FROM stream WHERE copy.stream = $1 AND copy.source = $2",
            &[&spec.key(), &source, &state.as_str(), &reason, &key, &skips],
        )
        .await
        .map_err(doing)?;
    Ok(count == 1)
}

fn table_row(spec: &StreamSpec, row: &Row) -> Result<TableRow, StreamError> {
    let state: &str = row.get(1);
    let state = state.parse().map_err(|()| {
        StreamError::Operator(format!(
            "ficus.copy in the {} database has a state {state:?} that this version does not know",
            spec.writes()
        ))
    })?;
    let count = |value: i64| u64::try_from(value).unwrap_or(0);
    let lsn = |value: Option<PgLsn>| value.map(|lsn| Lsn::new(lsn.into()));
    Ok(TableRow {
        state,
        reason: row.get(2),
        key: row.get(3),
        lsn: lsn(row.get(4)),
        missed: row.get(5),
        skips: row.get(6),
        skipped: count(row.get(7)),
        rows_copied: count(row.get(8)),
        shape: row.get(9),
        complete_lsn: lsn(row.get(10)),
    })
}

/// A schema that an earlier version installed lacks what this one needs.
pub(crate) fn outdated(spec: &StreamSpec, source: tokio_postgres::Error) -> StreamError {
    match source.code().map(tokio_postgres::error::SqlState::code) {
        Some("42703" | "42P01") => StreamError::Operator(format!(
            "the ficus schema of the {} database is from an earlier version: run `ficus start {}`, \
             which brings it up to date and changes nothing else",
            spec.writes(),
            spec.capability
        )),
        Some(_) | None => StreamError::database("read the tables' states", spec.writes())(source),
    }
}
