//! Writes rows that differ anew, from their owner, while the stream goes on.
//!
//! ```text
//! other side: row versions ── owner: which keys exist ── lock and read those ── barrier ──┐
//!     owner: unlock <── COMMIT <── write what was read, delete what does not exist <── hold the stream
//! ```
//!
//! Exact, because the stream stands at a transaction boundary at or after the barrier when the rows are
//! written. A row that was read has been locked since before the barrier: no change of it is on its
//! way. A row that did not exist is deleted in the very version that was seen before it was known not
//! to exist: the stream has not brought it meanwhile, and if it does later, it finds the key free.

use std::{collections::HashMap, time::Duration};

use cutover::Side;
use pg::TableName;
use routes::TableMapping;
use tokio_postgres::{Client, error::SqlState, types::ToSql};

use super::{
    VerifyError,
    look_again::HOLD_MAX,
    outcome::{Difference, Kind},
    pass::Pass,
    table::VerifiedTable,
};
use crate::{
    ErrorClass, StreamError,
    change::Key,
    mapping::TablePlan,
    replica::{self, Replica},
    spec::StreamSpec,
};

/// Rows of one attempt: the owner's writers of these rows wait meanwhile.
const ROWS_AT_ONCE: usize = 200;
/// Attempts for rows that somebody else holds, or a stream that is slow.
const TRIES_MAX: u32 = 20;
/// After the first attempt, then longer.
const PAUSE: Duration = Duration::from_millis(25);

/// A session that writes on the side that does not own the rows.
pub(super) struct Repairer {
    session: Replica,
}

/// The values of rows by column of the plan, as text.
type Columns = HashMap<usize, Vec<Option<String>>>;

/// Rows as their owner has them, locked.
#[derive(Debug, Default)]
struct Held {
    keys: Vec<Key>,
    columns: Columns,
}

/// How an attempt ended.
enum Attempt {
    /// These keys are to be tried again.
    Open(Vec<Key>),
    /// A constraint refused it; with one row it stays so.
    Refused(Vec<Key>),
}

impl Repairer {
    /// Opens the session on the side a stream writes to.
    ///
    /// # Errors
    /// When the session can not be had.
    pub(super) async fn open(spec: &StreamSpec) -> Result<Self, StreamError> {
        let side = spec.writes();
        let written = |mapping: &TableMapping| match side {
            Side::Source => mapping.source.clone(),
            Side::Target => mapping.target.clone(),
        };
        let tables: Vec<TableName> = spec.mappings.iter().map(written).collect();
        let tables: Vec<&TableName> = tables.iter().collect();
        let url = spec.write_url();
        let session = replica::open(url, side, &spec.repair_origin(), &tables).await?;
        Ok(Self { session })
    }
}

