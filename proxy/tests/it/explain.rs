//! What a proxy says about a request is what it does with one.

use proxy::{Assumed, Explanation, Outcome, Question, explain_offline};

use crate::{
    control::{held, state},
    world::{BOUND, Setup, World, by, parse},
};

fn question(method: &str, target: &str, subject: Option<&str>) -> Question {
    let headers = subject.map(|subject| ("x-api-key".to_owned(), subject.to_owned()));
    Question {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: headers.into_iter().collect(),
        subject: None,
        ip: None,
    }
}

async fn ask(world: &World, question: &Question) -> anyhow::Result<Explanation> {
    let request = world.client.post(world.admin_url("/explain")).json(question);
    Ok(request.send().await?.error_for_status()?.json().await?)
}

/// The upstream's name as the scripted upstreams call themselves.
fn called(explanation: &Explanation) -> &str {
    match explanation.upstream.as_deref() {
        Some("ticket") => "service",
        other => other.unwrap_or_default(),
    }
}

#[tokio::test]
async fn every_subject_is_answered_by_the_side_that_was_named() -> anyhow::Result<()> {
    let world = World::start(Setup { abort: r#"{ max_lag = "60s" }"#, ..Setup::default() }).await?;
    world.control.apply(state("reading 100%", "source", 3)).await?;
    let look = || async { Ok((by(&world.read_as("probe").await?) == "service").then_some(())) };
    testkit::wait_until(BOUND, look).await?;
    world.control.apply(state("reading 40%", "source", 3)).await?;
    let mut sides = std::collections::BTreeSet::new();
    for number in 0..40 {
        let subject = format!("subject-{number}");
        let told = ask(&world, &question("GET", "/api/v1/tickets/7?x=1", Some(&subject))).await?;
        assert_eq!(called(&told), by(&world.read_as(&subject).await?), "{told:#?}");
        assert_eq!(told.subject_from.as_deref(), Some("header:x-api-key"));
        sides.insert(called(&told).to_owned());
    }
    assert_eq!(sides.len(), 2, "both sides were asked");
    Ok(())
}

#[tokio::test]
async fn a_held_write_a_refused_path_and_an_unclaimed_one_are_told_apart() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let lease = std::time::Duration::from_secs(30);
    world.control.apply(held(state("shadowing", "source", 3), lease)).await?;
    let told = ask(&world, &question("POST", "/api/v1/tickets", None)).await?;
    assert_eq!((told.outcome, told.upstream), (Outcome::Held, None));
    let told = ask(&world, &question("GET", "/api/v1/tickets/..", None)).await?;
    assert_eq!(told.outcome, Outcome::Refused(400));
    assert_eq!(world.get("/api/v1/tickets//7").await?.status(), 400);
    let told = ask(&world, &question("GET", "/api/v1/users", None)).await?;
    assert_eq!((told.route.as_deref(), called(&told)), (None, "monolith"));
    assert_eq!(told.peers.len(), 1);
    assert_eq!(told.peers[0].address, world.monolith.address.to_string());
    assert_eq!(world.monolith.count() + world.service.count(), 0, "nothing was sent");
    Ok(())
}

#[tokio::test]
async fn a_file_alone_explains_under_an_assumed_phase() -> anyhow::Result<()> {
    let world = World::start(Setup { has_control: false, ..Setup::default() }).await?;
    let config = parse(&world.text())?;
    let read = question("GET", "/api/v1/tickets/7", Some("alice"));
    for (phase, expected) in [("monolith", "monolith"), ("reading 100%", "service")] {
        let assumed = Assumed { phase: phase.parse()?, caught_up: true };
        let told = explain_offline(config.clone(), assumed, &read)?;
        assert_eq!(called(&told), expected, "{told:#?}");
        assert_eq!(told.generation, None);
    }
    let behind = Assumed { phase: "reading 100%".parse()?, caught_up: false };
    assert_eq!(called(&explain_offline(config, behind, &read)?), "monolith");
    Ok(())
}
