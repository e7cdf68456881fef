//! A table that waits stops nobody, loses nothing, and comes back.

use std::sync::Arc;

use cutover::StreamKind::{self, Forward};
use routes::CopyMode;
use rpc::v1;
use testkit::wait_until;

use crate::world::{BOUND, World, Writer};

const ARTICLE: &str = "public.article";
const TICKET: &str = "public.ticket";

pub(crate) async fn table(
    world: &World,
    kind: StreamKind,
    name: &str,
) -> anyhow::Result<v1::TableStatus> {
    let status = world.status(kind).await?.unwrap_or_default();
    Ok(status.tables.into_iter().find(|table| table.source == name).unwrap_or_default())
}

pub(crate) async fn wait_for(
    world: &World,
    name: &str,
    state: &str,
) -> anyhow::Result<v1::TableStatus> {
    let found = wait_until(BOUND, || async {
        let table = table(world, Forward, name).await?;
        Ok((table.state == state).then_some(table))
    })
    .await;
    match found {
        Ok(found) => Ok(found),
        Err(error) => {
            let seen = table(world, Forward, name).await?;
            Err(error.context(format!("{name} never was {state}, last {seen:?}")))
        }
    }
}

pub(crate) async fn ask(world: &World, action: &str, name: &str) -> anyhow::Result<v1::TableReply> {
    let request = v1::TableRequest {
        capability: world.name.clone(),
        kind: String::new(),
        table: name.to_owned(),
        action: action.to_owned(),
    };
    Ok(world.client().table(request).await?.into_inner())
}

/// Writes past the fence, as nobody should.
pub(crate) async fn meddle(world: &World, sql: &str) -> anyhow::Result<()> {
    let client = world.connect_target().await?;
    client.batch_execute("SET SESSION AUTHORIZATION ficus_applier").await?;
    // The stream writes the same rows in an order of its own; one of the two may have to give way.
    wait_until(BOUND, || async {
        match client.batch_execute(sql).await {
            Err(error) if error.code().is_some_and(|code| code.code() == "40P01") => Ok(None),
            done => Ok(Some(done?)),
        }
    })
    .await
}

async fn streaming(sql: &str) -> anyhow::Result<World> {
    let mut world = World::new().await?;
    Arc::get_mut(&mut world.config).expect("nobody has it yet").cdc.chunk_rows = 20;
    world.source.batch_execute(sql).await?;
    world.run().await?;
    world.start(Forward).await?;
    Ok(world)
}

/// Everything an application does to tickets: inserts, updates with and without the large value, key
/// changes, deletes, and transactions that are rolled back.
async fn busy(world: &World) -> anyhow::Result<Writer> {
    world
        .write_until_told(|number| {
            let (a, b) = (1 + number * 7 % 90, 1 + number * 13 % 90);
            format!(
                "BEGIN; INSERT INTO ticket (id, tn, title, body)
                     VALUES ({number} + 1000000, 'n{number}', 'new', repeat('{number} ', 1500));
                 UPDATE ticket SET title = 't{number}' WHERE id = {a}; COMMIT;
                 BEGIN; UPDATE ticket SET queue_id = queue_id + 1 WHERE id > {number} + 999980; ROLLBACK;
                 BEGIN; UPDATE ticket SET id = id + 5000 WHERE id = {b} AND {number} % 3 = 0;
                 UPDATE ticket SET id = id - 5000, title = 'back' WHERE id = {b} + 5000 AND {number} % 2 = 0;
                 DELETE FROM ticket WHERE id = {number} + 999995 AND {number} % 2 = 0;
                 UPDATE ticket SET id = id + 100000000 WHERE id = {number} + 999990 AND {number} % 5 = 0;
                 INSERT INTO article (id, ticket_id) VALUES ({number}, {a}); COMMIT"
            )
        })
        .await
}

const TICKETS: &str = "INSERT INTO ticket (id, tn, title, body)
    SELECT n, 'o' || n, 'old', repeat('body ', 1200) || n FROM generate_series(1, 90) n";

