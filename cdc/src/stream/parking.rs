//! Tables that wait: their messages are parked as they are, and those that may go on are replayed
//! between two pieces of other work.

use std::{collections::HashMap, sync::Arc};

use bytes::{Bytes, BytesMut};
use pg::pgoutput::{self, DecodeContext, Message, Relation, RelationOid, Truncate};

use super::{Later, Run};
use crate::{
    StreamError,
    apply::Replayed,
    apply_row::Mode,
    change::Change,
    mapping::TablePlan,
    metrics,
    relation::Relations,
    spec::StreamSpec,
    tables::{self, Parked, ParkedRow, ParkedSize, TableRow, TableState},
};

/// How the tables of a run stand; fixed for the run.
pub(super) struct Parking {
    /// By number in the stream's plans.
    tables: Vec<TableRow>,
    sources: Vec<String>,
    /// Relations of tables that wait.
    oids: HashMap<RelationOid, Waiting>,
    replays: Vec<Replay>,
    is_on: bool,
    /// The replay is next, before other work.
    is_turn: bool,
}

struct Waiting {
    table: usize,
    /// The description that has to be parked in front of the next change.
    description: Option<Bytes>,
}

/// The replay of one table.
struct Replay {
    table: usize,
    relations: Relations,
    /// The last message that took effect.
    cursor: i64,
}

impl Parking {
    pub(super) fn new(tables: Vec<TableRow>, plans: &Arc<[TablePlan]>) -> Self {
        let replaying = |(_, row): &(usize, &TableRow)| row.state == TableState::Replaying;
        let replay = |(table, _): (usize, &TableRow)| Replay {
            table,
            relations: Relations::new(Arc::clone(plans)),
            cursor: 0,
        };
        Self {
            replays: tables.iter().enumerate().filter(replaying).map(replay).collect(),
            is_on: tables.iter().any(|table| table.state.parks()),
            is_turn: true,
            sources: plans.iter().map(|plan| plan.source.to_string()).collect(),
            oids: HashMap::new(),
            tables,
        }
    }

    /// Whether any table waits: messages have to be kept as they are then.
    pub(super) const fn is_on(&self) -> bool {
        self.is_on
    }

    /// Some other work was begun: a step of a replay is next.
    pub(super) const fn give_turn(&mut self) {
        self.is_turn = true;
    }
}

impl Run {
    /// Takes a message of a table that waits; gives back what it has for others. `data` is the message
    /// as it came.
    pub(super) async fn take_parked(
        &mut self,
        message: Message,
        data: Bytes,
    ) -> Result<Option<Message>, StreamError> {
        let oid = match &message {
            Message::Relation(relation) => {
                let is_waiting = self.describe_parked(relation, &data);
                return Ok((!is_waiting).then_some(message));
            }
            Message::Truncate(truncate) => return self.truncate_parked(truncate, &data).await,
            Message::Insert(insert) => insert.relation,
            Message::Update(update) => update.relation,
            Message::Delete(delete) => delete.relation,
            Message::Begin(_)
            | Message::Commit(_)
            | Message::Origin(_)
            | Message::Type(_)
            | Message::Logical(_)
            | Message::StreamStart(_)
            | Message::StreamStop
            | Message::StreamCommit(_)
            | Message::StreamAbort(_)
            | Message::BeginPrepare(_)
            | Message::Prepare(_)
            | Message::StreamPrepare(_)
            | Message::CommitPrepared(_)
            | Message::RollbackPrepared(_) => return Ok(Some(message)),
        };
        if !self.parking.oids.contains_key(&oid) {
            return Ok(Some(message));
        }
        self.park(oid, data).await?;
        Ok(None)
    }

    fn describe_parked(&mut self, relation: &Relation, data: &[u8]) -> bool {
        let name = relation.table_name();
        let found = self.plans.iter().position(|plan| plan.read == name);
        let waits = |table: &usize| {
            self.parking.tables.get(*table).is_some_and(|table| table.state.parks())
        };
        let Some(table) = found.filter(waits) else {
            self.parking.oids.remove(&relation.oid);
            return false;
        };
        // A slice would keep the receive buffer alive until the next change.
        let description = Some(Bytes::copy_from_slice(data));
        self.parking.oids.insert(relation.oid, Waiting { table, description });
        true
    }

    async fn truncate_parked(
        &mut self,
        truncate: &Truncate,
        data: &Bytes,
    ) -> Result<Option<Message>, StreamError> {
        let (waiting, rest): (Vec<RelationOid>, Vec<RelationOid>) =
            truncate.relations.iter().partition(|oid| self.parking.oids.contains_key(oid));
        for oid in waiting {
            self.park(oid, data.clone()).await?;
        }
        let rest = Truncate { relations: rest, ..truncate.clone() };
        Ok((!rest.relations.is_empty()).then_some(Message::Truncate(rest)))
    }

    async fn park(&mut self, oid: RelationOid, data: Bytes) -> Result<(), StreamError> {
        let Some(transaction) = &self.transaction else { return Err(StreamError::Worker) };
        if transaction.is_ours {
            return Ok(());
        }
        let (xid, commit_lsn) = (transaction.xid, transaction.commit_lsn);
        let Some(waiting) = self.parking.oids.get_mut(&oid) else { return Ok(()) };
        let table = waiting.table;
        if self.parking.tables.get(table).is_some_and(|table| table.missed) {
            // Only a new copy helps this table; it will have the change.
            return Ok(());
        }
        let description = waiting.description.take();
        for message in description.into_iter().chain([data]) {
            let source = self.parking.sources.get(table).ok_or(StreamError::Worker)?;
            if self.shared.park(source, message.len()) > self.shared.spec.parked_max {
                return Err(StreamError::ParkedFull { table: source.clone() });
            }
            let parked = Parked { table, xid, commit_lsn, message };
            let change = Change::Parked(parked);
            match self.mode {
                Mode::Apply => self.add(change),
                Mode::Stopped => self.later(Later::Arm(change)).await?,
            }
        }
        Ok(())
    }

