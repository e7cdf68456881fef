//! Transactions larger than the source keeps in memory: they come before they have committed.

use std::time::Duration;

use cutover::StreamKind;
use testkit::wait_until;

use crate::world::World;

/// Far above `logical_decoding_work_mem`, and above a batch.
const LARGE: &str = "
    INSERT INTO ticket (tn, title, body) SELECT n::text, 'kept', repeat('x', 300)
        FROM generate_series(1, 8000) n;
    SAVEPOINT a;
    INSERT INTO ticket (tn, title) SELECT n::text, 'gone' FROM generate_series(8001, 9000) n;
    SAVEPOINT b;
    UPDATE ticket SET title = 'gone' WHERE id <= 500;
    RELEASE b;
    ROLLBACK TO a;
    UPDATE ticket SET title = 'changed' WHERE id % 2 = 0;
    SAVEPOINT c;
    DELETE FROM ticket WHERE id % 5 = 0;
    RELEASE c;
    UPDATE ticket SET id = id + 100000 WHERE id % 7 = 0;";

/// A world whose source sends large transactions early.
async fn world() -> anyhow::Result<World> {
    let mut world = World::new().await?;
    let work_mem = "DO $$ BEGIN EXECUTE format(
        'ALTER DATABASE %I SET logical_decoding_work_mem = ''64kB''', current_database()); END $$";
    world.source.batch_execute(work_mem).await?;
    world.run().await?;
    world.start(StreamKind::Forward).await?;
    Ok(world)
}

/// How often the source sent a piece of an unfinished transaction of this world's slot.
async fn pieces(world: &World) -> anyhow::Result<i64> {
    let slot = StreamKind::Forward.slot(&world.name);
    wait_until(Duration::from_secs(30), || async {
        let sent = world
            .source
            .query_one(
                "SELECT coalesce(sum(stream_count), 0)::bigint FROM pg_stat_replication_slots
                 WHERE slot_name = $1",
                &[&slot],
            )
            .await?;
        Ok(Some(sent.get::<_, i64>(0)).filter(|count| *count > 0))
    })
    .await
}

#[tokio::test]
async fn a_large_transaction_arrives_whole_and_without_what_was_rolled_back() -> anyhow::Result<()>
{
    let mut world = world().await?;
    let other = world.connect_source().await?;
    world.source.batch_execute("BEGIN").await?;
    world.source.batch_execute(LARGE).await?;
    // Small transactions commit in the middle of it, one of them on its table.
    other.batch_execute("INSERT INTO ticket (tn) VALUES ('beside')").await?;
    world.barrier(StreamKind::Forward).await?;
    let early = world.target.query_one("SELECT count(*) FROM tickets", &[]).await?;
    assert_eq!(early.get::<_, i64>(0), 1, "nothing of an unfinished transaction is visible");
    world.source.batch_execute("COMMIT").await?;
    world.barrier(StreamKind::Forward).await?;
    world.assert_equal().await?;
    assert!(pieces(&world).await? > 0, "the source streamed it");
    let status = world.status(StreamKind::Forward).await?.expect("it runs");
    assert_eq!((status.state.as_str(), status.conflicts), ("streaming", 0), "{}", status.reason);
    world.end().await
}

#[tokio::test]
async fn a_large_transaction_that_is_rolled_back_leaves_nothing() -> anyhow::Result<()> {
    let mut world = world().await?;
    world.source.batch_execute(&format!("BEGIN; {LARGE} ROLLBACK")).await?;
    world.source.batch_execute("INSERT INTO ticket (tn) VALUES ('after')").await?;
    world.barrier(StreamKind::Forward).await?;
    world.assert_equal().await?;
    world.end().await
}

#[tokio::test]
async fn a_replicator_that_dies_in_a_large_transaction_gets_all_of_it_again() -> anyhow::Result<()>
{
    let mut world = world().await?;
    world.source.batch_execute("BEGIN").await?;
    world.source.batch_execute(LARGE).await?;
    // What was written before the barrier has come.
    world.barrier(StreamKind::Forward).await?;
    world.crash().await?;
    world.run().await?;
    world.wait_for_state(StreamKind::Forward, "streaming").await?;
    world.source.batch_execute("COMMIT").await?;
    world.barrier(StreamKind::Forward).await?;
    world.assert_equal().await?;
    world.end().await
}
