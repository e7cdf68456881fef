//! What a stream holds.

use std::time::Duration;

use cdc::wire::{Frame, StartOptions};
use pg::{
    TableName,
    pgoutput::{DecodeContext, Message, OldTupleKind, Tuple, TupleValue},
};
use tokio::time::timeout;

use crate::source::{
    BOUND, PUBLICATION, Source, inserted_ids, kinds, next, next_message, read_to_end, text,
};

#[tokio::test]
async fn every_kind_of_change_arrives_as_it_was_committed() -> anyhow::Result<()> {
    let source = Source::create("kinds_of_change").await?;
    let mut stream = source.stream().await?;
    source
        .sql
        .batch_execute(
            "INSERT INTO ticket VALUES (1, 'new', repeat('x', 100000)), (2, NULL, '');
             UPDATE ticket SET title = 'renamed' WHERE id = 1;
             UPDATE ticket SET id = 3 WHERE id = 2;
             DELETE FROM ticket WHERE id = 3;
             TRUNCATE ticket RESTART IDENTITY CASCADE",
        )
        .await?;
    source.mark_end().await?;
    let messages = read_to_end(&mut stream).await?;
    // The server repeats the shape whenever its caches were invalidated, by a truncate or by others.
    let (relations, messages): (Vec<_>, Vec<_>) =
        messages.into_iter().partition(|message| matches!(message, Message::Relation(_)));
    let relation = relations.first().expect("the shape comes before the rows");
    assert!(relations.iter().all(|again| again == relation));
    assert_eq!(
        kinds(&messages),
        ["begin", "insert", "insert", "update", "update", "delete", "truncate", "commit"]
    );
    let [_, first, second, renamed, moved, deleted, truncated, _] = &messages[..] else {
        panic!("eight messages");
    };
    let Message::Relation(relation) = relation else { panic!("no relation") };
    assert_eq!(relation.table_name(), TableName::new("public", "ticket"));
    let columns: Vec<_> = relation.columns.iter().map(|c| (c.name.as_str(), c.key)).collect();
    assert_eq!(columns, [("id", true), ("title", false), ("body", false)]);

    let Message::Insert(first) = first else { panic!("no insert") };
    assert_eq!(text(first.new.get(2).expect("a third value")), "x".repeat(100_000));
    let Message::Insert(second) = second else { panic!("no insert") };
    assert_eq!(shown(&second.new), ["2", "null", ""]);

    let Message::Update(renamed) = renamed else { panic!("no update") };
    assert_eq!(renamed.old, None);
    assert_eq!(shown(&renamed.new), ["1", "renamed", "unchanged"]);

    let Message::Update(moved) = moved else { panic!("no update") };
    let old = moved.old.as_ref().expect("the old key");
    assert_eq!((old.kind, shown(&old.tuple)), (OldTupleKind::Key, vec!["2", "null", "null"]));
    assert_eq!(shown(&moved.new), ["3", "null", ""]);

    let Message::Delete(deleted) = deleted else { panic!("no delete") };
    assert_eq!(shown(&deleted.old.tuple), ["3", "null", "null"]);
    let Message::Truncate(truncated) = truncated else { panic!("no truncate") };
    assert_eq!(truncated.relations, [relation.oid]);
    assert!(truncated.cascade && truncated.restart_identity);
    Ok(stream.close().await?)
}

fn shown(tuple: &Tuple) -> Vec<&str> {
    let show = |value| match value {
        TupleValue::Null => "null",
        TupleValue::UnchangedToast => "unchanged",
        value @ (TupleValue::Text(_) | TupleValue::Binary(_)) => text(value),
    };
    tuple.values().map(show).collect()
}

#[tokio::test]
async fn begin_and_commit_frame_a_transaction_and_name_its_positions() -> anyhow::Result<()> {
    let source = Source::create("frame_of_transaction").await?;
    let mut stream = source.stream().await?;
    source.sql.batch_execute("INSERT INTO ticket VALUES (1), (2)").await?;
    source.mark_end().await?;
    let messages = read_to_end(&mut stream).await?;
    let (Some(Message::Begin(begin)), Some(Message::Commit(commit))) =
        (messages.first(), messages.last())
    else {
        panic!("no transaction: {messages:?}");
    };
    assert_eq!(begin.final_lsn, commit.commit_lsn);
    assert_eq!(begin.commit_time_us, commit.commit_time_us);
    assert!(commit.commit_lsn < commit.end_lsn);
    assert_eq!(source.value("SELECT xmin FROM ticket WHERE id = 1").await?, begin.xid.to_string());
    Ok(())
}

