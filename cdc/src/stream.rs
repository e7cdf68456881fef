//! One run of a stream: from the log of one database into the other, until something stops it.
//!
//! ```text
//! wire ──frames──> decode ──> transaction ──┐ commit seen, nothing more waiting, or batch full
//!                               batch <─────┘──> applier ──> position ──> slot
//! ```
//!
//! A transaction is applied at once while the stream keeps up; what has queued up meanwhile is
//! merged. A transaction larger than a batch is written piece by piece inside one target transaction.

mod armed;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use pg::{
    Lsn,
    pgoutput::{self, Commit, DecodeContext, LogicalMessage, Message},
};
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior};

use crate::{
    StreamError,
    apply::Applier,
    apply_row::{Barrier, Mode},
    change::Change,
    clock,
    mapping::TablePlan,
    relation::Relations,
    status::{State, StreamShared},
    wire::{Frame, ReplicationStream},
};
use cutover::StreamKind;

/// Prefix of the message that a fence writes.
const BARRIER: &str = "ficus.barrier";

/// Rows in one target transaction: enough to make statements and commits cheap, few enough to
/// answer a barrier in a fraction of a second.
const BATCH_ROWS_MAX: usize = 5_000;
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Under load a batch is committed after this time even when more is waiting: barriers wait for it.
const BATCH_AGE_MAX: Duration = Duration::from_millis(100);

/// Progress without rows is written down this often.
const PERSIST_EVERY: Duration = Duration::from_secs(1);

/// A run of a stream.
pub(crate) struct Run {
    shared: Arc<StreamShared>,
    applier: Applier,
    relations: Relations,
    plans: Arc<[TablePlan]>,
    stream: ReplicationStream,
    own_origins: BTreeSet<String>,
    /// For each table, where the columns of the forward stream's key are in this stream's key.
    dirty_keys: Vec<Option<Vec<usize>>>,
    transaction: Option<Transaction>,
    batch: Batch,
    /// Seen and not written down, because there was nothing to write.
    seen: Lsn,
}

/// The source transaction that is arriving.
#[derive(Debug, Default)]
struct Transaction {
    commit_lsn: Lsn,
    /// It came from the other side: one of our own streams wrote it.
    is_ours: bool,
    rows: u64,
    barrier: Option<Barrier>,
}

/// What will be committed together.
#[derive(Debug, Default)]
struct Batch {
    changes: Vec<Change>,
    bytes: usize,
    /// Rows of earlier pieces were written into the open target transaction.
    is_begun: bool,
    began_at: Option<Instant>,
    rows: u64,
    transactions: u64,
    barrier: Option<Barrier>,
    end: Option<Lsn>,
    commit_time_us: i64,
}

impl Run {
    pub(crate) fn new(
        shared: Arc<StreamShared>,
        applier: Applier,
        plans: Arc<[TablePlan]>,
        stream: ReplicationStream,
    ) -> Self {
        let own_origins = shared.spec.own_origins();
        let dirty_keys = plans.iter().map(|plan| forward_key(&shared, plan)).collect();
        Self {
            relations: Relations::new(Arc::clone(&plans)),
            seen: applier.row().lsn,
            shared,
            applier,
            plans,
            stream,
            own_origins,
            dirty_keys,
            transaction: None,
            batch: Batch::default(),
        }
    }

