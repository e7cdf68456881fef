//! Passes what one server copies out to another one that copies in, without looking into it: both
//! frame their rows alike, so whole runs of messages go on as they came.
//!
//! ```text
//! source ──read──> filling ──swap──> draining ──write──> target
//!           (only headers are looked at)           errors <──┘
//! ```
//!
//! At most the two buffers are held, whatever the size of a row. An error of either server ends the
//! pass at once; both sessions are unusable then.

use postgres_protocol::message::{
    backend::{COPY_DATA_TAG, Message},
    frontend,
};
use tokio::io::{AsyncReadExt, ReadHalf, WriteHalf};

use super::{
    Session, WireError,
    connection::{Reply, framing, send, take_message},
    session,
    socket::Socket,
};
use bytes::BytesMut;

/// Each of the two buffers takes this much.
const BUFFER_BYTES: usize = 256 * 1024;
/// Less than this waits for more from the source: a server hands out its rows in pieces of 8 kB, and
/// waking the other one for each of them costs more than the piece.
const WRITE_BYTES_MIN: usize = 64 * 1024;
/// Errors and notices of the target.
const REPLY_BYTES: usize = 4 * 1024;

/// Which of the two servers failed, and how.
#[derive(Debug)]
pub(crate) enum PassError {
    Source(WireError),
    Target(WireError),
}

/// What has gone through since the last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Messages: one for each row, in the binary format one more at the end.
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

/// The rows that either server counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) read: u64,
    pub(crate) written: u64,
}

/// How far the copied data reaches at the front of a buffer.
#[derive(Debug, Default)]
struct Run {
    /// All of them belong to the copied data.
    bytes: usize,
    /// What of the last message is not in the buffer yet.
    missing: usize,
    messages: u64,
    /// A message follows that is no copied data.
    is_over: bool,
}

struct Pass<'a> {
    source: ReadHalf<&'a mut Box<dyn Socket>>,
    target_reader: ReadHalf<&'a mut Box<dyn Socket>>,
    target_writer: WriteHalf<&'a mut Box<dyn Socket>>,
    filling: &'a mut BytesMut,
    draining: &'a mut BytesMut,
    replies: &'a mut BytesMut,
    /// What drains is not with the target to the end.
    is_unsent: bool,
    run: Run,
    /// What the source counted, once it is at its end.
    read: Option<u64>,
    is_source_ready: bool,
    is_end_sent: bool,
    written: Option<u64>,
    is_target_ready: bool,
}

/// What happened first.
enum Event {
    Read(std::io::Result<usize>),
    Sent(Result<(), WireError>),
    Replied(std::io::Result<usize>),
}

/// Runs `read`, a `COPY … TO STDOUT`, on one session and `write`, a `COPY … FROM STDIN` of the same
/// format, on the other, and tells `report` as the rows go.
///
/// # Errors
/// What either server said; the copy of the other one ends with its session.
pub(crate) async fn pass(
    (source, read): (&mut Session, &str),
    (target, write): (&mut Session, &str),
    report: impl Fn(Passed) + Send,
) -> Result<Counts, PassError> {
    begin(target, write).await.map_err(PassError::Target)?;
    begin(source, read).await.map_err(PassError::Source)?;
    let (reader, _) = tokio::io::split(&mut source.connection.socket);
    let (target_reader, target_writer) = tokio::io::split(&mut target.connection.socket);
    let pass = Pass {
        source: reader,
        target_reader,
        target_writer,
        filling: &mut source.connection.received,
        draining: &mut target.connection.outgoing,
        replies: &mut target.connection.received,
        is_unsent: false,
        run: Run::default(),
        read: None,
        is_source_ready: false,
        is_end_sent: false,
        written: None,
        is_target_ready: false,
    };
    let counts = pass.run(report).await?;
    source.end_command();
    target.end_command();
    Ok(counts)
}

/// Sends a `COPY` and waits until its data may flow.
async fn begin(session: &mut Session, command: &str) -> Result<(), WireError> {
    session.begin_command(command).await?;
    match session.connection.receive().await? {
        Reply::Message(Message::CopyOutResponse(_) | Message::CopyInResponse(_)) => Ok(()),
        Reply::Message(Message::ErrorResponse(body)) => Err(WireError::server(body.fields())),
        Reply::Message(_) | Reply::CopyBoth => Err(WireError::protocol("the copy did not begin")),
    }
}