#[tokio::test]
async fn a_transaction_that_was_replicated_into_the_source_names_its_origin() -> anyhow::Result<()>
{
    let source = Source::create("named_origin").await?;
    let mut stream = source.stream().await?;
    source
        .sql
        .batch_execute(
            "SELECT pg_replication_origin_create('wire_test_reverse');
             SELECT pg_replication_origin_session_setup('wire_test_reverse');",
        )
        .await?;
    source
        .sql
        .batch_execute(
            "BEGIN;
             SELECT pg_replication_origin_xact_setup('0/1234', now());
             INSERT INTO ticket VALUES (1);
             COMMIT",
        )
        .await?;
    source.sql.batch_execute("SELECT pg_replication_origin_session_reset()").await?;
    source.sql.batch_execute("INSERT INTO ticket VALUES (2)").await?;
    source.mark_end().await?;
    let messages = read_to_end(&mut stream).await?;
    assert_eq!(
        kinds(&messages),
        ["begin", "origin", "relation", "insert", "commit", "begin", "insert", "commit"]
    );
    let Message::Origin(origin) = &messages[1] else { panic!("no origin") };
    assert_eq!((origin.name.as_str(), origin.lsn), ("wire_test_reverse", "0/1234".parse()?));
    Ok(())
}

#[tokio::test]
async fn logical_messages_come_with_their_transaction_or_at_once() -> anyhow::Result<()> {
    let source = Source::create("logical_messages").await?;
    let mut stream = source.stream().await?;
    source
        .sql
        .batch_execute(
            "BEGIN;
             SELECT pg_logical_emit_message(true, 'ficus.barrier', 'within');
             SELECT pg_logical_emit_message(false, 'ficus.heartbeat', '\\x00ff'::bytea);
             ROLLBACK;
             SELECT pg_logical_emit_message(true, 'ficus.barrier', 'token');",
        )
        .await?;
    source.mark_end().await?;
    let messages = read_to_end(&mut stream).await?;
    assert_eq!(kinds(&messages), ["logical", "begin", "logical", "commit"]);
    let (Message::Logical(at_once), Message::Logical(within)) = (&messages[0], &messages[2]) else {
        panic!("no logical messages: {messages:?}");
    };
    assert!(!at_once.transactional && within.transactional);
    assert_eq!((at_once.prefix.as_str(), &at_once.content[..]), ("ficus.heartbeat", &[0, 255][..]));
    assert_eq!((within.prefix.as_str(), &within.content[..]), ("ficus.barrier", &b"token"[..]));
    Ok(())
}

#[tokio::test]
async fn settings_of_the_database_do_not_change_how_values_are_written() -> anyhow::Result<()> {
    let source = Source::create("foreign_settings").await?;
    source
        .sql
        .batch_execute(
            "ALTER DATABASE foreign_settings SET DateStyle = 'German';
             ALTER DATABASE foreign_settings SET IntervalStyle = 'sql_standard';
             ALTER DATABASE foreign_settings SET extra_float_digits = -5;
             ALTER DATABASE foreign_settings SET bytea_output = 'escape';
             ALTER DATABASE foreign_settings SET TimeZone = 'Asia/Tokyo';
             CREATE TABLE typed (d date, i interval, f float8, b bytea, t timestamptz)",
        )
        .await?;
    let mut stream = source.stream().await?;
    source
        .sql
        .batch_execute(
            "INSERT INTO typed VALUES ('2026-02-07', '1 day 02:03:04', 0.1::float8 + 0.2::float8,
             '\\x00ff', '2026-02-07 10:00:00+00')",
        )
        .await?;
    source.mark_end().await?;
    let messages = read_to_end(&mut stream).await?;
    let Message::Insert(insert) = &messages[2] else { panic!("no insert: {messages:?}") };
    assert_eq!(
        shown(&insert.new),
        [
            "2026-02-07",
            "1 day 02:03:04",
            "0.30000000000000004",
            "\\x00ff",
            "2026-02-07 10:00:00+00"
        ]
    );
    Ok(())
}

#[tokio::test]
async fn binary_values_come_where_they_are_asked_for() -> anyhow::Result<()> {
    let source = Source::create("binary_values").await?;
    let options = StartOptions { binary: true, ..StartOptions::new([PUBLICATION]) };
    let mut stream = source.stream_with(options).await?;
    source.sql.batch_execute("INSERT INTO ticket VALUES (258)").await?;
    source.mark_end().await?;
    let messages = read_to_end(&mut stream).await?;
    let Message::Insert(insert) = &messages[2] else { panic!("no insert: {messages:?}") };
    let binary = TupleValue::Binary(&[0, 0, 0, 0, 0, 0, 1, 2]);
    assert_eq!(insert.new.get(0), Some(binary));
    Ok(())
}

