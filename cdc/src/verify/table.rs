//! The queries that compare one table. Both sides compute the row as the target has it.

use std::collections::HashMap;

use cutover::{Side, StreamKind};
use pg::{TableName, quote_ident};
use tokio_postgres::{Client, Row, types::ToSql};

use crate::{
    StreamError,
    change::Key,
    mapping::{Assignment, TablePlan},
};

/// Rows of one key list; beyond it a chunk is only known to differ.
const LIST_MAX: usize = 50_000;

/// `character varying`: a cast to its declared length would cut, an assignment refuses.
const VARCHAR_OID: u32 = 1_043;
const FIRST_USER_OID: u32 = 16_384;

/// A table that is compared.
#[derive(Debug)]
pub(super) struct VerifiedTable {
    pub(super) kind: StreamKind,
    /// Its number in the stream's plans.
    pub(super) index: usize,
    plan: TablePlan,
    /// Places in the plan's key in the order of touched keys.
    touched_order: Vec<usize>,
    /// Whether both directions identify rows by the same columns.
    pub(super) keys_agree: bool,
}

/// The rows with keys after the one and up to the other.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyRange {
    pub(super) after: Option<Key>,
    pub(super) up_to: Option<Key>,
}

/// Count and hash of the rows of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    pub(super) rows: u64,
    hash: String,
}

/// Rows by key.
pub(super) type Hashes = HashMap<Key, i64>;

impl VerifiedTable {
    pub(super) fn new(kind: StreamKind, index: usize, plan: TablePlan) -> Self {
        let mut names: Vec<(usize, &str)> =
            plan.key.iter().map(|key| key.write.as_str()).enumerate().collect();
        names.sort_unstable_by_key(|(_, name)| *name);
        let touched_order = names.into_iter().map(|(place, _)| place).collect();
        Self { kind, index, plan, touched_order, keys_agree: true }
    }

    /// The way back identifies rows by what it reads on the target.
    pub(super) fn compare_keys_with(&mut self, reverse: Option<&TablePlan>) {
        let mut mine: Vec<&str> = self.plan.key.iter().map(|key| key.write.as_str()).collect();
        mine.sort_unstable();
        self.keys_agree = reverse.is_none_or(|reverse| {
            let name = |read: usize| reverse.columns.get(read).map(|column| column.name.as_str());
            let mut theirs: Vec<&str> =
                reverse.key.iter().filter_map(|key| name(key.read)).collect();
            theirs.sort_unstable();
            mine == theirs
        });
    }

    pub(super) fn name(&self) -> &TableName {
        &self.plan.source
    }

    /// A touched key in the order of the plan's key.
    pub(super) fn key_touched(&self, touched: &Key) -> Option<Key> {
        let mut values = vec![None; touched.0.len()];
        for (value, place) in touched.0.iter().zip(&self.touched_order) {
            *values.get_mut(*place)? = Some(value.clone());
        }
        values.into_iter().collect::<Option<_>>().map(Key)
    }

