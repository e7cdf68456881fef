//! One HTTP request, to ask a program whether it is ready. Not a client for anything else.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a program may take to answer before the question counts as unanswered.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The status line of HTTP/1.1 is at least `HTTP/1.1 200`.
const STATUS_END: usize = 12;

/// Asks `GET path` of a server and returns the status code.
///
/// # Errors
/// When the server cannot be reached, does not speak HTTP/1, or does not answer within 5 s.
pub async fn http_status(address: SocketAddr, path: &str) -> anyhow::Result<u16> {
    tokio::time::timeout(ANSWER_WITHIN, ask(address, path))
        .await
        .with_context(|| format!("{address} did not answer within {ANSWER_WITHIN:?}"))?
}

async fn ask(address: SocketAddr, path: &str) -> anyhow::Result<u16> {
    let mut stream =
        TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.context("send the request")?;
    let mut head = [0_u8; STATUS_END];
    stream.read_exact(&mut head).await.context("read the status line")?;
    let head = std::str::from_utf8(&head).context("read the status line as text")?;
    head.strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split_once(' '))
        .and_then(|(_, status)| status.parse().ok())
        .with_context(|| format!("{address} does not speak HTTP/1: {head:?}"))
}
