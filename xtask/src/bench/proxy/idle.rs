//! What connections cost that are kept and do nothing.

use std::net::SocketAddr;

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bench::machine::rss_kb;

/// Connections that are opened, each with one request answered.
const CONNECTIONS: u32 = 5_000;

/// Files that this program and the contestants may have open.
const FILES: u64 = 16_384;

/// Memory before, and for each connection, in kB of 1024 bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Memory {
    pub(super) rss_kb: f64,
    pub(super) kb_per_connection: f64,
}

/// Lets this program and what it starts open enough connections.
///
/// # Errors
/// When the system does not allow it.
pub(super) fn allow_files() -> anyhow::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    anyhow::ensure!(hard >= FILES, "only {hard} open files are allowed: raise `ulimit -Hn`");
    if soft < FILES {
        setrlimit(Resource::RLIMIT_NOFILE, FILES, hard).context("allow more open files")?;
    }
    Ok(())
}

/// Opens the connections and looks what the process holds then.
///
/// # Errors
/// When one is refused.
pub(super) async fn run(address: SocketAddr, pid: i32) -> anyhow::Result<Memory> {
    let before = rss_kb(pid)?;
    let mut kept = Vec::new();
    for _ in 0..CONNECTIONS {
        kept.push(open(address).await?);
    }
    let after = rss_kb(pid)?;
    drop(kept);
    let kb_per_connection = (after - before) / f64::from(CONNECTIONS);
    Ok(Memory { rss_kb: before, kb_per_connection })
}

async fn open(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; 2048];
    let read = stream.read(&mut answer).await?;
    let is_good = answer.get(..read).is_some_and(|answer| answer.starts_with(b"HTTP/1.1 200"));
    anyhow::ensure!(is_good, "a connection was not answered");
    Ok(stream)
}