async fn settle(world: &World, writer: Writer) -> anyhow::Result<()> {
    wait_for(world, TICKET, "ready").await?;
    writer.finish().await?;
    world.barrier(Forward).await?;
    world.assert_equal().await?;
    Ok(())
}

#[tokio::test]
async fn a_conflict_makes_one_table_wait_and_a_retry_loses_nothing() -> anyhow::Result<()> {
    let mut world =
        streaming("INSERT INTO article (ticket_id) SELECT generate_series(1, 9)").await?;
    meddle(&world, "DELETE FROM articles WHERE id = 7").await?;
    world.source.batch_execute("UPDATE article SET subject = 'x' WHERE id BETWEEN 5 AND 8").await?;
    let waiting = wait_for(&world, ARTICLE, "quarantined").await?;
    assert!(waiting.reason.contains("public.articles(7)"), "{}", waiting.reason);
    // The others go on, and so do causal reads of them.
    world
        .source
        .batch_execute(
            "INSERT INTO ticket (tn) VALUES ('other'); DELETE FROM article WHERE id = 1;
             INSERT INTO article (id, ticket_id) VALUES (100, 1)",
        )
        .await?;
    world.barrier(Forward).await?;
    let count = "SELECT (SELECT count(*) FROM tickets), (SELECT count(*) FROM articles WHERE subject = 'x')";
    let row = world.target.query_one(count, &[]).await?;
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (1, 0));
    let waiting = wait_for(&world, ARTICLE, "quarantined").await?;
    assert!(waiting.parked_rows >= 6 && waiting.parked_bytes > 0, "{waiting:?}");
    // Nothing was mended: it waits again.
    ask(&world, "retry", ARTICLE).await?;
    wait_until(BOUND, || async {
        let conflicts = world.status(Forward).await?.map(|status| status.conflicts);
        Ok((conflicts == Some(2)).then_some(()))
    })
    .await?;
    wait_for(&world, ARTICLE, "quarantined").await?;
    meddle(&world, "INSERT INTO articles (id, ticket_id) VALUES (7, 7)").await?;
    assert_eq!(ask(&world, "retry", ARTICLE).await?.state, "replaying");
    let ready = wait_for(&world, ARTICLE, "ready").await?;
    assert_eq!((ready.parked_rows, ready.reason.as_str()), (0, ""));
    world.barrier(Forward).await?;
    world.assert_equal().await?;
    world.end().await
}

#[tokio::test]
async fn a_skipped_change_is_counted_and_everything_else_of_the_table_arrives() -> anyhow::Result<()>
{
    let mut world =
        streaming("INSERT INTO article (ticket_id) SELECT generate_series(1, 9)").await?;
    meddle(&world, "DELETE FROM articles WHERE id = 7").await?;
    world
        .source
        .batch_execute(
            "UPDATE article SET subject = 'x' WHERE id BETWEEN 5 AND 8;
             INSERT INTO article (id, ticket_id) VALUES (10, 1)",
        )
        .await?;
    wait_for(&world, ARTICLE, "quarantined").await?;
    ask(&world, "skip", ARTICLE).await?;
    let ready = wait_for(&world, ARTICLE, "ready").await?;
    assert_eq!(ready.skipped, 1);
    world.barrier(Forward).await?;
    let sql = "SELECT string_agg(id || coalesce(subject, ''), ' ' ORDER BY id) FROM articles";
    let rows: String = world.target.query_one(sql, &[]).await?.get(0);
    assert_eq!(rows, "1 2 3 4 5x 6x 8x 9 10");
    // A copy of the table brings the row back.
    ask(&world, "resync", ARTICLE).await?;
    wait_until(BOUND, || async { Ok(world.assert_equal().await.is_ok().then_some(())) }).await?;
    world.end().await
}

