//! Where a capability stands, its two sides, and the names of its streams.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// One of the two databases of a capability, and the upstream in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The monolith and its database.
    Source,
    /// The extracted service and its database.
    Target,
}

impl Side {
    /// The opposite side.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Source => Self::Target,
            Self::Target => Self::Source,
        }
    }

    /// Stable name used in metrics, JSON and SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which way the ownership of writes moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Cutover: from the monolith to the service.
    Forward,
    /// Rollback: from the service back to the monolith.
    Back,
}

impl Direction {
    /// The side that owns the writes before the transfer.
    #[must_use]
    pub const fn old_owner(self) -> Side {
        match self {
            Self::Forward => Side::Source,
            Self::Back => Side::Target,
        }
    }

    /// The side that owns the writes after the transfer.
    #[must_use]
    pub const fn new_owner(self) -> Side {
        self.old_owner().other()
    }

    /// The stream that must have applied the barrier: from the old owner into the new one.
    #[must_use]
    pub const fn draining_stream(self) -> StreamKind {
        match self {
            Self::Forward => StreamKind::Forward,
            Self::Back => StreamKind::Reverse,
        }
    }

    /// The word operators use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "cutover",
            Self::Back => "rollback",
        }
    }
}

/// How far a capability has moved, outside a running transfer. Written by control alone; the guard
/// rows in the two databases are the truth about who may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "name")]
pub enum Phase {
    /// Nothing has been started: the monolith answers everything.
    Monolith,
    /// Tables are copied and streamed into the service's database.
    Replicating,
    /// Reads are answered by the monolith and asked of the service too.
    Shadowing,
    /// This share of the subjects gets its reads from the service.
    Reading {
        /// 0 to 100.
        percent: u8,
    },
    /// The service owns reads and writes; the reverse stream keeps the monolith current.
    Switched,
    /// The reverse stream and the monolith's tables were let go.
    Completed,
}

impl Phase {
    /// Stable name without the share.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Monolith => "monolith",
            Self::Replicating => "replicating",
            Self::Shadowing => "shadowing",
            Self::Reading { .. } => "reading",
            Self::Switched => "switched",
            Self::Completed => "completed",
        }
    }

    /// The side that owns the writes in this phase.
    #[must_use]
    pub const fn owner(self) -> Side {
        match self {
            Self::Monolith | Self::Replicating | Self::Shadowing | Self::Reading { .. } => {
                Side::Source
            }
            Self::Switched | Self::Completed => Side::Target,
        }
    }

    /// Share of the reads the service answers, in percent.
    #[must_use]
    pub const fn read_percent(self) -> u8 {
        match self {
            Self::Monolith | Self::Replicating | Self::Shadowing => 0,
            Self::Reading { percent } => percent,
            Self::Switched | Self::Completed => 100,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reading { percent } => write!(f, "reading {percent}%"),
            Self::Monolith
            | Self::Replicating
            | Self::Shadowing
            | Self::Switched
            | Self::Completed => f.write_str(self.as_str()),
        }
    }
}

/// The text is not a phase.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown phase {0:?}")]
pub struct ParsePhaseError(pub String);

impl FromStr for Phase {
    type Err = ParsePhaseError;

    /// Reads what `Display` writes (`reading 10%`).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || ParsePhaseError(text.to_owned());
        match text {
            "monolith" => Ok(Self::Monolith),
            "replicating" => Ok(Self::Replicating),
            "shadowing" => Ok(Self::Shadowing),
            "switched" => Ok(Self::Switched),
            "completed" => Ok(Self::Completed),
            reading => {
                let share = reading.strip_prefix("reading ").and_then(|s| s.strip_suffix('%'));
                let percent: u8 = share.and_then(|s| s.parse().ok()).ok_or_else(unknown)?;
                if percent > 100 {
                    return Err(unknown());
                }
                Ok(Self::Reading { percent })
            }
        }
    }
}

/// The streams of a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamKind {
    /// The capability's tables, from the monolith into the service.
    Forward,
    /// The same tables, from the service back into the monolith.
    Reverse,
    /// Tables the monolith keeps owning and the service only reads; never fenced, never reversed.
    Reference,
}

impl StreamKind {
    /// Stable name used in slot names, metrics and SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Reverse => "reverse",
            Self::Reference => "reference",
        }
    }

    /// The side the stream reads from.
    #[must_use]
    pub const fn reads_from(self) -> Side {
        match self {
            Self::Forward | Self::Reference => Side::Source,
            Self::Reverse => Side::Target,
        }
    }

    /// The side the stream applies to; its row of `ficus.apply` lives there.
    #[must_use]
    pub const fn applies_to(self) -> Side {
        self.reads_from().other()
    }

    /// Name of the replication slot, and of the replication origin that marks what the stream
    /// wrote: `ficus_tickets_forward`.
    #[must_use]
    pub fn slot(self, capability: &str) -> String {
        format!("ficus_{capability}_{}", self.as_str())
    }

    /// Name of the publication the stream reads: `ficus_tickets`, `ficus_tickets_reference`.
    #[must_use]
    pub fn publication(self, capability: &str) -> String {
        match self {
            Self::Forward | Self::Reverse => format!("ficus_{capability}"),
            Self::Reference => format!("ficus_{capability}_reference"),
        }
    }

    /// Key of the stream's row in `ficus.apply`: `tickets:forward`.
    #[must_use]
    pub fn key(self, capability: &str) -> String {
        format!("{capability}:{}", self.as_str())
    }
}

impl FromStr for StreamKind {
    type Err = ParsePhaseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "forward" => Ok(Self::Forward),
            "reverse" => Ok(Self::Reverse),
            "reference" => Ok(Self::Reference),
            other => Err(ParsePhaseError(other.to_owned())),
        }
    }
}
