//! A TCP socket that is left alone while nobody waits for what it brings: it is not watched then, so
//! that a server which sends message by message wakes neither side for each of them.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

use super::Pace;

/// A read that brings less than this came too early, when nobody waits for it.
const TRICKLE_BYTES: usize = 64 * 1024;

type Rest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// See above. Reading and writing work at any time.
pub(super) struct CalmTcp {
    socket: Watched,
    pace: Pace,
    /// Until when it is left alone.
    rest: Option<Rest>,
    /// When the last read brought little.
    trickled_at: Option<Instant>,
}

/// Whether the runtime is told when something comes.
enum Watched {
    Yes(TcpStream),
    No(std::net::TcpStream),
    /// Changing over failed.
    Lost,
}

impl CalmTcp {
    pub(super) const fn new(tcp: TcpStream, pace: Pace) -> Self {
        Self { socket: Watched::Yes(tcp), pace, rest: None, trickled_at: None }
    }

    /// The socket, watched from now on.
    fn watched(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.socket = match std::mem::replace(&mut self.socket, Watched::Lost) {
            Watched::No(tcp) => Watched::Yes(TcpStream::from_std(tcp)?),
            same @ (Watched::Yes(_) | Watched::Lost) => same,
        };
        match &mut self.socket {
            Watched::Yes(tcp) => Ok(Pin::new(tcp)),
            Watched::No(_) | Watched::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.rest.is_none()
            && let Some(trickled_at) = self.trickled_at.filter(|_| self.pace.is_unhurried())
        {
            self.socket = match std::mem::replace(&mut self.socket, Watched::Lost) {
                Watched::Yes(tcp) => Watched::No(tcp.into_std()?),
                same @ (Watched::No(_) | Watched::Lost) => same,
            };
            let pace = self.pace.clone();
            self.rest = Some(Box::pin(async move { pace.read_due(trickled_at).await }));
        }
        if let Some(rest) = &mut self.rest {
            ready!(rest.as_mut().poll(cx));
            self.rest = None;
        }
        self.trickled_at = None;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for CalmTcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_rest(cx))?;
        let before = into.filled().len();
        ready!(self.watched()?.poll_read(cx, into))?;
        if into.filled().len() - before < TRICKLE_BYTES {
            self.trickled_at = Some(Instant::now());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for CalmTcp {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.watched()?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watched()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watched()?.poll_shutdown(cx)
    }
}