    /// Whether a step of a replay comes before other work.
    pub(super) fn is_replay_turn(&self) -> bool {
        self.parking.is_turn
            && !self.parking.replays.is_empty()
            && self.mode == Mode::Apply
            && self.writer.is_idle()
            && !self.batch.is_begun()
    }

    /// Replays a step of a table that may go on. Afterwards what has come meanwhile is next.
    ///
    /// # Errors
    /// [`StreamError::Stale`] when the table is ready: the stream starts again with it.
    pub(super) async fn replay_parked(&mut self) -> Result<(), StreamError> {
        self.parking.is_turn = self.replay_step().await? && !self.batch.is_due();
        Ok(())
    }

    /// Answers whether another step may follow at once.
    async fn replay_step(&mut self) -> Result<bool, StreamError> {
        let Some(mut replay) = self.parking.replays.pop() else { return Ok(false) };
        let source = self.parking.sources.get(replay.table).cloned().unwrap_or_default();
        let mut row = self.parking.tables.get(replay.table).cloned().ok_or(StreamError::Worker)?;
        let parked = self.applier().await?.parked(&source, replay.cursor).await?;
        let Some(last) = parked.last().map(|row| row.seq) else {
            let position = self.applier().await?.row().lsn;
            if row.lsn.is_some_and(|stopped_at| position <= stopped_at) {
                // What stopped it is not even parked yet.
                self.parking.replays.push(replay);
                return Ok(false);
            }
            self.applier().await?.make_ready(&source).await?;
            tracing::info!(stream = self.shared.spec.key(), table = source, "table is ready again");
            self.shared.update_table(&source, |table| table.reason.clear());
            return Err(StreamError::Stale);
        };
        let plan = self.plans.get(replay.table).ok_or(StreamError::Worker)?;
        let (replayed, size) = replay.understood(&self.shared.spec, plan, &parked).await?;
        for each in &replayed {
            self.touched.note(&each.change, &self.plans);
        }
        if !replayed.is_empty() {
            let done = self.applier().await?.replay(&source, &row, &replayed).await?;
            if done.skipped > 0 {
                row.skips = false;
                metrics::skipped(&self.shared.spec.key());
                self.shared.update_table(&source, |table| table.skipped += done.skipped);
            }
        }
        self.shared.unpark(&source, size);
        replay.cursor = last;
        if let Some(known) = self.parking.tables.get_mut(replay.table) {
            *known = row;
        }
        self.parking.replays.push(replay);
        Ok(true)
    }
}

impl Replay {
    /// The changes among parked messages and their size; descriptions are taken note of.
    async fn understood(
        &mut self,
        spec: &StreamSpec,
        plan: &TablePlan,
        parked: &[ParkedRow],
    ) -> Result<(Vec<Replayed>, ParkedSize), StreamError> {
        let mut size = ParkedSize::default();
        let mut replayed = Vec::with_capacity(parked.len());
        for row in parked {
            let decoded = pgoutput::decode(row.message.clone(), DecodeContext::default())
                .map_err(|source| StreamError::Decode { side: spec.reads(), source })?;
            if let Message::Relation(relation) = &decoded.message {
                tables::check_description(spec, plan, relation).await?;
                self.relations.describe_earlier(relation, self.table);
            } else if let Some(change) = self.change(decoded.message)? {
                size.add(row.message.len());
                replayed.push(Replayed { seq: row.seq, change });
            }
        }
        Ok((replayed, size))
    }

    fn change(&self, message: Message) -> Result<Option<Change>, StreamError> {
        match message {
            Message::Insert(insert) => self.relations.insert(insert),
            Message::Update(update) => self.relations.update(update),
            Message::Delete(delete) => self.relations.delete(delete),
            // Of the tables that were emptied together only this one waits here.
            Message::Truncate(_) => Ok(Some(Change::Truncate { tables: vec![self.table] })),
            Message::Begin(_)
            | Message::Commit(_)
            | Message::Origin(_)
            | Message::Relation(_)
            | Message::Type(_)
            | Message::Logical(_)
            | Message::StreamStart(_)
            | Message::StreamStop
            | Message::StreamCommit(_)
            | Message::StreamAbort(_)
            | Message::BeginPrepare(_)
            | Message::Prepare(_)
            | Message::StreamPrepare(_)
            | Message::CommitPrepared(_)
            | Message::RollbackPrepared(_) => Ok(None),
        }
    }
}

/// A message that came before its transaction's commit, as it would have come after it: without the
/// number of the (sub)transaction behind its kind.
pub(super) fn unstreamed(data: &Bytes) -> Bytes {
    const XID: std::ops::Range<usize> = 1..5;
    let mut message = BytesMut::with_capacity(data.len());
    message.extend_from_slice(data.get(..XID.start).unwrap_or_default());
    message.extend_from_slice(data.get(XID.end..).unwrap_or_default());
    message.freeze()
}
