//! A logged-in connection that answers one command after the other, by the simple query protocol.

use std::fmt;

use fallible_iterator::FallibleIterator;
use pg_connect::Settings;
use postgres_protocol::message::{
    backend::{CommandCompleteBody, DataRowBody, Message},
    frontend,
};

use super::{
    ServerVersion, WireError,
    connection::{Connection, Reply},
    login::{self, Mode},
    socket::{self, Opened, Socket},
};

/// The columns of a row, as text.
pub(crate) type Row = Vec<Option<String>>;

/// A connection between commands. A command that was given up before its answer leaves it
/// unusable, which the next one reports as [`WireError::Interrupted`].
pub(crate) struct Session {
    pub(super) connection: Connection,
    pub(super) version: ServerVersion,
    /// Whether the server waits for a command.
    is_ready: bool,
}

/// What a command answered.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) rows: Vec<Row>,
    /// The rows that the last statement read or wrote, where it counts them.
    pub(crate) count: u64,
}

impl Session {
    /// Connects and logs in.
    pub(crate) async fn connect(settings: &Settings, mode: Mode) -> Result<Self, WireError> {
        let connect = async { Self::log_in(socket::open(settings).await?, settings, mode).await };
        Self::within(settings, connect).await
    }

    /// Logs in over a connection that is open already.
    pub(super) async fn connect_over(
        socket: impl Socket + 'static,
        settings: &Settings,
        mode: Mode,
    ) -> Result<Self, WireError> {
        Self::within(settings, Self::log_in(Opened::plain(socket), settings, mode)).await
    }

    async fn within(
        settings: &Settings,
        connect: impl Future<Output = Result<Self, WireError>>,
    ) -> Result<Self, WireError> {
        let timeout = settings.connect_timeout();
        tokio::time::timeout(timeout, connect)
            .await
            .unwrap_or(Err(WireError::ConnectTimeout { timeout }))
    }

    async fn log_in(opened: Opened, settings: &Settings, mode: Mode) -> Result<Self, WireError> {
        let Opened { socket, channel, pace } = opened;
        let mut connection = Connection::new(socket, pace);
        let version = login::log_in(&mut connection, settings.config(), mode, &channel)
            .await
            .map_err(WireError::or_tls)?
            .parse()?;
        Ok(Self { connection, version, is_ready: true })
    }

    /// Runs a command, which may be several statements, to its end.
    pub(crate) async fn query(&mut self, command: &str) -> Result<Answer, WireError> {
        self.begin_command(command).await?;
        let mut answer = Answer::default();
        let mut failed = None;
        loop {
            match self.connection.receive().await? {
                Reply::Message(Message::DataRow(body)) => answer.rows.push(row(&body)?),
                Reply::Message(Message::CommandComplete(body)) => answer.count = count(&body)?,
                Reply::Message(Message::ErrorResponse(body)) => {
                    failed = Some(WireError::server(body.fields()));
                }
                Reply::Message(Message::ReadyForQuery(_)) => break,
                Reply::Message(
                    Message::RowDescription(_)
                    | Message::ParameterStatus(_)
                    | Message::EmptyQueryResponse,
                ) => {}
                Reply::Message(_) | Reply::CopyBoth => {
                    return Err(WireError::protocol("an unexpected answer to a command"));
                }
            }
        }
        self.end_command();
        failed.map_or(Ok(answer), Err)
    }

    /// Sends a command; the caller reads its answer and says when the server is ready again.
    pub(super) async fn begin_command(&mut self, command: &str) -> Result<(), WireError> {
        if !std::mem::take(&mut self.is_ready) {
            return Err(WireError::Interrupted);
        }
        frontend::query(command, &mut self.connection.outgoing)
            .map_err(|_| WireError::settings("a name holds a NUL byte"))?;
        self.connection.send().await
    }

    /// The server has said that it waits for the next command.
    pub(super) const fn end_command(&mut self) {
        self.is_ready = true;
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("version", &self.version)
            .field("is_ready", &self.is_ready)
            .finish_non_exhaustive()
    }
}

/// The number at the end of `COPY 5`, `INSERT 0 5`, `UPDATE 5`; zero for statements without one.
pub(super) fn count(body: &CommandCompleteBody) -> Result<u64, WireError> {
    let tag = body.tag().map_err(|_| WireError::protocol("a command's tag cannot be read"))?;
    Ok(tag.rsplit(' ').next().and_then(|last| last.parse().ok()).unwrap_or(0))
}

fn row(body: &DataRowBody) -> Result<Row, WireError> {
    let broken = || WireError::protocol("a row cannot be read");
    let mut ranges = body.ranges();
    let mut row = Row::new();
    while let Some(range) = ranges.next().map_err(|_| broken())? {
        row.push(match range {
            None => None,
            Some(range) => {
                let bytes = body.buffer().get(range).ok_or_else(broken)?;
                Some(std::str::from_utf8(bytes).map_err(|_| broken())?.to_owned())
            }
        });
    }
    Ok(row)
}
