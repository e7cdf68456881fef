//! What can go wrong on a replication connection, and what it means for the one who retries.

use std::{borrow::Cow, io, time::Duration};

use fallible_iterator::FallibleIterator;
use pg::DecodeError;
use pg_connect::TlsError;
use postgres_protocol::message::backend::ErrorFields;

const INTERNAL: &str = "XX";
const SLOT_IN_USE: &str = "55006";
const UNDEFINED_OBJECT: &str = "42704";
const NOT_IN_PREREQUISITE_STATE: &str = "55000";
const UNDEFINED_FILE: &str = "58P01";

/// Server functions that refuse a slot whose log is gone. Messages are translated, these names not.
const LOST_SLOT_ROUTINES: [&str; 4] = [
    "StartLogicalReplication",
    "CreateDecodingContext",
    "ReplicationSlotAcquire",
    "RaiseSlotInvalidationError",
];

/// Why an operation on a replication connection failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The connection settings cannot be used.
    #[error("connection settings cannot be used: {problem}")]
    Settings {
        /// What is wrong and what to write instead.
        problem: Cow<'static, str>,
    },
    /// The connection cannot be encrypted as the settings demand.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No connection to the server.
    #[error("server {address} cannot be reached")]
    Connect {
        /// Host and port, or the path of the socket.
        address: String,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// Connecting and logging in took too long.
    #[error("server did not accept the login within {timeout:?}, check address and load")]
    ConnectTimeout {
        /// The limit (`connect_timeout` of the settings).
        timeout: Duration,
    },
    /// The server's way of authentication cannot be served.
    #[error("login is not possible: {problem}")]
    Login {
        /// What the server asks for and what to do.
        problem: Cow<'static, str>,
    },
    /// The server refused, with its own words.
    #[error(transparent)]
    Server(Box<ServerError>),
    /// The connection broke.
    #[error("connection to the server broke")]
    Io(#[source] io::Error),
    /// The server ended the connection in an orderly way, as when it shuts down.
    #[error("server ended the connection")]
    Closed,
    /// Nothing came for too long, not even an answer to our question.
    #[error("server was silent for {silence:?}, the connection counts as dead")]
    Silent {
        /// The limit ([`StartOptions::silence_max`](super::StartOptions::silence_max)).
        silence: Duration,
    },
    /// The server did not end the stream when asked to.
    #[error(
        "server did not end the stream within {timeout:?}, \
         its slot may stay in use until wal_sender_timeout"
    )]
    CloseTimeout {
        /// The limit.
        timeout: Duration,
    },
    /// The server sent what the protocol does not allow here.
    #[error("server broke the protocol: {what}")]
    Protocol {
        /// What came, or did not come.
        what: Cow<'static, str>,
    },
    /// A frame of the stream cannot be read.
    #[error("server sent a frame that cannot be read")]
    Frame(#[source] DecodeError),
    /// An option needs a newer server.
    #[error("{option} needs PostgreSQL {needs} or newer, the server is {server}")]
    Unsupported {
        /// The option.
        option: &'static str,
        /// The first major version that has it.
        needs: u32,
        /// The server's major version.
        server: u32,
    },
    /// An earlier command was given up before its answer had come.
    #[error("an earlier command on this connection was given up, open a new connection")]
    Interrupted,
}

/// An error report of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
#[error("server says: {message} (SQLSTATE {sqlstate})")]
pub struct ServerError {
    /// The five characters that identify the kind of error.
    pub sqlstate: String,
    /// What happened, in the server's language.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What the server advises.
    pub hint: Option<String>,
    /// The server's function that reported it; not translated.
    pub routine: Option<String>,
}

impl WireError {
    pub(super) fn settings(problem: impl Into<Cow<'static, str>>) -> Self {
        Self::Settings { problem: problem.into() }
    }

    pub(super) fn login(problem: impl Into<Cow<'static, str>>) -> Self {
        Self::Login { problem: problem.into() }
    }

    pub(super) fn protocol(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Protocol { what: what.into() }
    }

    /// An alert of the server may come as late as at the first read, as when it does not like our
    /// certificate.
    pub(super) fn or_tls(self) -> Self {
        match TlsError::in_chain(&self) {
            Some(error) => Self::Tls(error),
            None => self,
        }
    }

    pub(super) fn server(fields: ErrorFields<'_>) -> Self {
        match ServerError::from_fields(fields) {
            Ok(error) => Self::Server(Box::new(error)),
            Err(_) => Self::protocol("an error report cannot be read"),
        }
    }

    /// The server's report, if the server refused.
    #[must_use]
    pub fn server_error(&self) -> Option<&ServerError> {
        if let Self::Server(error) = self { Some(error) } else { None }
    }

    /// The SQLSTATE, if the server refused.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        self.server_error().map(|error| error.sqlstate.as_str())
    }

    /// Somebody else streams from the slot, or the server has not noticed yet that our earlier
    /// connection is gone.
    #[must_use]
    pub fn is_slot_in_use(&self) -> bool {
        self.sqlstate() == Some(SLOT_IN_USE)
    }

    /// There is no such slot. (A missing publication has the same SQLSTATE and is not meant.)
    #[must_use]
    pub fn is_slot_missing(&self) -> bool {
        self.sqlstate() == Some(UNDEFINED_OBJECT)
            && self.reported_by(|routine| routine.starts_with("ReplicationSlot"))
    }

    /// The slot exists and its log is gone: the server removed what was not yet confirmed. The
    /// tables must be copied or verified anew.
    #[must_use]
    pub fn is_slot_lost(&self) -> bool {
        match self.sqlstate() {
            Some(UNDEFINED_FILE) => true,
            Some(NOT_IN_PREREQUISITE_STATE) => {
                self.reported_by(|routine| LOST_SLOT_ROUTINES.contains(&routine))
            }
            Some(_) | None => false,
        }
    }

    /// Whether the same call may succeed later without anybody doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Io(_)
            | Self::Closed
            | Self::Silent { .. }
            | Self::CloseTimeout { .. }
            | Self::Interrupted => true,
            // a certificate is renewed on the server; nobody should have to tell us
            Self::Tls(_) => true,
            Self::Server(error) => error.is_transient(),
            Self::Settings { .. }
            | Self::Login { .. }
            | Self::Protocol { .. }
            | Self::Frame(_)
            | Self::Unsupported { .. } => false,
        }
    }

    /// Whether the server failed by itself. PostgreSQL 15 does ("could not map filenode") when it decodes
    /// a transaction that truncates a table before that transaction has ended.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.server_error().is_some_and(|error| error.sqlstate.starts_with(INTERNAL))
    }

    fn reported_by(&self, test: impl FnOnce(&str) -> bool) -> bool {
        self.server_error().and_then(|error| error.routine.as_deref()).is_some_and(test)
    }
}

impl ServerError {
    fn from_fields(mut fields: ErrorFields<'_>) -> io::Result<Self> {
        let mut error = Self::default();
        while let Some(field) = fields.next()? {
            let text = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'C' => error.sqlstate = text,
                b'M' => error.message = text,
                b'D' => error.detail = Some(text),
                b'H' => error.hint = Some(text),
                b'R' => error.routine = Some(text),
                _ => {}
            }
        }
        Ok(error)
    }

    /// Connection trouble, lack of resources, shutdown or start of the server, a busy slot, and what the
    /// server itself calls an internal error: it may be gone when the log is read again.
    fn is_transient(&self) -> bool {
        ["08", "53", "57", INTERNAL].iter().any(|class| self.sqlstate.starts_with(class))
            || self.sqlstate == SLOT_IN_USE
    }
}
