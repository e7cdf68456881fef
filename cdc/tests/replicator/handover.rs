//! Copy, stream, and the moment between the two.

use cutover::StreamKind;
use testkit::wait_until;

use crate::world::{BOUND, World};

const OLD_ROWS: &str = "
    INSERT INTO ticket (tn, title, body, price)
        SELECT 'old' || n, 'title ' || n, repeat('x', n % 100), n / 7.0
        FROM generate_series(1, 20000) n;
    INSERT INTO article (ticket_id, subject, flags)
        SELECT n, 'subject ' || n, decode(md5(n::text), 'hex') FROM generate_series(1, 20000) n;
    INSERT INTO flag SELECT n, CASE n % 3 WHEN 0 THEN 'private' ELSE 'seen' END, 'v'
        FROM generate_series(1, 3000) n;
    INSERT INTO queue SELECT n, 'queue ' || n, 'not for the service' FROM generate_series(1, 5) n";

#[tokio::test]
async fn rows_written_while_the_copy_runs_arrive_once_and_both_sides_are_equal()
-> anyhow::Result<()> {
    let mut world = World::new().await?;
    world.source.batch_execute(OLD_ROWS).await?;
    world.run().await?;
    let writer = world.write_until_told(|number| {
        format!(
            "BEGIN;
             INSERT INTO ticket (tn, title, body) VALUES ('new{number}', NULL, 'ü{number}');
             UPDATE ticket SET title = 'changed {number}' WHERE id = {number};
             DELETE FROM article WHERE id = {number};
             UPDATE flag SET name = CASE name WHEN 'private' THEN 'seen' ELSE 'private' END
                 WHERE ticket_id = {number};
             COMMIT"
        )
    });
    let writer = writer.await?;
    world.start(StreamKind::Forward).await?;
    world.barrier(StreamKind::Forward).await?;
    let written = writer.finish().await?;
    assert!(written > 1, "the writer was at work meanwhile");
    world.barrier(StreamKind::Forward).await?;
    let rows = world.assert_equal().await?;
    assert!(rows > 40_000, "{rows} rows are compared");
    let status = world.status(StreamKind::Forward).await?.expect("it runs");
    assert!(status.tables.iter().all(|table| table.state == "ready"), "{status:?}");
    assert_eq!((status.conflicts, status.breaches), (0, 0));
    world.end().await
}

#[tokio::test]
async fn a_copy_cut_off_by_a_crash_starts_again_from_nothing() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    world.source.batch_execute(OLD_ROWS).await?;
    // The copy can not end while this is held.
    let holder = world.connect_target().await?;
    holder.batch_execute("BEGIN; LOCK TABLE articles IN EXCLUSIVE MODE").await?;
    world.run().await?;
    world.client().start(world.stream(StreamKind::Forward)).await?;
    wait_until(BOUND, || async {
        let copied: i64 = world.target.query_one("SELECT count(*) FROM tickets", &[]).await?.get(0);
        Ok((copied > 0).then_some(()))
    })
    .await?;
    world.crash().await?;
    world.source.batch_execute("DELETE FROM ticket WHERE id <= 100").await?;
    holder.batch_execute("ROLLBACK").await?;
    world.run().await?;
    world.wait_for_state(StreamKind::Forward, "streaming").await?;
    world.barrier(StreamKind::Forward).await?;
    world.assert_equal().await?;
    world.end().await
}

#[tokio::test]
async fn starting_twice_is_starting_once() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    world.source.batch_execute(OLD_ROWS).await?;
    world.run().await?;
    world.client().start(world.stream(StreamKind::Forward)).await?;
    world.client().start(world.stream(StreamKind::Forward)).await?;
    world.wait_for_state(StreamKind::Forward, "streaming").await?;
    let again = world.client().start(world.stream(StreamKind::Forward)).await?.into_inner();
    assert_eq!(again.state, "streaming");
    world.barrier(StreamKind::Forward).await?;
    world.assert_equal().await?;
    world.end().await
}

#[tokio::test]
async fn tables_with_rows_of_somebody_else_are_never_copied_over() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    let applier = world.connect_target().await?;
    applier
        .batch_execute(
            "SET SESSION AUTHORIZATION ficus_applier;
             INSERT INTO articles (id, ticket_id, subject) VALUES (1, 1, 'written by hand')",
        )
        .await?;
    world.run().await?;
    let refused = world.client().start(world.stream(StreamKind::Forward)).await;
    let message = refused.expect_err("there are rows").message().to_owned();
    assert!(message.contains("TRUNCATE \"public\".\"articles\""), "{message}");
    assert!(world.status(StreamKind::Forward).await?.is_none());
    world.end().await
}

#[tokio::test]
async fn a_stream_given_up_and_started_again_copies_again() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    world.source.batch_execute(OLD_ROWS).await?;
    world.run().await?;
    world.start(StreamKind::Forward).await?;
    world.client().drop(world.stream(StreamKind::Forward)).await?;
    world.client().drop(world.stream(StreamKind::Forward)).await?;
    assert!(world.status(StreamKind::Forward).await?.is_none());
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1";
    let slot = StreamKind::Forward.slot(&world.name);
    let count: i64 = world.source.query_one(slots, &[&slot]).await?.get(0);
    assert_eq!(count, 0, "the source keeps no log for it");
    world.source.batch_execute("DELETE FROM ticket WHERE id % 2 = 0").await?;
    world.start(StreamKind::Forward).await?;
    world.barrier(StreamKind::Forward).await?;
    world.assert_equal().await?;
    world.end().await
}

#[tokio::test]
async fn references_are_copied_and_followed_without_the_columns_the_service_lacks()
-> anyhow::Result<()> {
    let mut world = World::new().await?;
    world.source.batch_execute(OLD_ROWS).await?;
    world.run().await?;
    world.start(StreamKind::Reference).await?;
    world
        .source
        .batch_execute(
            "UPDATE queue SET name = 'renamed' WHERE id = 1; DELETE FROM queue WHERE id = 2;
             ALTER TABLE queue ADD COLUMN color text; INSERT INTO queue VALUES (9, 'nine', '', 'red')",
        )
        .await?;
    world.barrier(StreamKind::Reference).await?;
    let rows = world.target.query("SELECT id || name FROM queues ORDER BY id", &[]).await?;
    let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(rows, ["1renamed", "3queue 3", "4queue 4", "5queue 5", "9nine"]);
    world.end().await
}
