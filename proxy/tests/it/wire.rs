//! A downstream that writes the bytes itself, and may leave whenever it likes.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::world::BOUND;

/// One connection.
pub(crate) struct Wire(TcpStream);

impl Wire {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self(TcpStream::connect(address).await?))
    }

    /// Opens a connection and sends bytes.
    pub(crate) async fn send(address: SocketAddr, bytes: &str) -> anyhow::Result<Self> {
        let mut wire = Self::open(address).await?;
        wire.write(bytes).await?;
        Ok(wire)
    }

    /// Leaves with a reset instead of an orderly end.
    pub(crate) fn reset(self) -> anyhow::Result<()> {
        Ok(self.0.set_zero_linger()?)
    }

    pub(crate) async fn write(&mut self, bytes: &str) -> anyhow::Result<()> {
        Ok(self.0.write_all(bytes.as_bytes()).await?)
    }

    /// One answer with a Content-Length: head and body.
    pub(crate) async fn answer(&mut self) -> anyhow::Result<String> {
        timeout(BOUND, self.read_answer()).await.context("no answer")?
    }

    /// The head of one answer.
    pub(crate) async fn head(&mut self) -> anyhow::Result<String> {
        let mut head = Vec::new();
        let read = async {
            while !head.ends_with(b"\r\n\r\n") {
                head.push(self.0.read_u8().await?);
            }
            anyhow::Ok(())
        };
        timeout(BOUND, read).await.context("no head")??;
        Ok(String::from_utf8(head)?)
    }

    async fn read_answer(&mut self) -> anyhow::Result<String> {
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .filter_map(|line| line.split_once(':'))
                    .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                    .map_or(Ok(0), |(_, value)| value.trim().parse::<usize>())?;
                if body.len() >= length {
                    return Ok(text);
                }
            }
            anyhow::ensure!(self.0.read_buf(&mut bytes).await? > 0, "closed after {text:?}");
        }
    }

    /// Waits until the other end closes, and returns what came before.
    pub(crate) async fn rest(&mut self) -> anyhow::Result<String> {
        let mut rest = String::new();
        timeout(BOUND, self.0.read_to_string(&mut rest)).await.context("not closed")??;
        Ok(rest)
    }
}

/// A POST to the list of tickets.
pub(crate) fn post(body: &str) -> String {
    format!(
        "POST /api/v1/tickets HTTP/1.1\r\nHost: shop.example\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
