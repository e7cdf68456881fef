//! Verification finds every difference and invents none.

use anyhow::Context;
use cutover::StreamKind;
use rpc::v1;

use crate::world::World;

/// Compares both sides; answers the last message.
pub(crate) async fn verify(
    world: &World,
    scope: &str,
    direction: &str,
) -> anyhow::Result<v1::VerifyProgress> {
    verify_as(
        world,
        v1::VerifyRequest {
            capability: world.name.clone(),
            scope: scope.to_owned(),
            direction: direction.to_owned(),
            ..v1::VerifyRequest::default()
        },
    )
    .await
}

/// As `verify`, with everything that can be asked for.
pub(crate) async fn verify_as(
    world: &World,
    request: v1::VerifyRequest,
) -> anyhow::Result<v1::VerifyProgress> {
    let mut progress = world.client().verify(request).await?.into_inner();
    let mut last = None;
    while let Some(message) = progress.message().await? {
        last = Some(message);
    }
    let last = last.context("there is a last message")?;
    anyhow::ensure!(last.done, "the last message says so");
    Ok(last)
}

/// A world with rows in all its tables, streaming.
pub(crate) async fn filled() -> anyhow::Result<World> {
    let mut world = World::new().await?;
    fill(&mut world).await?;
    Ok(world)
}

/// Fills the tables, and starts to stream.
pub(crate) async fn fill(world: &mut World) -> anyhow::Result<()> {
    world
        .source
        .batch_execute(
            "INSERT INTO ticket (tn, title, body, price)
                 SELECT 'n' || n, NULLIF('t' || n, 't7'), repeat('b', 3000), n / 3.0
                 FROM generate_series(1, 12000) n;
             INSERT INTO article (ticket_id, subject, flags) SELECT n, 's', '\\xff' FROM generate_series(1, 12000) n;
             INSERT INTO flag SELECT n, chr(65 + n % 60), 'v' FROM generate_series(1, 2000) n;
             INSERT INTO flag SELECT n, 'private', 'v' FROM generate_series(1, 2000) n;
             INSERT INTO queue SELECT n, 'q', 'c' FROM generate_series(1, 3) n",
        )
        .await?;
    world.run().await?;
    world.start(StreamKind::Forward).await?;
    world.start(StreamKind::Reference).await
}

#[tokio::test]
async fn each_planted_difference_is_found_and_nothing_else_while_writers_are_at_work()
-> anyhow::Result<()> {
    let mut world = filled().await?;
    let writer = world
        .write_until_told(|n| {
            format!(
                "INSERT INTO ticket (tn) VALUES ('w{n}');
                 UPDATE ticket SET queue_id = queue_id + 1 WHERE id IN (6000 + {n} % 6000, 6001);
                 UPDATE flag SET value = '{n}' WHERE ticket_id = 500 + {n} % 1500;
                 DELETE FROM article WHERE id = 6000 + {n} % 6000"
            )
        })
        .await?;
    let clean = verify(&world, "full", "forward").await?;
    assert_eq!(clean.differences, 0, "{:?}", clean.samples);
    assert!(clean.rows > 20_000);
    let applier = world.connect_target().await?;
    applier
        .batch_execute(
            "SET SESSION AUTHORIZATION ficus_applier; SET session_replication_role = replica;
             DELETE FROM tickets WHERE id = 17;
             UPDATE tickets SET price = price + 0.01 WHERE id = 4999;
             UPDATE tickets SET title = '' WHERE id = 7;
             INSERT INTO articles (id, ticket_id) VALUES (-5, 1), (900000, 1);
             UPDATE flags SET value = NULL WHERE ticket_id = 3 AND key <> 'private';
             UPDATE queues SET name = 'Q' WHERE id = 2",
        )
        .await?;
    let found = verify(&world, "full", "forward").await?;
    writer.finish().await?;
    let mut samples = found.samples.clone();
    samples.sort();
    assert_eq!(
        samples,
        [
            "public.article(-5) extra",
            "public.article(900000) extra",
            "public.flag(3, D) different",
            "public.queue(2) different",
            "public.ticket(17) missing",
            "public.ticket(4999) different",
            "public.ticket(7) different",
        ]
    );
    assert_eq!(found.differences, 7);
    assert_eq!((found.missing, found.extra, found.different), (1, 2, 4));
    let kept = world.verification().await?;
    assert_eq!(kept.map(|kept| kept.differences), Some(7));
    world.end().await
}

