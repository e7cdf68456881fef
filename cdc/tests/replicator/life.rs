//! Pausing, and what is said when a stream can not start.

use cutover::StreamKind;

use crate::world::{World, map};

#[tokio::test]
async fn a_paused_stream_applies_nothing_and_stays_paused_over_a_restart() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    world.run().await?;
    world.start(StreamKind::Forward).await?;
    world.client().pause(world.stream(StreamKind::Forward)).await?;
    world.source.batch_execute("INSERT INTO article (ticket_id) VALUES (1)").await?;
    world.crash().await?;
    world.run().await?;
    world.wait_for_state(StreamKind::Forward, "paused").await?;
    let barrier = world.barrier(StreamKind::Forward).await;
    let refused = barrier.expect_err("a paused stream gives no barrier").to_string();
    assert!(refused.contains("paused"), "{refused}");
    assert!(world.assert_equal().await.is_err());
    world.client().resume(world.stream(StreamKind::Forward)).await?;
    world.wait_for_state(StreamKind::Forward, "streaming").await?;
    world.barrier(StreamKind::Forward).await?;
    world.assert_equal().await?;
    world.end().await
}

#[tokio::test]
async fn an_idle_stream_has_a_known_lag_of_zero() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    world.run().await?;
    world.start(StreamKind::Forward).await?;
    let status = testkit::wait_until(crate::world::BOUND, || async {
        let status = world.status(StreamKind::Forward).await?;
        Ok(status.filter(|status| status.lag_ms == Some(0) && !status.source_lsn.is_empty()))
    })
    .await?;
    assert!(!status.applied_lsn.is_empty());
    world.end().await
}

#[tokio::test]
async fn a_mapping_that_does_not_fit_is_refused_with_every_column_that_is_wrong()
-> anyhow::Result<()> {
    let mut world = World::with(|capability| {
        let ticket = &mut capability.tables[0];
        ticket.columns = map(&[("tn", "numbre")]);
        ticket.omit = vec!["needs_index".to_owned()];
        ticket.reverse = map(&[]);
    })
    .await?;
    world.run().await?;
    let refused = world.client().start(world.stream(StreamKind::Forward)).await;
    let message = refused.expect_err("it does not fit").message().to_owned();
    for part in ["public.tickets.numbre", "public.tickets.number", "public.ticket.legacy"] {
        assert!(message.contains(part), "{part} in {message}");
    }
    world.end().await
}

#[tokio::test]
async fn a_stream_without_guards_or_publication_says_what_to_run() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    world.run().await?;
    let drop_publication = format!("DROP PUBLICATION ficus_{}", world.name);
    world.source.batch_execute(&drop_publication).await?;
    let refused = world.client().start(world.stream(StreamKind::Forward)).await;
    let message = refused.expect_err("there is no publication").message().to_owned();
    assert!(message.contains("CREATE PUBLICATION"), "{message}");
    world.target.batch_execute("DELETE FROM ficus.guard").await?;
    let refused = world.client().start(world.stream(StreamKind::Forward)).await;
    let message = refused.expect_err("there is no guard").message().to_owned();
    assert!(message.contains(&format!("ficus start {}", world.name)), "{message}");
    world.end().await
}

#[tokio::test]
async fn a_stream_whose_slot_is_gone_says_so_and_does_not_make_another_one() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    world.run().await?;
    world.start(StreamKind::Forward).await?;
    world.stop().await?;
    let slot = StreamKind::Forward.slot(&world.name);
    testkit::wait_until(crate::world::BOUND, || async {
        // The server may not have noticed yet that nobody reads any more.
        let dropped = world.source.execute("SELECT pg_drop_replication_slot($1)", &[&slot]).await;
        Ok(dropped.ok().map(drop))
    })
    .await?;
    world.run().await?;
    let status = world.wait_for_state(StreamKind::Forward, "failed").await?;
    assert!(status.reason.contains(&slot), "{}", status.reason);
    world.end().await
}

#[tokio::test]
async fn a_stream_that_finds_another_server_under_its_name_stops() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    world.run().await?;
    world.start(StreamKind::Forward).await?;
    world.stop().await?;
    world.target.batch_execute("UPDATE ficus.apply SET peer_timeline = peer_timeline + 1").await?;
    world.run().await?;
    let status = world.wait_for_state(StreamKind::Forward, "failed").await?;
    assert!(status.reason.contains("failover"), "{}", status.reason);
    world.end().await
}

#[tokio::test]
async fn a_row_written_before_a_barrier_is_there_when_it_is_answered_however_many_ask()
-> anyhow::Result<()> {
    let mut world = World::new().await?;
    world.run().await?;
    world.start(StreamKind::Forward).await?;
    let mut askers = tokio::task::JoinSet::new();
    for asker in 0..10_i64 {
        let (source, target) = (world.connect_source().await?, world.connect_target().await?);
        let mut client = world.client();
        let request = rpc::v1::BarrierRequest {
            capability: world.name.clone(),
            kind: "forward".to_owned(),
            timeout_ms: 30_000,
        };
        askers.spawn(async move {
            for round in 0..20_i64 {
                let id = asker * 1000 + round;
                source
                    .execute("INSERT INTO article (id, ticket_id) VALUES ($1, 1)", &[&id])
                    .await?;
                client.barrier(request.clone()).await?;
                let sql = "SELECT count(*) FROM articles WHERE id = $1";
                let count: i64 = target.query_one(sql, &[&id]).await?.get(0);
                anyhow::ensure!(count == 1, "row {id} is missing behind its barrier");
            }
            Ok(())
        });
    }
    while let Some(result) = askers.join_next().await {
        result??;
    }
    world.end().await
}
