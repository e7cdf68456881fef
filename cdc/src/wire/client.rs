//! A logged-in replication connection that does not stream yet: identity and slots.

use std::{fmt, str::FromStr};

use pg::{Lsn, quote_ident};
use pg_connect::Settings;
use postgres_protocol::message::{backend::Message, frontend};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Progress, ReplicationStream, Session, StartOptions, WireError,
    connection::Reply,
    login::Mode,
    session::{Answer, Row},
};

/// A connection in replication mode (`replication=database`).
///
/// All operations may be cancelled. A command that was cancelled before its answer leaves the
/// connection unusable, which the next call reports as [`WireError::Interrupted`].
pub struct ReplicationClient {
    session: Session,
}

/// The major version of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerVersion(u32);

/// What tells one server's log from another's: positions compare only where both are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemIdentity {
    /// Drawn when the cluster was made; kept as text, because it does not fit JSON numbers.
    pub system_id: String,
    /// Rises with every promotion or recovery to a point in time.
    pub timeline: u32,
    /// How far the log is flushed.
    pub xlogpos: Lsn,
    /// The database of this connection.
    pub dbname: String,
}

/// A slot that was just made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedSlot {
    /// The stream holds every transaction that commits after this position, and no earlier one.
    pub consistent_point: Lsn,
    /// For `SET TRANSACTION SNAPSHOT`: sees exactly the transactions that the stream does not hold.
    /// It lives until the next command on this connection, or until the connection ends.
    pub snapshot_name: Option<String>,
}

impl ReplicationClient {
    /// Connects and logs in.
    ///
    /// Of the settings these count: host, hostaddr, port, user, password, dbname, options,
    /// `application_name` (default `ficus`), `connect_timeout` (for everything up to the end of the
    /// login), the keepalives, and what concerns TLS and `channel_binding`.
    ///
    /// # Errors
    /// [`WireError::Tls`] when the connection is not as safe as the settings demand;
    /// [`WireError::Server`] for a refused login.
    pub async fn connect(settings: &Settings) -> Result<Self, WireError> {
        Ok(Self { session: Session::connect(settings, Mode::Replication).await? })
    }

    /// Logs in over a connection that is open already, as it is: nothing here encrypts it.
    ///
    /// # Errors
    /// As [`ReplicationClient::connect`].
    pub async fn connect_over(
        socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        settings: &Settings,
    ) -> Result<Self, WireError> {
        Ok(Self { session: Session::connect_over(socket, settings, Mode::Replication).await? })
    }

    /// The server's version.
    #[must_use]
    pub const fn server_version(&self) -> ServerVersion {
        self.session.version
    }

    /// Asks the server who it is (`IDENTIFY_SYSTEM`).
    ///
    /// # Errors
    /// When the connection breaks or the answer is not one row.
    pub async fn identify_system(&mut self) -> Result<SystemIdentity, WireError> {
        let row = self.query_one("IDENTIFY_SYSTEM").await?;
        Ok(SystemIdentity {
            system_id: required(&row, 0)?.to_owned(),
            timeline: parsed(&row, 1)?,
            xlogpos: parsed(&row, 2)?,
            dbname: required(&row, 3)?.to_owned(),
        })
    }

    /// Makes a logical slot for `pgoutput`. Waits until the transactions that run now have ended.
    ///
    /// With `export` a snapshot comes with it: keep this connection idle as long as it is needed.
    ///
    /// # Errors
    /// [`WireError::Server`] when the slot exists (42710), all slots are taken (53400) or the
    /// server's `wal_level` is not `logical` (55000).
    pub async fn create_slot(
        &mut self,
        name: &str,
        export: bool,
    ) -> Result<CreatedSlot, WireError> {
        self.create(name, export, false).await
    }

    /// As [`Self::create_slot`]; where the server can (PostgreSQL 17), its standbys keep a copy of the
    /// slot, so that the stream can go on after a failover.
    ///
    /// # Errors
    /// As [`Self::create_slot`].
    pub async fn create_failover_slot(
        &mut self,
        name: &str,
        export: bool,
    ) -> Result<CreatedSlot, WireError> {
        self.create(name, export, true).await
    }

    async fn create(
        &mut self,
        name: &str,
        export: bool,
        failover: bool,
    ) -> Result<CreatedSlot, WireError> {
        let row = self
            .query_one(&create_slot_command(name, export, failover, self.session.version))
            .await?;
        Ok(CreatedSlot {
            consistent_point: parsed(&row, 1)?,
            snapshot_name: row.get(2).cloned().flatten(),
        })
    }

