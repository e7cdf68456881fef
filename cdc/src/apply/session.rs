//! The session that writes replicated rows: past the fence, without triggers, marked with the
//! stream's origin.

use std::{borrow::Cow, collections::HashMap};

use bytes::{BufMut, Bytes, BytesMut};
use cutover::Side;
use futures::{SinkExt, future};
use pg::{TableName, pgoutput::TupleValue};
use tokio_postgres::{
    Client, Statement,
    types::{FromSql, IsNull, Kind, ToSql, Type, to_sql_checked},
};

use crate::{
    StreamError,
    change::Row,
    mapping::{
        Format, TablePlan, Value,
        sql::{FieldValue, OnExisting, RowType},
    },
    replica::{self, Replica},
};

/// Rows of one statement: more make it slower for each row, because they leave the processor's cache.
const STATEMENT_ROWS_MAX: usize = 2_000;

/// From so many new rows on `COPY` is cheaper than a statement.
const COPY_ROWS_MIN: usize = 500;

/// Bytes of one message of a `COPY`.
const COPY_BYTES: usize = 64 * 1024;

/// Commits that do not wait for the disk: the source keeps its log until they are flushed. And plans
/// that find each row through the index over its key, whatever the statistics say of a table that was
/// empty a moment ago.
const SETTINGS: &str = "SET synchronous_commit = off;
    SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off;
    SET enable_mergejoin = off; SET jit = off";

/// A session of one stream in the database it writes to.
pub(crate) struct ApplySession {
    pub(crate) client: Client,
    pub(crate) side: Side,
    /// Begins a transaction that the opposite stream knows as ours.
    pub(crate) begin: String,
    row_types: Vec<RowType>,
    statements: HashMap<(usize, Verb), Statement>,
}

/// What a statement does with the rows of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Verb {
    Insert,
    /// Inserts or overwrites.
    Upsert,
    /// Changes rows of which these columns are known.
    Update(Vec<usize>),
    /// The same, when the key changes, too.
    Rekey(Vec<usize>),
    Delete,
    /// Removes the rows that the filter refuses.
    DeleteUnmatched,
}

/// Rows as one array parameter.
struct RowArray<'a> {
    row_type: &'a RowType,
    rows: &'a [Cow<'a, Row>],
    /// The rows as they were before, where keys changed.
    old: &'a [&'a Row],
}

/// A value as it comes, whatever its type.
pub(crate) struct RawValue<'a>(pub(crate) Option<&'a [u8]>);

impl Verb {
    /// As messages call it.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Insert | Self::Upsert => "insert",
            Self::Update(_) | Self::Rekey(_) => "update",
            Self::Delete | Self::DeleteUnmatched => "delete",
        }
    }

    /// The statement; `None` when there is nothing to do.
    fn sql(&self, plan: &TablePlan, rows: &RowType) -> Option<String> {
        match self {
            Self::Insert => Some(plan.insert(rows, OnExisting::Refuse)),
            Self::Upsert => Some(plan.insert(rows, OnExisting::Overwrite)),
            Self::Update(known) => plan.update(rows, known),
            Self::Rekey(known) => Some(plan.update_with_key(rows, known)),
            Self::Delete => Some(plan.delete(rows)),
            Self::DeleteUnmatched => plan.delete_unmatched(rows),
        }
    }
}

impl ApplySession {
    /// Connects, and marks everything that the session writes with the origin.
    ///
    /// # Errors
    /// Transient while an earlier session of the stream still holds the origin.
    pub(crate) async fn open(
        url: &str,
        side: Side,
        origin: &str,
        plans: &[TablePlan],
        format: Format,
    ) -> Result<Self, StreamError> {
        let tables: Vec<&TableName> = plans.iter().map(|plan| &plan.write).collect();
        let Replica { client, begin } = replica::open(url, side, origin, &tables).await?;
        client
            .batch_execute(SETTINGS)
            .await
            .map_err(StreamError::database("become a replication session", side))?;
        let row_types: Vec<RowType> =
            plans.iter().enumerate().map(|(number, plan)| plan.row_type(format, number)).collect();
        let create: Vec<String> = row_types.iter().map(RowType::create).collect();
        client
            .batch_execute(&create.join("; "))
            .await
            .map_err(StreamError::database("declare the rows to write (needs TEMPORARY)", side))?;
        Ok(Self { client, side, begin, row_types, statements: HashMap::new() })
    }

    /// Runs a statement without parameters or rows.
    ///
    /// # Errors
    /// What the database said.
    pub(crate) async fn run(&self, sql: &str) -> Result<(), StreamError> {
        self.client
            .batch_execute(sql)
            .await
            .map_err(StreamError::database("control the transaction", self.side))
    }

