//! The values of a row as one piece of received bytes and the places of the values in it: a row costs
//! one reference to the receive buffer and one list, however many columns it has.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::reader::{DecodeError, Reader};

/// The values of a row, in the order of the columns that describe it. The `Debug` form shows lengths,
/// not contents, so that no row value gets into a log.
#[derive(Clone, Default)]
pub struct Tuple {
    data: Bytes,
    cells: Vec<Cell>,
}

/// One value of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TupleValue<'a> {
    /// SQL NULL. In an old tuple that holds only a key also every column outside the key.
    Null,
    /// Not sent: a large value that an update did not touch.
    UnchangedToast,
    /// The value in its type's text form.
    Text(&'a [u8]),
    /// The value in its type's binary form (only where `binary` was asked for).
    Binary(&'a [u8]),
}

#[derive(Clone, Copy)]
struct Cell {
    kind: CellKind,
    start: u32,
    length: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CellKind {
    Null,
    UnchangedToast,
    Text,
    Binary,
}

impl Tuple {
    /// A row of these values, copied into a buffer of its own.
    #[must_use]
    pub fn from_values<'a>(values: impl IntoIterator<Item = TupleValue<'a>>) -> Self {
        let mut data = BytesMut::new();
        let mut cells = Vec::new();
        for value in values {
            let start = data.len();
            data.put_slice(value.bytes().unwrap_or_default());
            cells.push(Cell::new(value.kind(), start, data.len() - start));
        }
        Self { data: data.freeze(), cells }
    }

    /// Decodes the values that follow their count.
    pub(crate) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let count = usize::from(reader.u16("tuple.columns")?);
        let data = reader.peek();
        // The count is the sender's word; each value takes a byte at least.
        let mut cells = Vec::with_capacity(count.min(data.len()));
        let mut place = 0;
        for _ in 0..count {
            let kind = *data.get(place).ok_or(DecodeError::Truncated { field: "value.kind" })?;
            place += 1;
            let kind = match kind {
                b'n' => CellKind::Null,
                b'u' => CellKind::UnchangedToast,
                b't' => CellKind::Text,
                b'b' => CellKind::Binary,
                value => return Err(DecodeError::unknown("value.kind", value)),
            };
            let field = match kind {
                CellKind::Null | CellKind::UnchangedToast => None,
                CellKind::Text => Some("value.text"),
                CellKind::Binary => Some("value.binary"),
            };
            let mut length = 0;
            if let Some(field) = field {
                length = length_at(&data, place, field)?;
                place += size_of::<u32>();
                if length > data.len() - place {
                    return Err(DecodeError::Truncated { field });
                }
            }
            cells.push(Cell::new(kind, place, length));
            place += length;
        }
        let data = reader.take(place);
        Ok(Self { data, cells })
    }

    /// How many values it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether it has no values at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The value in this place; `None` behind the last one.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<TupleValue<'_>> {
        self.cells.get(place).map(|cell| self.value(*cell))
    }

    /// The values in their order.
    pub fn values(&self) -> impl ExactSizeIterator<Item = TupleValue<'_>> {
        self.cells.iter().map(|cell| self.value(*cell))
    }

    /// The same values in other places: place `n` of the result takes the value in place
    /// `sources[n]`, and counts as not sent where there is none. No value is copied.
    #[must_use]
    pub fn rearranged(self, sources: &[Option<usize>]) -> Self {
        let is_same = sources.len() == self.cells.len()
            && sources.iter().enumerate().all(|(place, source)| *source == Some(place));
        if is_same {
            return self;
        }
        let unsent = Cell::new(CellKind::UnchangedToast, 0, 0);
        let cell = |source: &Option<usize>| source.and_then(|place| self.cells.get(place).copied());
        let cells = sources.iter().map(|source| cell(source).unwrap_or(unsent)).collect();
        Self { data: self.data, cells }
    }

    /// Takes the values that were not sent here from an earlier state of the same row.
    pub fn complete_from(&mut self, earlier: &Self) {
        let has_gap = self.cells.iter().zip(&earlier.cells).any(|(cell, before)| {
            cell.kind == CellKind::UnchangedToast && before.kind != CellKind::UnchangedToast
        });
        if has_gap {
            let values =
                self.values().zip(earlier.values().map(Some).chain(std::iter::repeat(None)));
            *self = Self::from_values(values.map(|(value, before)| match (value, before) {
                (TupleValue::UnchangedToast, Some(before)) => before,
                (value, _) => value,
            }));
        }
    }

    /// Roughly the memory it takes, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.data.len() + self.cells.len() * size_of::<Cell>() + size_of::<Self>()
    }

    fn value(&self, cell: Cell) -> TupleValue<'_> {
        let bytes = || {
            let start = usize::try_from(cell.start).unwrap_or(usize::MAX);
            let length = usize::try_from(cell.length).unwrap_or(usize::MAX);
            self.data.get(start..start.saturating_add(length)).unwrap_or_default()
        };
        match cell.kind {
            CellKind::Null => TupleValue::Null,
            CellKind::UnchangedToast => TupleValue::UnchangedToast,
            CellKind::Text => TupleValue::Text(bytes()),
            CellKind::Binary => TupleValue::Binary(bytes()),
        }
    }
}

