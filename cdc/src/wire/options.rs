//! How to stream: what to ask the plugin for, and the limits of the connection.

#[cfg(test)]
mod tests;

use std::{fmt::Write, time::Duration};

use pg::{Lsn, quote_ident};

use super::{ServerVersion, WireError};

/// Often enough for any `wal_sender_timeout`, seldom enough to cost nothing.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// Longer than a busy server's pause, much shorter than a person's patience.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const BUFFER_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// What a stream carries and how it behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartOptions {
    /// The publications whose tables are streamed; at least one. They are looked up when the first
    /// change is decoded: a missing one fails the stream, not its start.
    pub publications: Vec<String>,
    /// Version of the plugin's protocol, 1 to 4 (default 1).
    pub proto_version: u8,
    /// Whether messages of `pg_logical_emit_message` are part of the stream (default yes; PostgreSQL 14).
    pub messages: bool,
    /// Whether values come in binary form where the type has one (default no; PostgreSQL 14).
    pub binary: bool,
    /// Whether big transactions come before they have committed (default no; needs version 2).
    pub streaming: bool,
    /// Leave out transactions that were replicated into the source (default no). Before PostgreSQL
    /// 16 the server cannot, the option is not sent, and all of them come with their
    /// [`Origin`](pg::pgoutput::Message::Origin) message.
    pub origin_none: bool,
    /// Time between status updates (default 1 s).
    pub status_interval: Duration,
    /// How long nothing may come from the server (default 30 s). After a third of it the server
    /// is asked for a sign of life with every status update.
    pub silence_max: Duration,
    /// Bytes received and not yet taken by the consumer, above which reading stops (default 16 MiB).
    /// A single message may exceed it.
    pub buffer_bytes_max: u32,
}

impl StartOptions {
    /// Options for these publications, with the defaults of the fields.
    pub fn new(publications: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            publications: publications.into_iter().map(Into::into).collect(),
            proto_version: 1,
            messages: true,
            binary: false,
            streaming: false,
            origin_none: false,
            status_interval: STATUS_INTERVAL,
            silence_max: SILENCE_MAX,
            buffer_bytes_max: BUFFER_BYTES_MAX,
        }
    }

    /// The command that starts the stream on this server.
    pub(super) fn command(
        &self,
        slot: &str,
        start_lsn: Lsn,
        server: ServerVersion,
    ) -> Result<String, WireError> {
        self.check(server)?;
        let names: Vec<_> = self.publications.iter().map(|name| quote_ident(name)).collect();
        let mut command = format!(
            "START_REPLICATION SLOT {} LOGICAL {start_lsn} (proto_version '{}', publication_names {}",
            quote_ident(slot),
            self.proto_version,
            quote_replication_literal(&names.join(","))
        );
        let has_origin = server.major() >= 16;
        for (is_on, option) in [
            (self.messages, "messages 'true'"),
            (self.binary, "binary 'true'"),
            (self.streaming, "streaming 'on'"),
            (self.origin_none && has_origin, "origin 'none'"),
        ] {
            if is_on {
                write!(command, ", {option}").expect("writing to a string does not fail");
            }
        }
        command.push(')');
        Ok(command)
    }

    fn check(&self, server: ServerVersion) -> Result<(), WireError> {
        if self.publications.is_empty() {
            return Err(WireError::settings("no publication is named, name at least one"));
        }
        if !(1..=4).contains(&self.proto_version) {
            return Err(WireError::settings("proto_version must be 1, 2, 3 or 4"));
        }
        if self.streaming && self.proto_version < 2 {
            return Err(WireError::settings("streaming needs proto_version 2 or higher"));
        }
        if self.status_interval.is_zero() || self.silence_max.is_zero() {
            return Err(WireError::settings("status_interval and silence_max must not be zero"));
        }
        for (is_on, option, needs) in [
            (self.messages, "messages", 14),
            (self.binary, "binary", 14),
            (self.proto_version == 2, "proto_version 2", 14),
            (self.proto_version == 3, "proto_version 3", 15),
            (self.proto_version == 4, "proto_version 4", 16),
        ] {
            if is_on && server.major() < needs {
                return Err(WireError::Unsupported { option, needs, server: server.major() });
            }
        }
        Ok(())
    }
}

/// A string of the replication grammar, which doubles quotes and takes backslashes as they are.
fn quote_replication_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
