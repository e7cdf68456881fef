//! Why a stream does not go on, and whether trying again can help.

use cutover::Side;
use guard::GuardError;
use pg::DecodeError;

use crate::{mapping::MappingError, wire::WireError};

/// Why a stream stopped.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// A statement failed.
    #[error("could not {doing} in the {side} database")]
    Database {
        /// What was attempted.
        doing: &'static str,
        /// Where.
        side: Side,
        /// The server's answer.
        #[source]
        source: tokio_postgres::Error,
    },
    /// No session with a database.
    #[error("could not connect to the {side} database")]
    Connect {
        /// Which one.
        side: Side,
        /// Why.
        #[source]
        source: GuardError,
    },
    /// The replication connection failed.
    #[error("could not read the log of the {side} database")]
    Wire {
        /// Whose log.
        side: Side,
        /// Why.
        #[source]
        source: WireError,
    },
    /// A statement of a copy failed.
    #[error("could not {doing} in the {side} database")]
    Copy {
        /// What was attempted.
        doing: &'static str,
        /// Where.
        side: Side,
        /// Why.
        #[source]
        source: WireError,
    },
    /// A message of the plugin can not be read.
    #[error("the log of the {side} database holds a message that cannot be read")]
    Decode {
        /// Whose log.
        side: Side,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// A large transaction could not be kept on disk until its commit.
    #[error("could not keep an unfinished transaction on disk: free space in the spill directory")]
    Spill(#[from] std::io::Error),
    /// The mapping does not fit the databases.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// Something an operator has to put right; says what.
    #[error("{0}")]
    Operator(String),
    /// A change did not meet the row it expected.
    #[error("conflict in {table}: {what}; compare the row on both sides and mend it")]
    Conflict {
        /// The table that is written, and the key of the row where it is known.
        table: String,
        /// What was expected and found.
        what: String,
        /// What the database said, if it did.
        #[source]
        source: Option<tokio_postgres::Error>,
    },
    /// A table is not as it was when its mapping was resolved.
    #[error("{table} changed: {what}; see ficus ddl show")]
    Changed {
        /// As the monolith calls it.
        table: String,
        /// The first thing that does not fit.
        what: String,
    },
    /// More changes are parked than may be.
    #[error("the parked changes took more than cdc.parked_max")]
    ParkedFull {
        /// The table that needed more, as the monolith calls it.
        table: String,
    },
    /// A side that does not own the capability was written to.
    #[error(
        "breach: {table} was written on the {side} side, which does not own it; find the writer \
         (a table owner that disabled the fence, or a superuser), undo the write there, then resume: \
         what was written there until then is left out"
    )]
    Breach {
        /// The table.
        table: String,
        /// The side.
        side: Side,
    },
    /// A table lost rows that the copy's snapshot should have seen.
    #[error("{table} was truncated or rewritten while it was copied: the copy starts again")]
    Rewritten {
        /// The table that is read.
        table: String,
    },
    /// Another replicator or a transfer changed the stream's row: start again from what it says.
    #[error("the stream's progress row was changed by somebody else")]
    Stale,
    /// The stream was dropped.
    #[error("the stream has no row in ficus.apply any more")]
    Gone,
    /// The stream was paused.
    #[error("the stream is paused")]
    Paused,
    /// A part of the replicator ended before its time.
    #[error("a worker of the stream ended unexpectedly")]
    Worker,
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Try again later.
    Transient,
    /// Stay stopped until somebody has acted.
    NeedsOperator,
    /// Nothing is wrong: look at the stream's row again at once.
    Reread,
}

impl StreamError {
    pub(crate) fn database(
        doing: &'static str,
        side: Side,
    ) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| Self::Database { doing, side, source }
    }

    pub(crate) fn wire(side: Side) -> impl FnOnce(WireError) -> Self {
        move |source| Self::Wire { side, source }
    }

    pub(crate) fn copy(doing: &'static str, side: Side) -> impl FnOnce(WireError) -> Self {
        move |source| Self::Copy { doing, side, source }
    }

    /// Whether trying again can help. Unknown errors count as transient.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Database { source, .. } => class_of(source),
            Self::Connect { source, .. } => match source {
                GuardError::Connection(_) | GuardError::LockTimeout(_) => ErrorClass::Transient,
                GuardError::Database { source, .. } => class_of(source),
                GuardError::Refused(_) | GuardError::WrongServer(_) | GuardError::Corrupt(_) => {
                    ErrorClass::NeedsOperator
                }
            },
            Self::Wire { source, .. } if source.is_transient() => ErrorClass::Transient,
            Self::Copy { source, .. }
                if source.is_transient() || source.sqlstate().is_some_and(is_passing) =>
            {
                ErrorClass::Transient
            }
            Self::Wire { .. }
            | Self::Copy { .. }
            | Self::Decode { .. }
            | Self::Mapping(_)
            | Self::Operator(_)
            | Self::Changed { .. }
            | Self::ParkedFull { .. }
            | Self::Conflict { .. }
            | Self::Breach { .. } => ErrorClass::NeedsOperator,
            Self::Stale | Self::Gone | Self::Paused => ErrorClass::Reread,
            Self::Rewritten { .. } | Self::Spill(_) | Self::Worker => ErrorClass::Transient,
        }
    }
}

fn class_of(error: &tokio_postgres::Error) -> ErrorClass {
    match error.code() {
        None => ErrorClass::Transient,
        Some(code) if is_passing(code.code()) => ErrorClass::Transient,
        Some(_) => ErrorClass::NeedsOperator,
    }
}

/// Connection trouble, lack of resources, shutdown, deadlocks, busy objects pass by themselves. What
/// the server says about statements and data does not.
fn is_passing(sqlstate: &str) -> bool {
    ["08", "25", "40", "53", "55", "57", "58"].iter().any(|class| sqlstate.starts_with(class))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_waits_for_an_operator_only_when_trying_again_cannot_help() {
        let class = |error: StreamError| error.class();
        assert_eq!(class(StreamError::Stale), ErrorClass::Reread);
        assert_eq!(class(StreamError::Operator("x".into())), ErrorClass::NeedsOperator);
        let closed = StreamError::Wire { side: Side::Source, source: WireError::Closed };
        assert_eq!(class(closed), ErrorClass::Transient);
        let breach = StreamError::Breach { table: "t".into(), side: Side::Target };
        assert_eq!(class(breach), ErrorClass::NeedsOperator);
    }
}
