//! Bytes to [`Message`]. Strict: an unknown tag or flag, a short or a long message is an error,
//! because guessing past one would misread all rows that follow.

use bytes::Bytes;

use super::{
    AbortPosition, Begin, Commit, CommitPrepared, DecodeContext, Decoded, Delete, Insert,
    LogicalMessage, Message, OldTuple, OldTupleKind, Origin, Prepared, Relation, RelationColumn,
    RelationOid, ReplicaIdentity, RollbackPrepared, StreamAbort, StreamCommit, StreamStart,
    StreamedPart, Truncate, Tuple, TypeName, Update,
};
use crate::reader::{DecodeError, Reader};

const TRANSACTIONAL: u8 = 1;
const KEY: u8 = 1;
const CASCADE: u8 = 1;
const RESTART_IDENTITY: u8 = 2;

/// Decodes one message of the plugin: the contents of [`XLogData`](crate::replication::XLogData).
/// Values in the result are slices of `data`.
///
/// # Errors
/// When the bytes are not one whole message of protocol versions 1 to 4.
pub fn decode(data: Bytes, context: DecodeContext) -> Result<Decoded, DecodeError> {
    let mut reader = Reader::new(data);
    let tag = reader.u8("message.tag")?;
    let has_xid =
        context.in_stream && matches!(tag, b'R' | b'Y' | b'I' | b'U' | b'D' | b'T' | b'M');
    let stream_xid = has_xid.then(|| reader.u32("message.stream_xid")).transpose()?;
    let message = decode_body(tag, &mut reader)?;
    reader.finish()?;
    Ok(Decoded { stream_xid, message })
}

/// What a message inside a stream is, without decoding it: enough to keep it for later.
///
/// # Errors
/// When the message is shorter than its head.
pub fn peek_streamed(data: &Bytes) -> Result<StreamedPart, DecodeError> {
    let mut reader = Reader::new(data.clone());
    Ok(match reader.u8("message.tag")? {
        b'E' => StreamedPart::Stop,
        b'O' => StreamedPart::OfTransaction,
        _ => StreamedPart::Of { xid: reader.u32("message.stream_xid")? },
    })
}

fn decode_body(tag: u8, reader: &mut Reader) -> Result<Message, DecodeError> {
    Ok(match tag {
        b'B' => Message::Begin(begin(reader)?),
        b'C' => Message::Commit(commit_with_flags(reader)?),
        b'O' => Message::Origin(Origin {
            lsn: reader.lsn("origin.lsn")?,
            name: reader.string("origin.name")?,
        }),
        b'R' => Message::Relation(relation(reader)?),
        b'Y' => Message::Type(TypeName {
            oid: reader.u32("type.oid")?,
            schema: schema(reader)?,
            name: reader.string("type.name")?,
        }),
        b'I' => Message::Insert(insert(reader)?),
        b'U' => Message::Update(update(reader)?),
        b'D' => Message::Delete(delete(reader)?),
        b'T' => Message::Truncate(truncate(reader)?),
        b'M' => Message::Logical(logical(reader)?),
        b'S' => Message::StreamStart(StreamStart {
            xid: reader.u32("stream_start.xid")?,
            first_segment: reader.flags("stream_start.first_segment", 1)? == 1,
        }),
        b'E' => Message::StreamStop,
        b'c' => Message::StreamCommit(StreamCommit {
            xid: reader.u32("stream_commit.xid")?,
            commit: commit_with_flags(reader)?,
        }),
        b'A' => Message::StreamAbort(stream_abort(reader)?),
        b'b' => Message::BeginPrepare(prepared(reader)?),
        b'P' => Message::Prepare(prepared_with_flags(reader)?),
        b'p' => Message::StreamPrepare(prepared_with_flags(reader)?),
        b'K' => Message::CommitPrepared(CommitPrepared {
            commit: commit_with_flags(reader)?,
            xid: reader.u32("commit_prepared.xid")?,
            gid: reader.string("commit_prepared.gid")?,
        }),
        b'r' => Message::RollbackPrepared(rollback_prepared(reader)?),
        tag => return Err(DecodeError::unknown("message.tag", tag)),
    })
}

fn begin(reader: &mut Reader) -> Result<Begin, DecodeError> {
    Ok(Begin {
        final_lsn: reader.lsn("begin.final_lsn")?,
        commit_time_us: reader.i64("begin.commit_time")?,
        xid: reader.u32("begin.xid")?,
    })
}

fn commit_with_flags(reader: &mut Reader) -> Result<Commit, DecodeError> {
    reader.flags("commit.flags", 0)?;
    Ok(Commit {
        commit_lsn: reader.lsn("commit.commit_lsn")?,
        end_lsn: reader.lsn("commit.end_lsn")?,
        commit_time_us: reader.i64("commit.commit_time")?,
    })
}

/// `pg_catalog` travels as an empty string.
fn schema(reader: &mut Reader) -> Result<String, DecodeError> {
    let schema = reader.string("schema")?;
    Ok(if schema.is_empty() { "pg_catalog".to_owned() } else { schema })
}

