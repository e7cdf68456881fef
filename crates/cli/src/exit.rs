//! How a command ends.

use std::process::ExitCode;

/// Why a command did not do what it was asked; its exit code and its words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Something must be mended first; nothing was changed.
    #[error("refused, nothing was changed: {0}")]
    Refused(String),
    /// A transfer was begun and undone.
    #[error("aborted, the old owner writes again: {0}")]
    Aborted(String),
    /// Rows differ.
    #[error("{0}")]
    Different(String),
    /// Bad command line or configuration.
    #[error("{0}")]
    Usage(String),
    /// Nobody answers at control's address.
    #[error(
        "control does not answer at {url}; start it with `ficus control` or `ficus up`, or say where it is with --control"
    )]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// What the connection said.
        #[source]
        source: reqwest::Error,
    },
}

impl Failure {
    /// The documented exit code.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Refused(_) => 2,
            Self::Aborted(_) => 3,
            Self::Different(_) => 4,
            Self::Usage(_) => 64,
            Self::Unreachable { .. } => 69,
        })
    }
}
