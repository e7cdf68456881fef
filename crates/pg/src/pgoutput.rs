//! The messages of the `pgoutput` plugin, protocol versions 1 to 4, and their decoder.
//!
//! A transaction is `Begin, [Origin], ([Relation] change)*, Commit`. From version 2 on a big one may
//! come in pieces before it has committed: `StreamStart (change)* StreamStop` again and again, then
//! `StreamCommit` or `StreamAbort`. Between start and stop some messages carry the xid of the
//! (sub)transaction, and nothing in their bytes says so: the caller tells the decoder.
//! Times are microseconds since 2000-01-01 UTC.

mod decode;

use std::fmt;

use bytes::Bytes;

use crate::{Lsn, TableName};

pub use crate::tuple::{Tuple, TupleValue};
pub use decode::{decode, peek_streamed};

/// What the decoder cannot see in the message itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DecodeContext {
    /// Whether a [`Message::StreamStart`] came without its [`Message::StreamStop`] yet.
    pub in_stream: bool,
}

/// A message and, inside a stream, the (sub)transaction that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The xid that a streamed message carries; `None` outside of a stream, and for messages that
    /// have none (origin, stream stop) or hold it among their fields.
    pub stream_xid: Option<u32>,
    /// The message.
    pub message: Message,
}

/// See [`peek_streamed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamedPart {
    /// A message of this transaction or subtransaction.
    Of {
        /// Its xid.
        xid: u32,
    },
    /// A message of the top-level transaction, which carries no xid of its own.
    OfTransaction,
    /// The piece ends.
    Stop,
}

/// One message of the plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A transaction begins; it has already committed on the source.
    Begin(Begin),
    /// The transaction that began is complete.
    Commit(Commit),
    /// The transaction was itself replicated into the source.
    Origin(Origin),
    /// The shape of a table, before its first change and whenever it may have changed.
    Relation(Relation),
    /// The name of a type that is not built in.
    Type(TypeName),
    /// A row was added.
    Insert(Insert),
    /// A row was changed.
    Update(Update),
    /// A row was removed.
    Delete(Delete),
    /// Tables were emptied.
    Truncate(Truncate),
    /// Somebody called `pg_logical_emit_message`.
    Logical(LogicalMessage),
    /// A piece of an unfinished transaction begins (version 2).
    StreamStart(StreamStart),
    /// The piece ends (version 2).
    StreamStop,
    /// The streamed transaction committed (version 2).
    StreamCommit(StreamCommit),
    /// The streamed transaction or one of its subtransactions was rolled back (version 2).
    StreamAbort(StreamAbort),
    /// A transaction begins that was prepared for two-phase commit (version 3).
    BeginPrepare(Prepared),
    /// The prepared transaction is complete, not committed (version 3).
    Prepare(Prepared),
    /// The streamed transaction was prepared (version 3).
    StreamPrepare(Prepared),
    /// A prepared transaction committed (version 3).
    CommitPrepared(CommitPrepared),
    /// A prepared transaction was rolled back (version 3).
    RollbackPrepared(RollbackPrepared),
}

/// A table's number in the source's catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationOid(pub u32);

/// See [`Message::Begin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// Where the commit record starts; equal to [`Commit::commit_lsn`].
    pub final_lsn: Lsn,
    /// When it committed, by the source's clock.
    pub commit_time_us: i64,
    /// The transaction's number.
    pub xid: u32,
}

/// See [`Message::Commit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Where the commit record starts.
    pub commit_lsn: Lsn,
    /// Where it ends: the only position that counts as progress.
    pub end_lsn: Lsn,
    /// When it committed, by the source's clock.
    pub commit_time_us: i64,
}

/// See [`Message::Origin`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The commit position on the server it came from; zero in a stream.
    pub lsn: Lsn,
    /// The name of the replication origin.
    pub name: String,
}

/// See [`Message::Relation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The number that changes refer to.
    pub oid: RelationOid,
    /// The schema; empty on the wire for `pg_catalog`, and given back as that name.
    pub schema: String,
    /// The table.
    pub name: String,
    /// Which columns identify a row.
    pub replica_identity: ReplicaIdentity,
    /// The published columns, in the order of the values of a [`Tuple`].
    pub columns: Vec<RelationColumn>,
}

/// A table's setting of `REPLICA IDENTITY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicaIdentity {
    /// The primary key.
    Default,
    /// No columns: updates and deletes are refused by the source.
    Nothing,
    /// All columns.
    Full,
    /// The columns of a unique index.
    Index,
}

/// One column of a [`Relation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    /// Whether it is part of the replica identity.
    pub key: bool,
    /// The column's name.
    pub name: String,
    /// The type's number in the source's catalog.
    pub type_oid: u32,
    /// The type's modifier (length, precision), -1 for none.
    pub type_modifier: i32,
}

