//! A downstream connection as the library below the proxy sees it: one request at a time. The head is
//! read and judged here, the body's end is found here, and what comes after that end is kept back until
//! the request is over, so no parser behind this one can take a body for a request or the other way round.
//!
//! ```text
//! next_head ─> the library reads the head, then the body ─> silence (bytes kept back) ─> next_head
//!                                                    └─ 101 ─> everything passes
//! ```

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use http_rules::{body::Body, head::Head};
use pingora::protocols::{SocketDigest, TimingDigest, tls::SslDigest};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::line::{BodyError, Line, is_too_slow};

/// Bytes kept back of what comes after a request; more stay with the kernel.
const KEPT_BACK_MAX: usize = 16 * 1024;
/// Room for one read while waiting for a head.
const HEAD_READ: usize = 1024;

/// What carries the bytes.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send + Sync + fmt::Debug {}
impl<W: AsyncRead + AsyncWrite + Unpin + Send + Sync + fmt::Debug> Wire for W {}

/// A connection.
pub(crate) struct Inbound {
    pub(super) wire: Box<dyn Wire>,
    pub(super) identity: Identity,
    /// Read and not given to anybody.
    pub(super) kept: BytesMut,
    has_ended: bool,
    mode: Mode,
    body_rate: usize,
}

/// What is known about a connection from its beginning.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) socket: Arc<SocketDigest>,
    pub(super) tls: Option<Arc<SslDigest>>,
    /// By ALPN.
    pub(super) is_http2: bool,
    pub(super) id: i32,
    pub(super) timing: Vec<Option<TimingDigest>>,
}

enum Mode {
    /// Between two requests: nobody reads but [`Inbound::read_more`].
    Idle,
    /// In a request.
    Request(Request),
    /// Everything passes: HTTP/2, or what follows a 101.
    Open,
}

struct Request {
    head_left: usize,
    body: Body,
    is_upgrade: bool,
    line: Arc<Line>,
    received: u64,
    waited: Duration,
    waiting_since: Option<Instant>,
}

impl Inbound {
    pub(super) fn new(wire: Box<dyn Wire>, identity: Identity) -> Self {
        Self {
            wire,
            identity,
            kept: BytesMut::new(),
            has_ended: false,
            mode: Mode::Idle,
            body_rate: 0,
        }
    }

    pub(super) const fn is_tls(&self) -> bool {
        self.identity.tls.is_some()
    }

    /// Whether both sides agreed on HTTP/2 in the handshake.
    pub(super) const fn is_http2(&self) -> bool {
        self.identity.is_http2
    }

    /// Lets everything pass from now on.
    pub(super) fn open(&mut self) {
        self.mode = Mode::Open;
    }

    /// Gives the request whose head begins what was read, and is `head_bytes` long, to whoever reads.
    pub(super) fn begin(
        &mut self,
        head_bytes: usize,
        head: Head,
        line: Arc<Line>,
        body_rate: usize,
    ) {
        self.body_rate = body_rate;
        self.mode = Mode::Request(Request {
            head_left: head_bytes,
            body: Body::new(head.framing),
            is_upgrade: head.is_upgrade,
            line,
            received: 0,
            waited: Duration::ZERO,
            waiting_since: None,
        });
    }

    /// The request is over; returns whether another one can follow, which is so when its body ended.
    pub(super) fn end(&mut self) -> bool {
        let is_whole = match &self.mode {
            Mode::Request(request) => request.head_left == 0 && request.body.is_done(),
            Mode::Idle => true,
            Mode::Open => false,
        };
        self.mode = Mode::Idle;
        is_whole
    }

    /// Reads more of a head; returns how many bytes came, 0 at the end.
    pub(super) async fn read_more(&mut self) -> io::Result<usize> {
        if self.has_ended {
            return Ok(0);
        }
        self.kept.reserve(HEAD_READ);
        let Self { wire, kept, .. } = self;
        tokio::io::AsyncReadExt::read_buf(wire, kept).await
    }
}

