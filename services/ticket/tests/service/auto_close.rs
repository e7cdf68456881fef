//! The job that closes pending tickets, on both sides of the guard.

use testkit::wait_until;

use crate::world::{BOUND, World};

const MAKE_DUE: &str = "
    update tickets set state_id = 7, pending_until = 1 where id = 101;
    update tickets set state_id = 8, pending_until = 1 where id = 102;
    update tickets set state_id = 7, pending_until = 2147483647 where id = 103;
    update tickets set state_id = 6, pending_until = 1 where id = 104;";

const STATES: &str = "select array_agg(state_id::int order by id) from tickets";

#[tokio::test]
async fn pending_tickets_are_closed_only_while_the_guard_says_open() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.sql.batch_execute(MAKE_DUE).await?;
    let not_owner = r#"ficus_service_auto_close_looks_total{outcome="not_owner"}"#;
    world.wait_for_sample(not_owner, 2.0).await?;
    for (state, least) in [("MOVED", 4.0), ("FENCED", 6.0)] {
        world.guard(state).await?;
        world.wait_for_sample(not_owner, least).await?;
    }
    assert_eq!(world.value::<Vec<i32>>(STATES).await?, [7, 8, 7, 6], "nothing was touched");

    world.guard("OPEN").await?;
    wait_until(BOUND, async || {
        let states: Vec<i32> = world.value(STATES).await?;
        Ok((states == [2, 3, 7, 6]).then_some(()))
    })
    .await?;
    let left: Vec<String> = world
        .value(
            "select array_agg(concat_ws('|', t.pending_until, t.updated_by, b.subject, e.name) order by t.id)
             from tickets t join articles a on a.ticket_id = t.id and a.sender_type_id = 2
             join article_bodies b on b.article_id = a.id
             join ticket_events e on e.ticket_id = t.id and e.article_id is null",
        )
        .await?;
    assert_eq!(left.len(), 2, "one article and one event each: {left:?}");
    assert!(left[0].ends_with("State changed from pending auto close+ to closed successful"));
    assert!(left[1].ends_with("State changed from pending auto close- to closed unsuccessful"));
    Ok(())
}

#[tokio::test]
async fn a_job_that_meets_the_fence_is_counted_and_leaves_nothing() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.sql.batch_execute(MAKE_DUE).await?;
    let before = world.row_counts().await?;
    world.fence().await?;
    world.guard("OPEN").await?;
    world
        .wait_for_sample(r#"ficus_service_auto_close_looks_total{outcome="refused"}"#, 2.0)
        .await?;
    assert_eq!(world.row_counts().await?, before);
    Ok(())
}

#[tokio::test]
async fn more_tickets_than_a_batch_are_closed_in_one_look() -> anyhow::Result<()> {
    let world = World::start().await?;
    world
        .sql
        .batch_execute(
            "insert into tickets select (jsonb_populate_record(t, jsonb_build_object(
                 'id', 1000 + n, 'number', 'n' || n, 'state_id', 7, 'pending_until', 1))).*
             from tickets t, generate_series(1, 120) n where t.id = 101",
        )
        .await?;
    world.guard("OPEN").await?;
    world.wait_for_sample("ficus_service_auto_closed_total", 120.0).await?;
    let closed: i64 =
        world.value("select count(*) from tickets where id > 1000 and state_id = 2").await?;
    assert_eq!(closed, 120);
    Ok(())
}
