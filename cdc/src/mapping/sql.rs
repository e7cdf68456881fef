//! The statements that write rows of a plan. Rows come as one text array for each read column; the
//! database that writes casts them and evaluates the mapping's expressions:
//!
//! ```text
//! arrays ── unnest, cast ──> s(read columns) ── expressions ──> n(written columns) ──> table
//! ```

use pg::quote_ident;

use super::{Assignment, Expression, TablePlan, Value};

/// A statement, and what its array parameters carry, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowsStatement {
    pub(crate) sql: String,
    pub(crate) params: Vec<Param>,
}

/// One array parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Param {
    /// The new values of this read column.
    Column(usize),
    /// The values that this column of the key had before, by its place in [`TablePlan::key`].
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
    /// Adds rows; those that the filter refuses are left out.
    pub(crate) fn insert(&self, on_existing: OnExisting) -> RowsStatement {
        let params: Vec<Param> = self.needed().into_iter().map(Param::Column).collect();
        let rows = self.rows(&params);
        let conflict = match on_existing {
            OnExisting::Refuse => String::new(),
            OnExisting::Overwrite => self.overwrite(),
        };
        RowsStatement {
            sql: format!("{} FROM {rows}{}{conflict}", self.insert_select(), self.matching()),
            params,
        }
    }

    /// Adds the rows of a staging table that has the read columns.
    pub(crate) fn insert_from(&self, stage: &str) -> String {
        format!("{} FROM {stage} AS s{}", self.insert_select(), self.matching())
    }

    /// Changes rows whose key stays, in the columns that `present` says are known. `None` when
    /// nothing would change.
    pub(crate) fn update(&self, present: &[usize]) -> Option<RowsStatement> {
        let is_key =
            |assignment: &Assignment| self.key.iter().any(|key| key.write == assignment.column);
        let set: Vec<&Assignment> =
            self.changed_by(present).into_iter().filter(|assignment| !is_key(assignment)).collect();
        if set.is_empty() {
            return None;
        }
        let mut params: Vec<usize> = set.iter().flat_map(|each| self.uses(each)).collect();
        params.extend(self.key.iter().map(|key| key.read));
        params.sort_unstable();
        params.dedup();
        let params: Vec<Param> = params.into_iter().map(Param::Column).collect();
        let keys = self
            .key
            .iter()
            .map(|key| (self.name_of(key.read), key))
            .map(|(name, key)| format!("{name}::{}", key.write_type));
        Some(self.update_statement(&set, keys.collect(), params))
    }

    /// Changes rows together with their key, in the columns that `present` says are known.
    pub(crate) fn update_with_key(&self, present: &[usize]) -> RowsStatement {
        let set = self.changed_by(present);
        let mut params: Vec<usize> = set.iter().flat_map(|each| self.uses(each)).collect();
        params.sort_unstable();
        params.dedup();
        let mut params: Vec<Param> = params.into_iter().map(Param::Column).collect();
        params.extend((0..self.key.len()).map(Param::OldKey));
        let keys = (0..self.key.len()).map(old_key_name).collect();
        self.update_statement(&set, keys, params)
    }

    /// Removes rows by the key they had.
    pub(crate) fn delete(&self) -> RowsStatement {
        let params: Vec<Param> = (0..self.key.len()).map(Param::OldKey).collect();
        let keys: Vec<String> = (0..self.key.len()).map(old_key_name).collect();
        let sql = format!(
            "DELETE FROM {} AS t USING {} WHERE {}",
            self.write.quoted(),
            self.rows(&params),
            self.key_equals("s", &keys),
        );
        RowsStatement { sql, params }
    }

    /// Removes the rows whose new values the filter refuses; `None` without a filter.
    pub(crate) fn delete_unmatched(&self) -> Option<RowsStatement> {
        let filter = self.filter.as_ref()?;
        let mut params: Vec<usize> = filter.uses.clone();
        params.extend(self.key.iter().map(|key| key.read));
        params.sort_unstable();
        params.dedup();
        let params: Vec<Param> = params.into_iter().map(Param::Column).collect();
        let keys: Vec<String> = self
            .key
            .iter()
            .enumerate()
            .map(|(place, key)| {
                format!("{}::{} AS k{place}", self.name_of(key.read), key.write_type)
            })
            .collect();
        let names: Vec<String> = (0..keys.len()).map(|place| format!("k{place}")).collect();
        let sql = format!(
            "DELETE FROM {} AS t USING (SELECT {} FROM {} WHERE ({}) IS NOT TRUE) AS n WHERE {}",
            self.write.quoted(),
            keys.join(", "),
            self.rows(&params),
            filter.text,
            self.key_equals("n", &names),
        );
        Some(RowsStatement { sql, params })
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

    /// `t.a = from.k0 AND ...` over the written key.
    fn key_equals(&self, from: &str, names: &[String]) -> String {
        let pairs = self.key.iter().zip(names);
        let terms: Vec<String> = pairs
            .map(|(key, name)| format!("t.{} = {from}.{name}", quote_ident(&key.write)))
            .collect();
        terms.join(" AND ")
    }

    /// The assignments of an update whose inputs are all known.
    fn changed_by(&self, present: &[usize]) -> Vec<&Assignment> {
        let known = |assignment: &&Assignment| {
            self.uses(assignment).iter().all(|index| present.contains(index))
        };
        self.assignments.iter().filter(|each| !each.insert_only).filter(known).collect()
    }

    fn update_statement(
        &self,
        set: &[&Assignment],
        keys: Vec<String>,
        params: Vec<Param>,
    ) -> RowsStatement {
        let mut selected: Vec<String> = Vec::new();
        let mut assigned: Vec<String> = Vec::new();
        for (place, assignment) in set.iter().enumerate() {
            selected.push(format!("{} AS a{place}", self.value_sql(assignment)));
            assigned.push(format!("{} = n.a{place}", quote_ident(&assignment.column)));
        }
        let names: Vec<String> = (0..keys.len()).map(|place| format!("k{place}")).collect();
        for (key, name) in keys.into_iter().zip(&names) {
            selected.push(format!("{key} AS {name}"));
        }
        let sql = format!(
            "UPDATE {} AS t SET {} FROM (SELECT {} FROM {}) AS n WHERE {}",
            self.write.quoted(),
            assigned.join(", "),
            selected.join(", "),
            self.rows(&params),
            self.key_equals("n", &names),
        );
        RowsStatement { sql, params }
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
        format!(" ON CONFLICT ({}) DO UPDATE SET {}", key.join(", "), set.join(", "))
    }

    fn matching(&self) -> String {
        let condition = |filter: &Expression| format!(" WHERE ({})", filter.text);
        self.filter.as_ref().map(condition).unwrap_or_default()
    }

    /// `(SELECT r.c0::bigint AS "id", ... FROM unnest($1::text[], ...) AS r(c0, ...)) AS s`
    fn rows(&self, params: &[Param]) -> String {
        let mut arrays = Vec::new();
        let mut names = Vec::new();
        let mut columns = Vec::new();
        for (place, param) in params.iter().enumerate() {
            arrays.push(format!("${}::text[]", place + 1));
            names.push(format!("c{place}"));
            columns.push(match param {
                Param::Column(index) => {
                    let cast = self.columns.get(*index).map_or("text", |column| &column.cast);
                    format!("r.c{place}::{cast} AS {}", self.name_of(*index))
                }
                Param::OldKey(key) => {
                    let cast = self.key.get(*key).map_or("text", |key| &key.write_type);
                    format!("r.c{place}::{cast} AS {}", old_key_name(*key))
                }
            });
        }
        format!(
            "(SELECT {} FROM unnest({}) AS r({})) AS s",
            columns.join(", "),
            arrays.join(", "),
            names.join(", ")
        )
    }

    pub(crate) fn name_of(&self, column: usize) -> String {
        self.columns.get(column).map(|column| quote_ident(&column.name)).unwrap_or_default()
    }
}

/// No column of a real table has a space in front of its name by accident.
fn old_key_name(place: usize) -> String {
    format!("\" old key {place}\"")
}

const fn is_builtin(assignment: &Assignment) -> bool {
    assignment.write_type_oid < 16_384
}
