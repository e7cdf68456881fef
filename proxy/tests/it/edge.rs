//! What faces downstreams: how much of the proxy one of them may take, and what it may claim.

use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::Instant;

use crate::{
    control::state,
    wire::{Wire, post},
    world::{BOUND, Setup, World, header},
};

async fn world(proxy: &str) -> anyhow::Result<World> {
    World::start(Setup { has_control: false, proxy: proxy.to_owned(), ..Setup::default() }).await
}

const GET: &str = "GET /api/v1/users HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn requests_sent_ahead_are_answered_one_after_the_other() -> anyhow::Result<()> {
    let world = world("").await?;
    world.monolith.answer(|seen| crate::upstream::Reply::json(format!("{:?}", seen.path)));
    let all: String = (0..5)
        .map(|n| {
            format!(
                "POST /n/{n} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\n\r\n\
                 GET /m/{n} HTTP/1.1\r\nHost: a\r\n\r\n"
            )
        })
        .collect();
    let mut wire = Wire::send(world.proxy.listen, &all).await?;
    wire.write("GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await?;
    let answers = wire.rest().await?;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 11, "{answers}");
    let paths: Vec<String> = world.monolith.seen().iter().map(|seen| seen.path.clone()).collect();
    let expected = (0..5).flat_map(|n| [format!("/n/{n}"), format!("/m/{n}")]);
    assert_eq!(paths, expected.chain(["/last".to_owned()]).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_ends_at_its_deadline() -> anyhow::Result<()> {
    let world = world("limits = { head = \"700ms\" }").await?;
    let mut wire = Wire::send(world.proxy.listen, "G").await?;
    let began = Instant::now();
    let mut drip = tokio::time::interval(Duration::from_millis(50));
    let answer = loop {
        tokio::select! {
            answer = wire.answer() => break answer?,
            _ = drip.tick() => {}
        }
        // The proxy may have closed the connection while this byte was on its way.
        if wire.write("E").await.is_err() {
            break wire.answer().await?;
        }
        anyhow::ensure!(began.elapsed() < BOUND, "still open");
    };
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(world.monolith.count(), 0);
    Ok(())
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed() -> anyhow::Result<()> {
    let world = world("limits = { idle = \"500ms\", head = \"500ms\" }").await?;
    let mut never_used = Wire::open(world.proxy.listen).await?;
    let mut used = Wire::send(world.proxy.listen, GET).await?;
    assert!(used.answer().await?.starts_with("HTTP/1.1 200 "));
    assert_eq!(never_used.rest().await?, "");
    assert_eq!(used.rest().await?, "");
    Ok(())
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up() -> anyhow::Result<()> {
    let world = world("limits = { body_idle = \"400ms\" }").await?;
    let head = "POST /api/v1/users HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab";
    let answer = Wire::send(world.proxy.listen, head).await?.answer().await?;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(world.monolith.count(), 0);
    Ok(())
}

#[tokio::test]
async fn a_body_that_breaks_the_grammar_reaches_no_upstream_and_ends_the_connection()
-> anyhow::Result<()> {
    let world = world("").await?;
    let bodies = [
        "x\r\nab\r\n",
        "2\nab\n0\n\n",
        "2\r\nabc\r\n0\r\n\r\n",
        "2\r\nab\r\n0\r\nHost: b\r\n\r\n",
        "-1\r\n",
    ];
    for body in bodies {
        let request = format!(
            "POST /api/v1/users HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}{GET}"
        );
        let answers = Wire::send(world.proxy.listen, &request).await?.rest().await?;
        assert!(answers.starts_with("HTTP/1.1 400 "), "{body:?}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{body:?}: {answers}");
    }
    assert_eq!(world.monolith.count(), 0);
    Ok(())
}

#[tokio::test]
async fn a_body_longer_than_allowed_is_answered_413() -> anyhow::Result<()> {
    let world = world("limits = { max_body = \"10B\" }").await?;
    let fits = Wire::send(world.proxy.listen, &post("0123456789")).await?.answer().await?;
    assert!(fits.starts_with("HTTP/1.1 200 "), "{fits}");
    let chunked = "POST /api/v1/users HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                   b\r\n0123456789a\r\n0\r\n\r\n";
    for request in [post("0123456789a"), chunked.to_owned()] {
        let answer = Wire::send(world.proxy.listen, &request).await?.answer().await?;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{request:?}: {answer}");
    }
    assert_eq!(world.monolith.count() + world.service.count(), 1);
    Ok(())
}

#[tokio::test]
async fn one_client_has_so_many_connections_and_gets_them_back() -> anyhow::Result<()> {
    let world = world("limits = { connections_per_client = 3 }").await?;
    let open = || async {
        let mut wire = Wire::send(world.proxy.listen, GET).await?;
        let is_served = wire.answer().await.is_ok();
        anyhow::Ok((wire, is_served))
    };
    // The client of the tests keeps no connection to this address yet.
    let opened = try_join_all((0..6).map(|_| open())).await?;
    assert_eq!(opened.iter().filter(|(_, is_served)| *is_served).count(), 3);
    drop(opened);
    let look = || async { Ok(open().await?.1.then_some(())) };
    testkit::wait_until(BOUND, look).await?;
    assert!(world.figure("ficus_proxy_refused_connections_total", "client").await? >= 3.0);
    Ok(())
}

#[tokio::test]
async fn a_connection_takes_so_many_requests() -> anyhow::Result<()> {
    let world = world("limits = { requests_per_connection = 2 }").await?;
    let mut wire = Wire::send(world.proxy.listen, &GET.repeat(3)).await?;
    let answers = wire.rest().await?;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert!(answers.to_ascii_lowercase().contains("connection: close"), "{answers}");
    assert_eq!(world.monolith.count(), 2);
    Ok(())
}

#[tokio::test]
async fn needless_encodings_hide_no_write_from_its_route() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    world.control.apply(state("switched", "target", 3)).await?;
    let request = "POST /api/v1/%74ickets?q=%74 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    let answer = Wire::send(world.proxy.listen, request).await?.answer().await?;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // The route's owner got it, under the path the route was found by.
    let paths: Vec<String> = world.service.seen().iter().map(|seen| seen.path.clone()).collect();
    assert_eq!(paths, ["/api/v1/tickets"]);
    Ok(())
}

#[tokio::test]
async fn the_client_is_who_the_trusted_hops_say() -> anyhow::Result<()> {
    for (trusted, expected) in
        [("[\"127.0.0.0/8\", \"10.0.0.0/8\"]", "1.2.3.4, 10.0.0.9, 127.0.0.1"), ("[]", "127.0.0.1")]
    {
        let world = world(&format!("trusted_proxies = {trusted}")).await?;
        let request = world.client.get(world.url("/api/v1/users"));
        let request = request.header("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.0.0.9");
        request.header("x-forwarded-proto", "https").send().await?;
        let seen = world.monolith.seen()[0].clone();
        assert_eq!(header(&seen.headers, "x-forwarded-for"), expected);
        let proto = if trusted == "[]" { "http" } else { "https" };
        assert_eq!(header(&seen.headers, "x-forwarded-proto"), proto);
        let client = expected.split(',').next().unwrap_or_default();
        assert!(header(&seen.headers, "forwarded").starts_with(&format!("for={client};")));
    }
    Ok(())
}
