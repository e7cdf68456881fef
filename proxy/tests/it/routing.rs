//! Which side answers what, phase by phase.

use cutover::Phase;
use http::StatusCode;
use http_body_util::BodyExt;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use routes::Bucket;

use crate::{
    control::{state, traffic},
    replicator::Barriers,
    world::{Setup, World, by, header},
};

/// Who answers a read and a write in a phase.
async fn answered(world: &World, phase: Phase) -> anyhow::Result<(String, String)> {
    let owner = phase.owner();
    world.control.apply(state(&phase.to_string(), owner.as_str(), 3)).await?;
    if let Phase::Reading { percent: 1.. } = phase {
        // the first barrier must have completed before anybody is caught up
        let caught_up =
            || async { Ok((by(&world.read_as("probe").await?) == "service").then_some(())) };
        testkit::wait_until(crate::world::BOUND, caught_up).await?;
    }
    let read = world.get("/api/v1/tickets/7").await?;
    let write = world.write_as("writer").await?;
    Ok((by(&read).to_owned(), by(&write).to_owned()))
}

#[tokio::test]
async fn every_phase_sends_reads_and_writes_where_the_design_says() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    for (phase, read, write) in [
        (Phase::Monolith, "monolith", "monolith"),
        (Phase::Replicating, "monolith", "monolith"),
        (Phase::Shadowing, "monolith", "monolith"),
        (Phase::Reading { percent: 0 }, "monolith", "monolith"),
        (Phase::Reading { percent: 100 }, "service", "monolith"),
        (Phase::Switched, "service", "service"),
        (Phase::Completed, "service", "service"),
    ] {
        let expected = (read.to_owned(), write.to_owned());
        assert_eq!(answered(&world, phase).await?, expected, "{phase}");
    }
    let unclaimed = world.get("/api/v1/users").await?;
    assert_eq!(by(&unclaimed), "monolith");
    Ok(())
}

#[tokio::test]
async fn a_share_of_the_reads_is_exactly_the_share_of_the_buckets() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    answered(&world, Phase::Reading { percent: 100 }).await?;
    world.control.apply(state("reading 30%", "source", 3)).await?;
    for number in 0..60 {
        let subject = format!("subject-{number}");
        let expected = match Bucket::of(subject.as_bytes()).is_below(30) {
            true => "service",
            false => "monolith",
        };
        assert_eq!(by(&world.read_as(&subject).await?), expected, "{subject}");
    }
    Ok(())
}

#[tokio::test]
async fn without_control_the_monolith_answers_everything() -> anyhow::Result<()> {
    let world = World::start(Setup { has_control: false, ..Setup::default() }).await?;
    assert_eq!(by(&world.get("/api/v1/tickets/7").await?), "monolith");
    assert_eq!(by(&world.write_as("alice").await?), "monolith");
    assert_eq!(world.service.count(), 0);
    Ok(())
}

#[tokio::test]
async fn a_read_falls_back_to_the_owning_monolith_and_a_write_never_does() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    answered(&world, Phase::Reading { percent: 100 }).await?;
    let closed = testkit::free_port()?;
    let text =
        world.text().replace(&world.service.address.to_string(), &format!("127.0.0.1:{closed}"));
    std::fs::write(world.path(), text)?;
    world.proxy.reload.reload().await?;
    world.control.forget_reports();
    assert_eq!(by(&world.read_as("bob").await?), "monolith");
    world.control.report(|report| traffic(report).errors_target > 0).await?;
    world.control.apply(state("switched", "target", 4)).await?;
    let before = world.monolith.count();
    assert_eq!(world.write_as("bob").await?.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(world.read_as("bob").await?.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(world.monolith.count(), before);
    Ok(())
}

#[tokio::test]
async fn an_upstream_sees_the_hop_it_was_sent_by_and_nothing_forged() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let request = world.client.get(world.url("/api/v1/users?q=1"));
    let request = request.header("x-forwarded-for", "1.2.3.4").header("ficus-dry-run", "1");
    let response = request.header("host", "shop.example").send().await?;
    let seen = world.monolith.seen().last().cloned().expect("asked");
    assert_eq!(header(&seen.headers, "x-forwarded-for"), "127.0.0.1");
    assert_eq!(header(&seen.headers, "x-forwarded-host"), "shop.example");
    assert_eq!(header(&seen.headers, "host"), "shop.example");
    assert!(!seen.headers.contains_key("ficus-dry-run"));
    let id = header(&seen.headers, "x-request-id");
    assert_eq!((id.len(), header(response.headers(), "x-request-id")), (32, id));
    Ok(())
}

#[tokio::test]
async fn http_2_without_tls_is_served_on_the_same_port() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http::<http_body_util::Full<bytes::Bytes>>();
    let request = http::Request::post(world.url("/api/v1/tickets"));
    let response = client.request(request.body("{\"title\":\"a\"}".into())?).await?;
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!(header(response.headers(), "x-by"), "monolith");
    response.into_body().collect().await?;
    assert_eq!(world.monolith.seen().last().expect("asked").body, b"{\"title\":\"a\"}");
    Ok(())
}

#[tokio::test]
async fn reads_stay_with_the_monolith_while_the_lag_is_unknown() -> anyhow::Result<()> {
    let setup = Setup { abort: r#"{ max_lag = "500ms" }"#, ..Setup::default() };
    let world = World::start(setup).await?;
    answered(&world, Phase::Reading { percent: 100 }).await?;
    world.replicator.set_barriers(Barriers::Fail);
    let unknown = || async { Ok((by(&world.read_as("bob").await?) == "monolith").then_some(())) };
    testkit::wait_until(crate::world::BOUND, unknown).await?;
    world.replicator.set_barriers(Barriers::Complete);
    let known = || async { Ok((by(&world.read_as("bob").await?) == "service").then_some(())) };
    testkit::wait_until(crate::world::BOUND, known).await
}