    /// How many rows the planner believes there are.
    pub(super) async fn rows_estimated(&self, client: &Client) -> Result<u64, StreamError> {
        let row = client
            .query_one(
                "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = $1::text::regclass",
                &[&self.plan.read.quoted()],
            )
            .await
            .map_err(StreamError::database("estimate the rows to verify", Side::Source))?;
        Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or(0))
    }

    /// The key of the source's row `rows` further on; `None` when there are fewer.
    pub(super) async fn boundary(
        &self,
        client: &Client,
        after: Option<&Key>,
        rows: u32,
    ) -> Result<Option<Key>, StreamError> {
        let range = KeyRange { after: after.cloned(), up_to: None };
        let (condition, values) = self.condition(Side::Source, &range);
        let order: Vec<String> = self.ordered_key(Side::Source);
        let sql = format!(
            "SELECT {} FROM {} WHERE {condition} ORDER BY {} OFFSET {} LIMIT 1",
            self.key_texts(Side::Source),
            self.from(Side::Source),
            order.join(", "),
            rows.saturating_sub(1)
        );
        let row = query(client, Side::Source, &sql, &values).await?;
        Ok(row.first().map(|row| self.key_of(row)))
    }

    pub(super) async fn digest(
        &self,
        client: &Client,
        side: Side,
        range: &KeyRange,
    ) -> Result<Digest, StreamError> {
        let (condition, values) = self.condition(side, range);
        let sql = format!(
            "SELECT count(*), coalesce(sum(h), 0)::text FROM
                 (SELECT {} AS h FROM {} WHERE {condition}) AS rows",
            self.hash(side),
            self.from(side)
        );
        let rows = query(client, side, &sql, &values).await?;
        let row = rows.first().ok_or(StreamError::Worker)?;
        Ok(Digest { rows: u64::try_from(row.get::<_, i64>(0)).unwrap_or(0), hash: row.get(1) })
    }

    pub(super) async fn list(
        &self,
        client: &Client,
        side: Side,
        range: &KeyRange,
    ) -> Result<Hashes, StreamError> {
        let (condition, values) = self.condition(side, range);
        let sql = format!(
            "SELECT {}, {} FROM {} WHERE {condition} ORDER BY {} LIMIT {LIST_MAX}",
            self.key_texts(side),
            self.hash(side),
            self.from(side),
            self.ordered_key(side).join(", ")
        );
        let rows = query(client, side, &sql, &values).await?;
        Ok(self.hashes(&rows))
    }

    pub(super) async fn by_keys(
        &self,
        client: &Client,
        side: Side,
        keys: &[Key],
    ) -> Result<Hashes, StreamError> {
        let mut arrays = Vec::new();
        let mut names = Vec::new();
        let mut pairs = Vec::new();
        for (place, (column, key_type)) in self.key_columns(side).into_iter().enumerate() {
            arrays.push(format!("${}::text[]", place + 1));
            names.push(format!("k{place}"));
            pairs.push(format!("{column} = r.k{place}::{key_type}"));
        }
        let values: Vec<Vec<String>> = (0..self.plan.key.len())
            .map(|place| keys.iter().filter_map(|key| text(key, place)).collect())
            .collect();
        let params: Vec<&(dyn ToSql + Sync)> =
            values.iter().map(|each| each as &(dyn ToSql + Sync)).collect();
        let sql = format!(
            "SELECT {}, {} FROM {} JOIN unnest({}) AS r({}) ON {} WHERE {}",
            self.key_texts(side),
            self.hash(side),
            self.from(side),
            arrays.join(", "),
            names.join(", "),
            pairs.join(" AND "),
            self.filter(side)
        );
        let rows = client
            .query(&sql, &params)
            .await
            .map_err(StreamError::database("compare rows", side))?;
        Ok(self.hashes(&rows))
    }

    /// Keeps a row from being changed until the end of the transaction.
    pub(super) async fn hold(
        &self,
        client: &Client,
        side: Side,
        key: &Key,
    ) -> Result<(), StreamError> {
        let mut terms = Vec::new();
        let mut values = Vec::new();
        for (place, (column, key_type)) in self.key_columns(side).into_iter().enumerate() {
            values.extend(text(key, place));
            terms.push(format!("{column} = ${}::text::{key_type}", values.len()));
        }
        let (from, condition) = (self.from(side), terms.join(" AND "));
        let sql = format!("SELECT FROM {from} WHERE {condition} FOR SHARE");
        query(client, side, &sql, &values).await.map(drop)
    }

    fn hashes(&self, rows: &[Row]) -> Hashes {
        rows.iter().map(|row| (self.key_of(row), row.get(self.plan.key.len()))).collect()
    }

    fn key_of(&self, row: &Row) -> Key {
        let value = |place: usize| row.get::<_, String>(place).into_bytes().into();
        Key((0..self.plan.key.len()).map(value).collect())
    }

    /// Rows are called `s` on both sides, as the mapping's expressions have it on the source.
    fn from(&self, side: Side) -> String {
        match side {
            Side::Source => format!("{} AS s", self.plan.read.quoted()),
            Side::Target => format!("{} AS s", self.plan.write.quoted()),
        }
    }

    fn filter(&self, side: Side) -> String {
        match (&self.plan.filter, side) {
            (Some(filter), Side::Source) => format!("({})", filter.text),
            (None, _) | (_, Side::Target) => "true".to_owned(),
        }
    }

    /// The key's columns and their types.
    fn key_columns(&self, side: Side) -> Vec<(String, String)> {
        let column = |key: &crate::mapping::KeyColumn| match side {
            Side::Source => {
                let cast = self.plan.columns.get(key.read).map_or("text", |c| c.cast.as_str());
                (format!("s.{}", self.plan.name_of(key.read)), cast.to_owned())
            }
            Side::Target => (format!("s.{}", quote_ident(&key.write)), key.write_type.clone()),
        };
        self.plan.key.iter().map(column).collect()
    }

    /// The key's columns in an order that is the same in every database.
    fn ordered_key(&self, side: Side) -> Vec<String> {
        let column = |((name, _), key): ((String, String), &crate::mapping::KeyColumn)| {
            if key.collatable { format!("{name} COLLATE \"C\"") } else { name }
        };
        self.key_columns(side).into_iter().zip(&self.plan.key).map(column).collect()
    }

    fn key_texts(&self, side: Side) -> String {
        let texts: Vec<String> =
            self.key_columns(side).into_iter().map(|(name, _)| format!("{name}::text")).collect();
        texts.join(", ")
    }

    fn condition(&self, side: Side, range: &KeyRange) -> (String, Vec<String>) {
        let columns = self.ordered_key(side).join(", ");
        let types: Vec<String> = self.key_columns(side).into_iter().map(|(_, t)| t).collect();
        let mut terms = vec![self.filter(side)];
        let mut values = Vec::new();
        for (operator, key) in [(">", &range.after), ("<=", &range.up_to)] {
            let Some(key) = key else { continue };
            let mut params = Vec::new();
            for (place, key_type) in types.iter().enumerate() {
                values.extend(text(key, place));
                params.push(format!("${}::text::{key_type}", values.len()));
            }
            terms.push(format!("({columns}) {operator} ({})", params.join(", ")));
        }
        (terms.join(" AND "), values)
    }

    fn hash(&self, side: Side) -> String {
        let values: Vec<String> =
            self.plan.assignments.iter().map(|each| self.value(side, each)).collect();
        format!("hashtextextended(ROW({})::text, 0)", values.join(", "))
    }

    /// A value of the row as the target has it.
    fn value(&self, side: Side, assignment: &Assignment) -> String {
        let written_as = match assignment.write_type_oid {
            FIRST_USER_OID.. => "text",
            VARCHAR_OID => assignment.write_type.as_str(),
            _ => assignment.declared_type.as_str(),
        };
        match side {
            Side::Target if written_as == "text" => {
                format!("s.{}::text", quote_ident(&assignment.column))
            }
            Side::Target => format!("s.{}", quote_ident(&assignment.column)),
            Side::Source => format!("({})::{written_as}", self.plan.source_value(assignment)),
        }
    }
}

impl TablePlan {
    /// The value of an assignment, over the row `s` in the database it is read from.
    fn source_value(&self, assignment: &Assignment) -> String {
        match &assignment.value {
            crate::mapping::Value::Column(index) => format!("s.{}", self.name_of(*index)),
            crate::mapping::Value::Sql(expression) => format!("({})", expression.text),
        }
    }
}

async fn query(
    client: &Client,
    side: Side,
    sql: &str,
    values: &[String],
) -> Result<Vec<Row>, StreamError> {
    let params: Vec<&(dyn ToSql + Sync)> =
        values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
    client.query(sql, &params).await.map_err(StreamError::database("compare rows", side))
}

fn text(key: &Key, place: usize) -> Option<String> {
    key.0.get(place).map(|value| String::from_utf8_lossy(value).into_owned())
}
