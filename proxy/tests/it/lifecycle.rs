//! Reloading, losing control, restarting, stopping.

use std::time::Duration;

use http::StatusCode;
use proxy::Reloaded;

use crate::{
    control::{held, state, traffic},
    upstream::{Reply, Upstream},
    wire::{Wire, post},
    world::{BOUND, Setup, World, by},
};

#[tokio::test]
async fn a_new_configuration_is_applied_and_a_bad_one_never_replaces_it() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    world.control.apply(state("switched", "target", 4)).await?;
    let other = Upstream::start("other").await?;
    let text = world.text();
    let moved = text.replace(&world.service.address.to_string(), &other.address.to_string());
    std::fs::write(world.path(), &moved)?;
    let reloaded = world.proxy.reload.reload().await?;
    assert_eq!(reloaded, Reloaded::Applied { restart_needed: Vec::new() });
    assert_eq!(by(&world.get("/api/v1/tickets/7").await?), "other");
    std::fs::write(world.path(), moved.replace("upstream = \"ticket\"", "upstream = \"nobody\""))?;
    let Reloaded::Refused(problems) = world.proxy.reload.reload().await? else {
        anyhow::bail!("a bad file was taken");
    };
    assert!(!problems.is_empty());
    assert_eq!(by(&world.get("/api/v1/tickets/7").await?), "other");
    std::fs::write(world.path(), moved)?;
    assert_eq!(world.proxy.reload.reload().await?, Reloaded::Unchanged);
    Ok(())
}

#[tokio::test]
async fn a_changed_file_is_noticed_without_being_told() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    world.control.apply(state("switched", "target", 4)).await?;
    let other = Upstream::start("other").await?;
    let text = world.text();
    let moved = text.replace(&world.service.address.to_string(), &other.address.to_string());
    std::fs::write(world.path(), moved + "\n# moved\n")?;
    let look =
        || async { Ok((by(&world.get("/api/v1/tickets/7").await?) == "other").then_some(())) };
    testkit::wait_until(BOUND, look).await
}

#[tokio::test]
async fn what_only_a_restart_can_change_is_said() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let text = world.text().replace("listen = [\"127.0.0.1:0\"]", "listen = [\"127.0.0.2:0\"]");
    std::fs::write(world.path(), text)?;
    let reloaded = world.proxy.reload.reload().await?;
    assert_eq!(reloaded, Reloaded::Applied { restart_needed: vec!["proxy.listen"] });
    Ok(())
}

#[tokio::test]
async fn a_reload_does_not_release_held_writes() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let lease = Duration::from_secs(30);
    world.control.apply(held(state("shadowing", "source", 3), lease)).await?;
    let pending = Wire::send(world.proxy.listen, &post("w")).await?;
    world.control.report(|report| traffic(report).held == 1).await?;
    std::fs::write(world.path(), world.text().replace("max_held = 2000", "max_held = 1000"))?;
    world.proxy.reload.reload().await?;
    world.control.forget_reports();
    let report = world.control.report(|_| true).await?;
    assert_eq!((traffic(&report).holding, traffic(&report).held), (true, 1));
    drop(pending);
    Ok(())
}

#[tokio::test]
async fn the_last_table_is_served_while_control_is_away_and_reports_resume_after()
-> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let generation = world.control.apply(state("switched", "target", 4)).await?;
    world.control.set_away(true);
    world.control.forget_reports();
    for _ in 0..5 {
        assert_eq!(by(&world.write_as("alice").await?), "service");
    }
    world.control.set_away(false);
    world.control.report(|report| report.generation == generation).await?;
    Ok(())
}

#[tokio::test]
async fn a_restarted_proxy_serves_what_it_saved_without_control() -> anyhow::Result<()> {
    let mut world = World::start(Setup { has_state_file: true, ..Setup::default() }).await?;
    world.control.apply(state("switched", "target", 4)).await?;
    let saved = world.folder.path().join("state.json");
    world.wait(|| saved.exists()).await?;
    world.control.set_away(true);
    world.restart().await?;
    assert_eq!(by(&world.write_as("alice").await?), "service");
    assert_eq!(by(&world.read_as("alice").await?), "service");
    Ok(())
}

