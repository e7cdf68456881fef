//! Whoever wrote reads what it wrote.

use crate::{
    control::state,
    replicator::Barriers,
    world::{BOUND, Setup, World, by},
};

async fn wait_read(world: &World, subject: &str, expected: &str) -> anyhow::Result<()> {
    let look = || async { Ok((by(&world.read_as(subject).await?) == expected).then_some(())) };
    testkit::wait_until(BOUND, look).await
}

/// Everybody reads from the service.
async fn reading() -> anyhow::Result<World> {
    reading_with(Setup::default()).await
}

async fn reading_with(setup: Setup) -> anyhow::Result<World> {
    // a lag limit far above what a test takes, so that only the subject's own writes matter
    let world = World::start(Setup { abort: r#"{ max_lag = "60s" }"#, ..setup }).await?;
    world.control.apply(state("reading 100%", "source", 3)).await?;
    wait_read(&world, "alice", "service").await?;
    wait_read(&world, "bob", "service").await?;
    Ok(world)
}

#[tokio::test]
async fn a_writer_reads_from_the_monolith_until_the_service_has_applied_its_write()
-> anyhow::Result<()> {
    let world = reading().await?;
    world.replicator.set_barriers(Barriers::Wait);
    assert_eq!(by(&world.write_as("alice").await?), "monolith");
    assert_eq!(by(&world.read_as("alice").await?), "monolith");
    assert_eq!(by(&world.read_as("bob").await?), "service");
    world.replicator.set_barriers(Barriers::Complete);
    wait_read(&world, "alice", "service").await
}

#[tokio::test]
async fn a_barrier_begun_before_the_write_was_answered_proves_nothing() -> anyhow::Result<()> {
    let world = reading().await?;
    world.replicator.set_barriers(Barriers::Wait);
    let before = world.replicator.begun();
    world.write_as("bob").await?;
    world.wait(|| world.replicator.begun() > before).await?;
    // this barrier is under way when alice's write is answered
    let under_way = world.replicator.begun();
    world.write_as("alice").await?;
    assert_eq!(by(&world.read_as("alice").await?), "monolith");
    world.replicator.set_barriers(Barriers::Complete);
    wait_read(&world, "alice", "service").await?;
    assert!(world.replicator.begun() > under_way, "alice's write had no barrier of its own");
    Ok(())
}

#[tokio::test]
async fn many_writers_share_a_barrier() -> anyhow::Result<()> {
    let world = reading().await?;
    world.replicator.set_barriers(Barriers::Wait);
    world.write_as("first").await?;
    let begun = world.replicator.begun();
    for number in 0..20 {
        world.write_as(&format!("writer-{number}")).await?;
    }
    world.replicator.set_barriers(Barriers::Complete);
    for number in 0..20 {
        wait_read(&world, &format!("writer-{number}"), "service").await?;
    }
    let more = world.replicator.begun() - begun;
    assert!(more < 10, "{more} barriers for 20 writes");
    Ok(())
}

#[tokio::test]
async fn a_writer_stays_with_the_monolith_when_barriers_fail() -> anyhow::Result<()> {
    let world = reading().await?;
    world.replicator.set_barriers(Barriers::Fail);
    let before = world.replicator.begun();
    world.write_as("alice").await?;
    world.wait(|| world.replicator.begun() > before + 1).await?;
    assert_eq!(by(&world.read_as("alice").await?), "monolith");
    Ok(())
}

#[tokio::test]
async fn a_write_the_monolith_never_answered_counts_as_written() -> anyhow::Result<()> {
    let world = reading_with(Setup { monolith_read: "1s", ..Setup::default() }).await?;
    world.replicator.set_barriers(Barriers::Wait);
    world.monolith.set_slow(true);
    let request = world.client.post(world.url("/api/v1/tickets")).header("x-api-key", "alice");
    let pending = tokio::spawn(request.body("{}").send());
    world.wait(|| world.monolith.count() == 1).await?;
    let unknown = world.figure("ficus_proxy_unknown_writes_total", "tickets").await?;
    // the monolith has a second to answer
    let response = pending.await??;
    assert_eq!(response.status(), 504);
    assert!(world.figure("ficus_proxy_unknown_writes_total", "tickets").await? > unknown);
    world.monolith.set_slow(false);
    assert_eq!(by(&world.read_as("alice").await?), "monolith");
    Ok(())
}