    /// Does something with rows of a table; answers how many rows were affected. `old` holds the rows
    /// as they were before, for [`Verb::Rekey`].
    ///
    /// # Errors
    /// What the database said.
    pub(crate) async fn execute(
        &mut self,
        (table, plan): (usize, &TablePlan),
        verb: Verb,
        rows: &[Cow<'_, Row>],
        old: &[&Row],
    ) -> Result<u64, tokio_postgres::Error> {
        let Some(statement) = self.statement(table, plan, verb).await? else { return Ok(0) };
        let Some(row_type) = self.row_types.get(table) else { return Ok(0) };
        if rows.len() <= STATEMENT_ROWS_MAX {
            return self.client.execute(&statement, &[&RowArray { row_type, rows, old }]).await;
        }
        // Sent one behind the other; the server works while the next one is built.
        let arrays: Vec<RowArray<'_>> = rows
            .chunks(STATEMENT_ROWS_MAX)
            .map(|rows| RowArray { row_type, rows, old: &[] })
            .collect();
        let params: Vec<[&(dyn ToSql + Sync); 1]> =
            arrays.iter().map(|array| [array as &(dyn ToSql + Sync)]).collect();
        let statements = params.iter().map(|params| self.client.execute(&statement, params));
        Ok(future::try_join_all(statements).await?.into_iter().sum())
    }

    /// Adds rows in the cheapest way; answers how many.
    ///
    /// # Errors
    /// What the database said.
    pub(crate) async fn insert(
        &mut self,
        (table, plan): (usize, &TablePlan),
        rows: &[Cow<'_, Row>],
    ) -> Result<u64, tokio_postgres::Error> {
        let is_binary = |row: &Cow<'_, Row>| {
            !row.0
                .values()
                .any(|value| matches!(value, TupleValue::Text(_) | TupleValue::UnchangedToast))
        };
        let is_straight = plan.straight() == Some(Format::Binary);
        if rows.len() >= COPY_ROWS_MIN && is_straight && rows.iter().all(is_binary) {
            return self.copy_in(plan, rows).await;
        }
        self.execute((table, plan), Verb::Insert, rows, &[]).await
    }

    async fn copy_in(
        &self,
        plan: &TablePlan,
        rows: &[Cow<'_, Row>],
    ) -> Result<u64, tokio_postgres::Error> {
        let columns: Vec<usize> = plan
            .assignments
            .iter()
            .filter_map(|assignment| match assignment.value {
                Value::Column(column) => Some(column),
                Value::Sql(_) => None,
            })
            .collect();
        let sink = self.client.copy_in::<_, Bytes>(&plan.copy_in()).await?;
        let mut sink = std::pin::pin!(sink);
        let mut out = BytesMut::with_capacity(COPY_BYTES * 2);
        out.put_slice(b"PGCOPY\n\xff\r\n\0");
        out.put_u64(0);
        for row in rows {
            out.put_u16(u16::try_from(columns.len()).unwrap_or(u16::MAX));
            for column in &columns {
                put_value(row.value(*column), &mut out);
            }
            if out.len() >= COPY_BYTES {
                sink.feed(out.split().freeze()).await?;
                out.reserve(COPY_BYTES * 2);
            }
        }
        out.put_i16(-1);
        sink.feed(out.freeze()).await?;
        sink.finish().await
    }

    async fn statement(
        &mut self,
        table: usize,
        plan: &TablePlan,
        verb: Verb,
    ) -> Result<Option<Statement>, tokio_postgres::Error> {
        let key = (table, verb);
        if let Some(statement) = self.statements.get(&key) {
            return Ok(Some(statement.clone()));
        }
        let sql = self.row_types.get(table).and_then(|row_type| key.1.sql(plan, row_type));
        let Some(sql) = sql else { return Ok(None) };
        let statement = self.client.prepare(&sql).await?;
        self.statements.insert(key, statement.clone());
        Ok(Some(statement))
    }
}

impl std::fmt::Debug for ApplySession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApplySession").field("side", &self.side).finish_non_exhaustive()
    }
}

impl RowArray<'_> {
    /// At least the bytes that it takes.
    fn size(&self) -> usize {
        let head = size_of::<u32>() + size_of::<i32>();
        let row = size_of::<i32>() * 2 + self.row_type.fields.len() * head;
        let rows = self.rows.iter().map(|row| row.0.size()).sum::<usize>();
        rows + self.old.iter().map(|row| row.0.size()).sum::<usize>() + self.rows.len() * row
    }

    fn put_row(
        &self,
        row: &Row,
        old: Option<&Row>,
        out: &mut BytesMut,
    ) -> Result<(), &'static str> {
        for field in &self.row_type.fields {
            let value = match field.value {
                FieldValue::Column(column) => row.value(column),
                FieldValue::OldKey(place) => match (old, self.row_type.key.get(place)) {
                    (Some(old), Some(column)) => old.value(*column),
                    _ => TupleValue::Null,
                },
            };
            if matches!(value, TupleValue::Text(_)) && !field.is_text() {
                return Err("a value came as text where the binary form was expected");
            }
            out.put_u32(field.type_oid);
            put_value(value, out);
        }
        Ok(())
    }
}

/// Length and bytes; what is null or not known has no length.
fn put_value(value: TupleValue<'_>, out: &mut BytesMut) {
    match value.bytes() {
        Some(bytes) => {
            out.put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
            out.put_slice(bytes);
        }
        None => out.put_i32(-1),
    }
}

/// The binary forms of arrays (`array_recv`) and of composite types (`record_recv`) in PostgreSQL.
impl ToSql for RowArray<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let Kind::Array(element) = ty.kind() else { return Err("not an array of rows".into()) };
        // Once, instead of growing by doubling.
        out.reserve(self.size());
        out.put_i32(1);
        out.put_i32(0);
        out.put_u32(element.oid());
        out.put_i32(i32::try_from(self.rows.len())?);
        out.put_i32(1);
        let fields = i32::try_from(self.row_type.fields.len())?;
        for (place, row) in self.rows.iter().enumerate() {
            let start = out.len();
            out.put_i32(0);
            out.put_i32(fields);
            self.put_row(row, self.old.get(place).copied(), out)?;
            let length = i32::try_from(out.len() - start - size_of::<i32>())?;
            if let Some(place) = out.get_mut(start..start + size_of::<i32>()) {
                place.copy_from_slice(&length.to_be_bytes());
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl std::fmt::Debug for RowArray<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowArray").field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}

impl<'a> FromSql<'a> for RawValue<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
