//! Secondary indexes of the tables that are copied into: taken away before, built after, because one
//! build costs far less than as many insertions. What is taken away is written to `ficus.copy_index`
//! in the transaction that drops it, and struck off in the one that builds it: a crash at any moment
//! leaves the list right, and no stream reads the log before the list is empty.
//!
//! Only the owner of a table may do this. Without the owner's rights the indexes stay.

use futures::{StreamExt, TryStreamExt, stream};
use guard::GuardError;
use tokio_postgres::Client;

use crate::{StreamError, error::ErrorClass, mapping::TablePlan, session, spec::StreamSpec};

/// A table of less, on disk, is copied with its indexes.
const TABLE_BYTES_MIN: u64 = 8 << 20;

/// `DROP INDEX` waits for readers of the table: not longer than this, and then the indexes stay. A
/// server that builds for a client that is gone stops within seconds. How much memory a build may take
/// is the server's `maintenance_work_mem`, which the URL of the owner can set.
const OWNER_SETTINGS: &str = "SET search_path = pg_catalog; SET client_min_messages = error;
    SET statement_timeout = 0; SET lock_timeout = '5s'; SET client_connection_check_interval = '5s'";

/// Indexes that nothing needs while rows are added, and that `pg_get_indexdef` describes whole: not
/// the key, no constraint's, no replica identity, no part of a partitioned one, without a comment, a
/// tablespace or statistics of its own.
const DISPENSABLE: &str =
    "SELECT format('%I.%I', n.nspname, c.relname), pg_get_indexdef(i.indexrelid)
     FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
     JOIN pg_namespace n ON n.oid = c.relnamespace
     JOIN pg_class t ON t.oid = i.indrelid
     WHERE i.indrelid = $1::text::regclass AND t.relkind = 'r' AND NOT c.relispartition
         AND i.indisvalid AND i.indisready AND i.indislive
         AND NOT (i.indisprimary OR i.indisreplident OR i.indisclustered OR i.indisexclusion)
         AND NOT (i.indisunique AND $2 = ARRAY(
             SELECT a.attname::text FROM unnest(i.indkey::smallint[]) WITH ORDINALITY k(n, place)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n
             WHERE k.place <= i.indnkeyatts ORDER BY a.attname::text COLLATE \"C\"))
         AND c.reltablespace = 0 AND obj_description(c.oid, 'pg_class') IS NULL
         AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = c.oid)
         AND NOT EXISTS (SELECT 1 FROM pg_attribute
             WHERE attrelid = c.oid AND coalesce(attstattarget, -1) <> -1)
         AND NOT EXISTS (SELECT 1 FROM pg_depend
             WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype IN ('e', 'x'))";

/// An index that waits to be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// The monolith's name of its table.
    pub(super) source: String,
    /// Schema and name, quoted.
    name: String,
}

/// Takes the dispensable indexes of large tables away. Never fails: an index that stays only costs
/// time, and why it stays is logged.
pub(super) async fn take_away(spec: &StreamSpec, plans: &[TablePlan], bytes: &[u64]) {
    let mut owner = None;
    for (plan, _) in plans.iter().zip(bytes).filter(|(_, bytes)| **bytes >= TABLE_BYTES_MIN) {
        let Err(error) = take_away_of(spec, plan, &mut owner).await else { continue };
        let (stream, table) = (spec.key(), &plan.write);
        if matches!(error, GuardError::LockTimeout(_)) {
            tracing::warn!(stream, %table, "indexes stay during the copy: somebody reads the table");
            continue;
        }
        tracing::warn!(
            stream, %table, %error,
            "indexes stay during the copy: only the owner of the tables may take them away, see \
             owner_database"
        );
        return;
    }
}

async fn take_away_of(
    spec: &StreamSpec,
    plan: &TablePlan,
    owner: &mut Option<Client>,
) -> Result<(), GuardError> {
    let owner = match owner {
        Some(owner) => owner,
        None => owner.insert(open(spec).await?),
    };
    let table = plan.write.quoted();
    let mut key: Vec<&str> = plan.key.iter().map(|column| column.write.as_str()).collect();
    key.sort_unstable();
    let transaction = owner.transaction().await?;
    let rows = transaction.query(DISPENSABLE, &[&table, &key]).await?;
    for row in &rows {
        let (name, definition): (&str, &str) = (row.get(0), row.get(1));
        transaction
            .execute(
                "INSERT INTO ficus.copy_index (stream, source, relation, name, definition)
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO UPDATE SET
                     stream = excluded.stream, source = excluded.source,
                     relation = excluded.relation, definition = excluded.definition",
                &[&spec.key(), &plan.source.to_string(), &table, &name, &definition],
            )
            .await?;
        transaction.batch_execute(&format!("DROP INDEX {name}")).await?;
    }
    transaction.commit().await?;
    if !rows.is_empty() {
        let count = rows.len();
        tracing::info!(stream = spec.key(), %table, count, "indexes will be built after the copy");
    }
    Ok(())
}

