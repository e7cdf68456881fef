//! One run of a stream: from the log of one database into the other, until something stops it.
//!
//! ```text
//! wire ──frames──> decode ──> transaction ──> batch ──> writer ──> position ──> slot
//!                     └──> spool, for a transaction that has not committed yet ──┘
//! ```
//!
//! A transaction is applied at once while the stream keeps up; what has queued up while the writer
//! was busy is merged. A transaction larger than a batch is written piece by piece inside one target
//! transaction.

mod armed;
mod batch;
mod durable;
mod parking;
mod spool;
mod tally;
mod touched;
mod writer;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use cutover::StreamKind;
use pg::{
    Lsn,
    pgoutput::{self, Commit, DecodeContext, LogicalMessage, Message, StreamCommit, StreamedPart},
};
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior};

use crate::{
    StreamError,
    apply::Applier,
    apply_row::{Barrier, Mode, TargetLog},
    change::Change,
    clock,
    mapping::TablePlan,
    relation::Relations,
    replica,
    status::{State, StreamShared},
    tables::TableRow,
    wire::{Frame, Hurry, ReplicationStream},
};
use batch::Batch;
use durable::Durable;
use parking::{Parking, unstreamed};
use spool::Spools;
use tally::Tally;
use touched::Touched;
use writer::{Writer, Written};

/// Prefix of the message that a fence writes.
const BARRIER: &str = "ficus.barrier";

/// Progress without rows is written down this often.
const PERSIST_EVERY: Duration = Duration::from_secs(1);

/// A run of a stream.
pub(crate) struct Run {
    shared: Arc<StreamShared>,
    writer: Writer,
    /// Whether the stream may apply, as the writer saw it last.
    mode: Mode,
    relations: Relations,
    plans: Arc<[TablePlan]>,
    stream: ReplicationStream,
    own_origins: BTreeSet<String>,
    touched: Touched,
    parking: Parking,
    spools: Spools,
    transaction: Option<Transaction>,
    batch: Batch,
    durable: Durable,
    /// Seen and not written down, because there was nothing to write.
    seen: Lsn,
    tally: Tally,
    /// The server had nothing more up to here while the writer was busy.
    quiet_until: Option<Lsn>,
}

/// The source transaction that is arriving.
#[derive(Debug, Default)]
struct Transaction {
    xid: u32,
    commit_lsn: Lsn,
    /// It came from the other side: one of our own streams wrote it.
    is_ours: bool,
    has_rows: bool,
    barrier: Option<Barrier>,
}

/// What a message asks for that has to be waited for.
#[derive(Debug)]
enum Later {
    Nothing,
    /// A transaction that came before its commit is complete.
    Replay(StreamCommit),
    /// A change has come although the stream may not apply.
    Arm(Change),
}

