//! A table whose columns change waits alone, and goes on with nothing lost once that was accepted.

use cutover::StreamKind::Forward;
use rpc::v1;

use crate::{
    tables::{ask, wait_for},
    world::World,
};

const ARTICLE: &str = "public.article";

async fn streaming() -> anyhow::Result<World> {
    let mut world = World::new().await?;
    world
        .source
        .batch_execute("INSERT INTO article (ticket_id, subject) SELECT n, 's' || n FROM generate_series(1, 9) n")
        .await?;
    world.run().await?;
    world.start(Forward).await?;
    Ok(world)
}

async fn changed(world: &World) -> anyhow::Result<v1::ChangedTable> {
    let request = v1::ChangesRequest { capability: world.name.clone() };
    let tables = world.client().changes(request).await?.into_inner().tables;
    anyhow::ensure!(tables.len() == 1, "{tables:?}");
    Ok(tables.into_iter().next().expect("there is one"))
}

/// Another table is written and arrives: only the changed one waits.
async fn others_go_on(world: &World, number: &str) -> anyhow::Result<()> {
    let sql = format!("INSERT INTO ticket (tn) VALUES ('{number}')");
    world.source.batch_execute(&sql).await?;
    world.barrier(Forward).await?;
    let sql = "SELECT count(*) FROM tickets WHERE number = $1";
    let count: i64 = world.target.query_one(sql, &[&number]).await?.get(0);
    anyhow::ensure!(count == 1, "ticket {number} did not arrive");
    Ok(())
}

#[tokio::test]
async fn an_added_column_waits_for_the_service_and_brings_its_values() -> anyhow::Result<()> {
    let mut world = streaming().await?;
    world
        .source
        .batch_execute(
            "ALTER TABLE article ADD COLUMN color text DEFAULT 'none';
             UPDATE article SET color = 'red' WHERE id = 2;
             INSERT INTO article (id, ticket_id, color) VALUES (20, 1, 'blue')",
        )
        .await?;
    let waiting = wait_for(&world, ARTICLE, "changed").await?;
    assert!(waiting.reason.contains("public.article.color was added"), "{}", waiting.reason);
    others_go_on(&world, "a").await?;
    let shown = changed(&world).await?;
    assert_eq!(shown.changes, ["column color text was added"]);
    assert!(shown.remedies[0].contains("ADD COLUMN \"color\" text"), "{shown:?}");
    assert!(!shown.problems.is_empty(), "the service has no such column yet");
    let refused = ask(&world, "accept", ARTICLE).await.expect_err("it does not fit");
    assert!(refused.to_string().contains("public.article.color"), "{refused}");
    // It still waits after a restart, and still parks.
    world.crash().await?;
    world.run().await?;
    world.wait_for_state(Forward, "streaming").await?;
    wait_for(&world, ARTICLE, "changed").await?;
    world.source.batch_execute("DELETE FROM article WHERE id = 3").await?;
    others_go_on(&world, "b").await?;
    world.target.batch_execute("ALTER TABLE articles ADD COLUMN color text DEFAULT 'none'").await?;
    assert!(changed(&world).await?.problems.is_empty());
    ask(&world, "accept", ARTICLE).await?;
    wait_for(&world, ARTICLE, "ready").await?;
    world.source.batch_execute("UPDATE article SET color = 'green' WHERE id = 4").await?;
    world.barrier(Forward).await?;
    world.assert_equal().await?;
    let sql = "SELECT string_agg(id || color, ' ' ORDER BY id) FROM articles WHERE color <> 'none'";
    assert_eq!(world.target.query_one(sql, &[]).await?.get::<_, String>(0), "2red 4green 20blue");
    world.end().await
}

#[tokio::test]
async fn a_dropped_column_waits_until_it_is_accepted() -> anyhow::Result<()> {
    let mut world = streaming().await?;
    world
        .source
        .batch_execute(
            "ALTER TABLE article DROP COLUMN flags; UPDATE article SET subject = 'x' WHERE id = 2;
             DELETE FROM article WHERE id = 9",
        )
        .await?;
    wait_for(&world, ARTICLE, "changed").await?;
    others_go_on(&world, "a").await?;
    assert_eq!(changed(&world).await?.changes, ["column flags was dropped"]);
    ask(&world, "accept", ARTICLE).await?;
    wait_for(&world, ARTICLE, "ready").await?;
    world.source.batch_execute("INSERT INTO article (id, ticket_id) VALUES (30, 1)").await?;
    world.barrier(Forward).await?;
    let sql = "SELECT string_agg(id || coalesce(subject, ''), ' ' ORDER BY id) FROM articles";
    let rows: String = world.target.query_one(sql, &[]).await?.get(0);
    assert_eq!(rows, "1s1 2x 3s3 4s4 5s5 6s6 7s7 8s8 30");
    world.end().await
}

#[tokio::test]
async fn a_retyped_column_goes_on_with_the_values_of_both_types() -> anyhow::Result<()> {
    let mut world = streaming().await?;
    world
        .source
        .batch_execute(
            "ALTER TABLE article ALTER COLUMN ticket_id TYPE text USING 'T' || ticket_id;
             INSERT INTO article (id, ticket_id) VALUES (20, 'T20');
             ALTER TABLE article ALTER COLUMN ticket_id TYPE varchar(20);
             INSERT INTO article (id, ticket_id) VALUES (21, 'T21')",
        )
        .await?;
    let waiting = wait_for(&world, ARTICLE, "changed").await?;
    assert!(waiting.reason.contains("ticket_id has another type"), "{}", waiting.reason);
    others_go_on(&world, "a").await?;
    let shown = changed(&world).await?;
    assert_eq!(shown.changes, ["column ticket_id was bigint and is character varying(20)"]);
    world
        .target
        .batch_execute(
            "ALTER TABLE articles ALTER COLUMN ticket_id TYPE varchar(20) USING 'T' || ticket_id",
        )
        .await?;
    ask(&world, "accept", ARTICLE).await?;
    wait_for(&world, ARTICLE, "ready").await?;
    world.source.batch_execute("UPDATE article SET subject = 'u' WHERE id = 21").await?;
    world.barrier(Forward).await?;
    world.assert_equal().await?;
    world.end().await
}

#[tokio::test]
async fn a_column_that_a_reference_does_not_project_makes_nothing_wait() -> anyhow::Result<()> {
    use cutover::StreamKind::Reference;
    let mut world = streaming().await?;
    world.source.batch_execute("INSERT INTO queue VALUES (1, 'Raw')").await?;
    world.start(Reference).await?;
    world
        .source
        .batch_execute("ALTER TABLE queue ADD COLUMN extra text; INSERT INTO queue VALUES (2, 'Junk', NULL, 'x')")
        .await?;
    world.barrier(Reference).await?;
    let count: i64 = world.target.query_one("SELECT count(*) FROM queues", &[]).await?.get(0);
    assert_eq!(count, 2);
    let status = world.status(Reference).await?.expect("it runs");
    assert!(status.tables.iter().all(|table| table.state == "ready"), "{status:?}");
    world.end().await
}
