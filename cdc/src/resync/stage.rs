//! The staging table of a resync and its SQL: the read columns of the plan, the key as primary key,
//! and the number of the chunk that a row belongs to.

#[cfg(test)]
mod tests;

use pg::{quote_ident, quote_literal};
use tokio_postgres::Client;

use crate::{StreamError, mapping::TablePlan, resync::decode::StageKey, spec::StreamSpec};

/// No column of a real table has a space in front of its name by accident.
const CHUNK: &str = "\" chunk\"";

/// Names and types of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stage {
    /// Qualified and quoted.
    pub(super) name: String,
    read: String,
    pub(super) columns: Vec<StageColumn>,
    /// Places of the key in `columns`.
    pub(super) key: Vec<usize>,
    key_columns: Vec<KeyOnSource>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StageColumn {
    pub(super) name: String,
    quoted: String,
    /// The type in the stage.
    cast: String,
    /// Whether its binary form means the same in both databases.
    builtin: bool,
}

/// A column of the key where it is read: its order there decides which chunk a key is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyOnSource {
    pub(super) type_sql: String,
    /// A collation that is not the database's.
    pub(super) collation: Option<String>,
}

impl Stage {
    pub(super) fn new(spec: &StreamSpec, plan: &TablePlan, key_columns: Vec<KeyOnSource>) -> Self {
        let columns: Vec<StageColumn> = plan
            .needed()
            .into_iter()
            .filter_map(|index| plan.columns.get(index))
            .map(|column| StageColumn {
                name: column.name.clone(),
                quoted: quote_ident(&column.name),
                cast: column.cast.clone(),
                builtin: column.builtin,
            })
            .collect();
        let name = |read: usize| plan.columns.get(read).map(|column| column.name.as_str());
        let place =
            |read| columns.iter().position(|column| Some(column.name.as_str()) == name(read));
        let key = plan.key.iter().filter_map(|key| place(key.read)).collect();
        Self {
            name: stage_name(spec, &plan.source.to_string()),
            read: plan.read.quoted(),
            columns,
            key,
            key_columns,
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.name.clone()).collect()
    }

