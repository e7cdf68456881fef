//! Row changes as they come out of the log, in the words of a plan.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use pg::pgoutput::{Tuple, TupleValue};

use crate::{mapping::TablePlan, tables::Parked};

/// A row that is read, one value for each of the plan's columns. What was not sent is not known: a
/// large value that the update left alone, a column nothing needs, or all but the key of an old row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row(pub(crate) Tuple);

/// The values that identify a row, in the order of the plan's key, as text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(pub(crate) Vec<Bytes>);

/// A change of one row, or of whole tables. Tables are numbered as in the stream's plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Insert {
        table: usize,
        new: Row,
    },
    /// `old` only when the key changed; of it only the key counts.
    Update {
        table: usize,
        old: Option<Row>,
        new: Row,
    },
    /// Of the old row only the key counts.
    Delete {
        table: usize,
        old: Row,
    },
    Truncate {
        tables: Vec<usize>,
    },
    /// Something of a table that waits, not looked at.
    Parked(Parked),
}

impl Row {
    /// The value of a column; [`TupleValue::UnchangedToast`] when it is not known.
    pub(crate) fn value(&self, column: usize) -> TupleValue<'_> {
        self.0.get(column).unwrap_or(TupleValue::UnchangedToast)
    }

    pub(crate) fn is_known(&self, column: usize) -> bool {
        self.value(column) != TupleValue::UnchangedToast
    }

    /// The values that identify the row; `None` when one of them is null or not known.
    pub(crate) fn key(&self, plan: &TablePlan) -> Option<Key> {
        let value = |column: usize| {
            let bytes = match self.value(column) {
                TupleValue::Null | TupleValue::UnchangedToast => return None,
                TupleValue::Text(bytes) => Bytes::copy_from_slice(bytes),
                TupleValue::Binary(bytes) => {
                    let form = plan.columns.get(column)?.binary.as_ref()?;
                    text_of(form.type_oid, bytes)?
                }
            };
            Some(bytes)
        };
        plan.key.iter().map(|column| value(column.read)).collect::<Option<_>>().map(Key)
    }

    /// The key when it is one integer in binary form.
    pub(crate) fn integer_key(&self, plan: &TablePlan) -> Option<i64> {
        let [only] = plan.key.as_slice() else { return None };
        let TupleValue::Binary(bytes) = self.value(only.read) else { return None };
        match plan.columns.get(only.read)?.binary.as_ref()?.type_oid {
            INT2 => Some(i16::from_be_bytes(bytes.try_into().ok()?).into()),
            INT4 => Some(i32::from_be_bytes(bytes.try_into().ok()?).into()),
            INT8 => Some(i64::from_be_bytes(bytes.try_into().ok()?)),
            _ => None,
        }
    }

    /// The same as they came, without looking at what they mean: tells rows of one stream apart, and
    /// orders whole numbers and texts nearly as an index does.
    pub(crate) fn raw_key(&self, plan: &TablePlan) -> Option<Cow<'_, [u8]>> {
        if let [only] = plan.key.as_slice() {
            return self.value(only.read).bytes().map(Cow::Borrowed);
        }
        let mut raw = Vec::new();
        for key in &plan.key {
            let bytes = self.value(key.read).bytes()?;
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            raw.extend_from_slice(&length.to_be_bytes());
            raw.extend_from_slice(bytes);
        }
        Some(Cow::Owned(raw))
    }

    /// Takes what is not known here from an earlier state of the same row.
    pub(crate) fn complete_from(&mut self, earlier: &Self) {
        self.0.complete_from(&earlier.0);
    }
}

/// Types of key columns whose binary form [`text_of`] can read.
pub(crate) const fn is_readable_key(type_oid: u32) -> bool {
    matches!(type_oid, INT2 | INT4 | INT8 | UUID | NAME | TEXT | BPCHAR | VARCHAR)
}

const NAME: u32 = 19;
const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const TEXT: u32 = 25;
const BPCHAR: u32 = 1042;
const VARCHAR: u32 = 1043;
const UUID: u32 = 2950;

/// The text form of a value in binary form; `None` for other types and for what does not fit the type.
fn text_of(type_oid: u32, bytes: &[u8]) -> Option<Bytes> {
    let text = match type_oid {
        INT2 => i16::from_be_bytes(bytes.try_into().ok()?).to_string(),
        INT4 => i32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        INT8 => i64::from_be_bytes(bytes.try_into().ok()?).to_string(),
        UUID => uuid_text(u128::from_be_bytes(bytes.try_into().ok()?)),
        NAME | TEXT | BPCHAR | VARCHAR => return Some(Bytes::copy_from_slice(bytes)),
        _ => return None,
    };
    Some(text.into_bytes().into())
}

fn uuid_text(value: u128) -> String {
    let part = |shift: u32, bits: u32| (value >> shift) & ((1 << bits) - 1);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        part(96, 32),
        part(80, 16),
        part(64, 16),
        part(48, 16),
        part(0, 48)
    )
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
            Self::Parked(parked) => Some(parked.table),
        }
    }

    /// Roughly the memory it takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Insert { new, .. } | Self::Update { new, .. } => new.0.size(),
            Self::Delete { old, .. } => old.0.size(),
            Self::Truncate { tables } => tables.len() * size_of::<usize>(),
            Self::Parked(parked) => parked.message.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_binary_form_read_as_the_server_writes_them() {
        let text = |oid, bytes: &[u8]| text_of(oid, bytes).map(|text| text.to_vec());
        assert_eq!(text(INT2, &(-7_i16).to_be_bytes()), Some(b"-7".to_vec()));
        assert_eq!(text(INT4, &70_000_i32.to_be_bytes()), Some(b"70000".to_vec()));
        assert_eq!(text(INT8, &i64::MIN.to_be_bytes()), Some(b"-9223372036854775808".to_vec()));
        let uuid = 0x0123_4567_89ab_cdef_0011_2233_4455_6677_u128.to_be_bytes();
        assert_eq!(text(UUID, &uuid), Some(b"01234567-89ab-cdef-0011-223344556677".to_vec()));
        assert_eq!(text(VARCHAR, "Grüße".as_bytes()), Some("Grüße".as_bytes().to_vec()));
        assert_eq!(text(INT4, &[1]), None);
        assert_eq!(text(1700, &[0; 8]), None);
        assert!(!is_readable_key(1700));
    }
}
