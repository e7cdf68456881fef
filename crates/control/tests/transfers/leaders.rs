//! Several controls, and several people: one transfer at a time, one leader at a time, and the guards
//! above all of them.

use std::time::Duration;

use cutover::{Epoch, Side};
use serde_json::{Value, json};
use testkit::wait_until;

use crate::{
    instance::Instance,
    world::{WITHIN, World},
};

#[tokio::test]
async fn a_second_cutover_is_refused_while_the_first_one_runs() {
    let world = World::new().await;
    let failpoint: control::Failpoint = "fence:hang".parse().unwrap();
    let control = Instance::leader(&world, Some(failpoint.clone())).await;
    let _proxy = control.make_ready().await;
    let first = control.post("cutover", &json!({})).await;
    failpoint.reached().await;
    let second = control.post("cutover", &json!({})).await;
    assert_eq!(second.status(), 409);
    let problem: Value = second.json().await.unwrap();
    assert_eq!(problem["code"], "transfer_under_way");
    assert!(problem["detail"].as_str().unwrap().contains("cutover"), "{problem}");
    assert_eq!(control.post("shift", &json!({"to": "shadowing"})).await.status(), 409);
    drop(first);
}

#[tokio::test]
async fn a_standby_answers_reads_refuses_commands_and_takes_over() {
    let world = World::new().await;
    let first = Instance::leader(&world, None).await;
    let second = Instance::launch(&world, None);
    wait_until(WITHIN, || async {
        let answered = reqwest::get(format!("http://{}/api/v1/status", second.http)).await;
        Ok(answered.ok().map(|_| ()))
    })
    .await
    .unwrap();
    assert_eq!(second.status().await["leader"], false);
    for (instance, expected) in [(&first, 200), (&second, 503)] {
        let ready = reqwest::get(format!("http://{}/readyz", instance.http)).await.unwrap();
        assert_eq!(ready.status(), expected);
    }
    let refused = second.post("start", &json!({})).await;
    assert_eq!(refused.status(), 503);
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["code"], "not_leader");
    let hint = problem["remedy"][0].as_str().unwrap();
    assert!(hint.contains(&first.http.to_string()), "{hint}");
    first.command("start", &json!({})).await;
    let before = first.status().await["generation"].as_u64();
    first.kill();
    second.wait_to_lead().await;
    assert_eq!(second.phase().await["name"], "replicating");
    assert!(second.status().await["generation"].as_u64() > before, "generations only grow");
}

#[tokio::test]
async fn what_somebody_else_does_to_the_guards_is_followed() {
    let world = World::new().await;
    let control = Instance::leader(&world, None).await;
    let proxy = control.make_ready().await;
    let source = world.guard_client(Side::Source).await;
    let name = &world.capability;
    let (ttl, wait) = (Duration::from_secs(60), Duration::from_secs(1));
    source.fence(name, Epoch(1), ttl, wait).await.unwrap();
    // nobody is transferring: the leader ends the fence long before its deadline
    assert_eq!(world.settled().await, Side::Source);
    wait_until(WITHIN, || async {
        Ok(proxy.state(name).filter(|state| state.epoch == 3 && state.owner == "source"))
    })
    .await
    .unwrap();
    assert_eq!(control.capability().await["epoch"], 3);
}

#[tokio::test]
async fn a_transfer_that_somebody_else_finished_is_published_by_the_next_leader() {
    let world = World::new().await;
    let failpoint: control::Failpoint = "decide.done:hang".parse().unwrap();
    let control = Instance::leader(&world, Some(failpoint.clone())).await;
    let proxy = control.make_ready().await;
    let answer = control.post("cutover", &json!({})).await;
    failpoint.reached().await;
    drop((answer, proxy));
    control.kill();
    let target = world.guard_client(Side::Target).await;
    target.open(&world.capability, Epoch(2), Epoch(2)).await.unwrap();
    let next = Instance::leader(&world, None).await;
    wait_until(WITHIN, || async {
        let outcome = next.capability().await["transfer"]["outcome"].clone();
        Ok((outcome == "done").then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(next.phase().await["name"], "switched");
}

#[tokio::test]
async fn a_transfer_goes_on_when_the_one_who_asked_for_it_leaves() {
    let world = World::new().await;
    let control = Instance::leader(&world, None).await;
    let _proxy = control.make_ready().await;
    drop(control.post("cutover", &json!({})).await);
    wait_until(WITHIN, || async {
        Ok((control.phase().await["name"] == "switched").then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(world.settled().await, Side::Target);
}

#[tokio::test]
async fn reads_go_back_to_the_monolith_when_the_lag_stays_unknown() {
    let world = World::new().await;
    let control = Instance::leader(&world, None).await;
    let proxy = control.make_ready().await;
    control.command("shift", &json!({"to": "shadowing"})).await;
    control.command("shift", &json!({"to": 50})).await;
    world.replicator.set(|mood| mood.lag_ms = None);
    wait_until(WITHIN, || async {
        Ok(proxy.state(&world.capability).filter(|state| state.phase == "reading 0%"))
    })
    .await
    .unwrap();
    let journal: Value = control.get("/api/v1/journal").await.json().await.unwrap();
    let step = journal.as_array().unwrap().iter().find(|entry| entry["actor"] == "automatic");
    assert!(step.unwrap()["detail"].as_str().unwrap().contains("unknown"), "{step:?}");
}
