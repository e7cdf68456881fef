//! Row changes as they come out of the log, in the words of a plan.

use std::fmt;

use bytes::Bytes;

use crate::mapping::TablePlan;

/// A value of a row that is read, in its text form.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Datum {
    Null,
    /// Not known: a large value that the update left alone, or a column nothing needs.
    Missing,
    Text(Bytes),
}

/// A row that is read, one value for each of the plan's columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row(pub(crate) Vec<Datum>);

/// The values that identify a row, in the order of the plan's key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(pub(crate) Vec<Bytes>);

/// A change of one row, or of whole tables. Tables are numbered as in the stream's plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Insert {
        table: usize,
        key: Key,
        new: Row,
    },
    /// `old_key` only when the key changed.
    Update {
        table: usize,
        key: Key,
        old_key: Option<Key>,
        new: Row,
    },
    Delete {
        table: usize,
        key: Key,
    },
    Truncate {
        tables: Vec<usize>,
    },
}

impl Datum {
    pub(crate) const fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }

    /// The text; `None` for null and for what is not known.
    pub(crate) fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Null | Self::Missing => None,
            Self::Text(bytes) => Some(bytes),
        }
    }
}

/// Lengths, never values.
impl fmt::Debug for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Missing => f.write_str("Missing"),
            Self::Text(bytes) => write!(f, "Text({} bytes)", bytes.len()),
        }
    }
}

impl Row {
    /// The values that identify the row; `None` when one of them is null or not known.
    pub(crate) fn key(&self, plan: &TablePlan) -> Option<Key> {
        let value = |index: usize| match self.0.get(index) {
            Some(Datum::Text(bytes)) => Some(bytes.clone()),
            Some(Datum::Null | Datum::Missing) | None => None,
        };
        plan.key.iter().map(|column| value(column.read)).collect::<Option<_>>().map(Key)
    }

    pub(crate) fn is_known(&self, column: usize) -> bool {
        self.0.get(column).is_some_and(|datum| !datum.is_missing())
    }

    /// Takes what is not known here from an earlier state of the same row.
    pub(crate) fn complete_from(&mut self, earlier: &Self) {
        for (value, before) in self.0.iter_mut().zip(&earlier.0) {
            if value.is_missing() {
                value.clone_from(before);
            }
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.0.iter().map(|value| value.text().map_or(0, <[u8]>::len) + 8).sum()
    }
}

impl Key {
    pub(crate) fn size(&self) -> usize {
        self.0.iter().map(|value| value.len() + 8).sum()
    }
}

/// `(42)`, `(7, Seen)`: what an operator needs to find the row.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<_> = self.0.iter().map(|value| String::from_utf8_lossy(value)).collect();
        write!(f, "({})", values.join(", "))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Change {
    /// The table, or one of the tables.
    pub(crate) fn table(&self) -> Option<usize> {
        match self {
            Self::Insert { table, .. }
            | Self::Update { table, .. }
            | Self::Delete { table, .. } => Some(*table),
            Self::Truncate { tables } => tables.first().copied(),
        }
    }

    /// Roughly the memory it takes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Insert { key, new, .. } | Self::Update { key, new, .. } => {
                key.size() + new.size()
            }
            Self::Delete { key, .. } => key.size(),
            Self::Truncate { tables } => tables.len() * 8,
        }
    }
}
