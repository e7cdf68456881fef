//! Two decoders that know nothing of each other read the same bytes and must say the same.

use std::{collections::BTreeSet, fmt::Write};

use pg::pgoutput::{
    Commit, Decoded, Message, OldTuple, OldTupleKind, Prepared, ReplicaIdentity, Tuple, TupleValue,
};
use pg_walstream::{
    ColumnData, LogicalReplicationMessage as Theirs, LogicalReplicationParser,
    StreamingReplicationMessage, TupleData,
};

use crate::source::{captures, decode_all};

#[tokio::test]
async fn another_decoder_reads_every_message_of_a_real_server_as_we_do() -> anyhow::Result<()> {
    for capture in captures().await? {
        let (version, options) = (capture.version, &capture.options);
        let mut other = LogicalReplicationParser::with_protocol_version(version);
        let ours = decode_all(&capture.messages)?;
        let mut transaction = None;
        for (number, (bytes, (_, decoded))) in capture.messages.iter().zip(&ours).enumerate() {
            let theirs = other.parse_wal_message(bytes)?;
            if let Message::StreamStart(start) = &decoded.message {
                transaction = Some(start.xid);
            } else if matches!(decoded.message, Message::StreamStop) {
                transaction = None;
            }
            // The other decoder says the transaction where the message itself says none.
            let xid = decoded.stream_xid.or(transaction);
            assert_eq!(
                format!("{xid:?} {}", our_words(decoded)),
                their_words(&theirs),
                "message {number} of version {version} with {options}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_server_was_made_to_send_every_kind_of_message() -> anyhow::Result<()> {
    let mut kinds = BTreeSet::new();
    for capture in captures().await? {
        let decoded = decode_all(&capture.messages)?;
        kinds.extend(decoded.iter().map(|(_, each)| each.message.kind()));
    }
    assert_eq!(kinds.len(), 19, "{kinds:?}");
    Ok(())
}

fn our_words(decoded: &Decoded) -> String {
    match &decoded.message {
        Message::Begin(m) => {
            format!("begin {} {} {}", m.final_lsn.as_u64(), m.commit_time_us, m.xid)
        }
        Message::Commit(m) => format!("commit {}", our_commit(m)),
        Message::Origin(m) => format!("origin {} {}", m.lsn.as_u64(), m.name),
        Message::Relation(m) => {
            let identity = match m.replica_identity {
                ReplicaIdentity::Default => 'd',
                ReplicaIdentity::Nothing => 'n',
                ReplicaIdentity::Full => 'f',
                ReplicaIdentity::Index => 'i',
            };
            let mut said = format!("relation {} {}.{} {identity}", m.oid.0, m.schema, m.name);
            for column in &m.columns {
                let key = u8::from(column.key);
                let (name, oid, modifier) = (&column.name, column.type_oid, column.type_modifier);
                write!(said, " {key} {name} {oid} {modifier}").expect("a string takes all");
            }
            said
        }
        Message::Type(m) => format!("type {} {}.{}", m.oid, m.schema, m.name),
        Message::Insert(m) => format!("insert {} {}", m.relation.0, our_row(&m.new)),
        Message::Update(m) => {
            let old = m.old.as_ref().map(our_old);
            format!("update {} {old:?} {}", m.relation.0, our_row(&m.new))
        }
        Message::Delete(m) => format!("delete {} {}", m.relation.0, our_old(&m.old)),
        Message::Truncate(m) => {
            let flags = u8::from(m.cascade) | u8::from(m.restart_identity) << 1;
            let tables: Vec<_> = m.relations.iter().map(|oid| oid.0).collect();
            format!("truncate {flags} {tables:?}")
        }
        Message::Logical(m) => {
            let flags = u8::from(m.transactional);
            format!("logical {flags} {} {} {:?}", m.lsn.as_u64(), m.prefix, m.content)
        }
        Message::StreamStart(m) => format!("stream start {} {}", m.xid, m.first_segment),
        Message::StreamStop => "stream stop".to_owned(),
        Message::StreamCommit(m) => format!("stream commit {} {}", m.xid, our_commit(&m.commit)),
        Message::StreamAbort(m) => {
            let lsn = m.position.map(|position| position.abort_lsn.as_u64());
            let time = m.position.map(|position| position.abort_time_us);
            format!("stream abort {} {} {lsn:?} {time:?}", m.xid, m.subxid)
        }
        Message::BeginPrepare(m) => format!("begin prepare {}", our_prepared(m)),
        Message::Prepare(m) => format!("prepare {}", our_prepared(m)),
        Message::StreamPrepare(m) => format!("stream prepare {}", our_prepared(m)),
        Message::CommitPrepared(m) => {
            format!("commit prepared {} {} {}", our_commit(&m.commit), m.xid, m.gid)
        }
        Message::RollbackPrepared(m) => format!(
            "rollback prepared {} {} {} {} {} {}",
            m.prepare_end_lsn.as_u64(),
            m.rollback_end_lsn.as_u64(),
            m.prepare_time_us,
            m.rollback_time_us,
            m.xid,
            m.gid
        ),
    }
}

fn our_commit(commit: &Commit) -> String {
    let Commit { commit_lsn, end_lsn, commit_time_us } = commit;
    format!("{} {} {commit_time_us}", commit_lsn.as_u64(), end_lsn.as_u64())
}

fn our_prepared(prepared: &Prepared) -> String {
    let Prepared { prepare_lsn, end_lsn, prepare_time_us, xid, gid } = prepared;
    format!("{} {} {prepare_time_us} {xid} {gid}", prepare_lsn.as_u64(), end_lsn.as_u64())
}

fn our_old(old: &OldTuple) -> String {
    let kind = match old.kind {
        OldTupleKind::Key => 'K',
        OldTupleKind::Full => 'O',
    };
    format!("{kind} {}", our_row(&old.tuple))
}

fn our_row(tuple: &Tuple) -> String {
    let value = |value| match value {
        TupleValue::Null => "n".to_owned(),
        TupleValue::UnchangedToast => "u".to_owned(),
        TupleValue::Text(bytes) => format!("t{bytes:02x?}"),
        TupleValue::Binary(bytes) => format!("b{bytes:02x?}"),
    };
    tuple.values().map(value).collect::<Vec<_>>().join(" ")
}

fn their_words(message: &StreamingReplicationMessage) -> String {
    let said = match &message.message {
        Theirs::Begin { final_lsn, timestamp, xid } => {
            format!("begin {final_lsn} {timestamp} {xid}")
        }
        Theirs::Commit { flags: _, commit_lsn, end_lsn, timestamp } => {
            format!("commit {commit_lsn} {end_lsn} {timestamp}")
        }
        Theirs::Origin { origin_lsn, origin_name } => format!("origin {origin_lsn} {origin_name}"),
        Theirs::Relation { relation_id, namespace, relation_name, replica_identity, columns } => {
            let (schema, identity) = (their_schema(namespace), char::from(*replica_identity));
            let mut said = format!("relation {relation_id} {schema}.{relation_name} {identity}");
            for column in columns {
                let (name, oid, modifier) = (&column.name, column.type_id, column.type_modifier);
                write!(said, " {} {name} {oid} {modifier}", column.flags)
                    .expect("a string takes all");
            }
            said
        }
        Theirs::Type { type_id, namespace, type_name } => {
            format!("type {type_id} {}.{type_name}", their_schema(namespace))
        }
        Theirs::Insert { relation_id, tuple } => {
            format!("insert {relation_id} {}", their_row(tuple))
        }
        Theirs::Update { relation_id, old_tuple, new_tuple, key_type } => {
            let old = old_tuple.as_ref().zip(*key_type);
            let old = old.map(|(old, kind)| format!("{kind} {}", their_row(old)));
            format!("update {relation_id} {old:?} {}", their_row(new_tuple))
        }
        Theirs::Delete { relation_id, old_tuple, key_type } => {
            format!("delete {relation_id} {key_type} {}", their_row(old_tuple))
        }
        Theirs::Truncate { relation_ids, flags } => format!("truncate {flags} {relation_ids:?}"),
        Theirs::Message { flags, lsn, prefix, content } => {
            format!("logical {flags} {lsn} {prefix} {content:?}")
        }
        Theirs::StreamStart { .. }
        | Theirs::StreamStop
        | Theirs::StreamCommit { .. }
        | Theirs::StreamAbort { .. }
        | Theirs::BeginPrepare { .. }
        | Theirs::Prepare { .. }
        | Theirs::CommitPrepared { .. }
        | Theirs::RollbackPrepared { .. }
        | Theirs::StreamPrepare { .. } => their_transaction_words(&message.message),
    };
    format!("{:?} {said}", message.xid)
}

fn their_transaction_words(message: &Theirs) -> String {
    match message {
        Theirs::StreamStart { xid, first_segment } => format!("stream start {xid} {first_segment}"),
        Theirs::StreamStop => "stream stop".to_owned(),
        Theirs::StreamCommit { xid, flags: _, commit_lsn, end_lsn, timestamp } => {
            format!("stream commit {xid} {commit_lsn} {end_lsn} {timestamp}")
        }
        Theirs::StreamAbort { xid, subtransaction_xid, abort_lsn, abort_timestamp } => {
            format!("stream abort {xid} {subtransaction_xid} {abort_lsn:?} {abort_timestamp:?}")
        }
        Theirs::BeginPrepare { prepare_lsn, end_lsn, timestamp, xid, gid } => {
            format!("begin prepare {prepare_lsn} {end_lsn} {timestamp} {xid} {gid}")
        }
        Theirs::Prepare { flags: _, prepare_lsn, end_lsn, timestamp, xid, gid } => {
            format!("prepare {prepare_lsn} {end_lsn} {timestamp} {xid} {gid}")
        }
        Theirs::StreamPrepare { flags: _, prepare_lsn, end_lsn, timestamp, xid, gid } => {
            format!("stream prepare {prepare_lsn} {end_lsn} {timestamp} {xid} {gid}")
        }
        Theirs::CommitPrepared { flags: _, commit_lsn, end_lsn, timestamp, xid, gid } => {
            format!("commit prepared {commit_lsn} {end_lsn} {timestamp} {xid} {gid}")
        }
        Theirs::RollbackPrepared {
            flags: _,
            prepare_end_lsn,
            rollback_end_lsn,
            prepare_timestamp,
            rollback_timestamp,
            xid,
            gid,
        } => format!(
            "rollback prepared {prepare_end_lsn} {rollback_end_lsn} {prepare_timestamp} \
             {rollback_timestamp} {xid} {gid}"
        ),
        Theirs::Begin { .. }
        | Theirs::Commit { .. }
        | Theirs::Relation { .. }
        | Theirs::Insert { .. }
        | Theirs::Update { .. }
        | Theirs::Delete { .. }
        | Theirs::Truncate { .. }
        | Theirs::Type { .. }
        | Theirs::Origin { .. }
        | Theirs::Message { .. } => format!("{message:?}"),
    }
}

/// The wire leaves out the name of the system's own schema.
fn their_schema(namespace: &str) -> &str {
    if namespace.is_empty() { "pg_catalog" } else { namespace }
}

fn their_row(tuple: &TupleData) -> String {
    let value = |value: &ColumnData| match value.data_type {
        kind @ (b't' | b'b') => format!("{}{:02x?}", char::from(kind), value.as_bytes()),
        kind => char::from(kind).to_string(),
    };
    tuple.columns.iter().map(value).collect::<Vec<_>>().join(" ")
}
