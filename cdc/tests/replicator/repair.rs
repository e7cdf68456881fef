//! Repair writes differing rows anew, exactly, while the stream goes on.

use cutover::{Side, StreamKind};
use rpc::v1;

use crate::{
    verification::{filled, verify, verify_as},
    world::World,
};

const DAMAGE: &str = "DELETE FROM tickets WHERE id IN (17, 18);
    UPDATE tickets SET number = 'n18' WHERE id = 19;
    UPDATE tickets SET price = price + 0.01 WHERE id % 3 = 0 AND id < 900;
    UPDATE tickets SET title = '' WHERE id = 7;
    DELETE FROM articles WHERE id BETWEEN 100 AND 4000;
    INSERT INTO articles (id, ticket_id) VALUES (-5, 1), (900000, 1), (900001, 1);
    UPDATE flags SET value = NULL WHERE ticket_id = 3;
    INSERT INTO flags VALUES (4, 'private', 'not here')";

async fn repair(
    world: &World,
    direction: &str,
    tables: &[&str],
) -> anyhow::Result<v1::VerifyProgress> {
    verify_as(
        world,
        v1::VerifyRequest {
            capability: world.name.clone(),
            scope: "full".to_owned(),
            direction: direction.to_owned(),
            tables: tables.iter().map(|table| (*table).to_owned()).collect(),
            repair: true,
            ..v1::VerifyRequest::default()
        },
    )
    .await
}

#[tokio::test]
async fn rows_that_differ_are_written_anew_under_writes_and_the_stream_goes_on_from_there()
-> anyhow::Result<()> {
    let mut world = filled().await?;
    let writer = world
        .write_until_told(|n| {
            format!(
                "INSERT INTO ticket (tn) VALUES ('w{n}');
                 UPDATE ticket SET queue_id = queue_id + 1, title = 'by {n}'
                     WHERE id IN (21 + {n} % 600, 24, 5000);
                 UPDATE flag SET value = '{n}' WHERE ticket_id = 3 + {n} % 2 AND name <> 'private';
                 DELETE FROM article WHERE id = 6000 + {n} % 6000"
            )
        })
        .await?;
    world.damage(Side::Target, DAMAGE).await?;
    let repaired = repair(&world, "forward", &[]).await?;
    assert_eq!(repaired.differences, 0, "{:?}", repaired.samples);
    assert!(repaired.repaired >= 3_901 + 3, "{} repaired", repaired.repaired);
    // The stream finds what it expects: rows it may change, and keys that are free.
    world
        .source
        .batch_execute(
            "UPDATE ticket SET title = 'after' WHERE id < 900; DELETE FROM ticket WHERE id = 18;
             DELETE FROM article WHERE id BETWEEN 200 AND 300;
             INSERT INTO article (id, ticket_id) VALUES (-5, 2), (900000, 2);
             UPDATE flag SET value = 'after' WHERE ticket_id IN (3, 4)",
        )
        .await?;
    writer.finish().await?;
    world.barrier(StreamKind::Forward).await?;
    world.assert_equal().await?;
    let again = verify(&world, "full", "forward").await?;
    assert_eq!((again.differences, again.repaired), (0, 0), "{:?}", again.samples);
    let status = world.status(StreamKind::Forward).await?.expect("it streams");
    assert_eq!((status.state.as_str(), status.conflicts), ("streaming", 0));
    world.end().await
}

#[tokio::test]
async fn only_the_tables_asked_for_are_repaired_and_references_never_are() -> anyhow::Result<()> {
    let mut world = filled().await?;
    world.damage(Side::Target, DAMAGE).await?;
    world.damage(Side::Target, "UPDATE queues SET name = 'Q' WHERE id = 2").await?;
    let some = repair(&world, "forward", &["public.flag"]).await?;
    assert_eq!((some.differences, some.repaired), (0, 2), "{:?}", some.samples);
    let rest = repair(&world, "forward", &["public.ticket", "public.queue"]).await?;
    assert_eq!(rest.samples, ["public.queue(2) different"]);
    let unknown = repair(&world, "forward", &["public.nothing"]).await;
    assert!(unknown.expect_err("there is no such table").to_string().contains("public.nothing"));
    let left = verify(&world, "full", "forward").await?;
    assert_eq!((left.missing, left.extra, left.different), (3_901, 3, 1), "{:?}", left.samples);
    world.end().await
}

#[tokio::test]
async fn after_a_cutover_the_monolith_is_repaired_from_the_service_and_nothing_comes_back()
-> anyhow::Result<()> {
    let mut world = filled().await?;
    world.start(StreamKind::Reverse).await?;
    assert_eq!(verify(&world, "full", "forward").await?.differences, 0);
    world.cut_over(2).await?;
    let refused = verify(&world, "full", "forward").await;
    let why = refused.expect_err("the service owns the rows").to_string();
    assert!(why.contains("does not apply"), "{why}");
    world.wait_for_state(StreamKind::Reverse, "streaming").await?;
    world
        .damage(
            Side::Source,
            "DELETE FROM ticket WHERE id = 17; UPDATE article SET subject = 'x' WHERE id < 50;
             INSERT INTO flag VALUES (77, 'extra', 'x')",
        )
        .await?;
    let repaired = repair(&world, "reverse", &[]).await?;
    assert_eq!((repaired.differences, repaired.repaired), (0, 51), "{:?}", repaired.samples);
    world.target.batch_execute("UPDATE tickets SET price = 7 WHERE id < 20").await?;
    world.barrier(StreamKind::Reverse).await?;
    assert_eq!(verify(&world, "full", "reverse").await?.differences, 0);
    world.barrier(StreamKind::Forward).await?;
    let forward = world.status(StreamKind::Forward).await?.expect("it reads");
    assert_eq!((forward.state.as_str(), forward.breaches), ("stopped", 0), "{}", forward.reason);
    world.end().await
}