    /// Makes the table unless it is there.
    pub(super) fn create(&self) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|column| format!("{} {}", column.quoted, column.cast))
            .collect();
        format!(
            "CREATE TABLE IF NOT EXISTS {} ({}, {CHUNK} integer NOT NULL, PRIMARY KEY ({}))",
            self.name,
            columns.join(", "),
            self.key_names().join(", ")
        )
    }

    /// The key of the last row of the next chunk; no row when fewer are left.
    pub(super) fn boundary(&self, after: Option<&StageKey>, rows: u32) -> String {
        let texts: Vec<String> =
            self.key_names().iter().map(|name| format!("s.{name}::text")).collect();
        format!(
            "SELECT {} FROM {} AS s{} ORDER BY {} OFFSET {} LIMIT 1",
            texts.join(", "),
            self.read,
            self.range(after, None),
            self.source_key().join(", "),
            rows.saturating_sub(1)
        )
    }

    /// The rows of a chunk, for `COPY ... TO`.
    pub(super) fn rows(
        &self,
        number: usize,
        after: Option<&StageKey>,
        up_to: Option<&StageKey>,
    ) -> String {
        format!(
            "COPY (SELECT {}, {number}::integer FROM {} AS s{}) TO STDOUT {}",
            self.all("s."),
            self.read,
            self.range(after, up_to),
            self.format()
        )
    }

    /// Where they go.
    pub(super) fn copy_in(&self) -> String {
        format!("COPY {} ({}, {CHUNK}) FROM STDIN {}", self.name, self.all(""), self.format())
    }

    /// Of each key, in order, the number of its chunk: how many bounds lie before it. Parameters are
    /// text arrays: the columns of the keys, then the columns of the bounds. Asked where the table is
    /// read, because only there is the order of keys the one that the chunks were cut in.
    pub(super) fn chunk_of_keys(&self) -> String {
        let count = self.key.len();
        let arrays = |first: usize| -> Vec<String> {
            (0..count).map(|place| format!("${}::text[]", first + place + 1)).collect()
        };
        let names = |prefix: &str| -> Vec<String> {
            (0..count).map(|place| format!("{prefix}{place}")).collect()
        };
        let typed = |prefix: &str| -> String {
            let values = self.key_columns.iter().enumerate().map(|(place, column)| {
                let collation = column.collation.as_ref();
                let collate = collation.map(|name| format!(" COLLATE {name}")).unwrap_or_default();
                format!("r.{prefix}{place}::{}{collate}", column.type_sql)
            });
            format!("ROW({})", values.collect::<Vec<_>>().join(", "))
        };
        // width_bucket counts the bounds up to the key; a key that is itself a bound is in that chunk.
        format!(
            "WITH bound AS MATERIALIZED (
                 SELECT array_agg({} ORDER BY r.place) AS list
                 FROM unnest({}) WITH ORDINALITY AS r({}, place)),
             key AS (SELECT r.place, {} AS value FROM unnest({}) WITH ORDINALITY AS r({}, place))
             SELECT CASE WHEN bound.list IS NULL THEN 0
                 ELSE width_bucket(key.value, bound.list)
                     - CASE WHEN key.value = bound.list[width_bucket(key.value, bound.list)] THEN 1 ELSE 0 END
                 END::integer
             FROM key, bound ORDER BY key.place",
            typed("b"),
            arrays(count).join(", "),
            names("b").join(", "),
            typed("k"),
            arrays(0).join(", "),
            names("k").join(", "),
        )
    }

    /// Rows by key, as text; parameters are text arrays, one for each column of the key.
    pub(super) fn by_keys(&self) -> String {
        let casts = self.key.iter().filter_map(|place| self.columns.get(*place));
        self.select_by_keys(
            &self.name,
            &casts.map(|column| column.cast.clone()).collect::<Vec<_>>(),
        )
    }

    /// The same of the table that is read.
    pub(super) fn by_keys_on_source(&self) -> String {
        let casts = self.key_columns.iter().map(|column| column.type_sql.clone());
        self.select_by_keys(&self.read, &casts.collect::<Vec<_>>())
    }

    /// Removes rows by key; parameters as for [`Stage::by_keys`].
    pub(super) fn delete(&self) -> String {
        let casts: Vec<String> = self
            .key
            .iter()
            .filter_map(|place| self.columns.get(*place))
            .map(|column| column.cast.clone())
            .collect();
        let (keys, pairs) = self.keys_join(&casts);
        format!("DELETE FROM {} AS t USING {keys} WHERE {pairs}", self.name)
    }

    /// Writes whole rows; parameters are text arrays, one for each column, then the chunks' numbers.
    pub(super) fn put(&self) -> String {
        let count = self.columns.len();
        let arrays: Vec<String> =
            (0..count).map(|place| format!("${}::text[]", place + 1)).collect();
        let names: Vec<String> = (0..count).map(|place| format!("c{place}")).collect();
        let values: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .map(|(place, column)| format!("r.c{place}::{}", column.cast))
            .collect();
        let set: Vec<String> = self
            .columns
            .iter()
            .map(|column| format!("{0} = excluded.{0}", column.quoted))
            .collect();
        format!(
            "INSERT INTO {} ({}, {CHUNK}) SELECT {}, r.chunk
             FROM unnest({}, ${}::integer[]) AS r({}, chunk)
             ON CONFLICT ({}) DO UPDATE SET {}, {CHUNK} = excluded.{CHUNK}",
            self.name,
            self.all(""),
            values.join(", "),
            arrays.join(", "),
            count + 1,
            names.join(", "),
            self.key_names().join(", "),
            set.join(", ")
        )
    }

    /// Empties chunks; the parameter is the array of their numbers.
    pub(super) fn empty(&self) -> String {
        format!("DELETE FROM {} WHERE {CHUNK} = ANY ($1)", self.name)
    }

    fn select_by_keys(&self, table: &str, casts: &[String]) -> String {
        let values: Vec<String> =
            self.columns.iter().map(|column| format!("t.{}::text", column.quoted)).collect();
        let (keys, pairs) = self.keys_join(casts);
        format!("SELECT {} FROM {table} AS t JOIN {keys} ON {pairs}", values.join(", "))
    }

    fn keys_join(&self, casts: &[String]) -> (String, String) {
        let count = casts.len();
        let arrays: Vec<String> =
            (0..count).map(|place| format!("${}::text[]", place + 1)).collect();
        let names: Vec<String> = (0..count).map(|place| format!("k{place}")).collect();
        let pairs: Vec<String> = self
            .key_names()
            .iter()
            .zip(casts)
            .enumerate()
            .map(|(place, (name, cast))| format!("t.{name} = r.k{place}::{cast}"))
            .collect();
        let keys = format!("unnest({}) AS r({})", arrays.join(", "), names.join(", "));
        (keys, pairs.join(" AND "))
    }

    fn range(&self, after: Option<&StageKey>, up_to: Option<&StageKey>) -> String {
        let key = format!("({})", self.source_key().join(", "));
        let terms: Vec<String> = [(">", after), ("<=", up_to)]
            .into_iter()
            .filter_map(|(operator, bound)| {
                let values: Vec<String> = bound?
                    .iter()
                    .zip(&self.key_columns)
                    .map(|(value, column)| {
                        let value = quote_literal(&String::from_utf8_lossy(value));
                        format!("{value}::{}", column.type_sql)
                    })
                    .collect();
                Some(format!("{key} {operator} ({})", values.join(", ")))
            })
            .collect();
        if terms.is_empty() { String::new() } else { format!(" WHERE {}", terms.join(" AND ")) }
    }

    fn source_key(&self) -> Vec<String> {
        self.key_names().iter().map(|name| format!("s.{name}")).collect()
    }

    fn key_names(&self) -> Vec<&str> {
        let name = |place: &usize| self.columns.get(*place).map(|column| column.quoted.as_str());
        self.key.iter().filter_map(name).collect()
    }

    fn all(&self, prefix: &str) -> String {
        let names: Vec<String> =
            self.columns.iter().map(|column| format!("{prefix}{}", column.quoted)).collect();
        names.join(", ")
    }

    fn format(&self) -> &'static str {
        let is_binary = self.columns.iter().all(|column| column.builtin);
        if is_binary { "(FORMAT binary)" } else { "(FORMAT text)" }
    }
}