impl Pass<'_> {
    /// Writes rows anew and compares them again; answers those that still differ.
    pub(super) async fn repair(
        &mut self,
        table: &VerifiedTable,
        differences: Vec<Difference>,
    ) -> Result<Vec<Difference>, VerifyError> {
        let (owner, _) = self.truth(table);
        let Some(plan) = table.plan_from(owner).filter(|_| table.is_moved()) else {
            return Ok(differences);
        };
        // What is deleted first may be what stands in another row's way.
        let (extra, other): (Vec<_>, Vec<_>) =
            differences.into_iter().partition(|difference| difference.kind == Kind::Extra);
        let keys: Vec<Key> = extra.into_iter().chain(other).map(|each| each.key).collect();
        for lot in keys.chunks(ROWS_AT_ONCE) {
            let mut refused = self.repair_lot(table, plan, lot.to_vec()).await?;
            // One by one, and again while that helps: a value of a unique index may have to be given up
            // by one row before another one gets it.
            loop {
                let before = refused.len();
                let mut still = Vec::new();
                for key in refused {
                    still.extend(self.repair_lot(table, plan, vec![key]).await?);
                }
                refused = still;
                if refused.is_empty() || refused.len() == before {
                    break;
                }
            }
        }
        let wanted = keys.len();
        let remaining = self.look_again(table, keys).await?;
        let repaired = wanted.saturating_sub(remaining.len());
        self.count_repaired(u64::try_from(repaired).unwrap_or(u64::MAX));
        Ok(remaining)
    }

    /// Tries until nothing is in the way; answers the keys when a constraint is.
    async fn repair_lot(
        &self,
        table: &VerifiedTable,
        plan: &TablePlan,
        mut keys: Vec<Key>,
    ) -> Result<Vec<Key>, VerifyError> {
        for number in 1..=TRIES_MAX {
            match self.attempt(table, plan, keys).await? {
                Attempt::Open(open) if open.is_empty() => return Ok(Vec::new()),
                Attempt::Open(open) => {
                    keys = open;
                    tokio::time::sleep(PAUSE * number).await;
                }
                Attempt::Refused(refused) => return Ok(refused),
            }
        }
        let (table, rows) = (table.name(), keys.len());
        tracing::warn!(%table, rows, "rows could not be held for their repair");
        Ok(Vec::new())
    }

    async fn attempt(
        &self,
        table: &VerifiedTable,
        plan: &TablePlan,
        keys: Vec<Key>,
    ) -> Result<Attempt, VerifyError> {
        let (owner, _) = self.truth(table);
        let other = owner.other();
        // In this order: a version that was seen before the owner had no such row.
        let versions = table.versions(self.client(other), other, &keys).await?;
        let truth = table.by_keys(self.client(owner), owner, &keys).await?;
        let (present, absent): (Vec<Key>, Vec<Key>) =
            keys.iter().cloned().partition(|key| truth.contains_key(key));
        let extra: Vec<(Key, String)> = absent
            .into_iter()
            .filter_map(|key| versions.get(&key).map(|v| (key, v.clone())))
            .collect();
        let reader = self.client(owner);
        run(reader, owner, "BEGIN").await?;
        let written = self.write_held(table, plan, &present, &extra).await;
        run(reader, owner, "ROLLBACK").await?;
        match written {
            Ok(held) => {
                let open = present.into_iter().filter(|key| !held.contains(key)).collect();
                Ok(Attempt::Open(open))
            }
            // The stream was not fast enough, or a lock was not to be had: let the writers go.
            Err(VerifyError::Barrier { .. }) => Ok(Attempt::Open(keys)),
            Err(VerifyError::Stream(StreamError::Database { source, .. }))
                if is_integrity_violation(&source) =>
            {
                // The message names the constraint; what comes with it names values.
                let error = source.as_db_error().map_or("", |error| error.message());
                tracing::info!(table = %plan.write, rows = keys.len(), error, "rows were refused");
                Ok(Attempt::Refused(keys))
            }
            Err(VerifyError::Stream(error)) if error.class() == ErrorClass::Transient => {
                Ok(Attempt::Open(keys))
            }
            Err(error) => Err(error),
        }
    }

    /// Writes what could be locked; answers its keys.
    async fn write_held(
        &self,
        table: &VerifiedTable,
        plan: &TablePlan,
        present: &[Key],
        extra: &[(Key, String)],
    ) -> Result<Vec<Key>, VerifyError> {
        let (owner, stream) = self.truth(table);
        let held = table.lock_rows(self.client(owner), owner, plan, present).await?;
        self.verifier.barrier(stream, HOLD_MAX).await?;
        let Some(repairer) = &self.repairer else { return Ok(held.keys) };
        let (session, side) = (&repairer.session, owner.other());
        let (writer, begin, limit) = (&session.client, &session.begin, HOLD_MAX.as_millis());
        run(writer, side, &format!("{begin}; SET LOCAL lock_timeout = {limit}")).await?;
        let written = async {
            let key = stream.key(&self.verifier.capability);
            let row = writer
                .query_opt(
                    "SELECT epoch FROM ficus.apply WHERE stream = $1 AND mode = 'apply' FOR UPDATE",
                    &[&key],
                )
                .await
                .map_err(StreamError::database("hold the stream", side))?;
            if row.map(|row| row.get::<_, i64>(0)) != self.epoch_begun() {
                return Err(VerifyError::Moved(stream.as_str()));
            }
            table.delete_versions(writer, side, extra).await?;
            upsert(writer, side, plan, &held).await?;
            run(writer, side, "COMMIT").await?;
            Ok(())
        };
        if let Err(error) = written.await {
            run(writer, side, "ROLLBACK").await?;
            return Err(error);
        }
        Ok(held.keys)
    }
}