impl AsyncRead for Inbound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match &mut this.mode {
            Mode::Idle => Poll::Ready(Ok(())),
            Mode::Open => this.poll_open(cx, buf),
            Mode::Request(request) if request.is_upgrade && request.line.is_tunnel() => {
                this.mode = Mode::Open;
                this.poll_open(cx, buf)
            }
            Mode::Request(request) => {
                if request.head_left > 0 {
                    let given = request.head_left.min(this.kept.len()).min(buf.remaining());
                    buf.put_slice(&this.kept.split_to(given));
                    request.head_left -= given;
                    return Poll::Ready(Ok(()));
                }
                if request.body.is_done() {
                    this.poll_kept_back(cx)
                } else {
                    this.poll_body(cx, buf)
                }
            }
        }
    }
}

impl Inbound {
    fn poll_open(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.kept.is_empty() {
            return if self.has_ended {
                Poll::Ready(Ok(()))
            } else {
                poll_steady(&mut self.wire, cx, buf)
            };
        }
        let given = self.kept.len().min(buf.remaining());
        buf.put_slice(&self.kept.split_to(given));
        Poll::Ready(Ok(()))
    }

    fn poll_body(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { wire, kept, mode, has_ended, body_rate, .. } = self;
        let Mode::Request(request) = mode else { return Poll::Ready(Ok(())) };
        if !kept.is_empty() {
            let offered = kept.len().min(buf.remaining());
            let used = request.advance(kept.get(..offered).unwrap_or_default())?;
            buf.put_slice(&kept.split_to(used));
            return Poll::Ready(Ok(()));
        }
        if *has_ended {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = poll_steady(wire, cx, buf);
        request.note_wait(polled.is_pending());
        ready!(polled)?;
        let used = request.advance(buf.filled().get(before..).unwrap_or_default())?;
        // What follows the body is not for the reader of this request.
        kept.extend_from_slice(buf.filled().get(before + used..).unwrap_or_default());
        buf.set_filled(before + used);
        if used > 0 && !request.body.is_done() && !request.line.is_at_ease() {
            request.check_pace(*body_rate)?;
        }
        Poll::Ready(Ok(()))
    }

    /// The request has been read; only the end of the connection is of interest now.
    fn poll_kept_back(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Mode::Request(request) = &self.mode
            && request.is_upgrade
        {
            request.line.reader.register(cx.waker());
        }
        loop {
            if self.has_ended {
                // Requests that were sent before the end are still answered.
                return if self.kept.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            if self.kept.len() >= KEPT_BACK_MAX {
                return Poll::Pending;
            }
            let mut room = [0; HEAD_READ];
            let mut more = ReadBuf::new(&mut room);
            ready!(poll_steady(&mut self.wire, cx, &mut more))?;
            self.has_ended = more.filled().is_empty();
            self.kept.extend_from_slice(more.filled());
        }
    }
}

impl Request {
    fn advance(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let used = self.body.advance(bytes).map_err(|fault| self.give_up(fault.into()))?;
        self.received += u64::try_from(used).unwrap_or(u64::MAX);
        Ok(used)
    }

    fn give_up(&self, error: BodyError) -> io::Error {
        self.line.give_up(error);
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    fn note_wait(&mut self, is_waiting: bool) {
        match (is_waiting, self.waiting_since.take()) {
            (true, since) => self.waiting_since = Some(since.unwrap_or_else(Instant::now)),
            (false, Some(since)) => self.waited += since.elapsed(),
            (false, None) => {}
        }
    }

    fn check_pace(&self, rate: usize) -> io::Result<()> {
        match is_too_slow(self.received, self.waited, rate) {
            true => Err(self.give_up(BodyError::Slow)),
            false => Ok(()),
        }
    }
}

/// Reads, and takes a reset for an orderly end: the library gives up a request whose downstream cannot
/// be read any more, even one told not to; a write that is already executed must stay in flight until
/// the upstream has answered, however its downstream left.
fn poll_steady(
    wire: &mut Box<dyn Wire>,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
    match Pin::new(wire).poll_read(cx, buf) {
        Poll::Ready(Err(error))
            if [ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof]
                .contains(&error.kind()) =>
        {
            Poll::Ready(Ok(()))
        }
        other @ (Poll::Ready(_) | Poll::Pending) => other,
    }
}

/// Drops what is there of empty lines before a head: one may stand there (RFC 9112, 2.2).
pub(super) fn skip_empty_line(kept: &mut BytesMut) {
    if kept.starts_with(b"\r\n") {
        kept.advance(2);
    }
}