/// A name that two tables share by accident only: names of tables are longer than names may be.
pub(crate) fn stage_name(spec: &StreamSpec, source: &str) -> String {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let text = format!("{} {source}", spec.key());
    let hash = text.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    format!("ficus_stage.t_{hash:016x}")
}

/// The types and collations of the key's columns in the table that is read. The connection's search
/// path must be `pg_catalog`, so that names come qualified.
///
/// # Errors
/// What the database said.
pub(super) async fn key_on_source(
    catalog: &Client,
    spec: &StreamSpec,
    plan: &TablePlan,
) -> Result<Vec<KeyOnSource>, StreamError> {
    let mut columns = Vec::new();
    for key in &plan.key {
        let name = plan.columns.get(key.read).map_or("", |column| column.name.as_str());
        let row = catalog
            .query_opt(
                "SELECT format_type(a.atttypid, -1), CASE WHEN a.attcollation <> t.typcollation
                     THEN a.attcollation::regcollation::text END
                 FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
                 WHERE a.attrelid = $1::text::regclass AND a.attname = $2 AND NOT a.attisdropped",
                &[&plan.read.quoted(), &name],
            )
            .await
            .map_err(StreamError::database("read the key's types", spec.reads()))?
            .ok_or_else(|| StreamError::Operator(format!("{}.{name} is gone", plan.read)))?;
        columns.push(KeyOnSource { type_sql: row.get(0), collation: row.get(1) });
    }
    Ok(columns)
}
