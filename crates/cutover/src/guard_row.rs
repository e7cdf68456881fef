//! The guard rows: one for each capability in each of its two databases, the only truth about who
//! may write. What they mean is decided here; the SQL that changes them is in `crates/guard`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Epoch, ParsePhaseError, Side};

/// State of one side's guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum GuardState {
    /// This side may write.
    Open,
    /// Writes are refused; expires into `Open` unless decided before the deadline.
    Fenced,
    /// The other side owns the writes.
    Moved,
}

impl GuardState {
    /// As stored in `ficus.guard.state`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Fenced => "FENCED",
            Self::Moved => "MOVED",
        }
    }
}

impl FromStr for GuardState {
    type Err = ParsePhaseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "OPEN" => Ok(Self::Open),
            "FENCED" => Ok(Self::Fenced),
            "MOVED" => Ok(Self::Moved),
            other => Err(ParsePhaseError(other.to_owned())),
        }
    }
}

/// One side's guard row as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GuardRow {
    /// Who may write here.
    pub state: GuardState,
    /// Fencing number.
    pub epoch: Epoch,
    /// The epoch this side was prepared for as the next owner; `Epoch::NONE` when it was not.
    pub prepared: Epoch,
    /// Only while fenced: the deadline has passed, so anyone may expire the fence.
    pub overdue: bool,
}

/// Both guard rows of a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GuardPair {
    /// The monolith's.
    pub source: GuardRow,
    /// The service's.
    pub target: GuardRow,
}

/// Who owns the writes according to both guard rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ownership {
    /// Exactly this side is open, at this epoch.
    Owned {
        /// The open side.
        by: Side,
        /// Its epoch.
        epoch: Epoch,
    },
    /// Between a fence and its end: nobody is open.
    InTransition {
        /// The highest epoch seen.
        epoch: Epoch,
    },
    /// Both are open. Can not happen while invariant I1 holds; a reader must stop and alarm.
    Split,
}

impl GuardPair {
    /// The row of one side.
    #[must_use]
    pub const fn side(&self, side: Side) -> &GuardRow {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    /// Who owns the writes.
    #[must_use]
    pub fn ownership(&self) -> Ownership {
        let open = |row: &GuardRow| row.state == GuardState::Open;
        match (open(&self.source), open(&self.target)) {
            (true, true) => Ownership::Split,
            (true, false) => Ownership::Owned { by: Side::Source, epoch: self.source.epoch },
            (false, true) => Ownership::Owned { by: Side::Target, epoch: self.target.epoch },
            (false, false) => {
                Ownership::InTransition { epoch: self.source.epoch.max(self.target.epoch) }
            }
        }
    }
}
