//! Crashes at any point lose nothing and repeat nothing.

use cutover::StreamKind;
use testkit::wait_until;

use crate::world::{BOUND, World};

#[tokio::test]
async fn a_stream_that_crashes_again_and_again_applies_every_change_once() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    world
        .source
        .batch_execute("INSERT INTO ticket (tn) SELECT 'o' || generate_series(1, 50)")
        .await?;
    world.run().await?;
    world.start(StreamKind::Forward).await?;
    // Rows that come and go: a change applied twice or never would not meet its row.
    let writer = world
        .write_until_told(|number| {
            format!(
                "INSERT INTO article (id, ticket_id) VALUES ({number}, 1);
                 BEGIN; UPDATE article SET subject = '{number}' WHERE id > {number} - 5;
                 DELETE FROM article WHERE id = {number} - 5;
                 UPDATE ticket SET queue_id = queue_id + 1 WHERE id = 1 + {number} % 50; COMMIT;
                 UPDATE ticket SET id = id + 1000 WHERE id = 50 - {number} % 40 AND {number} % 100 = 0"
            )
        })
        .await?;
    for crash in 0..25_u64 {
        // The writer does not stop: each crash finds the stream in the middle of something else.
        wait_until(BOUND, || async {
            let status = world.status(StreamKind::Forward).await?;
            let streams =
                status.is_some_and(|s| s.state == "streaming" && s.rows_applied > crash * 7);
            Ok(streams.then_some(()))
        })
        .await?;
        world.crash().await?;
        world.run().await?;
    }
    let written = writer.finish().await?;
    world.wait_for_state(StreamKind::Forward, "streaming").await?;
    world.barrier(StreamKind::Forward).await?;
    world.assert_equal().await?;
    let status = world.status(StreamKind::Forward).await?.expect("it runs");
    assert_eq!(status.conflicts, 0);
    assert!(written > 25, "{written} transactions were written meanwhile");
    world.end().await
}

#[tokio::test]
async fn a_second_replicator_waits_and_takes_over_when_the_first_is_gone() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    world.run().await?;
    world.start(StreamKind::Forward).await?;
    let mut second = world.beside().await?;
    second.run().await?;
    second.wait_for_state(StreamKind::Forward, "retrying").await?;
    world.source.batch_execute("INSERT INTO article (ticket_id) VALUES (1)").await?;
    world.barrier(StreamKind::Forward).await?;
    world.crash().await?;
    second.wait_for_state(StreamKind::Forward, "streaming").await?;
    second.source.batch_execute("INSERT INTO article (ticket_id) VALUES (2)").await?;
    second.barrier(StreamKind::Forward).await?;
    second.assert_equal().await?;
    second.end().await
}

#[tokio::test]
async fn connections_that_the_server_ends_are_made_again() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    world.run().await?;
    world.start(StreamKind::Forward).await?;
    for number in 0..5 {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname LIKE $1 || '_%' AND pid <> pg_backend_pid() AND application_name LIKE 'ficus%'";
        world.source.query(sql, &[&world.name]).await?;
        let sql = format!("INSERT INTO article (ticket_id) VALUES ({number})");
        world.source.batch_execute(&sql).await?;
        wait_until(BOUND, || async { Ok(world.assert_equal().await.is_ok().then_some(())) })
            .await?;
    }
    world.wait_for_state(StreamKind::Forward, "streaming").await?;
    world.end().await
}

#[tokio::test]
async fn an_applier_that_was_overtaken_goes_on_behind_what_the_other_one_applied()
-> anyhow::Result<()> {
    let mut world = World::new().await?;
    world.run().await?;
    world.start(StreamKind::Forward).await?;
    world.wait_for_state(StreamKind::Forward, "streaming").await?;
    // What a replicator does that took over: it holds the row, writes, and moves the position.
    let mut other = world.connect_target().await?;
    other.batch_execute("SET SESSION AUTHORIZATION ficus_applier").await?;
    let transaction = other.transaction().await?;
    let key = StreamKind::Forward.key(&world.name);
    transaction.execute("SELECT FROM ficus.apply WHERE stream = $1 FOR UPDATE", &[&key]).await?;
    world.source.batch_execute("INSERT INTO article (id, ticket_id) VALUES (900, 77)").await?;
    let end = world.source.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await?;
    let end: String = end.get(0);
    let waiting = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    wait_until(BOUND, || async {
        let count: i64 = world.target.query_one(waiting, &[]).await?.get(0);
        Ok((count > 0).then_some(()))
    })
    .await?;
    transaction.execute("INSERT INTO articles (id, ticket_id) VALUES (900, 77)", &[]).await?;
    transaction
        .execute("UPDATE ficus.apply SET lsn = $2::text::pg_lsn WHERE stream = $1", &[&key, &end])
        .await?;
    transaction.commit().await?;
    world.source.batch_execute("INSERT INTO article (id, ticket_id) VALUES (901, 78)").await?;
    world.barrier(StreamKind::Forward).await?;
    world.assert_equal().await?;
    let status = world.wait_for_state(StreamKind::Forward, "streaming").await?;
    assert_eq!(status.conflicts, 0);
    world.end().await
}
