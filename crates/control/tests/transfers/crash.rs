//! Control dies at every boundary of a transfer; another one takes over.

use cutover::Side;
use serde_json::json;
use testkit::wait_until;

use crate::{
    instance::Instance,
    world::{WITHIN, World},
};

/// Dies there, comes back, and must end with one side open and a phase that agrees.
async fn dies_at(point: &str, owner: Side) {
    let world = World::new().await;
    let failpoint: control::Failpoint = format!("{point}:hang").parse().unwrap();
    let control = Instance::leader(&world, Some(failpoint.clone())).await;
    let proxy = control.make_ready().await;
    world.write(Side::Source, "before").await.unwrap();
    let body = json!({});
    tokio::select! {
        answer = async { control.post("cutover", &body).await.text().await } => {
            panic!("{point} was not reached: {answer:?}")
        }
        () = failpoint.reached() => {}
    }
    drop(proxy);
    control.kill();

    let next = Instance::leader(&world, None).await;
    wait_until(WITHIN, || async {
        let capability = next.capability().await;
        Ok((capability["transfer"]["outcome"] != "running").then_some(()))
    })
    .await
    .unwrap_or_else(|error| panic!("{point}: {error}"));
    assert_eq!(world.settled().await, owner, "after dying at {point}");
    let phase = next.phase().await;
    let wanted = if owner == Side::Target { "switched" } else { "replicating" };
    assert_eq!(phase["name"], wanted, "after dying at {point}");
    world.write(owner, "after").await.unwrap();
    assert_eq!(world.write(owner.other(), "wrong side").await, Err("FC001".to_owned()));
    assert_eq!(world.names(owner).await, ["before", "after"], "after dying at {point}");
    // and the next transfer works
    let _proxy = next.proxy("p2");
    next.wait_for_proxies(1).await;
    let verb = if owner == Side::Target { "rollback" } else { "cutover" };
    let last = next.transfer(verb).await;
    assert_eq!(last["outcome"], "done", "after dying at {point}: {last}");
}

#[tokio::test]
async fn dying_before_or_after_attaching_the_way_back_leaves_the_old_owner() {
    dies_at("reverse", Side::Source).await;
    dies_at("reverse.done", Side::Source).await;
}

#[tokio::test]
async fn dying_around_the_hold_leaves_the_old_owner() {
    dies_at("hold", Side::Source).await;
    dies_at("hold.done", Side::Source).await;
}

#[tokio::test]
async fn dying_around_the_fence_leaves_the_old_owner() {
    dies_at("fence", Side::Source).await;
    dies_at("fence.done", Side::Source).await;
}

#[tokio::test]
async fn dying_while_draining_leaves_the_old_owner() {
    dies_at("drain", Side::Source).await;
    dies_at("drain.done", Side::Source).await;
}

#[tokio::test]
async fn dying_while_verifying_leaves_the_old_owner() {
    dies_at("verify", Side::Source).await;
    dies_at("verify.done", Side::Source).await;
}

#[tokio::test]
async fn dying_around_prepare_leaves_the_old_owner() {
    dies_at("prepare", Side::Source).await;
    dies_at("prepare.done", Side::Source).await;
}

#[tokio::test]
async fn dying_just_before_the_decision_leaves_the_old_owner() {
    dies_at("decide", Side::Source).await;
}

#[tokio::test]
async fn dying_just_after_the_decision_leaves_the_new_owner() {
    dies_at("decide.done", Side::Target).await;
}

#[tokio::test]
async fn dying_around_opening_leaves_the_new_owner() {
    dies_at("open", Side::Target).await;
    dies_at("open.done", Side::Target).await;
}

#[tokio::test]
async fn dying_around_publishing_leaves_the_new_owner() {
    dies_at("publish", Side::Target).await;
    dies_at("publish.done", Side::Target).await;
}
