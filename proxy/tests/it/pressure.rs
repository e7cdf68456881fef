//! Too much work is refused at the door, and what is under way goes on.

use http::StatusCode;

use crate::{
    control::state,
    wire::{Wire, post},
    world::{BOUND, Setup, World, by, header},
};

#[tokio::test]
async fn requests_beyond_the_limit_are_refused_and_those_under_way_are_answered()
-> anyhow::Result<()> {
    let proxy = "shed = { requests = 2 }".to_owned();
    let world = World::start(Setup { proxy, ..Setup::default() }).await?;
    world.monolith.set_slow(true);
    let mut under_way = Vec::new();
    for count in 1..=2 {
        under_way.push(Wire::send(world.proxy.listen, &post("taken")).await?);
        world.wait(|| world.monolith.count() == count).await?;
    }
    let refused = world.get("/api/v1/users").await?;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(header(refused.headers(), "retry-after").parse::<u64>()? >= 1);
    assert_eq!(world.monolith.count(), 2, "the refused one was sent");
    world.monolith.set_slow(false);
    for wire in &mut under_way {
        assert!(wire.answer().await?.starts_with("HTTP/1.1 200 "));
    }
    let look =
        || async { Ok(world.get("/api/v1/users").await?.status().is_success().then_some(())) };
    testkit::wait_until(BOUND, look).await
}

#[tokio::test]
async fn shadows_are_left_out_first() -> anyhow::Result<()> {
    // one request is under way while it is decided: 1 of 1 is more than 80 %, and not over it
    let proxy = "shed = { requests = 1 }".to_owned();
    let shadow = "{ sample = 1 }";
    let world = World::start(Setup { proxy, shadow, ..Setup::default() }).await?;
    world.control.apply(state("shadowing", "source", 3)).await?;
    let before = world.figure("ficus_proxy_shed_total", "kind=\"shadow\"").await?;
    for _ in 0..5 {
        assert_eq!(by(&world.get("/api/v1/tickets/7").await?), "monolith");
    }
    let after = world.figure("ficus_proxy_shed_total", "kind=\"shadow\"").await?;
    assert!(after >= before + 5.0, "{before} {after}");
    assert_eq!(world.service.count(), 0, "a shadow was sent");
    Ok(())
}

#[tokio::test]
async fn a_limit_on_memory_that_is_reached_refuses_until_a_reload_lifts_it() -> anyhow::Result<()> {
    let proxy = "shed = { memory = \"32MiB\" }".to_owned();
    let world = World::start(Setup { proxy, ..Setup::default() }).await?;
    // larger than the limit, and written to, so that it is resident
    let ballast = vec![1_u8; 64 << 20];
    let look = || async {
        let refused = world.get("/api/v1/users").await?.status();
        Ok((refused == StatusCode::SERVICE_UNAVAILABLE).then_some(()))
    };
    testkit::wait_until(BOUND, look).await?;
    std::fs::write(world.path(), world.text().replace("32MiB", "1000GiB"))?;
    world.proxy.reload.reload().await?;
    assert_eq!(world.get("/api/v1/users").await?.status(), StatusCode::OK);
    assert!(std::hint::black_box(ballast).len() > 1);
    Ok(())
}