impl Run {
    pub(crate) fn new(
        shared: Arc<StreamShared>,
        applier: Applier,
        plans: Arc<[TablePlan]>,
        tables: Vec<TableRow>,
        stream: ReplicationStream,
    ) -> Self {
        Self {
            relations: Relations::new(Arc::clone(&plans)),
            seen: applier.row().lsn,
            mode: applier.row().mode,
            writer: Writer::new(applier),
            own_origins: shared.spec.own_origins(),
            touched: Touched::new(&shared, &plans),
            tally: Tally::new(&shared.spec.key(), &plans),
            parking: Parking::new(tables, &plans),
            shared,
            plans,
            stream,
            spools: Spools::default(),
            transaction: None,
            batch: Batch::default(),
            durable: Durable::default(),
            quiet_until: None,
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
            // What has come already joins the work.
            while !self.batch.is_full()
                && let Some(frame) = self.stream.try_next().map_err(StreamError::wire(side))?
            {
                self.take(frame).await?;
            }
            if self.is_replay_turn() {
                Box::pin(self.replay_parked()).await?;
                continue;
            }
            if self.writer.is_idle() && self.batch.is_due() {
                self.writer.begin(self.batch.take());
                self.parking.give_turn();
                continue;
            }
            let (is_idle, has_room) = (self.writer.is_idle(), !self.batch.is_full());
            self.stream.set_hurry(match (self.spools.current(), is_idle) {
                (Some(_), _) => Hurry::Gathers,
                (None, false) => Hurry::Works,
                (None, true) => Hurry::Waits,
            });
            tokio::select! {
                written = self.writer.done(), if !is_idle => self.written(written?),
                frame = self.stream.next(), if has_room => {
                    self.take(frame.map_err(StreamError::wire(side))?).await?;
                }
                _ = persist.tick(), if is_idle => {
                    self.parking.give_turn();
                    self.persist().await?;
                }
            }
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<(), StreamError> {
        match frame {
            Frame::Keepalive { wal_end } => {
                if !self.is_at_boundary() || !self.batch.is_empty() {
                    return Ok(());
                }
                if self.writer.is_idle() {
                    self.reached(wal_end);
                } else {
                    self.quiet_until = Some(wal_end);
                }
                Ok(())
            }
            Frame::Wal { data, .. } if self.spools.current().is_some() => self.keep(&data).await,
            Frame::Wal { data, .. } if self.parking.is_on() => {
                let message = self.decode(data.clone(), false)?;
                Box::pin(self.message_or_parked(message, data)).await
            }
            Frame::Wal { data, .. } => {
                let message = self.decode(data, false)?;
                match self.message(message)? {
                    Later::Nothing => Ok(()),
                    later @ (Later::Replay(_) | Later::Arm(_)) => self.later(later).await,
                }
            }
        }
    }

    /// A message while tables wait; `data` as it came.
    async fn message_or_parked(
        &mut self,
        message: Message,
        data: bytes::Bytes,
    ) -> Result<(), StreamError> {
        match self.take_parked(message, data).await? {
            Some(rest) => {
                let later = self.message(rest)?;
                self.later(later).await
            }
            None => Ok(()),
        }
    }

    /// What could not be done at once.
    async fn later(&mut self, later: Later) -> Result<(), StreamError> {
        match later {
            Later::Nothing => Ok(()),
            Later::Replay(commit) => Box::pin(self.replay(&commit)).await,
            Later::Arm(change) => {
                if self.is_forgiven() {
                    return Ok(());
                }
                self.wait_until_armed(&change).await?;
                self.show_mode();
                self.add(change);
                Ok(())
            }
        }
    }

    fn decode(&self, data: bytes::Bytes, in_stream: bool) -> Result<Message, StreamError> {
        let side = self.shared.spec.reads();
        let decoded = pgoutput::decode(data, DecodeContext { in_stream });
        decoded
            .map(|decoded| decoded.message)
            .map_err(|source| StreamError::Decode { side, source })
    }

    /// Keeps a message of a transaction that has not committed.
    async fn keep(&mut self, data: &bytes::Bytes) -> Result<(), StreamError> {
        let side = self.shared.spec.reads();
        let part =
            pgoutput::peek_streamed(data).map_err(|source| StreamError::Decode { side, source })?;
        let xid = match (part, self.spools.current()) {
            (StreamedPart::Stop, _) | (StreamedPart::OfTransaction, None) => {
                self.spools.stop();
                return Ok(());
            }
            (StreamedPart::Of { xid }, _) | (StreamedPart::OfTransaction, Some(xid)) => xid,
        };
        let spilled = self.spools.keep(xid, data).await?;
        self.tally.spilled(spilled);
        Ok(())
    }

    /// Does what can be done without waiting.
    fn message(&mut self, message: Message) -> Result<Later, StreamError> {
        match message {
            Message::Begin(begin) => self.begin(begin.xid, begin.final_lsn),
            Message::Commit(commit) => self.committed(&commit),
            Message::StreamStart(start) => self.spools.start(start.xid),
            Message::StreamStop => self.spools.stop(),
            Message::StreamAbort(abort) => self.spools.abort(abort.xid, abort.subxid),
            Message::StreamCommit(commit) => return Ok(Later::Replay(commit)),
            Message::Origin(origin) => {
                let is_ours = self.own_origins.contains(&origin.name);
                if let Some(transaction) = &mut self.transaction {
                    transaction.is_ours = is_ours;
                }
            }
            Message::Relation(relation) => self.relations.describe(&relation)?,
            Message::Insert(insert) => return Ok(self.change(self.relations.insert(insert)?)),
            Message::Update(update) => return Ok(self.change(self.relations.update(update)?)),
            Message::Delete(delete) => return Ok(self.change(self.relations.delete(delete)?)),
            Message::Truncate(truncate) => {
                return Ok(self.change(self.relations.truncate(&truncate)?));
            }
            Message::Logical(message) => self.logical(&message)?,
            Message::Type(_) => {}
            other @ (Message::BeginPrepare(_)
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
        Ok(Later::Nothing)
    }

    fn begin(&mut self, xid: u32, commit_lsn: Lsn) {
        self.quiet_until = None;
        self.transaction = Some(Transaction { xid, commit_lsn, ..Transaction::default() });
    }

    /// A transaction that came before its commit has committed: now it is one like any other.
    async fn replay(&mut self, streamed: &StreamCommit) -> Result<(), StreamError> {
        let mut messages = self.spools.commit(streamed.xid).await?;
        self.begin(streamed.xid, streamed.commit.commit_lsn);
        while let Some(data) = messages.next().await? {
            let kept = self.parking.is_on().then(|| unstreamed(&data));
            let message = self.decode(data, true)?;
            match kept {
                Some(kept) => Box::pin(self.message_or_parked(message, kept)).await?,
                None => {
                    let later = self.message(message)?;
                    self.later(later).await?;
                }
            }
            if self.batch.is_full() {
                self.settle().await?;
                self.writer.begin(self.batch.take());
            }
        }
        self.committed(&streamed.commit);
        Ok(())
    }

    fn change(&mut self, change: Option<Change>) -> Later {
        let Some(change) = change else { return Later::Nothing };
        if self.transaction.as_ref().is_some_and(|transaction| transaction.is_ours) {
            return Later::Nothing;
        }
        self.touched.note(&change, &self.plans);
        match self.mode {
            Mode::Stopped => Later::Arm(change),
            Mode::Apply => {
                self.add(change);
                Later::Nothing
            }
        }
    }

    fn add(&mut self, change: Change) {
        self.batch.push(change);
        if let Some(transaction) = &mut self.transaction {
            transaction.has_rows = true;
        }
    }

    fn logical(&mut self, message: &LogicalMessage) -> Result<(), StreamError> {
        if message.prefix == replica::MARK && message.transactional {
            let is_ours = std::str::from_utf8(&message.content)
                .is_ok_and(|name| self.own_origins.contains(name));
            if let Some(transaction) = &mut self.transaction {
                transaction.is_ours |= is_ours;
            }
            return Ok(());
        }
        let is_fence = message.prefix == BARRIER && message.transactional;
        if !is_fence || self.shared.spec.kind == StreamKind::Reference {
            return Ok(());
        }
        let barrier = read_barrier(&message.content, &self.shared.spec.capability)?;
        if barrier.is_some() && self.parking.is_on() {
            let stream = self.shared.spec.key();
            tracing::warn!(stream, "a fence's barrier does not count, because a table waits");
            return Ok(());
        }
        if let (Some(barrier), Some(transaction)) = (barrier, &mut self.transaction) {
            transaction.barrier = Some(barrier);
        }
        Ok(())
    }

    fn committed(&mut self, commit: &Commit) {
        let transaction = self.transaction.take().unwrap_or_default();
        self.batch.commit(commit, transaction.has_rows, transaction.barrier);
        if self.writer.is_idle() {
            self.pass_empty();
        }
    }

    /// Everything that was begun is done, and nothing is to be written: the position moves on.
    fn pass_empty(&mut self) {
        if let Some(end) = self.batch.take_empty_end() {
            self.seen = end;
            self.reached(end);
        }
        if let Some(end) = self.quiet_until.take()
            && self.is_at_boundary()
            && self.batch.is_empty()
        {
            self.reached(end);
        }
    }

    fn written(&mut self, written: Written) {
        self.tally.add(&written.changes);
        if let Some((commit, log)) = written.commit {
            let lag = clock::since_commit(commit.commit_time_us);
            let rows = self.tally.committed();
            self.shared.applied(rows, commit.transactions, lag);
            self.seen = commit.end;
            self.committed_at(log, commit.end);
            if let Some(barrier) = &commit.barrier {
                let (stream, epoch, lsn) = (self.shared.spec.key(), barrier.epoch, commit.end);
                tracing::info!(stream, epoch, %lsn, "barrier applied");
            }
        }
        self.show_mode();
        self.pass_empty();
    }

    /// Waits until the writer has done what it was given.
    async fn settle(&mut self) -> Result<(), StreamError> {
        while !self.writer.is_idle() {
            let written = self.writer.done().await?;
            self.written(written);
        }
        Ok(())
    }

    /// The applier, when it rests.
    async fn applier(&mut self) -> Result<&mut Applier, StreamError> {
        self.settle().await?;
        self.writer.idle().ok_or(StreamError::Worker)
    }

    /// Writes down the position behind transactions that left nothing to write, and looks whether the
    /// stream was stopped or armed meanwhile: nothing in the log says so.
    async fn persist(&mut self) -> Result<(), StreamError> {
        if !self.is_at_boundary() || !self.batch.is_empty() {
            return Ok(());
        }
        let (seen, is_waiting) = (self.seen, self.durable.is_waiting());
        let applier = self.applier().await?;
        if seen > applier.row().lsn {
            let log = applier.commit(seen, None).await?;
            self.committed_at(log, seen);
        } else {
            applier.refresh().await?;
            if is_waiting {
                let flushed = applier.log().await?.flushed;
                let confirmed = self.durable.flushed(flushed);
                self.confirm(confirmed);
            }
        }
        self.show_mode();
        Ok(())
    }

    /// Everything up to `end` is applied and visible, and safe once the target has flushed its log.
    fn committed_at(&mut self, log: TargetLog, end: Lsn) {
        self.shared.move_to(end);
        self.durable.committed(log.written, end);
        let confirmed = self.durable.flushed(log.flushed);
        self.confirm(confirmed);
    }

    /// There was nothing to write up to here.
    fn reached(&mut self, lsn: Lsn) {
        self.shared.move_to(lsn);
        let confirmed = self.durable.passed(lsn);
        self.confirm(confirmed);
    }

    fn confirm(&self, flushed: Option<Lsn>) {
        if let Some(flushed) = flushed {
            self.stream.progress().confirm(flushed);
        }
    }

    fn show_mode(&mut self) {
        if let Some(applier) = self.writer.idle() {
            self.mode = applier.row().mode;
        }
        let state = match self.mode {
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
