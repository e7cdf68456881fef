//! Comparisons in the background: they find what nobody asked about, keep their pace, and yield.

use std::time::Duration;

use rpc::v1;
use testkit::wait_until;

use crate::{
    verification::{fill, verify},
    world::{BOUND, World},
};

async fn comparing(every: Duration, rate: u32) -> anyhow::Result<World> {
    let mut world = World::new().await?;
    world.configure(|config| (config.cdc.verify_every, config.cdc.verify_rate) = (every, rate));
    fill(&mut world).await?;
    Ok(world)
}

async fn wait_for(
    world: &World,
    wanted: impl Fn(&v1::Verification) -> bool,
) -> anyhow::Result<v1::Verification> {
    wait_until(BOUND, || async { Ok(world.verification().await?.filter(|seen| wanted(seen))) })
        .await
}

#[tokio::test]
async fn a_corrupted_row_is_noticed_without_anybody_asking_and_remembered_over_a_restart()
-> anyhow::Result<()> {
    let mut world = comparing(Duration::from_secs(1), 100_000_000).await?;
    let clean = wait_for(&world, |seen| seen.finished_unix_ms > 0).await?;
    assert_eq!((clean.rows, clean.differences), (26_003, 0), "{:?}", clean.samples);
    assert_eq!(clean.clean_unix_ms, clean.finished_unix_ms);
    assert!(!clean.dirty_overflow);
    let applier = world.connect_target().await?;
    applier
        .batch_execute(
            "SET SESSION AUTHORIZATION ficus_applier; UPDATE tickets SET title = 'other' WHERE id = 2",
        )
        .await?;
    let found = wait_for(&world, |seen| seen.differences > 0).await?;
    assert_eq!(found.samples, ["public.ticket(2) different"]);
    assert!(found.clean_unix_ms >= clean.clean_unix_ms);
    world.stop().await?;
    world.configure(|config| config.cdc.verify_every = Duration::ZERO);
    world.run().await?;
    let remembered = wait_for(&world, |seen| seen.finished_unix_ms > 0).await?;
    assert_eq!(remembered.samples, found.samples);
    assert!(remembered.dirty_overflow, "what was touched meanwhile is not known");
    world.end().await
}

#[tokio::test]
async fn a_comparison_in_the_background_keeps_its_rate() -> anyhow::Result<()> {
    let mut world = comparing(Duration::from_secs(3_600), 10_000).await?;
    let began = wait_for(&world, |seen| seen.running.is_some()).await?;
    let began = began.running.expect("it runs").began_unix_ms;
    let ended = wait_for(&world, |seen| seen.finished_unix_ms > 0).await?;
    let took = Duration::from_millis(ended.finished_unix_ms - began);
    let rows = f64::from(u32::try_from(ended.rows)?);
    assert!(rows / took.as_secs_f64() <= 10_000.0, "{rows} rows in {took:?}");
    world.end().await
}

#[tokio::test]
async fn an_operators_comparison_displaces_the_one_in_the_background_which_goes_on_after_it()
-> anyhow::Result<()> {
    let mut world = comparing(Duration::from_secs(3_600), 1_000).await?;
    let running = |seen: &v1::Verification| {
        seen.running.as_ref().is_some_and(|run| run.by == "background" && run.rows > 2_000)
    };
    let before = wait_for(&world, running).await?.running.expect("it runs").rows;
    assert_eq!(verify(&world, "full", "forward").await?.differences, 0);
    let after = wait_for(&world, running).await?.running.expect("it runs").rows;
    assert!(after >= before, "it went on at {before}, not anew: {after}");
    // And so does a transfer's.
    assert_eq!(verify(&world, "dirty", "forward").await?.differences, 0);
    world.end().await
}