/// See [`Message::Type`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeName {
    /// The number that [`RelationColumn::type_oid`] refers to.
    pub oid: u32,
    /// The type's schema; `pg_catalog` where the wire has nothing.
    pub schema: String,
    /// The type's name.
    pub name: String,
}

/// See [`Message::Insert`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insert {
    /// The table.
    pub relation: RelationOid,
    /// The row.
    pub new: Tuple,
}

/// See [`Message::Update`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The table.
    pub relation: RelationOid,
    /// What identified the row before; `None` when the key did not change.
    pub old: Option<OldTuple>,
    /// The row after.
    pub new: Tuple,
}

/// See [`Message::Delete`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// The table.
    pub relation: RelationOid,
    /// What identified the row.
    pub old: OldTuple,
}

/// A row before its change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldTuple {
    /// Which of the values are meant.
    pub kind: OldTupleKind,
    /// The values, one for each column in either kind.
    pub tuple: Tuple,
}

/// How much of the old row was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OldTupleKind {
    /// The columns of the replica identity; the others read as null and mean nothing.
    Key,
    /// The whole row.
    Full,
}

/// See [`Message::Truncate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncate {
    /// The tables, all of one statement.
    pub relations: Vec<RelationOid>,
    /// Whether the statement said `CASCADE`.
    pub cascade: bool,
    /// Whether the statement said `RESTART IDENTITY`.
    pub restart_identity: bool,
}

/// See [`Message::Logical`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogicalMessage {
    /// Whether it is part of the transaction around it; else it came at once and stands alone.
    pub transactional: bool,
    /// Its own position, which is not comparable with the positions of commits.
    pub lsn: Lsn,
    /// Who it is for. Bytes that are not UTF-8 are replaced: a stranger's prefix must not stop us.
    pub prefix: String,
    /// What it says.
    pub content: Bytes,
}

/// See [`Message::StreamStart`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamStart {
    /// The top-level transaction.
    pub xid: u32,
    /// Whether this is its first piece.
    pub first_segment: bool,
}

/// See [`Message::StreamCommit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamCommit {
    /// The top-level transaction.
    pub xid: u32,
    /// Positions and time of its commit.
    pub commit: Commit,
}

/// See [`Message::StreamAbort`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamAbort {
    /// The top-level transaction.
    pub xid: u32,
    /// The subtransaction; equal to `xid` when all of it was rolled back.
    pub subxid: u32,
    /// Where and when; only with version 4 and `streaming = 'parallel'`.
    pub position: Option<AbortPosition>,
}

/// Where and when a streamed transaction was rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortPosition {
    /// The position of the abort record.
    pub abort_lsn: Lsn,
    /// When, by the source's clock.
    pub abort_time_us: i64,
}

/// See [`Message::BeginPrepare`], [`Message::Prepare`] and [`Message::StreamPrepare`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Where the prepare record starts.
    pub prepare_lsn: Lsn,
    /// Where it ends.
    pub end_lsn: Lsn,
    /// When it was prepared, by the source's clock.
    pub prepare_time_us: i64,
    /// The transaction's number.
    pub xid: u32,
    /// The name that the application gave it.
    pub gid: String,
}

/// See [`Message::CommitPrepared`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitPrepared {
    /// Positions and time of the commit.
    pub commit: Commit,
    /// The transaction's number.
    pub xid: u32,
    /// The name that the application gave it.
    pub gid: String,
}

/// See [`Message::RollbackPrepared`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollbackPrepared {
    /// Where the prepare record ended.
    pub prepare_end_lsn: Lsn,
    /// Where the rollback record ends.
    pub rollback_end_lsn: Lsn,
    /// When it was prepared.
    pub prepare_time_us: i64,
    /// When it was rolled back.
    pub rollback_time_us: i64,
    /// The transaction's number.
    pub xid: u32,
    /// The name that the application gave it.
    pub gid: String,
}

impl Message {
    /// The message's kind, as a label for logs and metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Begin(_) => "begin",
            Self::Commit(_) => "commit",
            Self::Origin(_) => "origin",
            Self::Relation(_) => "relation",
            Self::Type(_) => "type",
            Self::Insert(_) => "insert",
            Self::Update(_) => "update",
            Self::Delete(_) => "delete",
            Self::Truncate(_) => "truncate",
            Self::Logical(_) => "logical",
            Self::StreamStart(_) => "stream_start",
            Self::StreamStop => "stream_stop",
            Self::StreamCommit(_) => "stream_commit",
            Self::StreamAbort(_) => "stream_abort",
            Self::BeginPrepare(_) => "begin_prepare",
            Self::Prepare(_) => "prepare",
            Self::StreamPrepare(_) => "stream_prepare",
            Self::CommitPrepared(_) => "commit_prepared",
            Self::RollbackPrepared(_) => "rollback_prepared",
        }
    }
}

impl Relation {
    /// The qualified name.
    #[must_use]
    pub fn table_name(&self) -> TableName {
        TableName::new(self.schema.clone(), self.name.clone())
    }
}

impl fmt::Display for RelationOid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
