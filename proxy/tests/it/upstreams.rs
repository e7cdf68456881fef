//! Which peer gets a request, when it is sent again, and when an upstream is left alone.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    control::state,
    upstream::{Reply, Upstream},
    world::{BOUND, Setup, World, by, header},
};

/// A server that reads each request and then does something unusual.
struct Odd {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

#[derive(Clone, Copy)]
enum Oddity {
    /// Closes the connection instead of answering.
    HangUp,
    /// Begins an answer that never ends, a byte at a time.
    Drip,
}

impl Odd {
    async fn start(oddity: Oddity) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, requests) = (listener.local_addr()?, Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve_oddly(stream, oddity, Arc::clone(&counted)));
            }
        });
        Ok(Self { address, requests })
    }

    fn count(&self) -> usize {
        self.requests.load(SeqCst)
    }
}

async fn serve_oddly(
    mut stream: TcpStream,
    oddity: Oddity,
    requests: Arc<AtomicUsize>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    requests.fetch_add(1, SeqCst);
    if let Oddity::Drip = oddity {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await?;
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        loop {
            tick.tick().await;
            stream.write_all(b"x").await?;
        }
    }
    Ok(())
}

/// Replaces the peers of an upstream, with more keys after them.
async fn set_upstream(
    world: &World,
    current: SocketAddr,
    peers: &[SocketAddr],
    keys: &str,
) -> anyhow::Result<()> {
    let peers: Vec<String> = peers.iter().map(|peer| format!("\"{peer}\"")).collect();
    let from = format!("peers = [\"{current}\"]");
    let text = world.text();
    anyhow::ensure!(text.contains(&from), "no such upstream");
    std::fs::write(
        world.path(),
        text.replace(&from, &format!("peers = [{}]\n{keys}", peers.join(", "))),
    )?;
    let reloaded = world.proxy.reload.reload().await?;
    anyhow::ensure!(matches!(reloaded, proxy::Reloaded::Applied { .. }), "{reloaded:?}");
    Ok(())
}

/// Reads of the capability are answered by the service from now on, and the monolith owns the data.
async fn read_from_service(world: &World) -> anyhow::Result<()> {
    world.control.apply(state("reading 100%", "source", 3)).await?;
    let look = || async { Ok((by(&world.read_as("probe").await?) == "service").then_some(())) };
    testkit::wait_until(BOUND, look).await
}

fn closed() -> anyhow::Result<SocketAddr> {
    Ok(SocketAddr::from(([127, 0, 0, 1], testkit::free_port()?)))
}

#[tokio::test]
async fn nothing_is_lost_to_a_dead_peer_and_it_is_left_out_after_some_failures()
-> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let monolith = world.monolith.address;
    let keys = "ejection = { failures = 3, time = \"1m\" }";
    set_upstream(&world, monolith, &[monolith, closed()?], keys).await?;
    let name = "ficus_proxy_upstream_ejections_total";
    let before = world.figure(name, "monolith").await?;
    for number in 0..60 {
        let answer = match number % 2 {
            0 => world.get("/api/v1/users").await?,
            _ => world.write_as("alice").await?,
        };
        assert_eq!((answer.status(), by(&answer)), (StatusCode::OK, "monolith"), "{number}");
    }
    assert!(world.figure(name, "monolith").await? > before);
    // other proxies of this process share the registry
    let ejected = "{state=\"ejected\",upstream=\"monolith\"} 1";
    let look = || async {
        let text = world.client.get(world.admin_url("/metrics")).send().await?.text().await?;
        Ok(text.contains(ejected).then_some(()))
    };
    testkit::wait_until(BOUND, look).await
}

#[tokio::test]
async fn the_same_header_goes_to_the_same_peer() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let (one, two) = (Upstream::start("one").await?, Upstream::start("two").await?);
    let monolith = world.monolith.address;
    let peers = [one.address, two.address];
    set_upstream(&world, monolith, &peers, "balance = \"header:x-user\"").await?;
    let mut places = std::collections::BTreeSet::new();
    for user in 0..16 {
        let ask = || async {
            let request = world.client.get(world.url("/api/v1/users"));
            request.header("x-user", format!("user-{user}")).send().await
        };
        let first = by(&ask().await?).to_owned();
        for _ in 0..4 {
            assert_eq!(by(&ask().await?), first, "user-{user}");
        }
        places.insert(first);
    }
    assert_eq!(places.into_iter().collect::<Vec<_>>(), ["one", "two"]);
    Ok(())
}