fn relation(reader: &mut Reader) -> Result<Relation, DecodeError> {
    let oid = RelationOid(reader.u32("relation.oid")?);
    let schema = schema(reader)?;
    let name = reader.string("relation.name")?;
    let replica_identity = match reader.u8("relation.replica_identity")? {
        b'd' => ReplicaIdentity::Default,
        b'n' => ReplicaIdentity::Nothing,
        b'f' => ReplicaIdentity::Full,
        b'i' => ReplicaIdentity::Index,
        value => return Err(DecodeError::unknown("relation.replica_identity", value)),
    };
    let columns = (0..reader.u16("relation.columns")?)
        .map(|_| {
            Ok(RelationColumn {
                key: reader.flags("column.flags", KEY)? == KEY,
                name: reader.string("column.name")?,
                type_oid: reader.u32("column.type_oid")?,
                type_modifier: reader.i32("column.type_modifier")?,
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Relation { oid, schema, name, replica_identity, columns })
}

fn insert(reader: &mut Reader) -> Result<Insert, DecodeError> {
    let relation = RelationOid(reader.u32("insert.relation")?);
    match reader.u8("insert.tuple_kind")? {
        b'N' => Ok(Insert { relation, new: Tuple::decode(reader)? }),
        value => Err(DecodeError::unknown("insert.tuple_kind", value)),
    }
}

fn update(reader: &mut Reader) -> Result<Update, DecodeError> {
    const KIND: &str = "update.tuple_kind";
    let relation = RelationOid(reader.u32("update.relation")?);
    let mut kind = reader.u8(KIND)?;
    let mut old = None;
    if let Some(old_kind) = old_tuple_kind(kind) {
        old = Some(OldTuple { kind: old_kind, tuple: Tuple::decode(reader)? });
        kind = reader.u8(KIND)?;
    }
    if kind != b'N' {
        return Err(DecodeError::unknown(KIND, kind));
    }
    Ok(Update { relation, old, new: Tuple::decode(reader)? })
}

fn delete(reader: &mut Reader) -> Result<Delete, DecodeError> {
    let relation = RelationOid(reader.u32("delete.relation")?);
    let kind = reader.u8("delete.tuple_kind")?;
    let kind =
        old_tuple_kind(kind).ok_or_else(|| DecodeError::unknown("delete.tuple_kind", kind))?;
    Ok(Delete { relation, old: OldTuple { kind, tuple: Tuple::decode(reader)? } })
}

fn old_tuple_kind(tag: u8) -> Option<OldTupleKind> {
    match tag {
        b'K' => Some(OldTupleKind::Key),
        b'O' => Some(OldTupleKind::Full),
        _ => None,
    }
}

fn truncate(reader: &mut Reader) -> Result<Truncate, DecodeError> {
    let count = reader.u32("truncate.relations")?;
    let flags = reader.flags("truncate.flags", CASCADE | RESTART_IDENTITY)?;
    let relations = (0..count)
        .map(|_| reader.u32("truncate.relation").map(RelationOid))
        .collect::<Result<_, _>>()?;
    Ok(Truncate {
        relations,
        cascade: flags & CASCADE != 0,
        restart_identity: flags & RESTART_IDENTITY != 0,
    })
}

fn logical(reader: &mut Reader) -> Result<LogicalMessage, DecodeError> {
    Ok(LogicalMessage {
        transactional: reader.flags("logical.flags", TRANSACTIONAL)? == TRANSACTIONAL,
        lsn: reader.lsn("logical.lsn")?,
        prefix: String::from_utf8_lossy(&reader.terminated("logical.prefix")?).into_owned(),
        content: reader.sized("logical.content")?,
    })
}

/// The version that adds the position has no mark of its own but the length.
fn stream_abort(reader: &mut Reader) -> Result<StreamAbort, DecodeError> {
    let xid = reader.u32("stream_abort.xid")?;
    let subxid = reader.u32("stream_abort.subxid")?;
    let position = if reader.remaining() == 0 {
        None
    } else {
        Some(AbortPosition {
            abort_lsn: reader.lsn("stream_abort.abort_lsn")?,
            abort_time_us: reader.i64("stream_abort.abort_time")?,
        })
    };
    Ok(StreamAbort { xid, subxid, position })
}

fn prepared_with_flags(reader: &mut Reader) -> Result<Prepared, DecodeError> {
    reader.flags("prepare.flags", 0)?;
    prepared(reader)
}

fn prepared(reader: &mut Reader) -> Result<Prepared, DecodeError> {
    Ok(Prepared {
        prepare_lsn: reader.lsn("prepare.prepare_lsn")?,
        end_lsn: reader.lsn("prepare.end_lsn")?,
        prepare_time_us: reader.i64("prepare.prepare_time")?,
        xid: reader.u32("prepare.xid")?,
        gid: reader.string("prepare.gid")?,
    })
}

fn rollback_prepared(reader: &mut Reader) -> Result<RollbackPrepared, DecodeError> {
    reader.flags("rollback_prepared.flags", 0)?;
    Ok(RollbackPrepared {
        prepare_end_lsn: reader.lsn("rollback_prepared.prepare_end_lsn")?,
        rollback_end_lsn: reader.lsn("rollback_prepared.rollback_end_lsn")?,
        prepare_time_us: reader.i64("rollback_prepared.prepare_time")?,
        rollback_time_us: reader.i64("rollback_prepared.rollback_time")?,
        xid: reader.u32("rollback_prepared.xid")?,
        gid: reader.string("rollback_prepared.gid")?,
    })
}
