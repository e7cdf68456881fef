//! A server that lets everybody in and then sends what a test tells it to.

use bytes::{BufMut, Bytes, BytesMut};
use cdc::wire::{ReplicationClient, ReplicationStream, StartOptions};
use pg::Lsn;
use pg_connect::Settings;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

pub(crate) struct FakeServer {
    socket: TcpStream,
}

/// What the client sent.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) tag: u8,
    pub(crate) body: Bytes,
}

impl FakeServer {
    /// A stream from a new fake server.
    pub(crate) async fn start(options: StartOptions) -> anyhow::Result<(Self, ReplicationStream)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let settings: Settings =
            format!("postgres://u@127.0.0.1:{port}/d?sslmode=disable").parse()?;
        let client = async {
            let client = ReplicationClient::connect(&settings).await?;
            anyhow::Ok(client.start("slot", Lsn::new(100), options).await?)
        };
        let server = async {
            let (socket, _) = listener.accept().await?;
            let mut server = Self { socket };
            let length = server.socket.read_u32().await?;
            server.skip(length).await?;
            server.send(b'R', &0_u32.to_be_bytes()).await?;
            server.send(b'S', b"server_version\x0015.1 (Fake)\0").await?;
            server.send(b'Z', b"I").await?;
            assert_eq!(server.receive().await?.tag, b'Q');
            server.send(b'W', &[0, 0, 0]).await?;
            anyhow::Ok(server)
        };
        let (stream, server) = tokio::try_join!(client, server)?;
        Ok((server, stream))
    }

    pub(crate) async fn send(&mut self, tag: u8, body: &[u8]) -> anyhow::Result<()> {
        let mut message = BytesMut::new();
        message.put_u8(tag);
        message.put_u32(u32::try_from(body.len() + 4)?);
        message.put_slice(body);
        self.send_raw(&message).await
    }

    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.socket.write_all(bytes).await?)
    }

    pub(crate) async fn send_wal(&mut self, lsn: u64, data: &[u8]) -> anyhow::Result<()> {
        self.send(b'd', &wal(lsn, data)).await
    }

    pub(crate) async fn send_keepalive(
        &mut self,
        lsn: u64,
        reply_requested: bool,
    ) -> anyhow::Result<()> {
        let mut body = BytesMut::new();
        body.put_u8(b'k');
        body.put_u64(lsn);
        body.put_u64(0);
        body.put_u8(u8::from(reply_requested));
        self.send(b'd', &body).await
    }

    pub(crate) async fn receive(&mut self) -> anyhow::Result<Sent> {
        let tag = self.socket.read_u8().await?;
        let length = self.socket.read_u32().await?;
        let body = self.skip(length).await?;
        Ok(Sent { tag, body })
    }

    async fn skip(&mut self, length: u32) -> anyhow::Result<Bytes> {
        let mut body = vec![0; usize::try_from(length)? - 4];
        self.socket.read_exact(&mut body).await?;
        Ok(body.into())
    }
}

pub(crate) fn wal(lsn: u64, data: &[u8]) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u8(b'w');
    body.put_u64(lsn);
    body.put_u64(lsn);
    body.put_u64(0);
    body.put_slice(data);
    body.freeze()
}
