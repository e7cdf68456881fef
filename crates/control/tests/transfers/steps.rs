//! Steps by themselves, on and back; what is kept of them; and what several proxies say.

use rpc::v1::{CapabilityTraffic, MismatchGroup, Mismatches};
use serde_json::{Value, json};
use testkit::wait_until;

use crate::{
    fake_proxy::FakeProxy,
    instance::Instance,
    world::{WITHIN, World},
};

async fn until_phase(proxy: &FakeProxy, world: &World, phase: &str) {
    let seen = wait_until(WITHIN, || async {
        Ok(proxy.state(&world.capability).filter(|state| state.phase == phase))
    })
    .await;
    assert!(seen.is_ok(), "{phase} was not reached: {:?}", proxy.state(&world.capability));
}

async fn until_steps(control: &Instance, wanted: impl Fn(&Value) -> bool) -> Value {
    wait_until(WITHIN, || async {
        let steps = control.capability().await["steps"].clone();
        Ok(wanted(&steps).then_some(steps))
    })
    .await
    .unwrap()
}

/// Both sides answer `requests` more, without an error.
fn answer(traffic: &mut CapabilityTraffic, requests: u64) {
    traffic.requests_source += requests;
    traffic.requests_target += requests;
    traffic.failures_in_a_row = 0;
}

fn fail(traffic: &mut CapabilityTraffic) {
    traffic.requests_target += 5;
    traffic.errors_target += 5;
    traffic.failures_in_a_row += 5;
}

async fn shifts(world: &World, control: &Instance) -> Vec<Value> {
    let path = format!("/api/v1/capabilities/{}/shifts", world.capability);
    let entries: Value = control.get(&path).await.json().await.unwrap();
    entries.as_array().unwrap().clone()
}

#[tokio::test]
async fn five_failures_in_a_row_take_the_reads_back_and_the_evidence_is_kept() {
    let world = World::new().await;
    let control = Instance::leader(&world, None).await;
    let proxy = control.make_ready().await;
    control.command("shift", &json!({"to": "shadowing"})).await;
    control.command("shift", &json!({"to": 50})).await;
    until_phase(&proxy, &world, "reading 50%").await;
    proxy.count(fail);
    until_phase(&proxy, &world, "reading 0%").await;
    let last = wait_until(WITHIN, || async {
        let newest = shifts(&world, &control).await.swap_remove(0);
        Ok((newest["actor"] == "automatic").then_some(newest))
    })
    .await
    .unwrap();
    assert!(last["reason"].as_str().unwrap().contains("5 times in a row"), "{last}");
    assert_eq!(last["evidence"]["since_step"]["errors_target"], 5, "{last}");
    assert_eq!(last["evidence"]["failures_in_a_row"], 5, "{last}");
}

#[tokio::test]
async fn steps_go_on_by_themselves_while_the_service_does_well() {
    let world = World::new().await;
    let control = Instance::leader(&world, None).await;
    let proxy = control.make_ready().await;
    control.command("shift", &json!({"to": "shadowing"})).await;
    control.command("shift", &json!({"to": "auto"})).await;
    until_phase(&proxy, &world, "reading 5%").await;
    let steps = until_steps(&control, |steps| steps["verdict"] == "inconclusive").await;
    assert!(steps["reason"].as_str().unwrap().contains("only 0 requests"), "{steps}");
    proxy.count(|traffic| answer(traffic, 100));
    until_phase(&proxy, &world, "reading 50%").await;
    proxy.count(|traffic| answer(traffic, 100));
    until_phase(&proxy, &world, "reading 100%").await;
}

#[tokio::test]
async fn paused_steps_do_not_go_on_and_still_go_back() {
    let world = World::new().await;
    let control = Instance::leader(&world, None).await;
    let proxy = control.make_ready().await;
    control.command("shift", &json!({"to": "shadowing"})).await;
    control.command("shift", &json!({"to": "auto"})).await;
    control.command("shift", &json!({"to": "pause_steps"})).await;
    until_phase(&proxy, &world, "reading 5%").await;
    proxy.count(|traffic| answer(traffic, 100));
    let steps = until_steps(&control, |steps| steps["verdict"] == "good").await;
    assert_eq!((&steps["paused"], &steps["next"]), (&json!(true), &json!("steps are paused")));
    proxy.count(fail);
    until_phase(&proxy, &world, "reading 0%").await;
    control.command("shift", &json!({"to": "resume_steps"})).await;
    until_phase(&proxy, &world, "reading 5%").await;
}

