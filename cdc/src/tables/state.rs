//! The states of a table and what leads from one to another. Pure.
//!
//! ```text
//! pending ──> copying ──> ready ──conflict──> quarantined ──retry, skip──> replaying ──> ready
//!                           ├──changed shape──> changed ──accept──────────────^  │ conflict
//!                           └──resync (from any of these)──> resyncing ──merged──┘
//! ```

#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

/// Where a table stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TableState {
    /// The first copy has not reached it. Set when the stream is made, left by the copy.
    Pending,
    /// The first copy works on it.
    Copying,
    /// Its changes are applied as they come.
    Ready,
    /// A change did not meet its row, or its parked changes were dropped: changes are parked until an
    /// operator says how to go on.
    Quarantined,
    /// The log describes it with a shape that the mapping was not resolved for: changes are parked
    /// until an operator accepts the new one.
    Changed,
    /// It is copied again, chunk by chunk; changes are parked and count by their chunk's snapshot.
    Resyncing,
    /// Its parked changes are applied in order, new ones are parked behind them; ready once none is
    /// left.
    Replaying,
}

/// What an operator can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableCommand {
    /// Apply the parked changes again: what was wrong was mended.
    Retry,
    /// The same, and leave out the change that does not fit.
    Skip,
    /// Copy the table again.
    Resync,
    /// Take the new shape: the mapping was brought up to date.
    Accept,
}

/// Why a command makes no sense now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("it is {0}: there is nothing to {1}")]
    Nothing(TableState, TableCommand),
    #[error(
        "parked changes were dropped, because they took more than cdc.parked_max: only a resync helps"
    )]
    Missed,
    #[error("its shape changed: see ficus ddl show, then ficus ddl accept, or resync")]
    NeedsAccept,
    #[error("it is {0}: wait for the first copy")]
    Copying(TableState),
}

impl TableState {
    pub(crate) const ALL: [Self; 7] = [
        Self::Pending,
        Self::Copying,
        Self::Ready,
        Self::Quarantined,
        Self::Changed,
        Self::Resyncing,
        Self::Replaying,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Copying => "copying",
            Self::Ready => "ready",
            Self::Quarantined => "quarantined",
            Self::Changed => "changed",
            Self::Resyncing => "resyncing",
            Self::Replaying => "replaying",
        }
    }

    /// Whether a stream that reads the log parks the table's changes. The first copy is over then:
    /// what it left behind is ready.
    pub(crate) const fn parks(self) -> bool {
        match self {
            Self::Pending | Self::Copying | Self::Ready => false,
            Self::Quarantined | Self::Changed | Self::Resyncing | Self::Replaying => true,
        }
    }

    /// The state after a command.
    ///
    /// # Errors
    /// Why the command makes no sense. `missed`: parked changes were dropped.
    pub(crate) const fn after(
        self,
        command: TableCommand,
        missed: bool,
    ) -> Result<Self, CommandError> {
        use TableCommand::{Accept, Resync, Retry, Skip};
        match (self, command) {
            (Self::Pending | Self::Copying, _) => Err(CommandError::Copying(self)),
            (Self::Ready | Self::Quarantined | Self::Changed | Self::Replaying, Resync) => {
                Ok(Self::Resyncing)
            }
            (Self::Quarantined | Self::Changed, Retry | Skip | Accept) if missed => {
                Err(CommandError::Missed)
            }
            (Self::Quarantined, Retry | Skip) | (Self::Changed, Accept) => Ok(Self::Replaying),
            (Self::Changed, Retry | Skip) => Err(CommandError::NeedsAccept),
            (Self::Ready | Self::Resyncing | Self::Replaying, _) | (Self::Quarantined, Accept) => {
                Err(CommandError::Nothing(self, command))
            }
        }
    }
}

impl TableCommand {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Skip => "skip",
            Self::Resync => "resync",
            Self::Accept => "accept",
        }
    }
}

impl FromStr for TableState {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(())
    }
}

impl FromStr for TableCommand {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [Self::Retry, Self::Skip, Self::Resync, Self::Accept];
        all.into_iter().find(|command| command.as_str() == text).ok_or(())
    }
}

impl fmt::Display for TableState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for TableCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
