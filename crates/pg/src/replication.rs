//! The frames inside CopyData of a replication connection: log data and keepalives from the server,
//! standby status to it. Times are microseconds since 2000-01-01 00:00 UTC.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    Lsn,
    reader::{DecodeError, Reader},
};

/// Microseconds from the Unix epoch to PostgreSQL's epoch, 2000-01-01 00:00 UTC.
pub const POSTGRES_EPOCH_UNIX_US: i64 = 946_684_800_000_000;

/// A PostgreSQL time (microseconds since 2000-01-01 UTC) as microseconds since 1970-01-01 UTC.
#[must_use]
pub const fn unix_time_us(postgres_time_us: i64) -> i64 {
    postgres_time_us.saturating_add(POSTGRES_EPOCH_UNIX_US)
}

/// A Unix time in microseconds as PostgreSQL counts it.
#[must_use]
pub const fn postgres_time_us(unix_time_us: i64) -> i64 {
    unix_time_us.saturating_sub(POSTGRES_EPOCH_UNIX_US)
}

/// What the server sends inside CopyData while it streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicationMessage {
    /// A message of the output plugin.
    XLogData(XLogData),
    /// A sign of life, with the server's position.
    PrimaryKeepalive(PrimaryKeepalive),
}

/// One message of the output plugin, wrapped. Its `Debug` form shows the length of the data only.
#[derive(Clone, PartialEq, Eq)]
pub struct XLogData {
    /// Where the plugin wrote it: for a commit its end position, for a row change the row's.
    pub wal_start: Lsn,
    /// The server's idea of the end; logical replication repeats `wal_start` here.
    pub wal_end: Lsn,
    /// The server's clock when it sent this.
    pub server_time_us: i64,
    /// The plugin's message.
    pub data: Bytes,
}

/// A sign of life. Everything committed before `wal_end` that the publication covers was sent before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrimaryKeepalive {
    /// How far the server has decoded.
    pub wal_end: Lsn,
    /// The server's clock when it sent this.
    pub server_time_us: i64,
    /// The server disconnects soon unless it gets a status update.
    pub reply_requested: bool,
}

/// What the client tells the server about its progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StandbyStatusUpdate {
    /// Highest position received.
    pub received: Lsn,
    /// Highest position safe on the target: the slot may forget what lies before.
    /// [`Lsn::ZERO`] leaves the slot as it is.
    pub flushed: Lsn,
    /// Highest position visible on the target.
    pub applied: Lsn,
    /// The client's clock.
    pub client_time_us: i64,
    /// Ask for a keepalive at once.
    pub reply_requested: bool,
}

impl ReplicationMessage {
    /// Decodes the contents of one CopyData message.
    ///
    /// # Errors
    /// When the bytes are neither of the two frames; nothing may be assumed about the stream then.
    pub fn decode(data: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(data);
        match reader.u8("frame.tag")? {
            b'w' => Ok(Self::XLogData(XLogData {
                wal_start: reader.lsn("xlog_data.wal_start")?,
                wal_end: reader.lsn("xlog_data.wal_end")?,
                server_time_us: reader.i64("xlog_data.server_time")?,
                data: reader.rest(),
            })),
            b'k' => {
                let keepalive = PrimaryKeepalive {
                    wal_end: reader.lsn("keepalive.wal_end")?,
                    server_time_us: reader.i64("keepalive.server_time")?,
                    reply_requested: reader.flags("keepalive.reply_requested", 1)? == 1,
                };
                reader.finish()?;
                Ok(Self::PrimaryKeepalive(keepalive))
            }
            tag => Err(DecodeError::unknown("frame.tag", tag)),
        }
    }
}

impl fmt::Debug for XLogData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XLogData")
            .field("wal_start", &self.wal_start)
            .field("wal_end", &self.wal_end)
            .field("server_time_us", &self.server_time_us)
            .field("data", &format_args!("{} bytes", self.data.len()))
            .finish()
    }
}

impl StandbyStatusUpdate {
    /// Bytes that [`StandbyStatusUpdate::encode`] writes.
    pub const ENCODED_BYTES: usize = 34;

    /// Appends the contents of the CopyData message.
    pub fn encode(&self, out: &mut BytesMut) {
        out.reserve(Self::ENCODED_BYTES);
        out.put_u8(b'r');
        out.put_u64(self.received.as_u64());
        out.put_u64(self.flushed.as_u64());
        out.put_u64(self.applied.as_u64());
        out.put_i64(self.client_time_us);
        out.put_u8(u8::from(self.reply_requested));
    }
}
