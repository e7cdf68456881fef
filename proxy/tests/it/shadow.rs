//! Shadow reads: what is compared, what is counted, what is kept.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

use crate::{
    control::{state, traffic},
    replicator::Barriers,
    upstream::Reply,
    world::{Setup, World, by, header},
};

async fn shadowing(shadow: &'static str) -> anyhow::Result<World> {
    let world = World::start(Setup { shadow, ..Setup::default() }).await?;
    world.control.apply(state("shadowing", "source", 3)).await?;
    Ok(world)
}

async fn mismatches(world: &World) -> anyhow::Result<serde_json::Value> {
    let text = world.client.get(world.admin_url("/mismatches")).send().await?.text().await?;
    Ok(serde_json::from_str(&text)?)
}

#[tokio::test]
async fn equal_answers_are_compared_after_the_downstream_has_its_own() -> anyhow::Result<()> {
    let world = shadowing("{ sample = 1, ignore = [\"/at\"] }").await?;
    world.monolith.answer(|_| Reply::json(r#"{"id":7,"at":1}"#));
    world.service.answer(|_| Reply::json(r#"{"at":2,"id":7}"#));
    world.service.set_slow(true);
    let request = world.client.get(world.url("/api/v1/tickets/7?full=1"));
    let response = request.header("authorization", "Bearer t").send().await?;
    assert_eq!(by(&response), "monolith");
    world.service.set_slow(false);
    world.control.report(|report| traffic(report).shadow_compared == 1).await?;
    let seen = world.service.seen().last().cloned().expect("asked");
    assert_eq!((seen.method, seen.path.as_str()), (http::Method::GET, "/api/v1/tickets/7"));
    assert_eq!(header(&seen.headers, "authorization"), "Bearer t");
    assert_eq!(header(&seen.headers, "ficus-shadow"), "1");
    assert_eq!(mismatches(&world).await?, serde_json::json!([]));
    Ok(())
}

#[tokio::test]
async fn a_difference_that_is_gone_after_a_barrier_is_no_mismatch() -> anyhow::Result<()> {
    let world = shadowing("{ sample = 1 }").await?;
    let is_applied = Arc::new(AtomicBool::new(false));
    let applied = Arc::clone(&is_applied);
    world.monolith.answer(|_| Reply::json(r#"{"state":"closed"}"#));
    world.service.answer(move |_| match applied.load(SeqCst) {
        true => Reply::json(r#"{"state":"closed"}"#),
        false => Reply::json(r#"{"state":"open"}"#),
    });
    world.replicator.set_barriers(Barriers::Wait);
    let before = world.replicator.begun();
    world.get("/api/v1/tickets/7").await?;
    world.wait(|| world.replicator.begun() > before).await?;
    is_applied.store(true, SeqCst);
    world.replicator.set_barriers(Barriers::Complete);
    let report = world.control.report(|report| traffic(report).shadow_compared == 1).await?;
    assert_eq!(traffic(&report).shadow_mismatched, 0);
    Ok(())
}

#[tokio::test]
async fn a_difference_that_stays_is_counted_and_kept_without_values() -> anyhow::Result<()> {
    let world = shadowing("{ sample = 1 }").await?;
    world.monolith.answer(|_| Reply::json(r#"{"data":{"title":"secret"}}"#));
    world.service.answer(|_| Reply::json(r#"{"data":{"title":"other"}}"#));
    world.get("/api/v1/tickets/7").await?;
    world.control.report(|report| traffic(report).shadow_mismatched == 1).await?;
    let kept = mismatches(&world).await?;
    assert_eq!(kept[0]["route"], "GET /api/v1/tickets/{id}");
    assert_eq!((&kept[0]["path"], &kept[0]["kind"]), (&"/data/title".into(), &"value".into()));
    assert_eq!(kept[0]["samples"][0]["expected"].as_str().map(str::len), Some(16), "a hash");
    let told = world.control.report(|report| report.mismatches.is_some()).await?;
    let groups = told.mismatches.unwrap_or_default().groups;
    assert_eq!(
        (groups[0].path.as_str(), groups[0].raw, groups[0].noisy),
        ("/data/title", 2, false)
    );
    let text = kept.to_string();
    assert!(!text.contains("secret") && !text.contains("other"), "{text}");
    Ok(())
}

#[tokio::test]
async fn an_answer_the_monolith_itself_does_not_repeat_is_noise_and_no_mismatch()
-> anyhow::Result<()> {
    let world = shadowing("{ sample = 1 }").await?;
    let asked = AtomicU64::new(0);
    world
        .monolith
        .answer(move |_| Reply::json(format!(r#"{{"count":{}}}"#, asked.fetch_add(1, SeqCst))));
    world.service.answer(|_| Reply::json(r#"{"count":-1}"#));
    world.get("/api/v1/tickets/7").await?;
    let report = world.control.report(|report| traffic(report).shadow_compared == 1).await?;
    assert_eq!(traffic(&report).shadow_mismatched, 0);
    assert!(world.figure("ficus_proxy_shadow_total", "noise").await? >= 1.0);
    let kept = mismatches(&world).await?;
    assert_eq!((&kept[0]["path"], &kept[0]["noisy"]), (&"/count".into(), &true.into()));
    Ok(())
}

#[tokio::test]
async fn a_mismatch_beside_noise_in_the_same_answer_is_counted() -> anyhow::Result<()> {
    let world = shadowing("{ sample = 1 }").await?;
    let asked = AtomicU64::new(0);
    world.monolith.answer(move |_| {
        Reply::json(format!(r#"{{"at":{},"state":"open"}}"#, asked.fetch_add(1, SeqCst)))
    });
    world.service.answer(|_| Reply::json(r#"{"at":-1,"state":"closed"}"#));
    world.get("/api/v1/tickets/7").await?;
    world.control.report(|report| traffic(report).shadow_mismatched == 1).await?;
    let noisy = |path: &str, kept: &serde_json::Value| {
        let places = kept.as_array().cloned().unwrap_or_default();
        places.iter().find(|place| place["path"] == path).map(|place| place["noisy"] == true)
    };
    let kept = mismatches(&world).await?;
    assert_eq!((noisy("/at", &kept), noisy("/state", &kept)), (Some(true), Some(false)));
    Ok(())
}

#[tokio::test]
async fn bytes_the_monolith_does_not_repeat_are_not_compared() -> anyhow::Result<()> {
    let world = shadowing("{ sample = 1 }").await?;
    let asked = AtomicU64::new(0);
    world.monolith.answer(move |_| Reply::json(format!("token {}", asked.fetch_add(1, SeqCst))));
    world.service.answer(|_| Reply::json("token of the service"));
    world.get("/api/v1/tickets/7").await?;
    let report = world.control.report(|report| traffic(report).shadow_skipped == 1).await?;
    assert_eq!(traffic(&report).shadow_mismatched, 0);
    assert!(world.figure("ficus_proxy_shadow_total", "skipped_unstable").await? >= 1.0);
    Ok(())
}

#[tokio::test]
async fn a_difference_that_cannot_be_confirmed_is_skipped_with_the_reason() -> anyhow::Result<()> {
    let world = shadowing("{ sample = 1, max_body = \"1KiB\" }").await?;
    world.monolith.answer(|_| Reply::json("1".repeat(2_000)));
    world.get("/api/v1/tickets/7").await?;
    let report = world.control.report(|report| traffic(report).shadow_skipped == 1).await?;
    assert_eq!(traffic(&report).shadow_compared, 0);
    let skipped = world.figure("ficus_proxy_shadow_total", "skipped_body_too_large").await?;
    assert!(skipped >= 1.0);
    assert_eq!(world.service.count(), 0);
    Ok(())
}

#[tokio::test]
async fn writes_and_routes_without_shadow_are_asked_once() -> anyhow::Result<()> {
    let world = shadowing("{ sample = 1 }").await?;
    world.write_as("alice").await?;
    world.get("/api/v1/tickets").await?;
    world.get("/api/v1/tickets/7").await?;
    world.control.report(|report| traffic(report).shadow_compared == 1).await?;
    let asked: Vec<String> = world.service.seen().iter().map(|seen| seen.path.clone()).collect();
    assert_eq!(asked, ["/api/v1/tickets/7"]);
    Ok(())
}

#[tokio::test]
async fn a_page_is_compared_but_for_what_the_monolith_does_not_repeat() -> anyhow::Result<()> {
    let world = shadowing("{ sample = 1 }").await?;
    let asked = AtomicU64::new(0);
    let page = |token: u64, title: &str| {
        let form = format!("<form><input name=token value={token}></form>");
        Reply::html(format!("<html><body><h1>{title}</h1>{form}</body></html>"))
    };
    world.monolith.answer(move |_| page(asked.fetch_add(1, SeqCst), "a ticket"));
    world.service.answer(move |_| page(1_000, "a ticket"));
    world.get("/api/v1/tickets/7").await?;
    let report = world.control.report(|report| traffic(report).shadow_compared == 1).await?;
    assert_eq!(traffic(&report).shadow_mismatched, 0);
    assert!(world.figure("ficus_proxy_shadow_total", "noise").await? >= 1.0);
    world.service.answer(move |_| page(1_000, "another ticket"));
    world.get("/api/v1/tickets/7").await?;
    world.control.report(|report| traffic(report).shadow_mismatched == 1).await?;
    let kept = mismatches(&world).await?;
    let found: Vec<_> = kept.as_array().into_iter().flatten().collect();
    let noisy = |path: &str| found.iter().find(|one| one["path"] == path).map(|one| &one["noisy"]);
    let input = "/*/html/*/body/*/form/*/input[token]/@value";
    assert_eq!(noisy(input), Some(&true.into()), "{kept}");
    assert_eq!(noisy("/*/html/*/body/*/h1/*"), Some(&false.into()), "{kept}");
    Ok(())
}

#[tokio::test]
async fn noise_is_learned_from_answers_that_are_equal() -> anyhow::Result<()> {
    let world = shadowing("{ sample = 1, noise = 1 }").await?;
    let asked = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&asked);
    // the first answer is the service's as well, the ones after it are not
    world.monolith.answer(move |_| {
        Reply::json(format!(r#"{{"id":7,"nonce":{}}}"#, counted.fetch_add(1, SeqCst)))
    });
    world.service.answer(|_| Reply::json(r#"{"id":7,"nonce":0}"#));
    world.get("/api/v1/tickets/7").await?;
    world.control.report(|report| traffic(report).shadow_compared == 1).await?;
    assert_eq!(asked.load(SeqCst), 3, "once for the downstream, twice to learn");
    assert!(world.figure("ficus_proxy_shadow_total", "equal").await? >= 1.0);
    let kept = mismatches(&world).await?;
    assert_eq!((&kept[0]["path"], &kept[0]["noisy"]), (&"/nonce".into(), &true.into()));
    assert_eq!((&kept[0]["raw"], &kept[0]["noise"]), (&0.into(), &1.into()));
    Ok(())
}

#[tokio::test]
async fn a_value_that_is_the_same_twice_by_chance_is_no_mismatch() -> anyhow::Result<()> {
    let world = shadowing("{ sample = 1 }").await?;
    let asked = AtomicU64::new(0);
    // once for the downstream, twice the same, then another each time
    world.monolith.answer(move |_| {
        let dice = [1, 2, 2, 3, 4, 5]
            .get(usize::try_from(asked.fetch_add(1, SeqCst)).unwrap_or(9))
            .copied();
        Reply::json(format!(r#"{{"dice":{},"id":7}}"#, dice.unwrap_or_default()))
    });
    world.service.answer(|_| Reply::json(r#"{"dice":6,"id":7}"#));
    world.get("/api/v1/tickets/7").await?;
    let report = world.control.report(|report| traffic(report).shadow_compared == 1).await?;
    assert_eq!(traffic(&report).shadow_mismatched, 0);
    assert!(world.figure("ficus_proxy_shadow_total", "noise").await? >= 1.0);
    Ok(())
}
