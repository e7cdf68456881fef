//! Writes during a transfer: held, released, counted, and never sent twice.

use std::{collections::HashSet, time::Duration};

use cutover::GuardState::{Fenced, Moved, Open};
use http::StatusCode;

use crate::{
    control::{held, is_ack, state, traffic},
    replicator::row,
    upstream::Reply,
    wire::{Wire, post},
    world::{BOUND, Setup, World, by, header},
};

const LEASE: Duration = Duration::from_secs(30);

fn bodies(upstream: &crate::upstream::Upstream) -> Vec<String> {
    let seen = upstream.seen();
    seen.iter().map(|seen| String::from_utf8_lossy(&seen.body).into_owned()).collect()
}

/// A write with its own body, in the background.
fn write(
    world: &World,
    body: String,
) -> tokio::task::JoinHandle<reqwest::Result<reqwest::Response>> {
    let request = world.client.post(world.url("/api/v1/tickets")).body(body);
    tokio::spawn(request.send())
}

async fn wait_held(world: &World, count: u64) -> anyhow::Result<()> {
    world.control.report(|report| traffic(report).held == count).await.map(drop)
}

#[tokio::test]
async fn two_hundred_writes_are_held_and_released_once_each_to_the_new_owner() -> anyhow::Result<()>
{
    let world = World::start(Setup::default()).await?;
    let generation = world.control.publish(held(state("shadowing", "source", 3), LEASE));
    world.control.report(|report| is_ack(report, generation)).await?;
    let writes: Vec<_> = (0..200).map(|number| write(&world, format!("w{number}"))).collect();
    wait_held(&world, 200).await?;
    assert_eq!((world.monolith.count(), world.service.count()), (0, 0));
    world.control.publish(state("switched", "target", 4));
    for write in writes {
        let response = write.await??;
        assert_eq!((response.status(), by(&response)), (StatusCode::OK, "service"));
    }
    let (all, distinct) = (bodies(&world.service), bodies(&world.service));
    assert_eq!(all.len(), 200);
    assert_eq!(distinct.into_iter().collect::<HashSet<_>>().len(), 200);
    assert_eq!(world.monolith.count(), 0);
    Ok(())
}

#[tokio::test]
async fn a_large_body_arrives_whole_after_a_hold() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    world.control.apply(held(state("shadowing", "source", 3), LEASE)).await?;
    let body = "0123456789".repeat(200_000);
    let pending = write(&world, body.clone());
    wait_held(&world, 1).await?;
    world.control.publish(state("shadowing", "source", 3));
    assert_eq!(by(&pending.await??), "monolith");
    assert!(bodies(&world.monolith) == [body], "the body changed on its way");
    Ok(())
}

#[tokio::test]
async fn a_write_whose_downstream_left_while_held_is_not_sent() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    world.control.apply(held(state("shadowing", "source", 3), LEASE)).await?;
    let leaving = Wire::send(world.proxy.listen, &post("leaves")).await?;
    let staying = write(&world, "stays".to_owned());
    wait_held(&world, 2).await?;
    drop(leaving);
    wait_held(&world, 1).await?;
    world.control.publish(state("shadowing", "source", 3));
    assert_eq!(staying.await??.status(), StatusCode::OK);
    assert_eq!(bodies(&world.monolith), ["stays"]);
    Ok(())
}

/// A write is executed by the monolith while its downstream leaves.
async fn stays_in_flight(leave: impl FnOnce(Wire) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    world.control.apply(state("shadowing", "source", 3)).await?;
    world.monolith.set_slow(true);
    let leaving = Wire::send(world.proxy.listen, &post("w")).await?;
    world.wait(|| world.monolith.count() == 1).await?;
    leave(leaving)?;
    let generation = world.control.apply(held(state("shadowing", "source", 3), LEASE)).await?;
    world.control.forget_reports();
    // two more reports, so that the proxy had every chance to notice that the downstream left
    for _ in 0..2 {
        let report = world.control.report(|report| report.generation == generation).await?;
        assert_eq!((traffic(&report).holding, traffic(&report).inflight_writes), (true, 1));
        world.control.forget_reports();
    }
    world.monolith.set_slow(false);
    world.control.report(|report| is_ack(report, generation)).await?;
    Ok(())
}

