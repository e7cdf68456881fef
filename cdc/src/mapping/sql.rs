//! The statements that write rows of a plan. Rows come as one array of a composite type that holds the
//! read columns; the database that writes casts them and evaluates the mapping's expressions:
//!
//! ```text
//! array ── unnest, cast ──> s(read columns) ── expressions ──> n(written columns) ──> table
//! ```
//!
//! Measured beside one array for each column: a third less work for the server, and values of any
//! type that can be a column's, arrays included.

use pg::quote_ident;

use super::{Assignment, Expression, Format, TablePlan, Value};

/// Up to so many fields it is cheaper to take each out of the row than to spread all of them first.
const FIELDS_TAKEN_MAX: usize = 16;

/// Every value, whatever its column: as text.
const TEXT_OID: u32 = 25;

/// The composite type in which rows of a plan are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowType {
    /// Qualified, as SQL takes it.
    name: String,
    pub(crate) fields: Vec<RowField>,
    /// The read columns of the key, in its order.
    pub(crate) key: Vec<usize>,
}

/// One field of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowField {
    pub(crate) value: FieldValue,
    /// Its type.
    pub(crate) type_sql: String,
    pub(crate) type_oid: u32,
    /// The name it is sent under, quoted.
    name: String,
    /// The type to cast it to where it is used.
    cast: String,
}

/// What a field carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValue {
    /// The new value of this read column.
    Column(usize),
    /// The value that this column of the key had before, by its place in [`TablePlan::key`].
    OldKey(usize),
}

/// How an inserted row meets one that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnExisting {
    /// An error.
    Refuse,
    /// It is overwritten.
    Overwrite,
}

impl TablePlan {
    /// The type of the rows when values come in this form; `number` tells it from other tables' types.
    pub(crate) fn row_type(&self, format: Format, number: usize) -> RowType {
        let field = |value: FieldValue, column: usize, name: String| {
            let column = self.columns.get(column)?;
            let (type_sql, type_oid) = match (format, &column.binary) {
                (Format::Binary, Some(binary)) => (binary.sql.clone(), binary.type_oid),
                (Format::Binary, None) | (Format::Text, _) => ("text".to_owned(), TEXT_OID),
            };
            Some(RowField { value, type_sql, type_oid, name, cast: column.cast.clone() })
        };
        let columns = self.needed().into_iter();
        let columns = columns
            .filter_map(|index| field(FieldValue::Column(index), index, self.name_of(index)));
        let old_keys = self.key.iter().enumerate().filter_map(|(place, key)| {
            field(FieldValue::OldKey(place), key.read, old_key_name(place))
        });
        let fields = columns.chain(old_keys).collect();
        let key = self.key.iter().map(|key| key.read).collect();
        RowType { name: format!("pg_temp.ficus_row_{number}"), fields, key }
    }

    /// Adds rows; those that the filter refuses are left out.
    pub(crate) fn insert(&self, rows: &RowType, on_existing: OnExisting) -> String {
        let conflict = match on_existing {
            OnExisting::Refuse => String::new(),
            OnExisting::Overwrite => self.overwrite(),
        };
        let (insert, matching) = (self.insert_select(), self.matching());
        format!("{insert} FROM {}{matching}{conflict}", rows.select())
    }

    /// Adds the rows of a staging table that has the read columns.
    pub(crate) fn insert_from(&self, stage: &str) -> String {
        format!("{} FROM {stage} AS s{}", self.insert_select(), self.matching())
    }

    /// Adds or overwrites rows that come as one array of texts for each needed column, in order.
    pub(crate) fn overwrite_by_texts(&self) -> String {
        let needed = self.needed();
        let list = |one: &dyn Fn(usize, usize) -> String| {
            let all = needed.iter().enumerate().map(|(place, column)| one(place, *column));
            all.collect::<Vec<String>>().join(", ")
        };
        let columns = list(&|place, column| {
            let cast = self.columns.get(column).map_or("text", |column| column.cast.as_str());
            format!("r.c{place}::{cast} AS {}", self.name_of(column))
        });
        let arrays = list(&|place, _| format!("${}::text[]", place + 1));
        let names = list(&|place, _| format!("c{place}"));
        format!(
            "{} FROM (SELECT {columns} FROM unnest({arrays}) AS r({names})) AS s{}{}",
            self.insert_select(),
            self.matching(),
            self.overwrite()
        )
    }

