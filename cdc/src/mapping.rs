//! How the rows of one table become rows of another one: the configuration's mapping, resolved
//! against the catalogs of both databases. Pure; everything that does not fit is found here, before
//! a row moves.

mod expression;
mod resolve;
pub(crate) mod sql;

#[cfg(test)]
mod tests;

use std::fmt;

use pg::TableName;

use crate::change::is_readable_key;
pub(crate) use resolve::{Strictness, resolve_forward, resolve_reverse};

const TEXT_OID: u32 = 25;
const VARCHAR_OID: u32 = 1043;

/// One table of a stream, in the direction of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TablePlan {
    /// The table's name in the monolith, which is what operators call it.
    pub(crate) source: TableName,
    /// The table that is read.
    pub(crate) read: TableName,
    /// The table that is written.
    pub(crate) write: TableName,
    /// The columns of the table that is read, in the order of its catalog, without generated ones.
    pub(crate) columns: Vec<ReadColumn>,
    /// What identifies a row on both sides.
    pub(crate) key: Vec<KeyColumn>,
    /// How the written columns get their values.
    pub(crate) assignments: Vec<Assignment>,
    /// Rows to move.
    pub(crate) filter: Option<Expression>,
    /// On the way back: the rows that ever left, when not all did. A truncation means only these.
    pub(crate) left_home: Option<String>,
    /// What a column that appears later means: nothing for a projection, a stop for a table that moves.
    pub(crate) strictness: Strictness,
}

/// A column of the table that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadColumn {
    pub(crate) name: String,
    /// The type its text form is cast to where it is written.
    pub(crate) cast: String,
    pub(crate) type_oid: u32,
    /// Whether the type is the same in every server.
    pub(crate) builtin: bool,
    /// What its values are declared as where they come in binary form; `None`: only text will do.
    pub(crate) binary: Option<BinaryType>,
}

/// The type of values that come in binary form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BinaryType {
    pub(crate) sql: String,
    pub(crate) type_oid: u32,
}

/// In which form values come: out of the log, and by `COPY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Binary,
}

/// A column of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyColumn {
    /// Index into [`TablePlan::columns`].
    pub(crate) read: usize,
    /// Name of the written column.
    pub(crate) write: String,
    /// Its type.
    pub(crate) write_type: String,
    /// Whether the order of its values may depend on the database's locale.
    pub(crate) collatable: bool,
}

/// A written column and where its value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// Name of the written column.
    pub(crate) column: String,
    /// Its type without modifier.
    pub(crate) write_type: String,
    /// Its type with length or precision.
    pub(crate) declared_type: String,
    pub(crate) write_type_oid: u32,
    /// The type whose binary form it reads; `None`: only text will do.
    pub(crate) write_binary: Option<u32>,
    pub(crate) value: Value,
    /// Set when the row is new, left alone when it changes.
    pub(crate) insert_only: bool,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// The read column with this index, as it is.
    Column(usize),
    /// Computed from the row that is read.
    Sql(Expression),
}

/// An SQL expression over the row that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expression {
    pub(crate) text: String,
    /// Read columns that its text names; may be more than it needs, never fewer.
    pub(crate) uses: Vec<usize>,
}

/// Everything in a capability's mapping that does not fit the databases.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct MappingError {
    pub(crate) problems: Vec<Problem>,
}

/// One thing that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) table: TableName,
    pub(crate) column: Option<String>,
    /// What is wrong and what to write instead.
    pub(crate) what: String,
}

impl TablePlan {
    /// Stands for a table whose mapping does not fit; nothing may be read or written by it.
    pub(crate) const fn unresolved(source: TableName, read: TableName, write: TableName) -> Self {
        Self {
            source,
            read,
            write,
            columns: Vec::new(),
            key: Vec::new(),
            assignments: Vec::new(),
            filter: None,
            left_home: None,
            strictness: Strictness::EveryColumn,
        }
    }

    /// The columns that have to be known to compute the assignment.
    pub(crate) fn uses(&self, assignment: &Assignment) -> Vec<usize> {
        match &assignment.value {
            Value::Column(index) => vec![*index],
            Value::Sql(expression) => expression.uses.clone(),
        }
    }

    /// The columns a written row depends on, in order.
    pub(crate) fn needed(&self) -> Vec<usize> {
        let mut needed: Vec<usize> = self.key.iter().map(|key| key.read).collect();
        for assignment in &self.assignments {
            needed.extend(self.uses(assignment));
        }
        needed.extend(self.filter.iter().flat_map(|filter| filter.uses.iter().copied()));
        needed.sort_unstable();
        needed.dedup();
        needed
    }

    /// The form in which values of this table may come.
    pub(crate) fn format(&self) -> Format {
        let binary = |column: usize| self.columns.get(column)?.binary.as_ref();
        let is_known = self.needed().into_iter().all(|column| binary(column).is_some());
        let is_key_readable = self
            .key
            .iter()
            .all(|key| binary(key.read).is_some_and(|binary| is_readable_key(binary.type_oid)));
        if is_known && is_key_readable { Format::Binary } else { Format::Text }
    }

    /// The format in which rows can be copied as they are, when nothing is computed or left out.
    pub(crate) fn straight(&self) -> Option<Format> {
        let mut format = Format::Binary;
        for assignment in &self.assignments {
            let Value::Column(index) = assignment.value else { return None };
            let column = self.columns.get(index)?;
            let read = column.binary.as_ref().map(|binary| binary_form(binary.type_oid));
            if read.is_some() && read == assignment.write_binary.map(binary_form) {
                continue;
            }
            if column.builtin && column.type_oid != assignment.write_type_oid {
                return None;
            }
            format = Format::Text;
        }
        self.filter.is_none().then_some(format)
    }

    /// The format in which the needed columns reach a table that has them as they are cast.
    pub(crate) fn staged(&self) -> Format {
        let is_binary = |column: &ReadColumn| column.builtin && column.binary.is_some();
        let needed = self.needed();
        let mut columns = needed.iter().filter_map(|index| self.columns.get(*index));
        if columns.all(is_binary) { Format::Binary } else { Format::Text }
    }
}

/// Types with the same number here can be read as each other.
const fn binary_form(type_oid: u32) -> u32 {
    if type_oid == VARCHAR_OID { TEXT_OID } else { type_oid }
}

impl Format {
    /// For `COPY`.
    pub(crate) const fn options(self) -> &'static str {
        match self {
            Self::Binary => "(FORMAT binary)",
            Self::Text => "(FORMAT text)",
        }
    }

    /// The form in which the values of all these tables may come.
    pub(crate) fn of(plans: &[TablePlan]) -> Self {
        let is_binary = plans.iter().all(|plan| plan.format() == Self::Binary);
        if is_binary { Self::Binary } else { Self::Text }
    }
}

impl fmt::Display for MappingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the mapping does not fit the databases: ")?;
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.column {
            Some(column) => write!(f, "{}.{column}: {}", self.table, self.what),
            None => write!(f, "{}: {}", self.table, self.what),
        }
    }
}