#[tokio::test]
async fn a_write_stays_in_flight_until_answered_although_its_downstream_left() -> anyhow::Result<()>
{
    stays_in_flight(|leaving| {
        drop(leaving);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_write_stays_in_flight_until_answered_although_its_connection_was_reset()
-> anyhow::Result<()> {
    stays_in_flight(Wire::reset).await
}

#[tokio::test]
async fn a_hold_is_acknowledged_only_after_the_last_write_was_answered() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    world.control.apply(state("shadowing", "source", 3)).await?;
    world.monolith.set_slow(true);
    let writes: Vec<_> = (0..3).map(|number| write(&world, number.to_string())).collect();
    world.wait(|| world.monolith.count() == 3).await?;
    let generation = world.control.apply(held(state("shadowing", "source", 3), LEASE)).await?;
    let late = write(&world, "late".to_owned());
    wait_held(&world, 1).await?;
    assert!(!world.control.was_reported(|report| is_ack(report, generation)));
    world.monolith.set_slow(false);
    world.control.report(|report| is_ack(report, generation)).await?;
    assert_eq!(world.monolith.count(), 3);
    for write in writes {
        assert_eq!(by(&write.await??), "monolith");
    }
    world.control.publish(state("switched", "target", 4));
    assert_eq!(by(&late.await??), "service");
    Ok(())
}

#[tokio::test]
async fn the_guards_release_held_writes_without_control() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    world.replicator.set_guards(row(Open, 3), row(Moved, 0));
    world.control.apply(held(state("reading 100%", "source", 3), LEASE)).await?;
    let pending = write(&world, "w".to_owned());
    wait_held(&world, 1).await?;
    world.control.set_away(true);
    world.replicator.set_guards(row(Fenced, 4), row(Moved, 0));
    world.replicator.set_guards(row(Moved, 4), row(Open, 4));
    assert_eq!(by(&pending.await??), "service");
    // what the service has acknowledged must be read there, whatever control's phase says
    assert_eq!(by(&world.read_as("anyone").await?), "service");
    assert_eq!(by(&world.get("/api/v1/tickets").await?), "service");
    Ok(())
}

#[tokio::test]
async fn writes_wait_while_the_guards_say_that_nobody_is_open() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    world.control.apply(state("shadowing", "source", 3)).await?;
    world.replicator.set_guards(row(Fenced, 4), row(Moved, 0));
    world.control.report(|report| traffic(report).holding).await?;
    let pending = write(&world, "w".to_owned());
    wait_held(&world, 1).await?;
    assert_eq!(world.monolith.count(), 0);
    world.replicator.set_guards(row(Open, 5), row(Moved, 0));
    assert_eq!(by(&pending.await??), "monolith");
    Ok(())
}

#[tokio::test]
async fn a_hold_ends_with_its_lease_when_control_falls_silent() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let lease = Duration::from_millis(700);
    world.control.apply(held(state("shadowing", "source", 3), lease)).await?;
    world.control.set_away(true);
    let began = tokio::time::Instant::now();
    assert_eq!(by(&write(&world, "w".to_owned()).await??), "monolith");
    assert!(began.elapsed() < BOUND / 2, "released by its budget, not by the lease");
    Ok(())
}

