//! Guard rows and route states to and from their messages.

use cutover::{Epoch, GuardPair, GuardRow, ParsePhaseError};

use crate::v1;

/// A message carried a word this version does not know, or lacked a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConvertError {
    /// A state or phase with an unknown name.
    UnknownWord(ParsePhaseError),
    /// The sender could not read this side's guard.
    Unknown,
}

impl std::fmt::Display for ConvertError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownWord(word) => word.fmt(f),
            Self::Unknown => f.write_str("the guard row could not be read"),
        }
    }
}

impl std::error::Error for ConvertError {}

impl From<GuardRow> for v1::GuardSide {
    fn from(row: GuardRow) -> Self {
        Self {
            state: row.state.as_str().to_owned(),
            epoch: row.epoch.0,
            prepared: row.prepared.0,
            overdue: row.overdue,
            known: true,
        }
    }
}

impl TryFrom<&v1::GuardSide> for GuardRow {
    type Error = ConvertError;

    fn try_from(side: &v1::GuardSide) -> Result<Self, Self::Error> {
        if !side.known {
            return Err(ConvertError::Unknown);
        }
        Ok(Self {
            state: side.state.parse().map_err(ConvertError::UnknownWord)?,
            epoch: Epoch(side.epoch),
            prepared: Epoch(side.prepared),
            overdue: side.overdue,
        })
    }
}

impl TryFrom<&v1::GuardView> for GuardPair {
    type Error = ConvertError;

    fn try_from(view: &v1::GuardView) -> Result<Self, Self::Error> {
        let side = |side: &Option<v1::GuardSide>| {
            side.as_ref().ok_or(ConvertError::Unknown).and_then(GuardRow::try_from)
        };
        Ok(Self { source: side(&view.source)?, target: side(&view.target)? })
    }
}