#[tokio::test]
async fn steps_begin_again_after_the_cool_down_as_often_as_allowed_and_then_wait_for_a_person() {
    let world = World::new().await;
    let control = Instance::leader(&world, None).await;
    let proxy = control.make_ready().await;
    control.command("shift", &json!({"to": "shadowing"})).await;
    control.command("shift", &json!({"to": "auto"})).await;
    until_phase(&proxy, &world, "reading 5%").await;
    proxy.count(fail);
    until_phase(&proxy, &world, "reading 0%").await;
    until_phase(&proxy, &world, "reading 5%").await;
    proxy.count(fail);
    let steps = until_steps(&control, |steps| steps["step_backs"] == 2).await;
    assert_eq!(steps["automatic"], false, "one retry is allowed: {steps}");
    until_phase(&proxy, &world, "reading 0%").await;
    control.command("shift", &json!({"to": "auto"})).await;
    let steps = until_steps(&control, |steps| steps["automatic"] == true).await;
    assert_eq!(steps["step_backs"], 0, "a person began anew: {steps}");
}

#[tokio::test]
async fn mismatches_of_two_proxies_are_one_group_in_the_api_and_on_the_page() {
    let world = World::new().await;
    let control = Instance::leader(&world, None).await;
    let first = control.make_ready().await;
    let second = control.proxy("p2");
    control.wait_for_proxies(2).await;
    for (proxy, raw) in [(&*first, 3), (&second, 4)] {
        let group = MismatchGroup {
            capability: world.capability.clone(),
            route: "GET /items/{id}".to_owned(),
            path: "/data/*/state".to_owned(),
            kind: "value".to_owned(),
            raw,
            ..MismatchGroup::default()
        };
        proxy.face.lock().unwrap().mismatches = Some(Mismatches { groups: vec![group] });
    }
    let path = format!("/api/v1/mismatches?capability={}", world.capability);
    wait_until(WITHIN, || async {
        let groups: Value = control.get(&path).await.json().await.unwrap();
        Ok((groups[0]["raw"] == 7).then_some(()))
    })
    .await
    .unwrap();
    let none: Value = control.get("/api/v1/mismatches?capability=x").await.json().await.unwrap();
    assert_eq!(none, json!([]));
    let page = control.get("/mismatches").await;
    assert!(page.headers().contains_key("content-security-policy"));
    let page = page.text().await.unwrap();
    assert!(page.contains("/data/*/state") && page.contains("GET /items/{id}"), "{page}");
}

#[tokio::test]
async fn of_three_proxies_the_one_cut_off_is_told_apart() {
    let world = World::new().await;
    let control = Instance::leader(&world, None).await;
    let _first = control.make_ready().await;
    let _second = control.proxy("p2");
    let third = control.proxy("p3");
    control.wait_for_proxies(3).await;
    wait_until(WITHIN, || async {
        let proxies = control.status().await["proxies"].clone();
        let has_answered = |proxy: &Value| {
            proxy["generation"].as_u64() > Some(0) && proxy["acknowledged_after_ms"].is_u64()
        };
        Ok(proxies.as_array().unwrap().iter().all(has_answered).then_some(()))
    })
    .await
    .unwrap();
    drop(third);
    let seen = wait_until(WITHIN, || async {
        let proxies = control.status().await["proxies"].clone();
        let cut_off = |proxy: &Value| proxy["cut_off"] == true;
        let some = proxies.as_array().unwrap().iter().any(cut_off);
        Ok(some.then_some(proxies))
    })
    .await
    .unwrap();
    let of = |id: &str| seen.as_array().unwrap().iter().find(|proxy| proxy["id"] == id).unwrap();
    for id in ["p1", "p2"] {
        assert_eq!((&of(id)["connected"], &of(id)["cut_off"]), (&json!(true), &json!(false)));
    }
    let cut_off = of("p3");
    assert_eq!((&cut_off["connected"], &cut_off["cut_off"]), (&json!(false), &json!(true)));
    assert!(
        cut_off["generation"].as_u64() > Some(0) && cut_off["silent_ms"].as_u64() >= Some(10_000)
    );
    assert_eq!(cut_off["addresses"], json!(["10.0.0.7:8080"]));
    assert_eq!(cut_off["version"], "9.9.9");
    assert!(cut_off["acknowledged_after_ms"].is_u64(), "{cut_off}");
    let refused = control.command("cutover", &json!({"dry_run": true})).await.pop().unwrap();
    let findings = refused["findings"].as_array().unwrap();
    assert!(findings.iter().all(|finding| finding["check"] != "proxies" || finding["ok"] == true));
}
