//! What a guard function can answer besides success.

use pg_connect::{ConnectError, SettingsError};
use tokio_postgres::error::SqlState;

/// Why a guard function did not do its work. The guard row is unchanged in every case but
/// `Connection`, where it must be read again.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The guard is not in the state the call expected (SQLSTATE FC002); says which it is in.
    #[error("{0}")]
    Refused(String),
    /// The server is not the one the guard was installed on (SQLSTATE FC003).
    #[error("{0}; compare both guard rows before anything else")]
    WrongServer(String),
    /// Somebody held a conflicting lock for longer than the lock timeout (SQLSTATE 55P03).
    #[error("table locks were not granted in time")]
    LockTimeout(#[source] tokio_postgres::Error),
    /// The URL can not be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// No session: the server is away, or not who the URL demands.
    #[error(transparent)]
    Unreachable(ConnectError),
    /// The outcome is unknown: read the guard row again.
    #[error("lost the connection to the database")]
    Connection(#[source] tokio_postgres::Error),
    /// Anything else the database said.
    #[error("the database refused: {message}")]
    Database {
        /// The server's message.
        message: String,
        /// The whole error.
        #[source]
        source: tokio_postgres::Error,
    },
    /// A row held a word this version does not know.
    #[error("unexpected value in the guard tables: {0}")]
    Corrupt(String),
}

impl From<tokio_postgres::Error> for GuardError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            return Self::Connection(error);
        };
        let message = db.message().to_owned();
        match db.code().code() {
            "FC002" => Self::Refused(message),
            "FC003" => Self::WrongServer(message),
            _ if *db.code() == SqlState::LOCK_NOT_AVAILABLE
                || *db.code() == SqlState::T_R_DEADLOCK_DETECTED =>
            {
                Self::LockTimeout(error)
            }
            code if code.starts_with("57P") || code.starts_with("08") => Self::Connection(error),
            _ => Self::Database { message, source: error },
        }
    }
}

impl From<ConnectError> for GuardError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Server(error) => error.into(),
            error @ (ConnectError::Tls(_) | ConnectError::Timeout { .. }) => {
                Self::Unreachable(error)
            }
        }
    }
}