impl Cell {
    /// Messages are smaller than 1 GiB, and so are the places in them.
    fn new(kind: CellKind, start: usize, length: usize) -> Self {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Self { kind, start: number(start), length: number(length) }
    }
}

impl<'a> TupleValue<'a> {
    /// The value's bytes, in either form; `None` for null and for a value that was not sent.
    #[must_use]
    pub const fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Null | Self::UnchangedToast => None,
            Self::Text(bytes) | Self::Binary(bytes) => Some(bytes),
        }
    }

    const fn kind(self) -> CellKind {
        match self {
            Self::Null => CellKind::Null,
            Self::UnchangedToast => CellKind::UnchangedToast,
            Self::Text(_) => CellKind::Text,
            Self::Binary(_) => CellKind::Binary,
        }
    }
}

/// Equal values, wherever they lie.
impl PartialEq for Tuple {
    fn eq(&self, other: &Self) -> bool {
        self.values().eq(other.values())
    }
}

impl Eq for Tuple {}

impl fmt::Debug for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.values()).finish()
    }
}

impl fmt::Debug for TupleValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::UnchangedToast => f.write_str("UnchangedToast"),
            Self::Text(bytes) => write!(f, "Text({} bytes)", bytes.len()),
            Self::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
        }
    }
}

fn length_at(data: &[u8], place: usize, field: &'static str) -> Result<usize, DecodeError> {
    let length = data
        .get(place..place + size_of::<i32>())
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_be_bytes)
        .ok_or(DecodeError::Truncated { field })?;
    usize::try_from(length).map_err(|_| DecodeError::Unknown { field, value: i64::from(length) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Tuple {
        Tuple::from_values([
            TupleValue::Text(b"one"),
            TupleValue::Null,
            TupleValue::UnchangedToast,
            TupleValue::Binary(&[4]),
        ])
    }

    #[test]
    fn values_move_to_other_places_and_the_rest_counts_as_not_sent() {
        let moved = row().rearranged(&[Some(3), None, Some(0), Some(9)]);
        let expected = [
            TupleValue::Binary(&[4]),
            TupleValue::UnchangedToast,
            TupleValue::Text(b"one"),
            TupleValue::UnchangedToast,
        ];
        assert_eq!(moved, Tuple::from_values(expected));
        assert_eq!(row().rearranged(&[Some(0), Some(1), Some(2), Some(3)]), row());
    }

    #[test]
    fn only_values_that_were_not_sent_come_from_the_earlier_row() {
        let mut now = row();
        now.complete_from(&Tuple::from_values([TupleValue::Text(b"old"); 3]));
        assert_eq!(now.get(0), Some(TupleValue::Text(b"one")));
        assert_eq!(now.get(1), Some(TupleValue::Null));
        assert_eq!(now.get(2), Some(TupleValue::Text(b"old")));
        assert_eq!(now.get(3), Some(TupleValue::Binary(&[4])));
        assert_eq!(now.len(), 4);
    }
}
