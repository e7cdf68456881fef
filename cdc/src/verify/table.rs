//! A table that is compared, as SQL. Both sides compute the row as the target has it.

mod queries;

use std::collections::HashMap;

use cutover::{Side, StreamKind};
use pg::{TableName, quote_ident};
use tokio_postgres::Row;

use crate::{
    change::Key,
    dirty::LeadRange,
    mapping::{Assignment, TablePlan},
};

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
    /// The plan of the way back, where there is one.
    way_back: Option<TablePlan>,
    /// Places in the plan's key in the order of touched keys.
    touched_order: Vec<usize>,
    /// Whether both directions identify rows by the same columns.
    pub(super) keys_agree: bool,
}

/// The rows with keys after the one and up to the other, whose lead column is within a range.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyRange {
    pub(super) after: Option<Key>,
    pub(super) up_to: Option<Key>,
    pub(super) within: Option<LeadRange>,
}

/// Count and hash of the rows of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    pub(super) rows: u64,
    hash: String,
}

impl Digest {
    /// Counts rows only: what is put together is known to differ.
    pub(super) const fn add(&mut self, other: &Self) {
        self.rows += other.rows;
    }

    #[cfg(test)]
    pub(super) const fn of_rows(rows: u64) -> Self {
        Self { rows, hash: String::new() }
    }
}

/// Rows by key.
pub(super) type Hashes = HashMap<Key, i64>;

impl VerifiedTable {
    pub(super) fn new(kind: StreamKind, index: usize, plan: TablePlan) -> Self {
        let mut names: Vec<(usize, &str)> =
            plan.key.iter().map(|key| key.write.as_str()).enumerate().collect();
        names.sort_unstable_by_key(|(_, name)| *name);
        let touched_order = names.into_iter().map(|(place, _)| place).collect();
        Self { kind, index, plan, way_back: None, touched_order, keys_agree: true }
    }

    /// The way back identifies rows by what it reads on the target.
    pub(super) fn with_way_back(&mut self, reverse: Option<TablePlan>) {
        let mut mine: Vec<&str> = self.plan.key.iter().map(|key| key.write.as_str()).collect();
        mine.sort_unstable();
        self.keys_agree = reverse.as_ref().is_none_or(|reverse| {
            let name = |read: usize| reverse.columns.get(read).map(|column| column.name.as_str());
            let mut theirs: Vec<&str> =
                reverse.key.iter().filter_map(|key| name(key.read)).collect();
            theirs.sort_unstable();
            mine == theirs
        });
        self.way_back = reverse;
    }

    /// The plan that writes the rows of this owner on the other side.
    pub(super) const fn plan_from(&self, owner: Side) -> Option<&TablePlan> {
        match owner {
            Side::Source => Some(&self.plan),
            Side::Target => self.way_back.as_ref(),
        }
    }

    /// Whether it moves with the capability; references are only looked at.
    pub(super) const fn is_moved(&self) -> bool {
        matches!(self.kind, StreamKind::Forward)
    }

    pub(super) const fn name(&self) -> &TableName {
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

    /// The rows with these keys, and the parameters that carry the keys.
    pub(super) fn among(&self, side: Side, keys: &[Key]) -> (String, Vec<Vec<String>>) {
        let mut arrays = Vec::new();
        let mut names = Vec::new();
        let mut pairs = Vec::new();
        for (place, (column, key_type)) in self.key_columns(side).into_iter().enumerate() {
            arrays.push(format!("${}::text[]", place + 1));
            names.push(format!("k{place}"));
            pairs.push(format!("{column} = r.k{place}::{key_type}"));
        }
        let values = (0..self.plan.key.len())
            .map(|place| keys.iter().filter_map(|key| text(key, place)).collect())
            .collect();
        let sql = format!(
            "FROM {} JOIN unnest({}) AS r({}) ON {} WHERE {}",
            self.from(side),
            arrays.join(", "),
            names.join(", "),
            pairs.join(" AND "),
            self.filter(side)
        );
        (sql, values)
    }

    fn hashes(&self, rows: &[Row]) -> Hashes {
        rows.iter().map(|row| (self.key_of(row), row.get(self.plan.key.len()))).collect()
    }

    pub(super) fn key_of(&self, row: &Row) -> Key {
        let value = |place: usize| row.get::<_, String>(place).into_bytes().into();
        Key((0..self.plan.key.len()).map(value).collect())
    }

    /// Rows are called `s` on both sides, as the mapping's expressions have it on the source.
    pub(super) fn from(&self, side: Side) -> String {
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

    pub(super) fn key_texts(&self, side: Side) -> String {
        let texts: Vec<String> =
            self.key_columns(side).into_iter().map(|(name, _)| format!("{name}::text")).collect();
        texts.join(", ")
    }

    /// The condition of a range; its parameters are added to `values`.
    fn condition(&self, side: Side, range: &KeyRange, values: &mut Vec<String>) -> String {
        let columns = self.ordered_key(side).join(", ");
        let types: Vec<String> = self.key_columns(side).into_iter().map(|(_, t)| t).collect();
        let mut terms = vec![self.filter(side)];
        for (operator, key) in [(">", &range.after), ("<=", &range.up_to)] {
            let Some(key) = key else { continue };
            let mut params = Vec::new();
            for (place, key_type) in types.iter().enumerate() {
                values.extend(text(key, place));
                params.push(format!("${}::text::{key_type}", values.len()));
            }
            terms.push(format!("({columns}) {operator} ({})", params.join(", ")));
        }
        if let Some(within) = &range.within {
            let (lead, cast) = self.lead(side);
            for (operator, bound) in [(">=", &within.first), ("<=", &within.last)] {
                values.push(bound.clone());
                terms.push(format!("{lead} {operator} ${}::text::{cast}", values.len()));
            }
        }
        terms.join(" AND ")
    }

    /// The first column of the key, and the type of bounds that it is compared with: a bound may be
    /// beyond what the column can hold.
    fn lead(&self, side: Side) -> (String, String) {
        let (name, key_type) = self.key_columns(side).into_iter().next().unwrap_or_default();
        let cast = match key_type.as_str() {
            "smallint" | "integer" => "bigint".to_owned(),
            _ => key_type,
        };
        (name, cast)
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

fn text(key: &Key, place: usize) -> Option<String> {
    key.0.get(place).map(|value| String::from_utf8_lossy(value).into_owned())
}