#[tokio::test]
async fn a_table_that_is_copied_again_under_writes_ends_equal() -> anyhow::Result<()> {
    let mut world = streaming(TICKETS).await?;
    let writer = busy(&world).await?;
    let mut acknowledged = writer.acknowledged.clone();
    acknowledged.wait_for(|count| *count > 30).await?;
    meddle(
        &world,
        "DELETE FROM tickets WHERE id % 3 = 0; UPDATE tickets SET title = 'wrong', extra = 'kept' WHERE id % 3 = 1;
         INSERT INTO tickets (id, number, queue_id, created_at) VALUES (777777, 'stranger', 1, now())",
    )
    .await?;
    ask(&world, "resync", TICKET).await?;
    let count = *acknowledged.borrow();
    acknowledged.wait_for(|now| *now > count + 60).await?;
    settle(&world, writer).await?;
    let kept = "SELECT count(*) FROM tickets WHERE extra = 'kept'";
    let kept: i64 = world.target.query_one(kept, &[]).await?.get(0);
    assert!(kept > 0, "what only the service writes stays");
    let left = "SELECT (SELECT count(*) FROM ficus.parked) + (SELECT count(*) FROM ficus.chunk)
        + (SELECT count(*) FROM pg_tables WHERE schemaname = 'ficus_stage')";
    assert_eq!(world.target.query_one(left, &[]).await?.get::<_, i64>(0), 0);
    world.end().await
}

#[tokio::test]
async fn a_truncation_during_a_copy_empties_what_was_copied() -> anyhow::Result<()> {
    let mut world = streaming(TICKETS).await?;
    let writer = world
        .write_until_told(|number| {
            let truncate = if number % 40 == 20 { "TRUNCATE ticket;" } else { "" };
            format!(
                "BEGIN; {truncate} INSERT INTO ticket (id, tn, title) VALUES ({number} + 1000000, 'n{number}', 'new');
                 UPDATE ticket SET title = 'u' WHERE id = {number} + 999999; COMMIT"
            )
        })
        .await?;
    for _ in 0..4 {
        ask(&world, "resync", TICKET).await?;
        wait_for(&world, TICKET, "ready").await?;
    }
    settle(&world, writer).await?;
    world.end().await
}

#[tokio::test]
async fn a_resync_that_is_killed_again_and_again_goes_on_and_ends_equal() -> anyhow::Result<()> {
    let mut world = streaming(TICKETS).await?;
    let writer = busy(&world).await?;
    for round in 0..3 {
        meddle(&world, "DELETE FROM tickets WHERE id % 7 = 0").await?;
        ask(&world, "resync", TICKET).await?;
        // Killed after so many chunks, then while it is merged, then while it is replayed.
        for chunks in [1, 3, 5 + round] {
            wait_until(BOUND, || async {
                let sql = "SELECT count(*) FROM ficus.chunk";
                let count: i64 = world.target.query_one(sql, &[]).await?.get(0);
                let is_over = table(&world, Forward, TICKET).await?.state != "resyncing";
                Ok((count >= chunks || is_over).then_some(()))
            })
            .await?;
            world.crash().await?;
            world.run().await?;
            world.wait_for_state(Forward, "streaming").await?;
        }
        wait_until(BOUND, || async {
            let state = table(&world, Forward, TICKET).await?.state;
            Ok((state == "replaying" || state == "ready").then_some(()))
        })
        .await?;
        world.crash().await?;
        world.run().await?;
        wait_for(&world, TICKET, "ready").await?;
    }
    settle(&world, writer).await?;
    world.end().await
}

#[tokio::test]
async fn a_first_copy_in_chunks_goes_on_where_it_was_killed() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    {
        let config = Arc::get_mut(&mut world.config).expect("nobody has it yet");
        config.cdc.copy = CopyMode::Chunks;
        config.cdc.chunk_rows = 25;
    }
    world.source.batch_execute(TICKETS).await?;
    world
        .source
        .batch_execute("INSERT INTO flag SELECT n, unnest(array['Seen', 'private']) FROM generate_series(1, 20) n")
        .await?;
    let writer = busy(&world).await?;
    world.run().await?;
    world.client().start(world.stream(Forward)).await?;
    let mut copied = 0;
    for _ in 0..4 {
        wait_until(BOUND, || async {
            let table = table(&world, Forward, TICKET).await?;
            Ok((table.rows_copied > copied || table.state == "ready").then_some(()))
        })
        .await?;
        copied = table(&world, Forward, TICKET).await?.rows_copied;
        world.crash().await?;
        world.run().await?;
    }
    for name in [TICKET, ARTICLE, "public.flag"] {
        wait_for(&world, name, "ready").await?;
    }
    settle(&world, writer).await?;
    world.end().await
}

