//! The socket task: reads frames into the queue, writes status updates, watches for silence.
//! It waits for the socket, for room in the queue and for the clock, all at the same time, and
//! never for the consumer alone.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::{BufMut, BytesMut};
use pg::{
    Lsn,
    replication::{ReplicationMessage, StandbyStatusUpdate, postgres_time_us},
};
use postgres_protocol::message::{
    backend::{COPY_DATA_TAG, Message, READY_FOR_QUERY_TAG},
    frontend,
};
use tokio::{
    io::{AsyncReadExt, ReadHalf, WriteHalf},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Frame, Progress, StartOptions, WireError,
    connection::{Connection, framing, send, take_body, take_message},
    socket::Socket,
    stream::Batch,
};

/// One read takes at most this much, and at most this much is parsed before status can be sent.
const READ_BYTES: usize = 256 * 1024;
/// Less room than this is not worth a read.
const READ_BYTES_MIN: usize = 32 * 1024;
/// What a queued frame takes beside its data; keeps a flood of tiny frames within the budget.
const FRAME_BYTES: usize = 96;
/// A server that shuts down repeats its request for an answer until all is confirmed; without a
/// pause between answers both sides would spin.
const REPLY_GAP: Duration = Duration::from_millis(10);
/// A server in the middle of a big transaction sends it to its end before it closes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Pump {
    reader: ReadHalf<Box<dyn Socket>>,
    writer: WriteHalf<Box<dyn Socket>>,
    received: BytesMut,
    outgoing: BytesMut,
    /// Something was built and is not sent to the end; an encrypted socket may hold it back.
    is_unsent: bool,
    batches: mpsc::UnboundedSender<Result<Batch, WireError>>,
    budget: Arc<Semaphore>,
    buffer_bytes_max: u32,
    progress: Progress,
    status_interval: Duration,
    silence_max: Duration,
    /// Parsed, and waiting for room in the queue. Nothing is read meanwhile.
    waiting: Option<Batch>,
    /// The last byte came then, or reading went on then after a pause.
    heard_at: Instant,
    status_at: Instant,
    is_reply_wanted: bool,
}

/// What happened first.
enum Event {
    Cancelled,
    Room(OwnedSemaphorePermit),
    Read(std::io::Result<usize>),
    Sent(Result<(), WireError>),
    StatusDue,
    Silence,
}

impl Pump {
    pub(super) fn new(
        connection: Connection,
        progress: Progress,
        options: &StartOptions,
        budget: Arc<Semaphore>,
        batches: mpsc::UnboundedSender<Result<Batch, WireError>>,
    ) -> Self {
        let (reader, writer) = tokio::io::split(connection.socket);
        let now = Instant::now();
        Self {
            reader,
            writer,
            received: connection.received,
            outgoing: connection.outgoing,
            is_unsent: false,
            batches,
            budget,
            buffer_bytes_max: options.buffer_bytes_max.max(1),
            progress,
            status_interval: options.status_interval,
            silence_max: options.silence_max,
            waiting: None,
            heard_at: now,
            status_at: now,
            is_reply_wanted: false,
        }
    }