#[tokio::test]
async fn a_read_without_an_answer_is_sent_again_within_its_attempts_and_a_write_never()
-> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let odd = Odd::start(Oddity::HangUp).await?;
    let keys = "retry = { attempts = 2, backoff = \"1ms\" }";
    set_upstream(&world, world.monolith.address, &[odd.address], keys).await?;
    assert_eq!(world.get("/api/v1/users").await?.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(odd.count(), 3);
    assert_eq!(world.write_as("alice").await?.status(), StatusCode::BAD_GATEWAY);
    let unclaimed = world.client.post(world.url("/api/v1/users")).body("{}").send().await?;
    assert_eq!(unclaimed.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(odd.count(), 5);
    Ok(())
}

#[tokio::test]
async fn retries_stop_when_their_budget_is_spent() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let odd = Odd::start(Oddity::HangUp).await?;
    let keys = "retry = { attempts = 1, budget = \"0%\", backoff = \"1ms\" }";
    set_upstream(&world, world.monolith.address, &[odd.address], keys).await?;
    for _ in 0..20 {
        world.get("/api/v1/users").await?;
    }
    assert_eq!(odd.count(), 30, "twenty requests, and the ten retries that are always there");
    Ok(())
}

#[tokio::test]
async fn a_read_the_service_does_not_answer_falls_back_to_the_owning_monolith() -> anyhow::Result<()>
{
    let world = World::start(Setup::default()).await?;
    read_from_service(&world).await?;
    let service = world.service.address;
    set_upstream(&world, service, &[service], "timeouts = { read = \"200ms\" }").await?;
    world.service.set_slow(true);
    let name = "ficus_proxy_read_fallbacks_total";
    let before = world.figure(name, "tickets").await?;
    assert_eq!(by(&world.read_as("bob").await?), "monolith");
    let odd = Odd::start(Oddity::HangUp).await?;
    set_upstream(&world, service, &[odd.address], "").await?;
    assert_eq!(by(&world.read_as("bob").await?), "monolith");
    assert_eq!(odd.count(), 1);
    assert!(world.figure(name, "tickets").await? >= before + 2.0);
    Ok(())
}

#[tokio::test]
async fn an_open_breaker_spares_the_service_and_keeps_reads_and_writes_apart() -> anyhow::Result<()>
{
    let world = World::start(Setup::default()).await?;
    read_from_service(&world).await?;
    fail_until_open(&world, "1m").await?;
    let asked = world.service.count();
    assert_eq!(by(&world.read_as("bob").await?), "monolith");
    world.control.apply(state("switched", "target", 4)).await?;
    let refused = world.read_as("bob").await?;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(header(refused.headers(), "retry-after"), "1");
    assert!(refused.text().await?.contains("upstream-unavailable"));
    assert_eq!(world.service.count(), asked);
    assert_eq!(by(&world.write_as("bob").await?), "service");
    Ok(())
}

#[tokio::test]
async fn a_breaker_closes_when_the_service_is_well_again() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    read_from_service(&world).await?;
    fail_until_open(&world, "100ms").await?;
    world.control.apply(state("switched", "target", 4)).await?;
    world.service.answer(|_| Reply::json("{}"));
    let look = || async { Ok(world.read_as("bob").await?.status().is_success().then_some(())) };
    testkit::wait_until(BOUND, look).await?;
    for _ in 0..5 {
        assert_eq!(by(&world.read_as("bob").await?), "service");
    }
    Ok(())
}

/// Opens the breaker of the service's reads for so long.
async fn fail_until_open(world: &World, open: &str) -> anyhow::Result<()> {
    let service = world.service.address;
    let keys = format!("breaker = {{ failures = 3, open = \"{open}\", probes = 2 }}");
    set_upstream(world, service, &[service], &keys).await?;
    world.service.answer(|_| Reply::json("{}").status(503));
    for _ in 0..3 {
        assert_eq!(by(&world.read_as("bob").await?), "service");
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_that_drips_ends_with_its_total_time() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let odd = Odd::start(Oddity::Drip).await?;
    let monolith = world.monolith.address;
    let from = format!("peers = [\"{monolith}\"]");
    let text = world.text().replace(&from, &format!("peers = [\"{}\"]", odd.address));
    let text = text.replace("read = \"15s\"", "read = \"15s\", total = \"400ms\"");
    std::fs::write(world.path(), text)?;
    world.proxy.reload.reload().await?;
    let started = tokio::time::Instant::now();
    let answer = world.get("/api/v1/users").await?;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.bytes().await.is_err(), "it was cut off");
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(350) && took < BOUND / 2, "{took:?}");
    Ok(())
}

#[tokio::test]
async fn more_requests_than_an_upstream_may_have_are_told_to_come_again() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let monolith = world.monolith.address;
    let keys = "limits = { requests = 1, pending = 0 }";
    set_upstream(&world, monolith, &[monolith], keys).await?;
    world.monolith.set_slow(true);
    let (client, url) = (world.client.clone(), world.url("/api/v1/users"));
    let first = tokio::spawn(async move { client.get(url).send().await });
    world.wait(|| world.monolith.count() == 1).await?;
    let refused = world.get("/api/v1/users").await?;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(header(refused.headers(), "retry-after"), "1");
    world.monolith.set_slow(false);
    assert_eq!(first.await??.status(), StatusCode::OK);
    assert_eq!(by(&world.get("/api/v1/users").await?), "monolith");
    Ok(())
}