#[tokio::test]
async fn more_parked_changes_than_allowed_are_dropped_and_only_a_resync_helps() -> anyhow::Result<()>
{
    let mut world = World::new().await?;
    Arc::get_mut(&mut world.config).expect("nobody has it yet").cdc.parked_max = 10_000;
    world
        .source
        .batch_execute("INSERT INTO article (ticket_id) SELECT generate_series(1, 9)")
        .await?;
    world.run().await?;
    world.start(Forward).await?;
    meddle(&world, "DELETE FROM articles WHERE id = 7").await?;
    world.source.batch_execute("UPDATE article SET subject = 'x' WHERE id = 7").await?;
    wait_for(&world, ARTICLE, "quarantined").await?;
    let many = "INSERT INTO article (ticket_id, subject) SELECT n, 'subject' FROM generate_series(1, 400) n";
    world.source.batch_execute(many).await?;
    wait_until(BOUND, || async {
        Ok(table(&world, Forward, ARTICLE).await?.needs_resync.then_some(()))
    })
    .await?;
    world.source.batch_execute("INSERT INTO ticket (tn) VALUES ('other')").await?;
    world.barrier(Forward).await?;
    let waiting = table(&world, Forward, ARTICLE).await?;
    assert!(waiting.reason.contains("ficus table resync"), "{}", waiting.reason);
    let parked: i64 =
        world.target.query_one("SELECT count(*) FROM ficus.parked", &[]).await?.get(0);
    assert_eq!(parked, 0);
    let refused = ask(&world, "retry", ARTICLE).await.expect_err("changes are missing");
    assert!(refused.to_string().contains("only a resync helps"), "{refused}");
    ask(&world, "resync", ARTICLE).await?;
    wait_for(&world, ARTICLE, "ready").await?;
    world.barrier(Forward).await?;
    world.assert_equal().await?;
    world.end().await
}

#[tokio::test]
async fn a_fence_is_not_passed_while_a_table_waits() -> anyhow::Result<()> {
    let mut world =
        streaming("INSERT INTO article (ticket_id) SELECT generate_series(1, 9)").await?;
    meddle(&world, "DELETE FROM articles WHERE id = 7").await?;
    world.source.batch_execute("UPDATE article SET subject = 'x' WHERE id = 7").await?;
    wait_for(&world, ARTICLE, "quarantined").await?;
    let bound = std::time::Duration::from_secs(30);
    let guard = world.guard(cutover::Side::Source).await?;
    guard.fence(&world.name, cutover::Epoch(1), bound, bound).await?;
    world.barrier(Forward).await?;
    let seen = "SELECT barrier_seen FROM ficus.apply WHERE stream = $1";
    let row = world.target.query_one(seen, &[&Forward.key(&world.name)]).await?;
    assert_eq!(row.get::<_, i64>(0), 0, "a row of the old owner is missing");
    let target = world.guard(cutover::Side::Target).await?;
    assert!(target.prepare(&world.name, cutover::Epoch(2), 1000).await.is_err());
    guard.expire(&world.name, cutover::Epoch(2), true).await?;
    world.end().await
}

#[tokio::test]
async fn commands_that_make_no_sense_say_why() -> anyhow::Result<()> {
    let mut world = streaming("INSERT INTO article (ticket_id) VALUES (1)").await?;
    for (action, name, word) in [
        ("retry", ARTICLE, "nothing to retry"),
        ("accept", ARTICLE, "nothing to accept"),
        ("retry", "public.nothing", "its tables: public.article"),
        ("repair", ARTICLE, "retry, skip, resync, accept"),
    ] {
        let refused = ask(&world, action, name).await.expect_err(word);
        assert!(refused.to_string().contains(word), "{refused}");
    }
    world.wait_for_state(Forward, "streaming").await?;
    world.end().await
}
