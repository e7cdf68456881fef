//! What the library below the proxy asks every connection for.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType, raw_connect::ProxyDigest, tls::SslDigest,
};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::inbound::Inbound;

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl AsyncWrite for Inbound {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Inbound {
    async fn shutdown(&mut self) {
        if let Err(error) = AsyncWriteExt::shutdown(&mut self.wire).await {
            tracing::debug!(%error, "a connection was gone before it was closed");
        }
    }
}

#[async_trait]
impl Peek for Inbound {
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        // The preface was read before the library is asked; it looks for nothing else.
        let Some(kept) = self.kept.get(..buf.len()) else { return Ok(false) };
        buf.copy_from_slice(kept);
        Ok(true)
    }
}

impl UniqueID for Inbound {
    fn id(&self) -> UniqueIDType {
        self.identity.id
    }
}

impl Ssl for Inbound {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.identity.tls.clone()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.identity.is_http2.then_some(ALPN::H2)
    }
}

impl GetTimingDigest for Inbound {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.identity.timing.clone()
    }
}

impl GetProxyDigest for Inbound {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Inbound {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.identity.socket))
    }
}