impl Pass<'_> {
    async fn run(mut self, report: impl Fn(Passed) + Send) -> Result<Counts, PassError> {
        loop {
            self.hear_source().map_err(PassError::Source)?;
            self.hear_target().map_err(PassError::Target)?;
            if let (true, Some(read), Some(written)) =
                (self.is_target_ready, self.read, self.written)
            {
                return Ok(Counts { read, written });
            }
            if let Some(passed) = self.hand_over() {
                report(passed);
            }
            match self.next_event().await {
                Event::Read(count) => moved(count).map_err(PassError::Source)?,
                Event::Sent(sent) => {
                    sent.map_err(PassError::Target)?;
                    self.is_unsent = false;
                }
                Event::Replied(count) => moved(count).map_err(PassError::Target)?,
            }
        }
    }

    /// Every branch may be dropped and taken up again without loss.
    async fn next_event(&mut self) -> Event {
        let room = BUFFER_BYTES.saturating_sub(self.filling.len());
        // Only data is held back: anything else is looked at when it is complete.
        let is_reading = !self.is_source_ready && (room > 0 || self.run.bytes == 0);
        if is_reading {
            self.filling.reserve(room.max(REPLY_BYTES));
        }
        self.replies.reserve(REPLY_BYTES);
        tokio::select! {
            biased;
            count = self.target_reader.read_buf(self.replies) => Event::Replied(count),
            sent = send(&mut self.target_writer, self.draining), if self.is_unsent => {
                Event::Sent(sent)
            }
            count = self.source.read_buf(self.filling), if is_reading => Event::Read(count),
        }
    }

    /// Looks at the headers of what came, and takes what follows the data.
    fn hear_source(&mut self) -> Result<(), WireError> {
        self.run.extend(self.filling)?;
        while self.run.is_over && self.run.bytes == 0 {
            match take_message(self.filling)? {
                None => break,
                Some(Message::CommandComplete(body)) => self.read = Some(session::count(&body)?),
                Some(Message::ReadyForQuery(_)) if self.read.is_some() => {
                    self.is_source_ready = true;
                }
                Some(Message::ErrorResponse(body)) => return Err(WireError::server(body.fields())),
                Some(
                    Message::CopyDone | Message::NoticeResponse(_) | Message::ParameterStatus(_),
                ) => {}
                Some(_) => return Err(WireError::protocol("an unexpected message in copied data")),
            }
            self.run.is_over = false;
            self.run.extend(self.filling)?;
        }
        Ok(())
    }

    fn hear_target(&mut self) -> Result<(), WireError> {
        loop {
            match take_message(self.replies)? {
                None => return Ok(()),
                Some(Message::ErrorResponse(body)) => return Err(WireError::server(body.fields())),
                Some(Message::CommandComplete(body)) => self.written = Some(session::count(&body)?),
                Some(Message::ReadyForQuery(_)) if self.written.is_some() => {
                    self.is_target_ready = true;
                }
                Some(Message::NoticeResponse(_) | Message::ParameterStatus(_)) => {}
                Some(_) => return Err(WireError::protocol("an unexpected answer to copied data")),
            }
        }
    }

    /// Gives what has come to the target once it has taken what it got before.
    fn hand_over(&mut self) -> Option<Passed> {
        if self.is_unsent {
            return None;
        }
        if self.is_source_ready && !self.is_end_sent {
            // Not before the source has said that its data is whole.
            frontend::copy_done(self.draining);
            self.is_unsent = true;
            self.is_end_sent = true;
            return None;
        }
        let is_due = self.run.bytes >= WRITE_BYTES_MIN || self.run.is_over;
        if !is_due || self.run.bytes == 0 {
            return None;
        }
        let passed = Passed {
            messages: std::mem::take(&mut self.run.messages),
            bytes: u64::try_from(self.run.bytes).unwrap_or(u64::MAX),
        };
        std::mem::swap(self.filling, self.draining);
        self.filling.clear();
        let tail = self.draining.get(self.run.bytes..).unwrap_or_default();
        self.filling.extend_from_slice(tail);
        self.draining.truncate(self.run.bytes);
        self.run.bytes = 0;
        self.is_unsent = true;
        Some(passed)
    }
}

impl Run {
    /// Takes in what was read since.
    fn extend(&mut self, buffer: &[u8]) -> Result<(), WireError> {
        while !self.is_over {
            let here = self.missing.min(buffer.len().saturating_sub(self.bytes));
            self.bytes += here;
            self.missing -= here;
            if self.missing > 0 {
                break;
            }
            let Some(next) = framing(buffer.get(self.bytes..).unwrap_or_default())? else { break };
            if next.tag == COPY_DATA_TAG {
                self.missing = next.bytes;
                self.messages += 1;
            } else {
                self.is_over = true;
            }
        }
        Ok(())
    }
}

/// A socket that gives nothing will never do so again.
fn moved(count: std::io::Result<usize>) -> Result<(), WireError> {
    match count.map_err(WireError::Io)? {
        0 => Err(WireError::Closed),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).expect("a short body");
        [&[tag], length.to_be_bytes().as_slice(), body].concat()
    }

    #[test]
    fn a_run_ends_where_the_copied_data_ends_however_the_bytes_come() {
        let data = [message(b'd', b"one"), message(b'd', b""), message(b'd', &[7; 40])].concat();
        let all = [data.as_slice(), &message(b'c', b""), &message(b'd', b"never")].concat();
        for first in 0..=all.len() {
            let mut run = Run::default();
            run.extend(&all[..first]).expect("whole headers");
            assert!(run.bytes <= data.len().min(first));
            run.extend(&all).expect("whole headers");
            assert_eq!((run.bytes, run.messages, run.is_over), (data.len(), 3, true), "at {first}");
        }
    }

    #[test]
    fn a_run_goes_on_where_a_message_was_handed_over_in_part() {
        let all = [message(b'd', &[1; 30]), message(b'd', b"two"), message(b'c', b"")].concat();
        let data = all.len() - message(b'c', b"").len();
        for first in 0..data {
            let mut run = Run::default();
            run.extend(&all[..first]).expect("whole headers");
            let taken = std::mem::take(&mut run.bytes);
            run.extend(&all[taken..]).expect("whole headers");
            assert_eq!((taken + run.bytes, run.is_over), (data, true), "at {first}");
        }
    }

    #[test]
    fn a_length_that_no_server_sends_ends_the_run_with_an_error() {
        let mut run = Run::default();
        run.extend(&[b'd', 0xff, 0xff, 0xff, 0xff]).expect_err("a length below zero");
    }
}
