//! Whole moves that succeed, and what is seen of them.

use cutover::{Direction, Epoch, GuardState, Side};
use serde_json::{Value, json};

use crate::{fake_replicator::dirty, instance::Instance, world::World};

fn steps(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["step"].as_str()).collect()
}

#[tokio::test]
async fn a_cutover_and_a_rollback_move_the_writes_there_and_back_again() {
    let world = World::new().await;
    let control = Instance::leader(&world, None).await;
    let proxy = control.make_ready().await;
    world.write(Side::Source, "before").await.unwrap();
    assert_eq!(world.write(Side::Target, "too early").await, Err("FC001".to_owned()));

    let lines = control.command("cutover", &json!({})).await;
    let wanted = [
        "preflight",
        "reverse",
        "hold",
        "fence",
        "drain",
        "verify",
        "prepare",
        "decide",
        "open",
        "publish",
    ];
    assert_eq!(steps(&lines), wanted);
    assert_eq!(lines.last().unwrap()["outcome"], "done", "{lines:?}");
    assert_eq!(control.phase().await["name"], "switched");
    assert_eq!(world.write(Side::Source, "too late").await, Err("FC001".to_owned()));
    let id = world.write(Side::Target, "after").await.unwrap();
    assert!(id > 1000, "sequences moved past the old owner's, got {id}");
    assert_eq!(world.names(Side::Target).await, ["before", "after"]);
    assert_eq!(world.guard(Side::Target).await.epoch, Epoch(2));

    let lines = control.command("rollback", &json!({})).await;
    assert_eq!(steps(&lines), wanted);
    assert_eq!(lines.last().unwrap()["outcome"], "done", "{lines:?}");
    let phase = control.phase().await;
    assert_eq!((&phase["name"], &phase["percent"]), (&json!("reading"), &json!(0)));
    assert_eq!(world.names(Side::Source).await, ["before", "after"]);
    world.write(Side::Source, "home").await.unwrap();
    assert_eq!(world.write(Side::Target, "too late").await, Err("FC001".to_owned()));

    assert_eq!(control.transfer("cutover").await["outcome"], "done", "a second time, no new copy");
    assert_eq!(world.guard(Side::Target).await.epoch, Epoch(4));
    let calls = world.replicator.calls();
    assert!(calls.contains(&dirty(Direction::Forward)) && calls.contains(&dirty(Direction::Back)));
    let owners: Vec<String> = {
        let face = proxy.face.lock().unwrap();
        let mut owners: Vec<_> =
            face.seen.iter().map(|table| table.capabilities[0].owner.clone()).collect();
        owners.dedup();
        owners
    };
    assert_eq!(owners, ["source", "target", "source", "target"]);
}

#[tokio::test]
async fn proxies_hold_during_a_transfer_and_learn_the_owner_together_with_its_end() {
    let world = World::new().await;
    let control = Instance::leader(&world, None).await;
    let proxy = control.make_ready().await;
    assert_eq!(control.transfer("cutover").await["outcome"], "done");
    control.wait_for_proxies(1).await;
    let face = proxy.face.lock().unwrap();
    let holds: Vec<(bool, &str)> = face
        .seen
        .iter()
        .map(|table| (table.capabilities[0].hold, table.capabilities[0].owner.as_str()))
        .collect();
    let held = holds.iter().position(|(hold, _)| *hold).expect("a hold was published");
    let end = holds[held..].iter().position(|(hold, _)| !hold).expect("and ended");
    assert_eq!(holds[held + end], (false, "target"));
    assert!(holds[held..held + end].iter().all(|(_, owner)| *owner == "source"));
}

#[tokio::test]
async fn the_record_of_a_transfer_can_be_read_afterwards() {
    let world = World::new().await;
    let control = Instance::leader(&world, None).await;
    let _proxy = control.make_ready().await;
    let last = control.transfer("cutover").await;
    let id = last["transfer"]["id"].as_i64().unwrap();
    let record: Value = control.get(&format!("/api/v1/transfers/{id}")).await.json().await.unwrap();
    assert_eq!((&record["outcome"], &record["actor"]), (&json!("done"), &json!("tester")));
    assert_eq!(record["direction"], "forward");
    assert_eq!(record["steps"].as_array().unwrap().len(), 10);
    assert!(record["total_ms"].as_u64() >= record["hold_ms"].as_u64());
    let journal: Value = control.get("/api/v1/journal").await.json().await.unwrap();
    let what: Vec<&str> =
        journal.as_array().unwrap().iter().filter_map(|entry| entry["what"].as_str()).collect();
    for wanted in ["start", "cutover", "phase switched", "decide decided"] {
        assert!(what.contains(&wanted), "{wanted} in {what:?}");
    }
    let page = control.get("/").await;
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'"), "{policy}");
    assert!(page.text().await.unwrap().contains("switched"));
    assert!(control.get("/metrics").await.text().await.unwrap().contains("ficus_control_"));
}

#[tokio::test]
async fn a_share_of_the_reads_moves_only_over_shadowing_and_back_at_any_time() {
    let world = World::new().await;
    let control = Instance::leader(&world, None).await;
    let proxy = control.make_ready().await;
    let early = control.post("shift", &json!({"to": 10})).await;
    assert_eq!(early.status(), 409);
    control.command("shift", &json!({"to": "shadowing"})).await;
    control.command("shift", &json!({"to": 10})).await;
    control.wait_for_proxies(1).await;
    assert_eq!(proxy.state(&world.capability).unwrap().phase, "reading 10%");
    world.replicator.set(|mood| mood.lag_ms = None);
    control.command("shift", &json!({"to": 0})).await;
    assert_eq!(control.phase().await["percent"], 0);
}

#[tokio::test]
async fn completing_waits_for_the_soak_asks_for_the_name_and_lets_the_way_back_go() {
    let world = World::new().await;
    let control = Instance::leader(&world, None).await;
    let _proxy = control.make_ready().await;
    assert_eq!(control.transfer("cutover").await["outcome"], "done");
    assert_eq!(control.post("complete", &json!({})).await.status(), 400);
    let name = &world.capability;
    assert_eq!(control.post("complete", &json!({"confirm": name})).await.status(), 409);
    control.command("complete", &json!({"confirm": name, "force": true})).await;
    assert_eq!(control.phase().await["name"], "completed");
    assert!(world.replicator.calls().contains(&"drop reverse".to_owned()));
    assert_eq!(control.post("rollback", &json!({})).await.status(), 409);
    assert_eq!(world.guard(Side::Source).await.state, GuardState::Moved, "closed for good");
}