    /// Adds rows from a stream of binary values, one for each assignment; only where
    /// [`TablePlan::straight`] allows it.
    pub(crate) fn copy_in(&self) -> String {
        let columns: Vec<String> =
            self.assignments.iter().map(|each| quote_ident(&each.column)).collect();
        let table = self.write.quoted();
        format!("COPY {table} ({}) FROM STDIN (FORMAT binary)", columns.join(", "))
    }

    /// Whether an update whose key stays changes anything when these columns are known.
    pub(crate) fn changes_with(&self, present: &[usize]) -> bool {
        !self.set_by(present).is_empty()
    }

    /// Changes rows whose key stays, in the columns that `present` says are known. `None` when
    /// nothing would change.
    pub(crate) fn update(&self, rows: &RowType, present: &[usize]) -> Option<String> {
        let set = self.set_by(present);
        (!set.is_empty()).then(|| self.update_statement(rows, &set, &self.keys()))
    }

    /// Changes rows together with their key, in the columns that `present` says are known.
    pub(crate) fn update_with_key(&self, rows: &RowType, present: &[usize]) -> String {
        let old_key = |(place, key): (usize, &super::KeyColumn)| {
            format!("{}::{}", old_key_name(place), key.write_type)
        };
        let keys: Vec<String> = self.key.iter().enumerate().map(old_key).collect();
        let mut set = self.changed_by(present);
        // Whether a key can be changed is the database's to say; it is never left as it was.
        let is_key = |each: &&Assignment| self.key.iter().any(|key| key.write == each.column);
        set.extend(self.assignments.iter().filter(|each| each.insert_only).filter(is_key));
        self.update_statement(rows, &set, &keys)
    }

    /// Removes rows by their key.
    pub(crate) fn delete(&self, rows: &RowType) -> String {
        let pairs = self.key.iter().zip(self.keys());
        let terms: Vec<String> =
            pairs.map(|(key, value)| format!("t.{} = {value}", quote_ident(&key.write))).collect();
        let (table, rows) = (self.write.quoted(), rows.select());
        format!("DELETE FROM {table} AS t USING {rows} WHERE {}", terms.join(" AND "))
    }

    /// Removes the rows whose new values the filter refuses; `None` without a filter.
    pub(crate) fn delete_unmatched(&self, rows: &RowType) -> Option<String> {
        let filter = self.filter.as_ref()?;
        let keys: Vec<String> = self
            .keys()
            .into_iter()
            .enumerate()
            .map(|(place, key)| format!("{key} AS k{place}"))
            .collect();
        Some(format!(
            "DELETE FROM {} AS t USING (SELECT {} FROM {} WHERE ({}) IS NOT TRUE) AS n WHERE {}",
            self.write.quoted(),
            keys.join(", "),
            rows.select(),
            filter.text,
            self.key_equals(),
        ))
    }

    /// What the written column gets, as an expression over `s`.
    pub(crate) fn value_sql(&self, assignment: &Assignment) -> String {
        match &assignment.value {
            Value::Sql(Expression { text, .. }) => format!("({text})"),
            Value::Column(index) => {
                let name = self.name_of(*index);
                match self.columns.get(*index) {
                    // A type that is not built in has no assignment cast from text.
                    Some(column)
                        if column.cast != assignment.write_type && !is_builtin(assignment) =>
                    {
                        format!("{name}::{}", assignment.write_type)
                    }
                    Some(_) | None => name,
                }
            }
        }
    }

    /// `t.a = n.k0 AND ...` over the written key.
    fn key_equals(&self) -> String {
        let term = |(place, key): (usize, &super::KeyColumn)| {
            format!("t.{} = n.k{place}", quote_ident(&key.write))
        };
        let terms: Vec<String> = self.key.iter().enumerate().map(term).collect();
        terms.join(" AND ")
    }

    /// The key's values in `s`, with the types of the written key.
    fn keys(&self) -> Vec<String> {
        let value =
            |key: &super::KeyColumn| format!("s.{}::{}", self.name_of(key.read), key.write_type);
        self.key.iter().map(value).collect()
    }

    /// The assignments of an update whose inputs are all known.
    fn changed_by(&self, present: &[usize]) -> Vec<&Assignment> {
        let known = |assignment: &&Assignment| {
            self.uses(assignment).iter().all(|index| present.contains(index))
        };
        self.assignments.iter().filter(|each| !each.insert_only).filter(known).collect()
    }

