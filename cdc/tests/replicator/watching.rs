//! The watcher tells what the guards say, and finishes transfers that nobody else finishes.

use std::time::Duration;

use cutover::{Epoch, GuardState, Side, StreamKind};
use rpc::v1;
use testkit::wait_until;

use crate::world::{BOUND, World};

const LOCK: Duration = Duration::from_secs(5);

async fn wait_for_guard(
    world: &World,
    side: Side,
    state: GuardState,
    epoch: u64,
) -> anyhow::Result<()> {
    let guard = world.guard(side).await?;
    wait_until(BOUND, || async {
        let view = guard.view().await?;
        let row = view.iter().find(|record| record.capability == world.name).map(|r| r.row);
        Ok(row.filter(|row| row.state == state && row.epoch == Epoch(epoch)).map(drop))
    })
    .await
}

async fn world_with_streams() -> anyhow::Result<World> {
    let mut world = World::new().await?;
    world.run().await?;
    world.start(StreamKind::Forward).await?;
    world.start(StreamKind::Reverse).await?;
    Ok(world)
}

#[tokio::test]
async fn an_overdue_fence_is_given_back_without_a_coordinator_and_the_stream_goes_on()
-> anyhow::Result<()> {
    let mut world = world_with_streams().await?;
    let source = world.guard(Side::Source).await?;
    source.fence(&world.name, Epoch(1), Duration::from_secs(2), LOCK).await?;
    world.wait_for_barrier(StreamKind::Forward, 2).await?;
    world.guard(Side::Target).await?.prepare(&world.name, Epoch(2), 10).await?;
    wait_for_guard(&world, Side::Source, GuardState::Open, 3).await?;
    // Writes come before the target has been told that it is not the next owner.
    world.source.batch_execute("INSERT INTO article (ticket_id) VALUES (1)").await?;
    world.barrier(StreamKind::Forward).await?;
    world.assert_equal().await?;
    let status = world.wait_for_state(StreamKind::Forward, "streaming").await?;
    assert_eq!((status.breaches, status.conflicts), (0, 0));
    world.cut_over(4).await?;
    world.end().await
}

#[tokio::test]
async fn a_decided_transfer_is_opened_without_a_coordinator() -> anyhow::Result<()> {
    let mut world = world_with_streams().await?;
    let (source, target) = (world.guard(Side::Source).await?, world.guard(Side::Target).await?);
    source.fence(&world.name, Epoch(1), Duration::from_secs(20), LOCK).await?;
    world.wait_for_barrier(StreamKind::Forward, 2).await?;
    target.prepare(&world.name, Epoch(2), 10).await?;
    source.decide(&world.name, Epoch(2), Epoch(2), Duration::from_millis(500)).await?;
    wait_for_guard(&world, Side::Target, GuardState::Open, 2).await?;
    world.target.batch_execute("INSERT INTO articles (ticket_id) VALUES (1)").await?;
    world.barrier(StreamKind::Reverse).await?;
    world.assert_equal().await?;
    world.end().await
}

#[tokio::test]
async fn watchers_are_told_at_once_and_after_every_change_and_what_is_unknown_says_so()
-> anyhow::Result<()> {
    let mut world = World::new().await?;
    world.run().await?;
    let mut views = world.client().watch_guards(v1::WatchGuardsRequest {}).await?.into_inner();
    let mut wait = async |wanted: &dyn Fn(&v1::GuardView) -> bool| {
        tokio::time::timeout(BOUND, async {
            loop {
                let message = views.message().await?.expect("the watch goes on");
                if message.guards.iter().any(wanted) {
                    return anyhow::Ok(());
                }
            }
        })
        .await?
    };
    let known = |side: &Option<v1::GuardSide>| side.as_ref().is_some_and(|side| side.known);
    let state = |side: &Option<v1::GuardSide>| {
        side.as_ref().filter(|side| side.known).map(|side| side.state.clone())
    };
    wait(&|view| {
        state(&view.source).as_deref() == Some("OPEN")
            && state(&view.target).as_deref() == Some("MOVED")
    })
    .await?;
    let source = world.guard(Side::Source).await?;
    source.fence(&world.name, Epoch(1), Duration::from_secs(60), LOCK).await?;
    wait(&|view| state(&view.source).as_deref() == Some("FENCED")).await?;
    let database = format!("{}_target", world.name);
    world
        .source
        .batch_execute(&format!("ALTER DATABASE {database} ALLOW_CONNECTIONS false"))
        .await?;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
    world.source.query(end, &[&database]).await?;
    wait(&|view| !known(&view.target) && known(&view.source)).await?;
    world
        .source
        .batch_execute(&format!("ALTER DATABASE {database} ALLOW_CONNECTIONS true"))
        .await?;
    wait(&|view| known(&view.target)).await?;
    world.target = world.connect_target().await?;
    world.end().await
}