#[tokio::test]
async fn a_peer_that_fails_its_health_check_is_left_out_until_it_is_back() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    world.control.apply(state("switched", "target", 4)).await?;
    let service = format!("peers = [\"{}\"]", world.service.address);
    let checked = format!(
        "{service}\nhealth = {{ path = \"/health\", every = \"100ms\", fall = 2, rise = 1 }}"
    );
    world
        .service
        .answer(|seen| Reply::json("{}").status(if seen.path == "/health" { 503 } else { 200 }));
    std::fs::write(world.path(), world.text().replace(&service, &checked))?;
    world.proxy.reload.reload().await?;
    wait_peer(&world, false).await?;
    // the only peer is still asked: the check may be what is broken
    assert_eq!(by(&world.write_as("alice").await?), "service");
    world.service.answer(|_| Reply::json("{}"));
    wait_peer(&world, true).await
}

async fn wait_peer(world: &World, is_healthy: bool) -> anyhow::Result<()> {
    let look = || async {
        let text = world.client.get(world.admin_url("/routes")).send().await?.text().await?;
        let routes: serde_json::Value = serde_json::from_str(&text)?;
        let healthy = routes.pointer("/capabilities/0/peers/0/healthy");
        Ok((healthy == Some(&is_healthy.into())).then_some(()))
    };
    testkit::wait_until(BOUND, look).await
}

#[tokio::test]
async fn the_admin_server_tells_where_capabilities_stand() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let generation = world.control.apply(state("reading 30%", "source", 3)).await?;
    let text = world.client.get(world.admin_url("/routes")).send().await?.text().await?;
    let routes: serde_json::Value = serde_json::from_str(&text)?;
    assert_eq!(routes["generation"], generation);
    let tickets = &routes["capabilities"][0];
    assert_eq!((&tickets["name"], &tickets["phase"]), (&"tickets".into(), &"reading 30%".into()));
    assert_eq!((&tickets["owner"], &tickets["holding"]), (&"source".into(), &false.into()));
    world.get("/api/v1/tickets/7").await?;
    let labels = "capability=\"tickets\"";
    assert!(world.figure("ficus_proxy_requests_total", labels).await? >= 1.0);
    Ok(())
}

#[tokio::test]
async fn a_stopping_proxy_answers_what_it_took_and_says_goodbye() -> anyhow::Result<()> {
    let mut world = World::start(Setup::default()).await?;
    world.monolith.set_slow(true);
    let mut taken = Wire::send(world.proxy.listen, &post("taken")).await?;
    world.wait(|| world.monolith.count() == 1).await?;
    let mut idle = Wire::open(world.proxy.listen).await?;
    world.begin_stop();
    let look = || async {
        let ready = world.client.get(world.admin_url("/readyz")).send().await?.status();
        Ok((ready == StatusCode::SERVICE_UNAVAILABLE).then_some(()))
    };
    testkit::wait_until(BOUND, look).await?;
    idle.write(&post("late")).await?;
    world.wait(|| world.monolith.count() == 2).await?;
    world.monolith.set_slow(false);
    for wire in [&mut taken, &mut idle] {
        let answer = wire.rest().await?;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    }
    world.stop().await?;
    assert!(Wire::open(world.proxy.listen).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_link_that_is_turned_to_another_file_is_noticed() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    world.control.apply(state("switched", "target", 4)).await?;
    let other = Upstream::start("other").await?;
    let moved =
        world.text().replace(&world.service.address.to_string(), &other.address.to_string());
    // same length and same time of change, as a tool that unpacks files would leave them
    let [old, new] = ["old.toml", "new.toml"].map(|name| world.folder.path().join(name));
    std::fs::write(&old, pad(&world.text(), 4096))?;
    std::fs::write(&new, pad(&moved, 4096))?;
    let time = std::fs::metadata(&old)?.modified()?;
    std::fs::File::options().write(true).open(&new)?.set_modified(time)?;
    let link = world.folder.path().join("link");
    let turn_to = |target| {
        std::os::unix::fs::symlink(target, &link)?;
        std::fs::rename(&link, world.path())
    };
    turn_to(old)?;
    world.proxy.reload.reload().await?;
    turn_to(new)?;
    let look =
        || async { Ok((by(&world.get("/api/v1/tickets/7").await?) == "other").then_some(())) };
    testkit::wait_until(BOUND, look).await
}

/// The text with a comment at its end, so that it has this length.
fn pad(text: &str, length: usize) -> String {
    format!("{text}#{}\n", "-".repeat(length - text.len() - 2))
}
