//! Parked messages in the words of a stage: text values by the stage's columns.

use std::collections::HashMap;

use bytes::Bytes;
use pg::pgoutput::{
    self, DecodeContext, Message, OldTupleKind, Relation, RelationOid, Tuple, TupleValue,
};

use crate::{StreamError, spec::StreamSpec};

/// A value of the stage.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Null,
    /// Left out of the log, or not yet a column.
    Unknown,
    Text(Bytes),
}

/// A row of the stage, one value for each of its columns.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct StageRow(pub(super) Vec<Cell>);

/// What identifies a row, in the order of the plan's key.
pub(super) type StageKey = Vec<Bytes>;

/// A parked change.
pub(super) enum StageChange {
    /// A row came, or is now so. `old`: the key it had, where that was another one.
    Put { old: Option<StageKey>, key: StageKey, row: StageRow },
    /// A row went.
    Delete { key: StageKey },
    /// All rows went.
    Truncate,
}

/// Reads parked messages of one table.
#[derive(Debug)]
pub(super) struct Decoder {
    /// The names of the stage's columns.
    names: Vec<String>,
    /// Places of the key in the stage's columns.
    key: Vec<usize>,
    /// For each described relation the stage's column of each of its values.
    bound: HashMap<RelationOid, Vec<Option<usize>>>,
}

impl Decoder {
    pub(super) fn new(names: Vec<String>, key: Vec<usize>) -> Self {
        Self { names, key, bound: HashMap::new() }
    }

    /// Takes note of a table's description.
    pub(super) fn describe(&mut self, relation: &Relation) {
        let place = |name: &String| self.names.iter().position(|known| known == name);
        let columns = relation.columns.iter().map(|column| place(&column.name)).collect();
        self.bound.insert(relation.oid, columns);
    }

    /// The change of a message that is no description; `None` when there is none.
    ///
    /// # Errors
    /// When it does not fit what was described.
    pub(super) fn change(&self, message: Message) -> Result<Option<StageChange>, StreamError> {
        Ok(Some(match message {
            Message::Insert(insert) => {
                let row = self.row(insert.relation, &insert.new)?;
                StageChange::Put { old: None, key: self.key(&row)?, row }
            }
            Message::Update(update) => {
                let mut row = self.row(update.relation, &update.new)?;
                let mut old_key = None;
                if let Some(old) = &update.old {
                    let before = self.row(update.relation, &old.tuple)?;
                    if old.kind == OldTupleKind::Full {
                        row.complete_from(&before);
                    }
                    old_key = Some(self.key(&before)?);
                }
                let key = self.key(&row)?;
                StageChange::Put { old: old_key.filter(|old| *old != key), key, row }
            }
            Message::Delete(delete) => {
                let row = self.row(delete.relation, &delete.old.tuple)?;
                StageChange::Delete { key: self.key(&row)? }
            }
            Message::Truncate(_) => StageChange::Truncate,
            Message::Relation(_)
            | Message::Begin(_)
            | Message::Commit(_)
            | Message::Origin(_)
            | Message::Type(_)
            | Message::Logical(_)
            | Message::StreamStart(_)
            | Message::StreamStop
            | Message::StreamCommit(_)
            | Message::StreamAbort(_)
            | Message::BeginPrepare(_)
            | Message::Prepare(_)
            | Message::StreamPrepare(_)
            | Message::CommitPrepared(_)
            | Message::RollbackPrepared(_) => return Ok(None),
        }))
    }

    fn row(&self, relation: RelationOid, tuple: &Tuple) -> Result<StageRow, StreamError> {
        let bound = self.bound.get(&relation).ok_or_else(|| unfit("without a description"))?;
        if bound.len() != tuple.len() {
            return Err(unfit("that is not as it was described"));
        }
        let mut cells = vec![Cell::Unknown; self.names.len()];
        for (value, place) in tuple.values().zip(bound) {
            let Some(cell) = place.and_then(|place| cells.get_mut(place)) else { continue };
            *cell = match value {
                TupleValue::Null => Cell::Null,
                TupleValue::UnchangedToast => Cell::Unknown,
                TupleValue::Text(bytes) => Cell::Text(Bytes::copy_from_slice(bytes)),
                TupleValue::Binary(_) => return Err(unfit("in binary form")),
            };
        }
        Ok(StageRow(cells))
    }

    fn key(&self, row: &StageRow) -> Result<StageKey, StreamError> {
        row.key(&self.key).ok_or_else(|| unfit("without its key"))
    }
}

impl StageRow {
    /// The values at the places of the key; `None` when one is null or unknown.
    pub(super) fn key(&self, places: &[usize]) -> Option<StageKey> {
        let value = |place: &usize| match self.0.get(*place) {
            Some(Cell::Text(bytes)) => Some(bytes.clone()),
            Some(Cell::Null | Cell::Unknown) | None => None,
        };
        places.iter().map(value).collect()
    }

    pub(super) fn is_complete(&self) -> bool {
        !self.0.contains(&Cell::Unknown)
    }

    /// Takes what is unknown from an earlier state of the row.
    pub(super) fn complete_from(&mut self, earlier: &Self) {
        for (cell, before) in self.0.iter_mut().zip(&earlier.0) {
            if *cell == Cell::Unknown {
                cell.clone_from(before);
            }
        }
    }
}

impl Cell {
    pub(super) fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Null | Self::Unknown => None,
            Self::Text(bytes) => Some(bytes),
        }
    }
}

/// Reads one parked message.
///
/// # Errors
/// When it is none.
pub(super) fn decode(spec: &StreamSpec, message: Bytes) -> Result<Message, StreamError> {
    let side = spec.reads();
    pgoutput::decode(message, DecodeContext::default())
        .map(|decoded| decoded.message)
        .map_err(|source| StreamError::Decode { side, source })
}

fn unfit(what: &str) -> StreamError {
    StreamError::Operator(format!("a row was parked {what}: copy the table again"))
}
