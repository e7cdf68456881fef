//! A Redis server that keeps nothing.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{ChildSpec, RunningChild, free_port, wait_until};

const READY_WITHIN: Duration = Duration::from_secs(20);

/// A running server on loopback, with a folder of its own; gone when dropped.
#[derive(Debug)]
pub struct Redis {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its process.
    pub child: RunningChild,
    _folder: TempDir,
}

impl Redis {
    /// Starts one and waits until it answers.
    ///
    /// # Errors
    /// When `redis-server` is not installed, or does not answer within 20 s.
    pub async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let child = ChildSpec::new("redis", "redis-server", folder.path().join("redis.log"))
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"])
            .arg(port.to_string())
            .arg("--dir")
            .arg(folder.path())
            .spawn()
            .context("these tests need redis-server: apt-get install redis-server")?;
        let server = Self { address, child, _folder: folder };
        wait_until(READY_WITHIN, || async { Ok(pong(address).await.then_some(())) }).await?;
        Ok(server)
    }

    /// Its address as clients want it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }
}

async fn pong(address: SocketAddr) -> bool {
    let ask = async {
        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(b"PING\r\n").await?;
        let mut answer = [0; 7];
        socket.read_exact(&mut answer).await?;
        std::io::Result::Ok(answer == *b"+PONG\r\n")
    };
    ask.await.unwrap_or(false)
}