    /// Streams until something stops it.
    ///
    /// # Errors
    /// Why it stopped; it never ends without a reason.
    pub(crate) async fn run(mut self) -> Result<(), StreamError> {
        self.show_mode();
        let mut persist = tokio::time::interval_at(Instant::now() + PERSIST_EVERY, PERSIST_EVERY);
        persist.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let side = self.shared.spec.reads();
        loop {
            let frame = if self.is_at_boundary() && !self.batch.is_empty() {
                match self.stream.try_next().map_err(StreamError::wire(side))? {
                    Some(frame) => frame,
                    None => {
                        self.commit().await?;
                        continue;
                    }
                }
            } else {
                tokio::select! {
                    frame = self.stream.next() => frame.map_err(StreamError::wire(side))?,
                    _ = persist.tick() => {
                        self.persist().await?;
                        continue;
                    }
                }
            };
            self.take(frame).await?;
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<(), StreamError> {
        match frame {
            Frame::Keepalive { wal_end } => {
                if self.is_at_boundary() && self.batch.is_empty() {
                    self.reached(wal_end);
                }
            }
            Frame::Wal { data, .. } => {
                let side = self.shared.spec.reads();
                let decoded = pgoutput::decode(data, DecodeContext::default())
                    .map_err(|source| StreamError::Decode { side, source })?;
                self.message(decoded.message).await?;
                if self.is_at_boundary() {
                    if self.batch.is_full() || self.batch.is_old() {
                        self.commit().await?;
                    }
                } else if self.batch.is_full() {
                    self.write().await?;
                }
            }
        }
        Ok(())
    }

    async fn message(&mut self, message: Message) -> Result<(), StreamError> {
        match message {
            Message::Begin(begin) => {
                let commit_lsn = begin.final_lsn;
                self.transaction = Some(Transaction { commit_lsn, ..Transaction::default() });
            }
            Message::Origin(origin) => {
                let is_ours = self.own_origins.contains(&origin.name);
                if let Some(transaction) = &mut self.transaction {
                    transaction.is_ours = is_ours;
                }
            }
            Message::Relation(relation) => self.relations.describe(&relation)?,
            Message::Insert(insert) => self.change(self.relations.insert(&insert)?).await?,
            Message::Update(update) => self.change(self.relations.update(&update)?).await?,
            Message::Delete(delete) => self.change(self.relations.delete(&delete)?).await?,
            Message::Truncate(truncate) => {
                self.change(self.relations.truncate(&truncate)?).await?;
            }
            Message::Logical(message) => self.logical(&message)?,
            Message::Commit(commit) => self.committed(&commit).await?,
            Message::Type(_) => {}
            other @ (Message::StreamStart(_)
            | Message::StreamStop
            | Message::StreamCommit(_)
            | Message::StreamAbort(_)
            | Message::BeginPrepare(_)
            | Message::Prepare(_)
            | Message::StreamPrepare(_)
            | Message::CommitPrepared(_)
            | Message::RollbackPrepared(_)) => {
                return Err(StreamError::Operator(format!(
                    "the log holds a {} message, which was not asked for",
                    other.kind()
                )));
            }
        }
        Ok(())
    }

    async fn change(&mut self, change: Option<Change>) -> Result<(), StreamError> {
        let Some(change) = change else { return Ok(()) };
        if self.transaction.as_ref().is_some_and(|transaction| transaction.is_ours) {
            return Ok(());
        }
        self.touch(&change);
        if self.applier.row().mode == Mode::Stopped {
            if self.is_forgiven() {
                return Ok(());
            }
            self.wait_until_armed(&change).await?;
            self.show_mode();
        }
        self.batch.began_at.get_or_insert_with(Instant::now);
        self.batch.bytes += change.size();
        self.batch.rows += 1;
        self.batch.changes.push(change);
        if let Some(transaction) = &mut self.transaction {
            transaction.rows += 1;
        }
        Ok(())
    }

    fn logical(&mut self, message: &LogicalMessage) -> Result<(), StreamError> {
        let is_fence = message.prefix == BARRIER && message.transactional;
        if !is_fence || self.shared.spec.kind == StreamKind::Reference {
            return Ok(());
        }
        let barrier = read_barrier(&message.content, &self.shared.spec.capability)?;
        if let (Some(barrier), Some(transaction)) = (barrier, &mut self.transaction) {
            transaction.barrier = Some(barrier);
        }
        Ok(())
    }

    async fn committed(&mut self, commit: &Commit) -> Result<(), StreamError> {
        let transaction = self.transaction.take().unwrap_or_default();
        if transaction.rows == 0 && transaction.barrier.is_none() && self.batch.is_empty() {
            self.reached(commit.end_lsn);
            self.seen = commit.end_lsn;
            return Ok(());
        }
        self.batch.end = Some(commit.end_lsn);
        self.batch.commit_time_us = commit.commit_time_us;
        self.batch.transactions += u64::from(transaction.rows > 0);
        if transaction.barrier.is_some() {
            // Nothing may join the barrier: the transfer waits for it.
            self.batch.barrier = transaction.barrier;
            self.commit().await?;
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), StreamError> {
        let changes = std::mem::take(&mut self.batch.changes);
        self.batch.bytes = 0;
        if changes.is_empty() {
            return Ok(());
        }
        self.batch.is_begun = true;
        self.applier.write(&changes).await
    }

    async fn commit(&mut self) -> Result<(), StreamError> {
        let Some(end) = self.batch.end else { return Ok(()) };
        self.write().await?;
        let batch = std::mem::take(&mut self.batch);
        self.applier.commit(end, batch.barrier.as_ref()).await?;
        let lag = clock::since_commit(batch.commit_time_us);
        self.shared.applied(batch.rows, batch.transactions, lag);
        self.seen = end;
        self.reached(end);
        if let Some(barrier) = &batch.barrier {
            tracing::info!(stream = self.shared.spec.key(), epoch = barrier.epoch, lsn = %end, "barrier applied");
        }
        self.show_mode();
        Ok(())
    }

    /// Writes down the position behind transactions that left nothing to write, and looks whether the
    /// stream was stopped or armed meanwhile: nothing in the log says so.
    async fn persist(&mut self) -> Result<(), StreamError> {
        if !self.is_at_boundary() || !self.batch.is_empty() {
            return Ok(());
        }
        if self.seen > self.applier.row().lsn {
            self.applier.commit(self.seen, None).await?;
        } else {
            self.applier.refresh().await?;
        }
        self.show_mode();
        Ok(())
    }

    fn reached(&self, lsn: Lsn) {
        self.stream.progress().confirm(lsn);
        self.shared.move_to(lsn);
    }

    fn show_mode(&self) {
        let state = match self.applier.row().mode {
            Mode::Apply => State::Streaming,
            Mode::Stopped => State::Stopped,
        };
        if self.shared.state() != state {
            self.shared.set_state(state, "");
        }
        self.shared.reads_through(self.stream.progress());
    }

    fn is_forgiven(&self) -> bool {
        let commit_lsn = self.transaction.as_ref().map(|transaction| transaction.commit_lsn);
        commit_lsn.is_some_and(|lsn| self.shared.is_forgiven(lsn))
    }

    const fn is_at_boundary(&self) -> bool {
        self.transaction.is_none()
    }

    fn touch(&self, change: &Change) {
        if self.shared.spec.kind == StreamKind::Reference {
            return;
        }
        let (table, keys) = match change {
            Change::Insert { table, key, .. } | Change::Delete { table, key } => {
                (table, [Some(key), None])
            }
            Change::Update { table, key, old_key, .. } => (table, [Some(key), old_key.as_ref()]),
            Change::Truncate { .. } => return self.shared.dirty.touch_all(),
        };
        let Some(Some(places)) = self.dirty_keys.get(*table) else {
            return self.shared.dirty.touch_all();
        };
        for key in keys.into_iter().flatten() {
            let values = places.iter().filter_map(|place| key.0.get(*place).cloned()).collect();
            self.shared.dirty.touch(*table, &crate::change::Key(values));
        }
    }
}

impl Batch {
    const fn is_empty(&self) -> bool {
        self.changes.is_empty() && !self.is_begun && self.barrier.is_none()
    }

    fn is_old(&self) -> bool {
        self.began_at.is_some_and(|began_at| began_at.elapsed() >= BATCH_AGE_MAX)
    }

    const fn is_full(&self) -> bool {
        self.changes.len() >= BATCH_ROWS_MAX || self.bytes >= BATCH_BYTES_MAX
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("stream", &self.shared.spec.key()).finish_non_exhaustive()
    }
}

/// The barrier of this capability; `None` for another one's.
fn read_barrier(content: &[u8], capability: &str) -> Result<Option<Barrier>, StreamError> {
    let broken = || StreamError::Operator("the log holds a barrier that cannot be read".to_owned());
    let barrier: Value = serde_json::from_slice(content).map_err(|_| broken())?;
    if barrier.get("capability").and_then(Value::as_str) != Some(capability) {
        return Ok(None);
    }
    let epoch = barrier.get("epoch").and_then(Value::as_i64).ok_or_else(broken)?;
    let sequences = barrier.get("sequences").ok_or_else(broken)?.to_string();
    Ok(Some(Barrier { epoch, sequences }))
}

/// The columns of the key in the order of their names on the target side, which both directions
/// know; `None` when the two directions identify rows by different columns.
fn forward_key(shared: &StreamShared, plan: &TablePlan) -> Option<Vec<usize>> {
    let mut names: Vec<(usize, &str)> = match shared.spec.kind {
        StreamKind::Forward | StreamKind::Reference => {
            plan.key.iter().map(|key| key.write.as_str()).enumerate().collect()
        }
        StreamKind::Reverse => {
            let name = |read: usize| plan.columns.get(read).map(|column| column.name.as_str());
            let names: Option<Vec<&str>> = plan.key.iter().map(|key| name(key.read)).collect();
            names?.into_iter().enumerate().collect()
        }
    };
    names.sort_unstable_by_key(|(_, name)| *name);
    Some(names.into_iter().map(|(place, _)| place).collect())
}
