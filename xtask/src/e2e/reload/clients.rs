//! Clients that send nothing twice. A connection is left only when an answer says so; whatever else ends
//! one, and whatever is not answered with 200, is a failure.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Longest time one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Between a failure and the next try, so that a dead proxy is no busy loop.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

const READ: &str = "GET /api/v1/tickets HTTP/1.1\r\nhost: ficus\r\n\r\n";
const WRITE: &str = "POST /api/v1/tickets HTTP/1.1\r\nhost: ficus\r\ncontent-length: 0\r\n\r\n";

/// Every so many requests one writes.
const WRITE_EVERY: u64 = 10;

/// A number of clients under way.
pub(super) struct Clients {
    counts: Arc<Counts>,
    tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Counts {
    answered: AtomicU64,
    connections: AtomicU64,
    failed: AtomicU64,
    first_failure: Mutex<Option<String>>,
    stop: AtomicBool,
}

/// What they saw.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) answered: u64,
    pub(super) connections: u64,
    pub(super) failed: u64,
    pub(super) first_failure: Option<String>,
}

impl Clients {
    pub(super) fn start(count: usize, port: u16) -> Self {
        let counts = Arc::new(Counts::default());
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let counts = Arc::clone(&counts);
            tasks.spawn(async move {
                while !counts.stop.load(Relaxed) {
                    counts.connections.fetch_add(1, Relaxed);
                    if let Err(error) = counts.use_one(port).await {
                        counts.note_failure(&error);
                        tokio::time::sleep(AFTER_FAILURE).await;
                    }
                }
            });
        }
        Self { counts, tasks }
    }

    pub(super) fn answered(&self) -> u64 {
        self.counts.answered.load(Relaxed)
    }

    pub(super) fn failed(&self) -> u64 {
        self.counts.failed.load(Relaxed)
    }

    /// Lets each finish the request it is at.
    pub(super) async fn finish(mut self) -> Told {
        self.counts.stop.store(true, Relaxed);
        while self.tasks.join_next().await.is_some() {}
        let first_failure = self.counts.first_failure.lock().expect("no panic").clone();
        Told {
            answered: self.counts.answered.load(Relaxed),
            connections: self.counts.connections.load(Relaxed),
            failed: self.counts.failed.load(Relaxed),
            first_failure,
        }
    }
}

impl Counts {
    fn note_failure(&self, error: &anyhow::Error) {
        self.failed.fetch_add(1, Relaxed);
        let mut first = self.first_failure.lock().expect("no panic");
        first.get_or_insert_with(|| format!("{error:#}"));
    }

    /// Uses one connection until an answer ends it.
    async fn use_one(&self, port: u16) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.context("connect")?;
        stream.set_nodelay(true)?;
        while !self.stop.load(Relaxed) {
            let number = self.answered.load(Relaxed);
            let request = if number.is_multiple_of(WRITE_EVERY) { WRITE } else { READ };
            stream.write_all(request.as_bytes()).await.context("send")?;
            let head =
                timeout(ANSWER_MAX, read_answer(&mut stream)).await.context("no answer")??;
            ensure!(head.starts_with("http/1.1 200 "), "{}", head.lines().next().unwrap_or(""));
            self.answered.fetch_add(1, Relaxed);
            if head.contains("\r\nconnection: close") {
                break;
            }
        }
        Ok(())
    }
}

/// Reads one answer with its body; returns the head in lower case.
async fn read_answer(stream: &mut TcpStream) -> anyhow::Result<String> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(bytes.get(..end + 2).unwrap_or_default())
                .to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.context("an answer without a length")?.trim().parse()?;
            if bytes.len() >= end + 4 + length {
                return Ok(head);
            }
        }
        ensure!(stream.read_buf(&mut bytes).await.context("read")? > 0, "cut off");
    }
}
