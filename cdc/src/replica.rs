//! Sessions that write replicated rows: past the fence, without triggers, and marked as ours. Where the
//! server refuses the rights for that, in other ways that are as exact:
//!
//! ```text
//! replication origin            or  a message at the begin of each transaction
//! session_replication_role      or  triggers fire, where none of them would write
//! ```

use cutover::Side;
use pg::{TableName, quote_literal};
use tokio_postgres::{Client, error::SqlState};

use crate::{StreamError, mapping::TablePlan, session, spec::StreamSpec};

/// What a server says that refuses a right.
pub(crate) const REFUSED: &str = "42501";

/// Prefix of the message that marks a transaction as ours; its content is the origin's name.
pub(crate) const MARK: &str = "ficus.origin";

/// Triggers of the tables that would fire on replicated rows, and foreign keys that change rows.
const IN_THE_WAY: &str = "
    SELECT format('trigger %I fires on replicated rows of %s: recreate it WITH the condition WHEN \
         (session_user <> ''ficus_applier'')', g.tgname, g.tgrelid::regclass)
    FROM pg_trigger g
    WHERE g.tgrelid = ANY ($1::text[]::regclass[]) AND NOT g.tgisinternal AND g.tgenabled IN ('O', 'A')
        AND g.tgname <> 'ficus_guard'
        AND pg_get_triggerdef(g.oid) NOT ILIKE '%session_user <> ''ficus_applier''%'
    UNION ALL
    SELECT format('foreign key %I of %s changes rows by itself: make it ON DELETE NO ACTION ON UPDATE \
         NO ACTION', o.conname, o.conrelid::regclass)
    FROM pg_constraint o
    WHERE o.contype = 'f' AND o.conrelid = ANY ($1::text[]::regclass[])
        AND (o.confdeltype IN ('c', 'n', 'd') OR o.confupdtype IN ('c', 'n', 'd'))
    ORDER BY 1";

/// Foreign keys that a copy, which fills tables side by side, would violate.
const CHECKED_KEYS: &str = "
    SELECT format('foreign key %I of %s is checked for each copied row: drop it, and add it again after \
         the copy', o.conname, o.conrelid::regclass)
    FROM pg_constraint o
    WHERE o.contype = 'f' AND o.conrelid = ANY ($1::text[]::regclass[]) ORDER BY 1";

/// A session that writes replicated rows.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) client: Client,
    /// Begins a transaction that is known to be ours.
    pub(crate) begin: String,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    /// Rows of tables that are filled for the first time.
    Copy,
    /// Changes, in the order of the log or merged.
    Changes,
}

/// Connects, and marks everything that the session writes with the origin.
///
/// # Errors
/// Transient while an earlier session still holds the origin; [`StreamError::Operator`] when triggers
/// fire and something would.
pub(crate) async fn open(
    url: &str,
    side: Side,
    origin: &str,
    tables: &[&TableName],
) -> Result<Replica, StreamError> {
    let client = session::open(url, side, origin).await?;
    client
        .batch_execute("SET synchronous_commit = on")
        .await
        .map_err(StreamError::database("become a replication session", side))?;
    leave_triggers_out(&client, side, tables, Writing::Changes).await?;
    let begin = match take_origin(&client, origin).await {
        Ok(()) => "BEGIN".to_owned(),
        Err(error) if is_refused(&error) => {
            let (mark, name) = (quote_literal(MARK), quote_literal(origin));
            format!("BEGIN; SELECT pg_logical_emit_message(true, {mark}, {name})")
        }
        Err(error) => {
            return Err(StreamError::database("take the replication origin", side)(error));
        }
    };
    Ok(Replica { client, begin })
}

/// Keeps triggers from firing in a session; where the server refuses that, makes sure that none would.
///
/// # Errors
/// [`StreamError::Operator`] with everything that would fire.
async fn leave_triggers_out(
    client: &Client,
    side: Side,
    tables: &[&TableName],
    writing: Writing,
) -> Result<(), StreamError> {
    match client.batch_execute("SET session_replication_role = replica").await {
        Err(error) if is_refused(&error) => {}
        done => return done.map_err(StreamError::database("become a replication session", side)),
    }
    let names: Vec<String> = tables.iter().map(|table| table.quoted()).collect();
    let mut found = in_the_way(client, side, IN_THE_WAY, &names).await?;
    if writing == Writing::Copy {
        found.extend(in_the_way(client, side, CHECKED_KEYS, &names).await?);
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(StreamError::Operator(format!(
        "ficus_applier may not set session_replication_role in the {side} database, and without it: {}",
        found.join("; ")
    )))
}

/// Makes sure that a stream's tables can be copied into, whatever its sessions may set.
///
/// # Errors
/// As [`leave_triggers_out`].
pub(crate) async fn check_copy(spec: &StreamSpec, plans: &[TablePlan]) -> Result<(), StreamError> {
    let side = spec.writes();
    let client = session::open(spec.write_url(), side, "ficus-cdc-copy").await?;
    let tables: Vec<&TableName> = plans.iter().map(|plan| &plan.write).collect();
    leave_triggers_out(&client, side, &tables, Writing::Copy).await
}

async fn in_the_way(
    client: &Client,
    side: Side,
    sql: &str,
    tables: &[String],
) -> Result<Vec<String>, StreamError> {
    let rows = client
        .query(sql, &[&tables])
        .await
        .map_err(StreamError::database("look for triggers that fire", side))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn take_origin(client: &Client, origin: &str) -> Result<(), tokio_postgres::Error> {
    client
        .execute(
            "SELECT pg_replication_origin_create($1)
             WHERE pg_replication_origin_oid($1) IS NULL",
            &[&origin],
        )
        .await?;
    client.execute("SELECT pg_replication_origin_session_setup($1)", &[&origin]).await.map(drop)
}

fn is_refused(error: &tokio_postgres::Error) -> bool {
    error.code().map(SqlState::code) == Some(REFUSED)
}
