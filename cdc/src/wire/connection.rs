//! Messages of the PostgreSQL protocol over a socket, for everything before the stream.

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::message::backend::{Header, Message};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Pace, WireError, socket::Socket};

/// The type byte of CopyBothResponse, which `postgres-protocol` does not know.
const COPY_BOTH: u8 = b'W';
/// The server builds no message above 1 GiB; a larger length means that we lost our place.
const MESSAGE_BYTES_MAX: usize = (1 << 30) + 1024;
const READ_BYTES: usize = 8 * 1024;

/// A socket with the bytes that wait on either side of it.
pub(super) struct Connection {
    pub(super) socket: Box<dyn Socket>,
    /// Received and not parsed.
    pub(super) received: BytesMut,
    /// Built and not sent.
    pub(super) outgoing: BytesMut,
    /// How eagerly the socket is read.
    pub(super) pace: Pace,
}

/// A message from the server.
pub(super) enum Reply {
    Message(Message),
    CopyBoth,
}

/// The first message of a buffer: its type, and its length with the header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Framing {
    pub(super) tag: u8,
    pub(super) bytes: usize,
}

impl Connection {
    pub(super) fn new(socket: Box<dyn Socket>, pace: Pace) -> Self {
        Self { socket, received: BytesMut::new(), outgoing: BytesMut::new(), pace }
    }

    /// Sends what was built.
    pub(super) async fn send(&mut self) -> Result<(), WireError> {
        send(&mut self.socket, &mut self.outgoing).await
    }

    /// The next message; notices are skipped. Safe to cancel: no byte is lost.
    pub(super) async fn receive(&mut self) -> Result<Reply, WireError> {
        loop {
            match take_reply(&mut self.received)? {
                Some(Reply::Message(
                    Message::NoticeResponse(_) | Message::NotificationResponse(_),
                )) => {}
                Some(reply) => return Ok(reply),
                None => {
                    self.received.reserve(READ_BYTES);
                    let count = self.socket.read_buf(&mut self.received).await;
                    if count.map_err(WireError::Io)? == 0 {
                        return Err(WireError::Closed);
                    }
                }
            }
        }
    }
}

/// Sends what was built, to the end: an encrypted socket may hold some of it back until it is flushed.
/// May be dropped and taken up again: the buffer knows how far it is.
pub(super) async fn send(
    writer: &mut (impl AsyncWrite + Unpin),
    outgoing: &mut BytesMut,
) -> Result<(), WireError> {
    writer.write_all_buf(outgoing).await.map_err(WireError::Io)?;
    writer.flush().await.map_err(WireError::Io)
}

/// How the first message is framed, or `None` when its header is not complete.
pub(super) fn framing(received: &[u8]) -> Result<Option<Framing>, WireError> {
    let header = Header::parse(received)
        .map_err(|_| WireError::protocol("a message is shorter than its own length"))?;
    let Some(header) = header else { return Ok(None) };
    let bytes = usize::try_from(header.len()).unwrap_or(usize::MAX).saturating_add(1);
    if bytes > MESSAGE_BYTES_MAX {
        return Err(WireError::protocol(format!("a message claims to have {bytes} bytes")));
    }
    Ok(Some(Framing { tag: header.tag(), bytes }))
}

/// Takes the first message off the buffer, without its header. It must be complete.
pub(super) fn take_body(received: &mut BytesMut, framing: Framing) -> Bytes {
    let mut message = received.split_to(framing.bytes).freeze();
    message.advance(size_of::<u8>() + size_of::<u32>());
    message
}

fn take_reply(received: &mut BytesMut) -> Result<Option<Reply>, WireError> {
    let Some(framing) = framing(received)? else { return Ok(None) };
    if received.len() < framing.bytes {
        return Ok(None);
    }
    if framing.tag == COPY_BOTH {
        take_body(received, framing);
        return Ok(Some(Reply::CopyBoth));
    }
    take_message(received).map(|message| message.map(Reply::Message))
}

/// Takes the first message off the buffer if it is complete.
pub(super) fn take_message(received: &mut BytesMut) -> Result<Option<Message>, WireError> {
    Message::parse(received).map_err(|error| WireError::protocol(error.to_string()))
}
