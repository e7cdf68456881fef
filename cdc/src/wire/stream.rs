//! The consumer's end of a stream.

use std::{collections::VecDeque, fmt, sync::Arc};

use bytes::Bytes;
use pg::Lsn;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{Hurry, Pace, Progress, StartOptions, WireError, connection::Connection, pump::Pump};

/// What a stream delivers, in the server's order. The `Debug` form shows lengths, not contents.
#[derive(Clone, PartialEq, Eq)]
pub enum Frame {
    /// A message of the plugin, for [`pg::pgoutput::decode`].
    Wal {
        /// Where the plugin wrote it; for a commit its end position. No measure of progress:
        /// several messages of different transactions may have the same.
        wal_start: Lsn,
        /// The server's idea of the end of its log; logical replication repeats `wal_start`.
        wal_end: Lsn,
        /// The message: a slice of the receive buffer.
        data: Bytes,
    },
    /// A sign of life. Every change of the publications that committed before `wal_end` came
    /// before it, so a consumer with nothing in flight may confirm `wal_end`.
    Keepalive {
        /// How far the server has decoded.
        wal_end: Lsn,
    },
}

/// A running stream. Dropping it ends the connection at once; [`ReplicationStream::close`] ends it
/// in an orderly way and reports what was confirmed last.
#[derive(Debug)]
pub struct ReplicationStream {
    batches: mpsc::UnboundedReceiver<Result<Batch, WireError>>,
    /// Taken from the queue and not yet given to the consumer.
    ready: VecDeque<Frame>,
    budget: Arc<Semaphore>,
    progress: Progress,
    pace: Pace,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

/// The frames of one read, and what they take of the budget.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) frames: VecDeque<Frame>,
    pub(super) cost: u32,
}

impl ReplicationStream {
    pub(super) fn spawn(
        connection: Connection,
        progress: Progress,
        options: &StartOptions,
    ) -> Self {
        let (sender, batches) = mpsc::unbounded_channel();
        let permits = usize::try_from(options.buffer_bytes_max.max(1)).unwrap_or(usize::MAX);
        let budget = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        let cancel = CancellationToken::new();
        let pace = connection.pace.clone();
        let pump = Pump::new(connection, progress.clone(), options, Arc::clone(&budget), sender);
        let task = tokio::spawn(pump.run(cancel.clone()));
        Self { batches, ready: VecDeque::new(), budget, progress, pace, cancel, task }
    }

    /// The next frame; waits for it as long as the server is alive. Safe to cancel: no frame is lost.
    ///
    /// # Errors
    /// Why the stream ended, once, after all frames before; [`WireError::Closed`] from then on.
    pub async fn next(&mut self) -> Result<Frame, WireError> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Ok(frame);
            }
            let batch = self.batches.recv().await.unwrap_or(Err(WireError::Closed))?;
            self.take(batch);
        }
    }

    /// The next frame if one has come already: "is there more to merge into this batch?".
    ///
    /// # Errors
    /// As [`ReplicationStream::next`].
    pub fn try_next(&mut self) -> Result<Option<Frame>, WireError> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Ok(Some(frame));
            }
            match self.batches.try_recv() {
                Ok(batch) => self.take(batch?),
                Err(mpsc::error::TryRecvError::Empty) => return Ok(None),
                Err(mpsc::error::TryRecvError::Disconnected) => return Err(WireError::Closed),
            }
        }
    }

    /// Tells what the consumer does: while it does not wait for the next frame, frames come about a
    /// millisecond later and many at a time.
    pub fn set_hurry(&self, hurry: Hurry) {
        self.pace.set(hurry);
    }

    /// The handle to confirm positions with and to read figures from.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Reports the confirmed position, ends the stream and the connection, and drops what was not
    /// taken. Afterwards the slot is free.
    ///
    /// # Errors
    /// When the stream had ended by an error that nobody has seen, or the server does not end it
    /// within 5 s.
    pub async fn close(mut self) -> Result<(), WireError> {
        self.cancel.cancel();
        let joined = (&mut self.task).await;
        while let Ok(item) = self.batches.try_recv() {
            item?;
        }
        joined.map_err(|_| WireError::Closed)
    }

    fn take(&mut self, batch: Batch) {
        self.budget.add_permits(usize::try_from(batch.cost).unwrap_or(usize::MAX));
        self.ready = batch.frames;
    }
}

impl Drop for ReplicationStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wal { wal_start, wal_end, data } => f
                .debug_struct("Wal")
                .field("wal_start", wal_start)
                .field("wal_end", wal_end)
                .field("data", &format_args!("{} bytes", data.len()))
                .finish(),
            Self::Keepalive { wal_end } => {
                f.debug_struct("Keepalive").field("wal_end", wal_end).finish()
            }
        }
    }
}