#[tokio::test]
async fn the_check_under_the_fence_looks_at_touched_keys_only_and_finds_a_difference_there()
-> anyhow::Result<()> {
    let mut world = filled().await?;
    let early = verify(&world, "dirty", "forward").await?;
    assert_eq!((early.rows, early.differences), (26_000, 0), "nothing was verified yet");
    world
        .source
        .batch_execute(
            "UPDATE ticket SET title = 'touched' WHERE id < 1500; UPDATE ticket SET id = -1 WHERE id = 2000;
             DELETE FROM article WHERE id = 8; UPDATE flag SET value = 'touched' WHERE ticket_id = 9",
        )
        .await?;
    world.barrier(StreamKind::Forward).await?;
    let clean = verify(&world, "dirty", "forward").await?;
    assert_eq!((clean.rows, clean.differences), (1499 + 2 + 1 + 2, 0));
    world.source.batch_execute("UPDATE ticket SET title = 'again' WHERE id IN (1, 2, 3)").await?;
    world.barrier(StreamKind::Forward).await?;
    let applier = world.connect_target().await?;
    applier
        .batch_execute(
            "SET SESSION AUTHORIZATION ficus_applier; UPDATE tickets SET title = 'other' WHERE id = 2",
        )
        .await?;
    let found = verify(&world, "dirty", "forward").await?;
    assert_eq!((found.rows, found.differences), (3, 1), "only what was touched since");
    assert_eq!(found.samples, ["public.ticket(2) different"]);
    world.end().await
}

#[tokio::test]
async fn many_touched_rows_are_compared_as_ranges_and_an_emptied_table_as_a_whole()
-> anyhow::Result<()> {
    let mut world = filled().await?;
    assert_eq!(verify(&world, "full", "forward").await?.differences, 0);
    world
        .source
        .batch_execute(
            "UPDATE ticket SET title = 'touched' WHERE id % 1000 < 300 OR id = 777;
             TRUNCATE article; INSERT INTO article (id, ticket_id) SELECT n, 5 FROM generate_series(1, 10) n",
        )
        .await?;
    world.barrier(StreamKind::Forward).await?;
    let applier = world.connect_target().await?;
    applier
        .batch_execute(
            "SET SESSION AUTHORIZATION ficus_applier; SET session_replication_role = replica;
             UPDATE tickets SET title = 'other' WHERE id IN (777, 900, 3210);
             DELETE FROM tickets WHERE id = 5123;
             INSERT INTO articles (id, ticket_id) VALUES (11, 5)",
        )
        .await?;
    let found = verify(&world, "dirty", "forward").await?;
    let mut samples = found.samples;
    samples.sort();
    let wanted = [
        "article(11) extra",
        "ticket(3210) different",
        "ticket(5123) missing",
        "ticket(777) different",
    ];
    assert_eq!(samples, wanted.map(|row| format!("public.{row}")), "900 was not touched");
    let touched = 12 * 300;
    assert_eq!(found.rows, touched + 1 + 10);
    world.end().await
}

#[tokio::test]
async fn after_a_cutover_the_service_is_compared_with_what_reached_the_monolith()
-> anyhow::Result<()> {
    let mut world = filled().await?;
    world.start(StreamKind::Reverse).await?;
    assert_eq!(verify(&world, "full", "forward").await?.differences, 0);
    world.cut_over(2).await?;
    world.target.batch_execute("UPDATE articles SET subject = 'there' WHERE id < 100").await?;
    world.barrier(StreamKind::Reverse).await?;
    let dirty = verify(&world, "dirty", "reverse").await?;
    assert_eq!((dirty.rows, dirty.differences), (99, 0));
    assert_eq!(verify(&world, "full", "reverse").await?.differences, 0);
    world.end().await
}
