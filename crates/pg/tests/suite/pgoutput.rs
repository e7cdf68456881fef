//! Each message of the plugin, from bytes written after the protocol's documentation.

use bytes::Bytes;
use pg::{
    DecodeError, Lsn, TableName,
    pgoutput::{
        AbortPosition, Begin, Commit, CommitPrepared, DecodeContext, Decoded, Delete, Insert,
        LogicalMessage, Message, OldTuple, OldTupleKind, Origin, Prepared, Relation,
        RelationColumn, RelationOid, ReplicaIdentity, RollbackPrepared, StreamAbort, StreamCommit,
        StreamStart, StreamedPart, Truncate, Tuple, TupleValue, TypeName, Update, decode,
        peek_streamed,
    },
};

use crate::build::Build;

const COMMIT: Commit =
    Commit { commit_lsn: Lsn::new(16), end_lsn: Lsn::new(32), commit_time_us: 9 };

fn message(bytes: Bytes) -> Message {
    let decoded = decode(bytes, DecodeContext::default()).expect("a valid message");
    assert_eq!(decoded.stream_xid, None);
    decoded.message
}

fn error(bytes: Bytes) -> DecodeError {
    decode(bytes, DecodeContext::default()).expect_err("an invalid message")
}

fn text(value: &'static str) -> TupleValue<'static> {
    TupleValue::Text(value.as_bytes())
}

#[test]
fn begin_and_commit_carry_the_positions_of_the_commit_record() {
    let begin = Build::tag(b'B').u64(16).i64(9).u32(740).bytes();
    assert_eq!(
        message(begin),
        Message::Begin(Begin { final_lsn: Lsn::new(16), commit_time_us: 9, xid: 740 })
    );
    let commit = Build::tag(b'C').u8(0).u64(16).u64(32).i64(9).bytes();
    assert_eq!(message(commit), Message::Commit(COMMIT));
}

#[test]
fn an_origin_names_the_node_that_a_transaction_came_from() {
    let origin = Build::tag(b'O').u64(5).text("ficus_reverse").bytes();
    assert_eq!(
        message(origin),
        Message::Origin(Origin { lsn: Lsn::new(5), name: "ficus_reverse".to_owned() })
    );
}

#[test]
fn a_relation_tells_the_columns_and_which_of_them_identify_a_row() {
    let bytes = Build::tag(b'R').u32(16_385).text("public").text("ticket").u8(b'd').u16(2);
    let bytes = bytes.u8(1).text("id").u32(20).i32(-1).u8(0).text("tn").u32(1043).i32(54);
    let column = |key, name: &str, type_oid, type_modifier| RelationColumn {
        key,
        name: name.to_owned(),
        type_oid,
        type_modifier,
    };
    let relation = Relation {
        oid: RelationOid(16_385),
        schema: "public".to_owned(),
        name: "ticket".to_owned(),
        replica_identity: ReplicaIdentity::Default,
        columns: vec![column(true, "id", 20, -1), column(false, "tn", 1043, 54)],
    };
    assert_eq!(relation.table_name(), TableName::new("public", "ticket"));
    assert_eq!(message(bytes.bytes()), Message::Relation(relation));
}

#[test]
fn each_replica_identity_has_its_letter_and_others_are_refused() {
    let bytes = |letter| Build::tag(b'R').u32(1).text("s").text("t").u8(letter).u16(0).bytes();
    let cases = [
        (b'd', ReplicaIdentity::Default),
        (b'n', ReplicaIdentity::Nothing),
        (b'f', ReplicaIdentity::Full),
        (b'i', ReplicaIdentity::Index),
    ];
    for (letter, expected) in cases {
        let Message::Relation(relation) = message(bytes(letter)) else { panic!("no relation") };
        assert_eq!(relation.replica_identity, expected);
    }
    let unknown = DecodeError::Unknown { field: "relation.replica_identity", value: 120 };
    assert_eq!(error(bytes(b'x')), unknown);
}

#[test]
fn an_empty_schema_on_the_wire_means_pg_catalog() {
    let bytes = Build::tag(b'Y').u32(3802).text("").text("jsonb").bytes();
    let (schema, name) = ("pg_catalog".to_owned(), "jsonb".to_owned());
    assert_eq!(message(bytes), Message::Type(TypeName { oid: 3802, schema, name }));
}

#[test]
fn an_insert_knows_null_unsent_text_and_binary_values() {
    let bytes = Build::tag(b'I').u32(7).u8(b'N').u16(5);
    let bytes = bytes.u8(b'n').u8(b'u').u8(b't').sized(b"42").u8(b'b').sized(&[0, 1]);
    let bytes = bytes.u8(b't').sized(b"");
    let binary = TupleValue::Binary(&[0, 1]);
    let values = [TupleValue::Null, TupleValue::UnchangedToast, text("42"), binary, text("")];
    assert_eq!(
        message(bytes.bytes()),
        Message::Insert(Insert { relation: RelationOid(7), new: Tuple::from_values(values) })
    );
}

#[test]
fn a_value_is_a_slice_of_the_received_bytes_and_not_a_copy() {
    let bytes = Build::tag(b'I').u32(7).u8(b'N').u16(1).u8(b't').sized(b"large").bytes();
    let Message::Insert(insert) = message(bytes.clone()) else { panic!("no insert") };
    let value = insert.new.get(0).and_then(TupleValue::bytes).unwrap();
    assert!(bytes.as_ptr_range().contains(&value.as_ptr()));
}

#[test]
fn an_update_has_an_old_row_only_when_its_identity_changed_or_is_full() {
    let new = |bytes: Build| bytes.u8(b'N').u16(1).u8(b't').sized(b"2").bytes();
    let plain = new(Build::tag(b'U').u32(7));
    let tuple = |value| Tuple::from_values([text(value)]);
    let update = |old| Message::Update(Update { relation: RelationOid(7), old, new: tuple("2") });
    assert_eq!(message(plain), update(None));
    for (letter, kind) in [(b'K', OldTupleKind::Key), (b'O', OldTupleKind::Full)] {
        let bytes = new(Build::tag(b'U').u32(7).u8(letter).u16(1).u8(b't').sized(b"1"));
        assert_eq!(message(bytes), update(Some(OldTuple { kind, tuple: tuple("1") })));
    }
    let twice = Build::tag(b'U').u32(7).u8(b'K').u16(0).u8(b'K').u16(0).bytes();
    assert_eq!(error(twice), DecodeError::Unknown { field: "update.tuple_kind", value: 75 });
}

#[test]
fn a_delete_has_the_old_key_or_the_old_row() {
    for (letter, kind) in [(b'K', OldTupleKind::Key), (b'O', OldTupleKind::Full)] {
        let bytes = Build::tag(b'D').u32(7).u8(letter).u16(2).u8(b't').sized(b"1").u8(b'n');
        let tuple = Tuple::from_values([text("1"), TupleValue::Null]);
        let old = OldTuple { kind, tuple };
        assert_eq!(
            message(bytes.bytes()),
            Message::Delete(Delete { relation: RelationOid(7), old })
        );
    }
    let without = Build::tag(b'D').u32(7).u8(b'N').u16(0).bytes();
    assert_eq!(error(without), DecodeError::Unknown { field: "delete.tuple_kind", value: 78 });
}

#[test]
fn a_truncate_tells_its_tables_and_options() {
    for (flags, cascade, restart_identity) in
        [(0, false, false), (1, true, false), (2, false, true), (3, true, true)]
    {
        let bytes = Build::tag(b'T').u32(2).u8(flags).u32(7).u32(8).bytes();
        let relations = vec![RelationOid(7), RelationOid(8)];
        assert_eq!(
            message(bytes),
            Message::Truncate(Truncate { relations, cascade, restart_identity })
        );
    }
}

#[test]
fn a_logical_message_carries_any_bytes_and_a_strange_prefix_does_not_stop_the_stream() {
    let bytes = Build::tag(b'M').u8(1).u64(64).text("ficus.barrier").sized(&[0xFF, 0]).bytes();
    let logical = |transactional, prefix: &str, content| LogicalMessage {
        transactional,
        lsn: Lsn::new(64),
        prefix: prefix.to_owned(),
        content: Bytes::from_static(content),
    };
    assert_eq!(message(bytes), Message::Logical(logical(true, "ficus.barrier", &[0xFF, 0])));
    let bytes = Build::tag(b'M').u8(0).u64(64).raw(&[b'x', 0xFF, 0]).sized(b"").bytes();
    assert_eq!(message(bytes), Message::Logical(logical(false, "x\u{FFFD}", &[])));
}

#[test]
fn in_a_stream_changes_carry_the_xid_of_their_subtransaction() {
    let in_stream = |bytes: Build| decode(bytes.bytes(), DecodeContext { in_stream: true });
    let bodies = [
        Build::tag(b'R').u32(99).u32(1).text("s").text("t").u8(b'd').u16(0),
        Build::tag(b'Y').u32(99).u32(1).text("s").text("t"),
        Build::tag(b'I').u32(99).u32(7).u8(b'N').u16(0),
        Build::tag(b'U').u32(99).u32(7).u8(b'N').u16(0),
        Build::tag(b'D').u32(99).u32(7).u8(b'K').u16(0),
        Build::tag(b'T').u32(99).u32(0).u8(0),
        Build::tag(b'M').u32(99).u8(1).u64(1).text("p").sized(b""),
    ];
    for body in bodies {
        let decoded = in_stream(body.clone()).unwrap();
        assert_eq!(decoded.stream_xid, Some(99), "{}", decoded.message.kind());
        assert!(decode(body.bytes(), DecodeContext { in_stream: false }).is_err());
    }
    let stop = Decoded { stream_xid: None, message: Message::StreamStop };
    assert_eq!(in_stream(Build::tag(b'E')), Ok(stop));
    let origin = in_stream(Build::tag(b'O').u64(0).text("o")).unwrap();
    assert_eq!(origin.stream_xid, None);
}

#[test]
fn a_streamed_transaction_starts_commits_and_aborts_by_its_top_xid() {
    for (byte, first_segment) in [(1, true), (0, false)] {
        let start = Build::tag(b'S').u32(99).u8(byte).bytes();
        assert_eq!(message(start), Message::StreamStart(StreamStart { xid: 99, first_segment }));
    }
    let commit = Build::tag(b'c').u32(99).u8(0).u64(16).u64(32).i64(9).bytes();
    let expected = StreamCommit { xid: 99, commit: COMMIT };
    assert_eq!(message(commit), Message::StreamCommit(expected));
    let abort = |position| Message::StreamAbort(StreamAbort { xid: 99, subxid: 100, position });
    assert_eq!(message(Build::tag(b'A').u32(99).u32(100).bytes()), abort(None));
    let parallel = Build::tag(b'A').u32(99).u32(100).u64(48).i64(10).bytes();
    let position = AbortPosition { abort_lsn: Lsn::new(48), abort_time_us: 10 };
    assert_eq!(message(parallel), abort(Some(position)));
}

#[test]
fn a_prepared_transaction_is_told_apart_by_its_name() {
    let prepared = Prepared {
        prepare_lsn: Lsn::new(16),
        end_lsn: Lsn::new(32),
        prepare_time_us: 9,
        xid: 99,
        gid: "g1".to_owned(),
    };
    let body = |bytes: Build| bytes.u64(16).u64(32).i64(9).u32(99).text("g1").bytes();
    assert_eq!(message(body(Build::tag(b'b'))), Message::BeginPrepare(prepared.clone()));
    assert_eq!(message(body(Build::tag(b'P').u8(0))), Message::Prepare(prepared.clone()));
    assert_eq!(message(body(Build::tag(b'p').u8(0))), Message::StreamPrepare(prepared));
    let committed = CommitPrepared { commit: COMMIT, xid: 99, gid: "g1".to_owned() };
    assert_eq!(message(body(Build::tag(b'K').u8(0))), Message::CommitPrepared(committed));
    let bytes = Build::tag(b'r').u8(0).u64(16).u64(32).i64(9).i64(10).u32(99).text("g1").bytes();
    let rolled_back = RollbackPrepared {
        prepare_end_lsn: Lsn::new(16),
        rollback_end_lsn: Lsn::new(32),
        prepare_time_us: 9,
        rollback_time_us: 10,
        xid: 99,
        gid: "g1".to_owned(),
    };
    assert_eq!(message(bytes), Message::RollbackPrepared(rolled_back));
}

#[test]
fn a_streamed_message_tells_whose_it_is_without_being_decoded() {
    let peek = |bytes: Build| peek_streamed(&bytes.bytes());
    let insert = Build::tag(b'I').u32(740).u32(7).raw(b"anything");
    assert_eq!(peek(insert), Ok(StreamedPart::Of { xid: 740 }));
    let origin = Build::tag(b'O').u64(5).text("ficus_reverse");
    assert_eq!(peek(origin), Ok(StreamedPart::OfTransaction));
    assert_eq!(peek(Build::tag(b'E')), Ok(StreamedPart::Stop));
    let cut = DecodeError::Truncated { field: "message.stream_xid" };
    assert_eq!(peek(Build::tag(b'U').u16(1)), Err(cut));
}

#[test]
fn an_unknown_tag_flag_or_kind_is_refused_because_guessing_would_misread_rows() {
    let unknown = |field, value| DecodeError::Unknown { field, value };
    assert_eq!(error(Build::tag(b'?').bytes()), unknown("message.tag", 63));
    let commit = Build::tag(b'C').u8(4).u64(16).u64(32).i64(9).bytes();
    assert_eq!(error(commit), unknown("commit.flags", 4));
    let value = Build::tag(b'I').u32(7).u8(b'N').u16(1).u8(b'z').bytes();
    assert_eq!(error(value), unknown("value.kind", 122));
    let kind = Build::tag(b'I').u32(7).u8(b'K').u16(0).bytes();
    assert_eq!(error(kind), unknown("insert.tuple_kind", 75));
    assert_eq!(error(Build::tag(b'T').u32(0).u8(4).bytes()), unknown("truncate.flags", 4));
    let negative = Build::tag(b'I').u32(7).u8(b'N').u16(1).u8(b't').i32(-1).bytes();
    assert_eq!(error(negative), unknown("value.text", -1));
}

#[test]
fn a_length_beyond_the_message_is_refused_before_memory_is_taken_for_it() {
    let value = Build::tag(b'I').u32(7).u8(b'N').u16(1).u8(b't').i32(i32::MAX).raw(b"x").bytes();
    assert_eq!(error(value), DecodeError::Truncated { field: "value.text" });
    let columns = Build::tag(b'I').u32(7).u8(b'N').u16(u16::MAX).bytes();
    assert_eq!(error(columns), DecodeError::Truncated { field: "value.kind" });
    let relations = Build::tag(b'T').u32(u32::MAX).u8(0).u32(7).bytes();
    assert_eq!(error(relations), DecodeError::Truncated { field: "truncate.relation" });
}

#[test]
fn a_name_must_be_utf8_and_must_end() {
    let bytes = Build::tag(b'O').u64(5).raw(&[0xC3, 0x28, 0]).bytes();
    assert_eq!(error(bytes), DecodeError::NotUtf8 { field: "origin.name" });
    let bytes = Build::tag(b'O').u64(5).raw(b"endless").bytes();
    assert_eq!(error(bytes), DecodeError::Truncated { field: "origin.name" });
}

#[test]
fn the_debug_form_of_a_row_does_not_show_its_values() {
    let bytes = Build::tag(b'I').u32(7).u8(b'N').u16(2).u8(b't').sized(b"secret");
    let shown = format!("{:?}", message(bytes.u8(b'b').sized(b"hidden!").bytes()));
    assert!(shown.contains("Text(6 bytes)") && shown.contains("Binary(7 bytes)"), "{shown}");
    assert!(!shown.contains("secret") && !shown.contains("hidden"), "{shown}");
}