impl VerifiedTable {
    /// The versions of rows, which change with every write.
    async fn versions(
        &self,
        client: &Client,
        side: Side,
        keys: &[Key],
    ) -> Result<HashMap<Key, String>, StreamError> {
        let (among, values) = self.among(side, keys);
        let sql = format!("SELECT {}, s.xmin::text || s.ctid::text {among}", self.key_texts(side));
        let rows = client
            .query(&sql, &arrays(&values))
            .await
            .map_err(StreamError::database("read the versions of rows", side))?;
        Ok(rows.iter().map(|row| (self.key_of(row), row.get(row.len() - 1))).collect())
    }

    /// Locks and reads the rows that nobody else holds. Waits for none: nobody can deadlock with it.
    async fn lock_rows(
        &self,
        client: &Client,
        owner: Side,
        plan: &TablePlan,
        keys: &[Key],
    ) -> Result<Held, StreamError> {
        if keys.is_empty() {
            return Ok(Held::default());
        }
        let needed = plan.needed();
        let columns: Vec<String> =
            needed.iter().map(|column| format!("s.{}::text", plan.name_of(*column))).collect();
        let (among, values) = self.among(owner, keys);
        let sql = format!(
            "SELECT {}, {} {among} FOR SHARE OF s SKIP LOCKED",
            self.key_texts(owner),
            columns.join(", ")
        );
        let rows = client
            .query(&sql, &arrays(&values))
            .await
            .map_err(StreamError::database("read the rows to repair", owner))?;
        let mut held = Held::default();
        for row in &rows {
            held.keys.push(self.key_of(row));
            for (place, column) in needed.iter().enumerate() {
                let value = row.get(row.len() - needed.len() + place);
                held.columns.entry(*column).or_default().push(value);
            }
        }
        Ok(held)
    }

    async fn delete_versions(
        &self,
        client: &Client,
        side: Side,
        extra: &[(Key, String)],
    ) -> Result<(), StreamError> {
        if extra.is_empty() {
            return Ok(());
        }
        let keys: Vec<Key> = extra.iter().map(|(key, _)| key.clone()).collect();
        let versions: Vec<&str> = extra.iter().map(|(_, version)| version.as_str()).collect();
        let (among, values) = self.among(side, &keys);
        let (from, place) = (self.from(side), values.len() + 1);
        let sql = format!(
            "DELETE FROM {from} WHERE (s.tableoid, s.ctid) IN (SELECT s.tableoid, s.ctid {among}
                 AND s.xmin::text || s.ctid::text = ANY (${place}::text[]))"
        );
        let mut params = arrays(&values);
        params.push(&versions);
        client
            .execute(&sql, &params)
            .await
            .map_err(StreamError::database("delete rows that their owner does not have", side))?;
        Ok(())
    }
}

async fn upsert(
    client: &Client,
    side: Side,
    plan: &TablePlan,
    held: &Held,
) -> Result<(), StreamError> {
    if held.keys.is_empty() {
        return Ok(());
    }
    let mut values = Vec::new();
    for column in plan.needed() {
        values.push(held.columns.get(&column).ok_or(StreamError::Worker)?);
    }
    let params: Vec<&(dyn ToSql + Sync)> =
        values.iter().map(|value| *value as &(dyn ToSql + Sync)).collect();
    client
        .execute(&plan.overwrite_by_texts(), &params)
        .await
        .map_err(StreamError::database("write the rows anew", side))?;
    Ok(())
}

fn arrays(values: &[Vec<String>]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|each| each as &(dyn ToSql + Sync)).collect()
}

async fn run(client: &Client, side: Side, sql: &str) -> Result<(), StreamError> {
    client.batch_execute(sql).await.map_err(StreamError::database("repair rows", side))
}

fn is_integrity_violation(error: &tokio_postgres::Error) -> bool {
    error.code().map(SqlState::code).is_some_and(|code| code.starts_with("23"))
}

impl std::fmt::Debug for Repairer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repairer").finish_non_exhaustive()
    }
}
