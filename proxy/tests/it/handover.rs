//! Another process takes over while requests are under way. Both run in this process; what passes
//! between them passes through the same sockets as between two.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::{
    wire::{Wire, post},
    world::{BOUND, Running, Setup, World},
};

const REQUEST: &str = "GET /api/v1/users HTTP/1.1\r\nhost: x\r\n\r\n";

/// Clients that never send anything twice: whatever they are not answered is an error.
struct Clients {
    answered: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Clients {
    fn start(count: usize, address: std::net::SocketAddr) -> Self {
        let (answered, stop) = <(Arc<AtomicUsize>, Arc<AtomicBool>)>::default();
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let (answered, stop) = (Arc::clone(&answered), Arc::clone(&stop));
            tasks.spawn(async move {
                while !stop.load(SeqCst) {
                    let socket = TcpStream::connect(address).await.context("connect")?;
                    use_up(socket, &answered, &stop).await?;
                }
                Ok(())
            });
        }
        Self { answered, stop, tasks }
    }

    /// Waits until so many more requests were answered.
    async fn answer_more(&self, count: usize) -> anyhow::Result<()> {
        let goal = self.answered.load(SeqCst) + count;
        let look = || std::future::ready(Ok((self.answered.load(SeqCst) >= goal).then_some(())));
        testkit::wait_until(BOUND, look).await
    }

    async fn finish(mut self) -> anyhow::Result<()> {
        self.stop.store(true, SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// Sends one request after the other until an answer says that the connection ends.
async fn use_up(
    mut socket: TcpStream,
    answered: &AtomicUsize,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    while !stop.load(SeqCst) {
        socket.write_all(REQUEST.as_bytes()).await.context("send")?;
        let answer = timeout(BOUND, one_answer(&mut socket)).await.context("no answer")??;
        anyhow::ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        answered.fetch_add(1, SeqCst);
        if answer.to_ascii_lowercase().contains("connection: close") {
            return Ok(());
        }
    }
    Ok(())
}

/// A head and the two bytes of its body.
async fn one_answer(socket: &mut TcpStream) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n{}") {
        anyhow::ensure!(socket.read_buf(&mut bytes).await.context("read")? > 0, "cut: {bytes:?}");
    }
    Ok(String::from_utf8(bytes)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_takes_over_costs_no_request() -> anyhow::Result<()> {
    let mut world = World::start(Setup { has_handover: true, ..Setup::default() }).await?;
    let clients = Clients::start(8, world.proxy.listen);
    clients.answer_more(200).await?;
    for _ in 0..3 {
        let next = Running::take_over(world.path()).await?;
        assert_eq!((next.listen, next.admin), (world.proxy.listen, world.proxy.admin));
        let mut before = std::mem::replace(&mut world.proxy, next);
        before.ended().await?;
        clients.answer_more(200).await?;
    }
    clients.finish().await
}

#[tokio::test]
async fn a_write_that_was_under_way_is_answered_by_the_process_that_took_it() -> anyhow::Result<()>
{
    let mut world = World::start(Setup { has_handover: true, ..Setup::default() }).await?;
    world.monolith.set_slow(true);
    let mut taken = Wire::send(world.proxy.listen, &post("taken")).await?;
    world.wait(|| world.monolith.count() == 1).await?;
    let next = Running::take_over(world.path()).await?;
    let mut before = std::mem::replace(&mut world.proxy, next);
    let new = Wire::send(world.proxy.listen, &post("new")).await?;
    world.wait(|| world.monolith.count() == 2).await?;
    world.monolith.set_slow(false);
    let answer = taken.rest().await?;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    before.ended().await?;
    drop(new);
    assert_eq!(world.get("/api/v1/users").await?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn a_process_that_may_take_over_starts_alone_when_nobody_runs() -> anyhow::Result<()> {
    let mut world = World::start(Setup { has_handover: true, ..Setup::default() }).await?;
    world.stop().await?;
    world.proxy = Running::take_over(world.path()).await?;
    let look = || async { Ok(world.get("/api/v1/users").await.is_ok().then_some(())) };
    testkit::wait_until(Duration::from_secs(10), look).await
}
