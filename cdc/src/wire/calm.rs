//! A TCP socket that is left alone while nobody waits for what it brings: it is not watched then, so
//! that a server which sends message by message wakes neither side for each of them. A server that is
//! near is also kept from sending far ahead: a walsender hands each row to its kernel alone, which is
//! cheap for as long as the receiver's window is closed (the rows gather and leave together), and
//! costs a segment and an acknowledgement for every row while it is open.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

use super::{Hurry, Pace};

/// A read that brings less than this came too early: while the consumer works, and while it gathers.
const TRICKLE_BYTES: usize = 64 * 1024;
const GATHERED_BYTES: usize = 32 * 1024;

/// What a near server may send ahead, in bytes: the whole of it fits between two reads of a stream that
/// is in no hurry, and is more than a round trip's worth.
const AHEAD_BYTES: usize = 64 * 1024;

/// A server is near when a round trip takes less than this; the window would slow down one that is farther.
const NEAR: Duration = Duration::from_millis(1);

type Rest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// See above. Reading and writing work at any time.
pub(super) struct CalmTcp {
    socket: Watched,
    pace: Pace,
    /// Until when it is left alone.
    rest: Option<Rest>,
    /// When the last read brought little.
    trickled_at: Option<Instant>,
    /// The server is near and was not told yet to send less ahead.
    may_narrow: bool,
}

/// Whether the runtime is told when something comes.
enum Watched {
    Yes(TcpStream),
    No(std::net::TcpStream),
    /// Changing over failed.
    Lost,
}

impl CalmTcp {
    /// `round_trip` is how long the server's first answer took.
    pub(super) fn new(tcp: TcpStream, pace: Pace, round_trip: Duration) -> Self {
        let may_narrow = round_trip < NEAR;
        Self { socket: Watched::Yes(tcp), pace, rest: None, trickled_at: None, may_narrow }
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
            && let Some(trickled_at) = self.trickled_at
            && self.pace.hurry() != Hurry::Waits
        {
            self.socket = match std::mem::replace(&mut self.socket, Watched::Lost) {
                Watched::Yes(tcp) => {
                    if std::mem::take(&mut self.may_narrow) {
                        SockRef::from(&tcp).set_recv_buffer_size(AHEAD_BYTES)?;
                    }
                    Watched::No(tcp.into_std()?)
                }
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
        let enough = match self.pace.hurry() {
            Hurry::Gathers => GATHERED_BYTES,
            Hurry::Waits | Hurry::Works => TRICKLE_BYTES,
        };
        if into.filled().len() - before < enough {
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