    /// Runs until the stream is cancelled, breaks, or nobody listens any more.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        if let Err(error) = self.stream(&cancel).await {
            if let Some(batch) = self.waiting.take() {
                self.deliver(Ok(batch));
            }
            self.deliver(Err(error));
        }
    }

    async fn stream(&mut self, cancel: &CancellationToken) -> Result<(), WireError> {
        // The first frames may have come together with the answer to the command.
        self.parse()?;
        loop {
            match self.next_event(cancel).await {
                Event::Cancelled => return self.finish().await,
                Event::Room(permit) => {
                    permit.forget();
                    if let Some(batch) = self.waiting.take() {
                        self.deliver(Ok(batch));
                    }
                    self.heard_at = Instant::now();
                    self.parse()?;
                }
                Event::Read(count) => {
                    self.hear(count)?;
                    self.parse()?;
                }
                Event::Sent(sent) => {
                    sent?;
                    self.is_unsent = false;
                }
                Event::StatusDue => self.queue_status(),
                Event::Silence => return Err(WireError::Silent { silence: self.silence_max }),
            }
        }
    }

    /// Every branch may be dropped and taken up again without loss.
    async fn next_event(&mut self, cancel: &CancellationToken) -> Event {
        let cost = self.waiting.as_ref().map(|batch| batch.cost);
        let is_reading = cost.is_none();
        let room = Arc::clone(&self.budget).acquire_many_owned(cost.unwrap_or(0));
        let status_due = self.status_due();
        let silence = self.heard_at + self.silence_max;
        if is_reading {
            make_room(&mut self.received);
        }
        tokio::select! {
            () = cancel.cancelled() => Event::Cancelled,
            Ok(permit) = room, if !is_reading => Event::Room(permit),
            count = self.reader.read_buf(&mut self.received), if is_reading => Event::Read(count),
            sent = send(&mut self.writer, &mut self.outgoing), if self.is_unsent => {
                Event::Sent(sent)
            }
            () = sleep_until(status_due) => Event::StatusDue,
            () = sleep_until(silence), if is_reading => Event::Silence,
        }
    }

    fn status_due(&self) -> Instant {
        let gap = if self.is_reply_wanted {
            REPLY_GAP
        } else {
            self.status_interval.min(self.silence_max / 3)
        };
        self.status_at + gap
    }

    fn hear(&mut self, count: std::io::Result<usize>) -> Result<(), WireError> {
        let count = count.map_err(WireError::Io)?;
        if count == 0 {
            return Err(WireError::Closed);
        }
        self.progress.add_received_bytes(count);
        self.heard_at = Instant::now();
        Ok(())
    }

    /// Puts all complete messages into the queue, or into `waiting` when it is full. What came
    /// before an error is delivered before the error.
    fn parse(&mut self) -> Result<(), WireError> {
        let mut frames = VecDeque::new();
        let mut bytes = 0;
        let result = loop {
            match self.take_frame() {
                Ok(Some(frame)) => {
                    bytes += FRAME_BYTES + frame_bytes(&frame);
                    frames.push_back(frame);
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if !frames.is_empty() {
            let cost = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.buffer_bytes_max);
            self.enqueue(Batch { frames, cost });
        }
        result
    }

    fn enqueue(&mut self, batch: Batch) {
        match self.budget.try_acquire_many(batch.cost) {
            Ok(permit) => {
                permit.forget();
                self.deliver(Ok(batch));
            }
            Err(_) => self.waiting = Some(batch),
        }
    }

    /// When nobody listens the stream was dropped, and this task is about to be stopped.
    fn deliver(&self, item: Result<Batch, WireError>) {
        drop(self.batches.send(item));
    }

    fn take_frame(&mut self) -> Result<Option<Frame>, WireError> {
        while let Some(framing) = framing(&self.received)? {
            if self.received.len() < framing.bytes {
                break;
            }
            if framing.tag == COPY_DATA_TAG {
                let body = take_body(&mut self.received, framing);
                let message = ReplicationMessage::decode(body).map_err(WireError::Frame)?;
                return Ok(Some(self.frame(message)));
            }
            match take_message(&mut self.received)? {
                Some(Message::ErrorResponse(body)) => {
                    return Err(WireError::server(body.fields()));
                }
                Some(Message::CopyDone | Message::CommandComplete(_)) => {
                    return Err(WireError::Closed);
                }
                Some(
                    Message::NoticeResponse(_)
                    | Message::NotificationResponse(_)
                    | Message::ParameterStatus(_),
                ) => {}
                Some(_) | None => {
                    return Err(WireError::protocol("an unexpected message in the stream"));
                }
            }
        }
        Ok(None)
    }

    fn frame(&mut self, message: ReplicationMessage) -> Frame {
        match message {
            ReplicationMessage::XLogData(wal) => {
                self.progress.add_received(wal.wal_start.max(wal.wal_end));
                Frame::Wal { wal_start: wal.wal_start, wal_end: wal.wal_end, data: wal.data }
            }
            ReplicationMessage::PrimaryKeepalive(keepalive) => {
                self.progress.add_received(keepalive.wal_end);
                self.is_reply_wanted |= keepalive.reply_requested;
                Frame::Keepalive { wal_end: keepalive.wal_end }
            }
        }
    }

    /// Builds a status update, unless the last one still waits for the socket.
    fn queue_status(&mut self) {
        self.status_at = Instant::now();
        if self.is_unsent {
            return;
        }
        self.is_reply_wanted = false;
        let (received, flushed) = self.progress.report();
        let is_quiet = self.waiting.is_none() && self.heard_at.elapsed() >= self.silence_max / 3;
        put_status(&mut self.outgoing, received, flushed, is_quiet);
        self.is_unsent = true;
    }

    /// The last status, the end of copy mode from both sides, goodbye.
    async fn finish(&mut self) -> Result<(), WireError> {
        let finish = async {
            let (received, flushed) = self.progress.report();
            put_status(&mut self.outgoing, received, flushed, false);
            frontend::copy_done(&mut self.outgoing);
            self.is_unsent = true;
            while !self.skip_to_ready()? {
                make_room(&mut self.received);
                tokio::select! {
                    count = self.reader.read_buf(&mut self.received) => {
                        if count.map_err(WireError::Io)? == 0 {
                            return Err(WireError::Closed);
                        }
                    }
                    sent = send(&mut self.writer, &mut self.outgoing), if self.is_unsent => {
                        sent?;
                        self.is_unsent = false;
                    }
                }
            }
            frontend::terminate(&mut self.outgoing);
            send(&mut self.writer, &mut self.outgoing).await
        };
        tokio::time::timeout(CLOSE_TIMEOUT, finish)
            .await
            .unwrap_or(Err(WireError::CloseTimeout { timeout: CLOSE_TIMEOUT }))
    }

    /// Drops all complete messages up to the one that says the server waits for a command.
    fn skip_to_ready(&mut self) -> Result<bool, WireError> {
        while let Some(framing) = framing(&self.received)? {
            if self.received.len() < framing.bytes {
                break;
            }
            if framing.tag == READY_FOR_QUERY_TAG {
                return Ok(true);
            }
            if framing.tag == COPY_DATA_TAG {
                drop(take_body(&mut self.received, framing));
            } else if let Some(Message::ErrorResponse(body)) = take_message(&mut self.received)? {
                return Err(WireError::server(body.fields()));
            }
        }
        Ok(false)
    }
}

fn put_status(outgoing: &mut BytesMut, received: Lsn, flushed: Lsn, reply_requested: bool) {
    let length = size_of::<i32>() + StandbyStatusUpdate::ENCODED_BYTES;
    outgoing.put_u8(COPY_DATA_TAG);
    outgoing.put_i32(i32::try_from(length).expect("38 bytes"));
    let client_time_us = now_us();
    let applied = flushed;
    StandbyStatusUpdate { received, flushed, applied, client_time_us, reply_requested }
        .encode(outgoing);
}

/// Room for the rest of a message that has begun, else for one read.
fn make_room(received: &mut BytesMut) {
    let expected = framing(received).ok().flatten().map_or(0, |framing| framing.bytes);
    let missing = expected.saturating_sub(received.len());
    let room = received.capacity() - received.len();
    if missing > room {
        received.reserve(missing.max(READ_BYTES));
    } else if room < READ_BYTES_MIN && missing == 0 {
        received.reserve(READ_BYTES);
    }
}

fn frame_bytes(frame: &Frame) -> usize {
    match frame {
        Frame::Wal { data, .. } => data.len(),
        Frame::Keepalive { .. } => 0,
    }
}

/// The server shows this in `pg_stat_replication.reply_time` and decides nothing by it.
#[expect(clippy::disallowed_methods, reason = "the one wall clock of the connection, for display")]
fn now_us() -> i64 {
    let since_epoch = std::time::SystemTime::UNIX_EPOCH;
    let elapsed = std::time::SystemTime::now().duration_since(since_epoch).unwrap_or_default();
    postgres_time_us(i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
}
