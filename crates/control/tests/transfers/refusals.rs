//! Transfers that are refused or undone: nothing may stay changed.

use cutover::{Epoch, GuardState, Side};
use serde_json::{Value, json};
use testkit::wait_until;

use crate::{
    instance::Instance,
    world::{WITHIN, World},
};

fn refused_checks(line: &Value) -> Vec<&str> {
    let findings = line["findings"].as_array().unwrap();
    findings
        .iter()
        .filter(|finding| finding["ok"] == false)
        .map(|finding| finding["check"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_refused_cutover_names_every_reason_and_changes_nothing() {
    let world = World::new().await;
    let control = Instance::leader(&world, None).await;
    control.command("start", &json!({})).await;
    world.replicator.set(|mood| mood.lag_ms = None);
    let before = world.guards().await;
    let calls = world.replicator.calls();
    let last = control.transfer("cutover").await;
    assert_eq!(last["outcome"], "refused");
    assert_eq!(refused_checks(&last), ["stream_lag", "verification", "proxies"], "{last}");
    assert_eq!(last["transfer"], Value::Null);
    assert_eq!(world.guards().await, before);
    assert_eq!(control.phase().await["name"], "replicating");
    assert_eq!(world.replicator.calls(), calls, "the way back was not attached either");
}

#[tokio::test]
async fn a_dry_run_looks_and_leaves() {
    let world = World::new().await;
    let control = Instance::leader(&world, None).await;
    let _proxy = control.make_ready().await;
    let before = world.guards().await;
    let last = control.command("cutover", &json!({"dry_run": true})).await.pop().unwrap();
    assert_eq!(last["outcome"], "ready", "{last}");
    assert_eq!(world.guards().await, before);
}

#[tokio::test]
async fn an_open_prepared_transaction_is_a_reason_to_refuse() {
    let world = World::alone().await;
    let control = Instance::leader(&world, None).await;
    let _proxy = control.make_ready().await;
    let client = world.cluster.connect(&world.database(Side::Source)).await.unwrap();
    let gid = format!("doubt_{}", world.capability);
    client
        .batch_execute(&format!(
            "BEGIN; INSERT INTO item (name) VALUES ('doubt'); PREPARE TRANSACTION '{gid}'"
        ))
        .await
        .unwrap();
    let last = control.transfer("cutover").await;
    assert_eq!(refused_checks(&last), ["prepared_transactions"], "{last}");
    client.batch_execute(&format!("ROLLBACK PREPARED '{gid}'")).await.unwrap();
    assert_eq!(control.transfer("cutover").await["outcome"], "done");
}

async fn is_as_before(world: &World, control: &Instance, epoch: Epoch) {
    assert_eq!(world.settled().await, Side::Source);
    wait_until(WITHIN, || async {
        let pair = world.guards().await;
        Ok((pair.target.prepared == Epoch::NONE).then_some(()))
    })
    .await
    .unwrap();
    let source = world.guard(Side::Source).await;
    assert_eq!((source.state, source.epoch), (GuardState::Open, epoch));
    world.write(Side::Source, "goes on").await.unwrap();
    assert_eq!(control.phase().await["name"], "replicating");
}

#[tokio::test]
async fn writes_that_do_not_drain_release_the_hold_before_anything_is_fenced() {
    let world = World::new().await;
    let control = Instance::leader(&world, None).await;
    let proxy = control.make_ready().await;
    proxy.set_inflight(3);
    let last = control.transfer("cutover").await;
    assert_eq!(last["outcome"], "aborted");
    assert!(last["reason"].as_str().unwrap().contains("3 writes in flight"), "{last}");
    is_as_before(&world, &control, Epoch(1)).await;
    wait_until(WITHIN, || async { Ok(proxy.state(&world.capability).filter(|state| !state.hold)) })
        .await
        .unwrap();
    proxy.set_inflight(0);
    assert_eq!(control.transfer("cutover").await["outcome"], "done");
}

#[tokio::test]
async fn a_barrier_that_is_never_applied_opens_the_old_owner_again() {
    let world = World::new().await;
    let control = Instance::leader(&world, None).await;
    let _proxy = control.make_ready().await;
    world.replicator.set(|mood| mood.applies = false);
    let last = control.transfer("cutover").await;
    assert_eq!(last["outcome"], "aborted");
    assert!(last["reason"].as_str().unwrap().contains("barrier"), "{last}");
    is_as_before(&world, &control, Epoch(3)).await;
}

#[tokio::test]
async fn rows_that_differ_under_the_fence_open_the_old_owner_again() {
    let world = World::new().await;
    let control = Instance::leader(&world, None).await;
    let _proxy = control.make_ready().await;
    world.replicator.set(|mood| (mood.dirty_differences, mood.clean_passes) = (2, 1));
    let last = control.transfer("cutover").await;
    assert_eq!(last["outcome"], "aborted");
    assert!(last["reason"].as_str().unwrap().contains("public.item(1)"), "{last}");
    is_as_before(&world, &control, Epoch(3)).await;
    world.replicator.set(|mood| mood.dirty_differences = 0);
    assert_eq!(control.transfer("cutover").await["outcome"], "done");
}

#[tokio::test]
async fn rows_that_differ_before_the_fence_stop_a_transfer_before_anybody_waits() {
    let world = World::new().await;
    let control = Instance::leader(&world, None).await;
    let _proxy = control.make_ready().await;
    world.replicator.set(|mood| mood.dirty_differences = 2);
    let last = control.transfer("cutover").await;
    assert_eq!(last["outcome"], "aborted");
    assert!(last["reason"].as_str().unwrap().contains("public.item(1)"), "{last}");
    is_as_before(&world, &control, Epoch(1)).await;
}

#[tokio::test]
async fn a_writer_that_keeps_its_lock_is_named_and_the_fence_given_up() {
    let world = World::alone().await;
    let control = Instance::leader(&world, None).await;
    let _proxy = control.make_ready().await;
    // there and back, so that the slot of the way back exists before the writer begins
    assert_eq!(control.transfer("cutover").await["outcome"], "done");
    assert_eq!(control.transfer("rollback").await["outcome"], "done");
    let mut writer = world.cluster.connect(&world.database(Side::Source)).await.unwrap();
    let transaction = writer.transaction().await.unwrap();
    transaction.execute("SET application_name = 'mailer'", &[]).await.unwrap();
    transaction.execute("INSERT INTO item (name) VALUES ('slow')", &[]).await.unwrap();
    let last = control.transfer("cutover").await;
    assert_eq!(last["outcome"], "aborted");
    assert!(last["reason"].as_str().unwrap().contains("mailer"), "{last}");
    transaction.commit().await.unwrap();
    assert_eq!(world.guard(Side::Source).await.epoch, Epoch(3), "never fenced");
    world.write(Side::Source, "goes on").await.unwrap();
}

#[tokio::test]
async fn a_command_without_an_actor_or_for_nothing_known_is_refused() {
    let world = World::new().await;
    let control = Instance::leader(&world, None).await;
    let client = reqwest::Client::new();
    let url = |name: &str| format!("http://{}/api/v1/capabilities/{name}/start", control.http);
    let nobody = client.post(url(&world.capability)).send().await.unwrap();
    assert_eq!(nobody.status(), 400);
    assert_eq!(nobody.headers()["content-type"], "application/problem+json");
    let problem: Value = nobody.json().await.unwrap();
    assert_eq!(problem["code"], "actor_missing");
    let unknown =
        client.post(url("nothing")).header("x-ficus-actor", "tester").send().await.unwrap();
    assert_eq!(unknown.status(), 404);
    assert_eq!(control.phase().await["name"], "monolith");
}

#[tokio::test]
async fn a_start_that_can_not_work_creates_nothing() {
    let world = World::new().await;
    let database = world.database(Side::Target);
    world.cluster.execute(&database, "DROP TABLE item").await.unwrap();
    let control = Instance::leader(&world, None).await;
    let response = control.post("start", &json!({})).await;
    assert_eq!(response.status(), 412);
    let problem: Value = response.json().await.unwrap();
    let findings = problem["findings"].as_array().unwrap();
    assert!(!findings.is_empty(), "{problem}");
    let client = world.cluster.connect(&world.database(Side::Source)).await.unwrap();
    let row = client.query_one("SELECT to_regnamespace('ficus') IS NULL", &[]).await.unwrap();
    assert!(row.get::<_, bool>(0), "the source was not touched");
    assert_eq!(world.replicator.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn a_table_that_waits_is_put_right_by_the_replicator_and_the_asker_is_written_down() {
    let world = World::new().await;
    let control = Instance::leader(&world, None).await;
    control.command("start", &json!({})).await;
    let wanted = json!({ "action": "retry", "table": "public.item" });
    let answer = control.command("table", &wanted).await.pop().unwrap();
    assert_eq!((&answer["state"], &answer["stream"]), (&json!("replaying"), &json!("forward")));
    assert!(world.replicator.calls().iter().any(|call| call == "retry public.item"));
    let audited = world
        .cluster
        .connect(&format!("{}_store", world.capability))
        .await
        .unwrap()
        .query("SELECT detail FROM ficus_control.audit WHERE command = 'table'", &[])
        .await
        .unwrap();
    assert_eq!(audited.len(), 1);
    let unknown = json!({ "action": "retry", "table": "public.nothing" });
    let refused = control.post("table", &unknown).await;
    assert_eq!(refused.status().as_u16(), 409);
    assert!(refused.text().await.unwrap().contains("no running stream has a table"));
}