    /// The same without the key itself.
    fn set_by(&self, present: &[usize]) -> Vec<&Assignment> {
        let is_key =
            |assignment: &Assignment| self.key.iter().any(|key| key.write == assignment.column);
        self.changed_by(present).into_iter().filter(|assignment| !is_key(assignment)).collect()
    }

    fn update_statement(&self, rows: &RowType, set: &[&Assignment], keys: &[String]) -> String {
        let mut selected: Vec<String> = Vec::new();
        let mut assigned: Vec<String> = Vec::new();
        for (place, assignment) in set.iter().enumerate() {
            selected.push(format!("{} AS a{place}", self.value_sql(assignment)));
            assigned.push(format!("{} = n.a{place}", quote_ident(&assignment.column)));
        }
        for (place, key) in keys.iter().enumerate() {
            selected.push(format!("{key} AS k{place}"));
        }
        format!(
            "UPDATE {} AS t SET {} FROM (SELECT {} FROM {}) AS n WHERE {}",
            self.write.quoted(),
            assigned.join(", "),
            selected.join(", "),
            rows.select(),
            self.key_equals(),
        )
    }

    fn insert_select(&self) -> String {
        let columns: Vec<String> =
            self.assignments.iter().map(|each| quote_ident(&each.column)).collect();
        let values: Vec<String> =
            self.assignments.iter().map(|each| self.value_sql(each)).collect();
        format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {}",
            self.write.quoted(),
            columns.join(", "),
            values.join(", ")
        )
    }

    fn overwrite(&self) -> String {
        let key: Vec<String> = self.key.iter().map(|key| quote_ident(&key.write)).collect();
        let set: Vec<String> = self
            .assignments
            .iter()
            .filter(|each| !each.insert_only)
            .map(|each| quote_ident(&each.column))
            .map(|name| format!("{name} = excluded.{name}"))
            .collect();
        if set.is_empty() {
            return format!(" ON CONFLICT ({}) DO NOTHING", key.join(", "));
        }
        format!(" ON CONFLICT ({}) DO UPDATE SET {}", key.join(", "), set.join(", "))
    }

    fn matching(&self) -> String {
        let condition = |filter: &Expression| format!(" WHERE ({})", filter.text);
        self.filter.as_ref().map(condition).unwrap_or_default()
    }

    pub(crate) fn name_of(&self, column: usize) -> String {
        self.columns.get(column).map(|column| quote_ident(&column.name)).unwrap_or_default()
    }
}

impl RowField {
    /// Whether it takes values in text form.
    pub(crate) const fn is_text(&self) -> bool {
        self.type_oid == TEXT_OID
    }
}

impl RowType {
    /// The statement that makes it, in the schema of the session.
    pub(crate) fn create(&self) -> String {
        let field = |field: &RowField| format!("{} {}", field.name, field.type_sql);
        let fields: Vec<String> = self.fields.iter().map(field).collect();
        format!("CREATE TYPE {} AS ({})", self.name, fields.join(", "))
    }

    /// The rows of the array `$1`, as `s`.
    fn select(&self) -> String {
        let is_taken = self.fields.len() <= FIELDS_TAKEN_MAX;
        let columns: Vec<String> = self
            .fields
            .iter()
            .map(|RowField { name, cast, type_sql, .. }| {
                let value = if is_taken { format!("(u.r).{name}") } else { format!("u.{name}") };
                if cast == type_sql {
                    format!("{value} AS {name}")
                } else {
                    format!("{value}::{cast} AS {name}")
                }
            })
            .collect();
        let (columns, name) = (columns.join(", "), &self.name);
        if is_taken {
            // The offset keeps the planner from unnesting once for each field.
            format!("(SELECT {columns} FROM (SELECT unnest($1::{name}[]) AS r OFFSET 0) AS u) AS s")
        } else {
            format!("(SELECT {columns} FROM unnest($1::{name}[]) AS u) AS s")
        }
    }
}

/// No column of a real table has a space in front of its name by accident.
fn old_key_name(place: usize) -> String {
    format!("\" old key {place}\"")
}

const fn is_builtin(assignment: &Assignment) -> bool {
    assignment.write_type_oid < 16_384
}