/// The indexes of a stream that wait to be built.
///
/// # Errors
/// When the list can not be read.
pub(super) async fn waiting(spec: &StreamSpec) -> Result<Vec<Waiting>, StreamError> {
    let side = spec.writes();
    let reader = session::open(spec.write_url(), side, "ficus-cdc-copy").await?;
    let rows = reader
        .query(
            "SELECT source, name FROM ficus.copy_index WHERE stream = $1 ORDER BY name",
            &[&spec.key()],
        )
        .await;
    let rows = match rows {
        // Installed before there was such a list: nothing was taken away.
        Err(error) if error.code().is_some_and(|code| code.code() == "42P01") => Vec::new(),
        rows => rows.map_err(StreamError::database("read the list of indexes", side))?,
    };
    let waiting = |row: &tokio_postgres::Row| Waiting { source: row.get(0), name: row.get(1) };
    Ok(rows.iter().map(waiting).collect())
}

/// Builds indexes, as many at once as there are workers; tells `built` the table of each and how many
/// are left: of the table, and of all.
///
/// # Errors
/// [`StreamError::Operator`] with the index that can not be built; those that were built stay.
pub(super) async fn build(
    spec: &StreamSpec,
    waiting: Vec<Waiting>,
    built: impl Fn(&str, usize, usize),
) -> Result<(), StreamError> {
    let mut left: Vec<String> = waiting.iter().map(|index| index.source.clone()).collect();
    let workers = usize::from(spec.copy_workers.max(1));
    let one = |index: Waiting| async move { build_one(spec, &index).await.map(|()| index.source) };
    let mut building = stream::iter(waiting).map(one).buffer_unordered(workers);
    while let Some(source) = building.try_next().await? {
        if let Some(place) = left.iter().position(|each| *each == source) {
            left.swap_remove(place);
        }
        built(&source, left.iter().filter(|each| **each == source).count(), left.len());
    }
    Ok(())
}

async fn build_one(spec: &StreamSpec, index: &Waiting) -> Result<(), StreamError> {
    let side = spec.writes();
    let owner = open(spec).await.map_err(|source| StreamError::Connect { side, source })?;
    try_build(spec, index, owner).await.map_err(|error| {
        let failed = StreamError::database("build an index after the copy", side);
        let said = error.as_db_error().map(|said| said.message().to_owned());
        match (failed(error), said) {
            (failed, Some(said)) if failed.class() == ErrorClass::NeedsOperator => {
                StreamError::Operator(format!(
                    "index {} can not be built after the copy: {said}; mend what is in its way, or \
                     give it up with DELETE FROM ficus.copy_index WHERE name = {}",
                    index.name,
                    pg::quote_literal(&index.name)
                ))
            }
            (failed, _) => failed,
        }
    })
}

async fn try_build(
    spec: &StreamSpec,
    index: &Waiting,
    mut owner: Client,
) -> Result<(), tokio_postgres::Error> {
    owner.batch_execute("SET lock_timeout = 0").await?;
    let transaction = owner.transaction().await?;
    // Another replicator may be at it, or may have built it meanwhile.
    let row = transaction
        .query_opt(
            "SELECT definition, to_regclass(relation) IS NOT NULL AND to_regclass(name) IS NULL
             FROM ficus.copy_index WHERE name = $1 FOR UPDATE",
            &[&index.name],
        )
        .await?;
    let Some(row) = row else { return Ok(()) };
    if row.get(1) {
        transaction.batch_execute(row.get(0)).await?;
    }
    transaction.execute("DELETE FROM ficus.copy_index WHERE name = $1", &[&index.name]).await?;
    transaction.commit().await?;
    tracing::info!(stream = spec.key(), index = index.name, "index built");
    Ok(())
}

async fn open(spec: &StreamSpec) -> Result<Client, GuardError> {
    let owner = session::open_as_owner(spec.databases.owner_url(spec.writes())).await?;
    owner.batch_execute(OWNER_SETTINGS).await?;
    Ok(owner)
}
