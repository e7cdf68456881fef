//! PostgreSQL words without IO: log positions, names, quoting, and the codecs of logical replication.
//!
//! ```text
//! CopyData ──> ReplicationMessage::decode ──> XLogData.data ──> pgoutput::decode ──> Message
//! ```
//!
//! Nothing here opens a socket, reads a clock or panics on what a server sends. Values stay the
//! opaque bytes that arrived: they are slices of the receive buffer, never copies.

mod lsn;
pub mod pgoutput;
mod quote;
mod reader;
pub mod replication;
mod snapshot;
mod table_name;
mod tuple;

pub use lsn::{Lsn, ParseLsnError};
pub use quote::{quote_ident, quote_literal};
pub use reader::DecodeError;
pub use snapshot::{ParseSnapshotError, Snapshot};
pub use table_name::{ParseTableNameError, TableName};