#[tokio::test]
async fn a_write_held_for_too_long_or_one_too_many_is_told_to_retry() -> anyhow::Result<()> {
    let fence = r#"{ hold = "1s", max_held = 1 }"#;
    let world = World::start(Setup { fence, ..Setup::default() }).await?;
    world.control.apply(held(state("shadowing", "source", 3), LEASE)).await?;
    let first = write(&world, "first".to_owned());
    wait_held(&world, 1).await?;
    for response in [write(&world, "second".to_owned()).await??, first.await??] {
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(header(response.headers(), "retry-after"), "1");
        assert_eq!(header(response.headers(), "content-type"), "application/problem+json");
        let problem: serde_json::Value = serde_json::from_slice(&response.bytes().await?)?;
        assert_eq!(problem["type"], "urn:ficus:problem:writes-held");
    }
    assert_eq!(world.monolith.count(), 0);
    Ok(())
}

#[tokio::test]
async fn reads_go_on_while_writes_are_held() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    world.control.apply(held(state("shadowing", "source", 3), LEASE)).await?;
    assert_eq!(by(&world.get("/api/v1/tickets/7").await?), "monolith");
    assert_eq!(by(&world.client.post(world.url("/login")).send().await?), "monolith");
    Ok(())
}

fn fenced() -> Reply {
    let mut reply = Reply::json("{\"success\":false}").status(503);
    reply.headers.extend([("ficus-fenced", "true"), ("retry-after", "1")]);
    reply
}

#[tokio::test]
async fn a_write_the_service_refused_waits_and_is_sent_to_the_owner() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    world.control.apply(state("switched", "target", 4)).await?;
    world.service.answer(|_| fenced());
    let pending = write(&world, "w".to_owned());
    world.wait(|| world.service.count() == 1).await?;
    wait_held(&world, 1).await?;
    world.control.publish(state("reading 100%", "source", 5));
    let response = pending.await??;
    assert_eq!((response.status(), by(&response)), (StatusCode::OK, "monolith"));
    assert_eq!(bodies(&world.monolith), ["w"]);
    assert_eq!(world.service.count(), 1);
    Ok(())
}

#[tokio::test]
async fn a_refused_write_too_large_to_replay_is_refused_to_the_downstream() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    world.control.apply(state("switched", "target", 4)).await?;
    world.service.answer(|_| fenced());
    let response = write(&world, "x".repeat(200_000)).await??;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(header(response.headers(), "retry-after"), "1");
    assert_eq!((world.service.count(), world.monolith.count()), (1, 0));
    Ok(())
}

#[tokio::test]
async fn a_failed_write_is_never_sent_again() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    world.control.apply(state("shadowing", "source", 3)).await?;
    // the monolith's own words for a refusal by its database, and an answer that looks like the kit's
    world.monolith.answer(|_| Reply { status: StatusCode::INTERNAL_SERVER_ERROR, ..fenced() });
    let response = world.write_as("alice").await?;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    world.monolith.answer(|_| fenced());
    let request = world.client.put(world.url("/api/v1/tickets/7")).body("{}");
    assert_eq!(request.send().await?.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((world.monolith.count(), world.service.count()), (2, 0));
    Ok(())
}

#[tokio::test]
async fn a_request_sent_behind_a_write_does_not_give_the_write_up() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    world.control.apply(state("shadowing", "source", 3)).await?;
    world.monolith.set_slow(true);
    let mut wire = Wire::send(world.proxy.listen, &post("first")).await?;
    world.wait(|| world.monolith.count() == 1).await?;
    wire.write(&post("second")).await?;
    let generation = world.control.apply(held(state("shadowing", "source", 3), LEASE)).await?;
    world.control.forget_reports();
    let report = world.control.report(|report| report.generation == generation).await?;
    assert_eq!(traffic(&report).inflight_writes, 1);
    world.monolith.set_slow(false);
    assert!(wire.answer().await?.starts_with("HTTP/1.1 200 "));
    wait_held(&world, 1).await?;
    world.control.publish(state("shadowing", "source", 3));
    assert!(wire.answer().await?.starts_with("HTTP/1.1 200 "));
    assert_eq!(bodies(&world.monolith), ["first", "second"]);
    Ok(())
}