#[tokio::test]
async fn a_big_transaction_streams_before_its_commit_and_tells_what_was_rolled_back()
-> anyhow::Result<()> {
    let mut source = Source::create("big_transaction").await?;
    source.config.options("-c logical_decoding_work_mem=64kB");
    let options =
        StartOptions { proto_version: 2, streaming: true, ..StartOptions::new([PUBLICATION]) };
    let mut stream = source.stream_with(options).await?;
    source
        .sql
        .batch_execute(
            "BEGIN;
             INSERT INTO ticket SELECT n, 'kept', repeat('x', 100) FROM generate_series(1, 1000) n;
             SAVEPOINT s;
             INSERT INTO ticket SELECT n, 'gone', repeat('x', 100) FROM generate_series(1001, 2000) n;
             ROLLBACK TO s;
             INSERT INTO ticket SELECT n, 'kept', repeat('x', 100) FROM generate_series(2001, 3000) n;
             COMMIT",
        )
        .await?;
    let mut context = DecodeContext::default();
    let mut kept = Vec::new();
    let mut pieces = 0;
    let top = loop {
        let (xid, message) = next_message(&mut stream, &mut context).await?;
        if let Message::StreamStart(start) = message {
            assert_eq!(start.first_segment, pieces == 0);
            pieces += 1;
        } else if let Message::Insert(insert) = message {
            kept.push((xid, text(insert.new.get(0).expect("an id")).to_owned()));
        } else if let Message::StreamAbort(abort) = message {
            kept.retain(|(xid, _)| *xid != Some(abort.subxid));
        } else if let Message::StreamCommit(commit) = message {
            break commit.xid;
        } else {
            assert!(matches!(message, Message::Relation(_) | Message::StreamStop), "{message:?}");
        }
    };
    assert!(pieces > 1, "the transaction came in one piece");
    assert!(kept.iter().all(|(xid, _)| xid.is_some()));
    assert_eq!(kept.first().and_then(|(xid, _)| *xid), Some(top));
    let ids: Vec<_> = kept.into_iter().map(|(_, id)| id).collect();
    let expected: Vec<_> = (1..=1000).chain(2001..=3000).map(|id: i32| id.to_string()).collect();
    assert_eq!(ids, expected);
    Ok(stream.close().await?)
}

#[tokio::test]
async fn a_reader_that_gives_up_again_and_again_loses_no_frame() -> anyhow::Result<()> {
    let source = Source::create("cancelled_reads").await?;
    let mut stream = source.stream().await?;
    let writer = async {
        for first in (1..=5000).step_by(100) {
            let sql = "INSERT INTO ticket SELECT generate_series($1::bigint, $1 + 99)";
            source.sql.execute(sql, &[&i64::from(first)]).await?;
        }
        anyhow::Ok(())
    };
    let mut ids = Vec::new();
    let mut given_up = 0;
    let reader = async {
        while ids.len() < 5000 {
            match timeout(Duration::from_micros(20), stream.next()).await {
                Ok(Ok(Frame::Wal { data, .. })) => {
                    let message = pg::pgoutput::decode(data, DecodeContext::default())?.message;
                    ids.extend(inserted_ids(&[message]));
                }
                Ok(Ok(Frame::Keepalive { .. })) => {}
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => given_up += 1,
            }
        }
        anyhow::Ok(())
    };
    timeout(BOUND, async { tokio::try_join!(writer, reader) }).await??;
    assert_eq!(ids, (1..=5000).collect::<Vec<i64>>());
    assert!(given_up > 0, "no read was given up");
    Ok(())
}

#[tokio::test]
async fn try_next_gives_what_has_come_and_does_not_wait() -> anyhow::Result<()> {
    let source = Source::create("frames_at_hand").await?;
    let mut stream = source.stream().await?;
    source.sql.batch_execute("INSERT INTO ticket SELECT generate_series(1, 10)").await?;
    let mut frames = vec![next(&mut stream).await?];
    let at_hand =
        |frames: &[Frame]| frames.iter().filter(|frame| matches!(frame, Frame::Wal { .. })).count();
    testkit::wait_until(BOUND, || {
        while let Ok(Some(frame)) = stream.try_next() {
            frames.push(frame);
        }
        // Begin, relation, ten rows, commit.
        std::future::ready(Ok((at_hand(&frames) == 13).then_some(())))
    })
    .await
}