    /// Removes a slot, and with it the server's duty to keep its log.
    ///
    /// # Errors
    /// When there is no such slot ([`WireError::is_slot_missing`]) or somebody streams from it
    /// ([`WireError::is_slot_in_use`]).
    pub async fn drop_slot(&mut self, name: &str) -> Result<(), WireError> {
        let command = format!("DROP_REPLICATION_SLOT {}", quote_ident(name));
        self.session.query(&command).await.map(drop)
    }

    /// Starts to stream committed transactions that end after `start_lsn`, or after what the slot
    /// has confirmed if that is later. [`Lsn::ZERO`] leaves the choice to the slot.
    ///
    /// Spawns the socket task on the current tokio runtime.
    ///
    /// # Errors
    /// [`WireError::Unsupported`] for an option that the server does not have; else see
    /// [`WireError::is_slot_in_use`], [`WireError::is_slot_missing`], [`WireError::is_slot_lost`].
    pub async fn start(
        mut self,
        slot: &str,
        start_lsn: Lsn,
        options: StartOptions,
    ) -> Result<ReplicationStream, WireError> {
        let command = options.command(slot, start_lsn, self.session.version)?;
        self.session.begin_command(&command).await?;
        match self.session.connection.receive().await? {
            Reply::CopyBoth => {
                let progress = Progress::new(start_lsn);
                Ok(ReplicationStream::spawn(self.session.connection, progress, &options))
            }
            Reply::Message(Message::ErrorResponse(body)) => Err(WireError::server(body.fields())),
            Reply::Message(_) => Err(WireError::protocol("the stream did not begin")),
        }
    }

    /// Says goodbye, so that the server frees the connection at once.
    ///
    /// # Errors
    /// When the connection is broken already.
    pub async fn close(mut self) -> Result<(), WireError> {
        frontend::terminate(&mut self.session.connection.outgoing);
        self.session.connection.send().await
    }

    async fn query_one(&mut self, command: &str) -> Result<Row, WireError> {
        let Answer { rows, .. } = self.session.query(command).await?;
        let mut rows = rows.into_iter();
        match (rows.next(), rows.next()) {
            (Some(row), None) => Ok(row),
            _ => Err(WireError::protocol("a command did not answer with one row")),
        }
    }
}

impl fmt::Debug for ReplicationClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicationClient").field("session", &self.session).finish_non_exhaustive()
    }
}

impl ServerVersion {
    /// The major version, such as 15.
    #[must_use]
    pub const fn major(self) -> u32 {
        self.0
    }
}

impl FromStr for ServerVersion {
    type Err = WireError;

    /// Reads `15.18 (Debian 15.18-0+deb12u1)` and `17beta1`.
    fn from_str(text: &str) -> Result<Self, WireError> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (major, _) = text.split_at(end);
        major
            .parse()
            .map(Self)
            .map_err(|_| WireError::protocol(format!("its version {text:?} is not a number")))
    }
}

/// The command in the grammar of this server; an option that it does not have is left out.
fn create_slot_command(name: &str, export: bool, failover: bool, server: ServerVersion) -> String {
    let options = match (server.major() >= 15, export) {
        (true, true) => "SNAPSHOT 'export'",
        (true, false) => "SNAPSHOT 'nothing'",
        (false, true) => "EXPORT_SNAPSHOT",
        (false, false) => "NOEXPORT_SNAPSHOT",
    };
    let options = match server.major() {
        ..15 => options.to_owned(),
        15.. if failover && server.major() >= 17 => format!("({options}, FAILOVER true)"),
        15.. => format!("({options})"),
    };
    format!("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput {options}", quote_ident(name))
}

fn required(row: &Row, column: usize) -> Result<&str, WireError> {
    row.get(column)
        .and_then(Option::as_deref)
        .ok_or_else(|| WireError::protocol(format!("column {column} of an answer is missing")))
}

fn parsed<T: FromStr>(row: &Row, column: usize) -> Result<T, WireError> {
    required(row, column)?
        .parse()
        .map_err(|_| WireError::protocol(format!("column {column} of an answer cannot be read")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_survives_a_failover_only_where_the_server_can_do_that() {
        let command = |export, failover, major| {
            create_slot_command("s", export, failover, ServerVersion(major))
        };
        let head = "CREATE_REPLICATION_SLOT \"s\" LOGICAL pgoutput ";
        for (export, failover, major, options) in [
            (true, true, 14, "EXPORT_SNAPSHOT"),
            (false, true, 14, "NOEXPORT_SNAPSHOT"),
            (true, true, 15, "(SNAPSHOT 'export')"),
            (false, true, 16, "(SNAPSHOT 'nothing')"),
            (true, false, 17, "(SNAPSHOT 'export')"),
            (true, true, 17, "(SNAPSHOT 'export', FAILOVER true)"),
            (false, true, 18, "(SNAPSHOT 'nothing', FAILOVER true)"),
        ] {
            assert_eq!(command(export, failover, major), format!("{head}{options}"));
        }
    }
}
