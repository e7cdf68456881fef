//! One table that is copied again: its sessions, and the replay of parked changes onto the stage.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use pg::{Lsn, pgoutput::Message};
use tokio_postgres::{Client, types::PgLsn};

use super::{
    decode::{Cell, Decoder, StageChange, StageKey, StageRow, decode},
    rule::{Snapshots, Verdict},
    stage::{Stage, key_on_source},
    write::{TextArray, params},
};
use crate::{
    StreamError, catalog,
    mapping::TablePlan,
    session,
    status::StreamShared,
    tables::{self, ParkedRow, ParkedSize, queue},
};

/// A table that is copied again.
pub(super) struct TableResync {
    pub(super) shared: Arc<StreamShared>,
    pub(super) plan: TablePlan,
    pub(super) source: String,
    pub(super) stage: Stage,
    pub(super) reader: Client,
    pub(super) writer: Client,
    pub(super) snapshots: Snapshots,
    /// The last key of each chunk but the last one, which is open.
    pub(super) bounds: Vec<StageKey>,
    /// The stage is exact once everything that committed before was replayed onto it.
    pub(super) complete_lsn: Option<Lsn>,
    decoder: Decoder,
    /// The last parked message that was read.
    cursor: i64,
}

/// What a step of the replay leaves: the last state of each key it is about.
#[derive(Default)]
struct Step {
    /// Messages that took effect.
    seqs: Vec<i64>,
    /// `None`: the row went.
    rows: HashMap<StageKey, Option<(StageRow, usize)>>,
    emptied: BTreeSet<usize>,
    size: ParkedSize,
}

impl TableResync {
    pub(super) async fn open(
        shared: &Arc<StreamShared>,
        plan: &TablePlan,
    ) -> Result<Self, StreamError> {
        let spec = &shared.spec;
        let catalog_reader = session::open_for_catalogs(spec.read_url(), spec.reads()).await?;
        let key_columns = key_on_source(&catalog_reader, spec, plan).await?;
        let found = catalog::read_table(&catalog_reader, &plan.read)
            .await
            .map_err(StreamError::database("read the catalog", spec.reads()))?;
        let reader = session::open(spec.read_url(), spec.reads(), "ficus-cdc-resync").await?;
        let writer = session::open(spec.write_url(), spec.writes(), "ficus-cdc-resync").await?;
        let source = plan.source.to_string();
        let stage = Stage::new(spec, plan, key_columns);
        let row = tables::read(&writer, spec).await?.remove(&source).ok_or(StreamError::Gone)?;
        writer
            .batch_execute(&stage.create())
            .await
            .map_err(StreamError::database("create the staging table", spec.writes()))?;
        let decoder = Decoder::new(stage.names(), stage.key.clone());
        let mut table = Self {
            shared: Arc::clone(shared),
            plan: plan.clone(),
            source,
            stage,
            reader,
            writer,
            snapshots: Snapshots::default(),
            bounds: Vec::new(),
            complete_lsn: row.complete_lsn,
            decoder,
            cursor: 0,
        };
        table.load_chunks().await?;
        let estimated = found.map_or(0, |found| found.rows_estimated);
        shared.update_table(&table.source, |status| status.rows_estimated = estimated);
        Ok(table)
    }

    /// Whether every chunk was read.
    pub(super) const fn is_whole(&self) -> bool {
        self.snapshots.is_whole()
    }

    /// Whether the stage is what the table is at the stream's position: everything that may have been
    /// seen too early has been replayed.
    pub(super) async fn is_exact(&self) -> Result<bool, StreamError> {
        let position = self.stream_position();
        let is_late = self.complete_lsn.is_some_and(|complete| complete <= position);
        Ok(is_late && self.next(Some(position)).await?.is_empty())
    }

    /// Replays everything that is parked and can be decided, step by step.
    pub(super) async fn replay(&mut self) -> Result<(), StreamError> {
        loop {
            self.write_sql("BEGIN").await?;
            let is_done = self.replay_step(None).await?;
            self.write_sql("COMMIT").await?;
            if is_done {
                return Ok(());
            }
        }
    }

    /// Replays the next parked messages, in the open transaction; `before`: only of transactions that
    /// committed before. Answers whether nothing is left that can be decided.
    pub(super) async fn replay_step(&mut self, before: Option<Lsn>) -> Result<bool, StreamError> {
        let parked = self.next(before).await?;
        let Some(last) = parked.last().map(|row| row.seq) else { return Ok(true) };
        let changes = self.decode(&parked).await?;
        let chunks = self.chunks(&changes).await?;
        let mut step = Step::default();
        let known = self.known(&changes).await?;
        let mut cursor = last;
        let mut is_stuck = false;
        for (row, change) in &changes {
            if !self.take(&mut step, &chunks, &known, row, change) {
                // It comes again with the next step.
                cursor = row.seq - 1;
                is_stuck = true;
                break;
            }
        }
        self.write(step).await?;
        self.cursor = cursor;
        Ok(is_stuck)
    }

    async fn next(&self, before: Option<Lsn>) -> Result<Vec<ParkedRow>, StreamError> {
        queue::next(&self.writer, &self.shared.spec, &self.source, self.cursor, before).await
    }

    /// The changes among the messages; descriptions are taken note of.
    async fn decode<'p>(
        &mut self,
        parked: &'p [ParkedRow],
    ) -> Result<Vec<(&'p ParkedRow, StageChange)>, StreamError> {
        let mut changes = Vec::with_capacity(parked.len());
        for row in parked {
            let message = decode(&self.shared.spec, row.message.clone())?;
            if let Message::Relation(relation) = &message {
                tables::check_description(&self.shared.spec, &self.plan, relation).await?;
                self.decoder.describe(relation);
            } else if let Some(change) = self.decoder.change(message)? {
                changes.push((row, change));
            }
        }
        Ok(changes)
    }

    /// The chunk of each key that the changes name.
    async fn chunks(
        &self,
        changes: &[(&ParkedRow, StageChange)],
    ) -> Result<HashMap<StageKey, usize>, StreamError> {
        let mut keys: Vec<StageKey> =
            changes.iter().flat_map(|(_, change)| change.keys()).cloned().collect();
        keys.sort_unstable();
        keys.dedup();
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let width = self.stage.key.len();
        let mut arrays = TextArray::columns(width, &keys, key_value);
        arrays.extend(TextArray::columns(width, &self.bounds, key_value));
        let rows =
            self.reader.query(&self.stage.chunk_of_keys(), &params(&arrays)).await.map_err(
                StreamError::database("find the chunks of keys", self.shared.spec.reads()),
            )?;
        let number = |row: &tokio_postgres::Row| usize::try_from(row.get::<_, i32>(0)).unwrap_or(0);
        let chunks: Vec<usize> = rows.iter().map(number).collect();
        Ok(keys.into_iter().zip(chunks).collect())
    }

    /// What the stage has of the rows that a change leaves partly unknown.
    async fn known(
        &self,
        changes: &[(&ParkedRow, StageChange)],
    ) -> Result<HashMap<StageKey, StageRow>, StreamError> {
        let incomplete = changes.iter().filter_map(|(_, change)| match change {
            StageChange::Put { old, key, row } if !row.is_complete() => {
                Some(old.as_ref().unwrap_or(key).clone())
            }
            StageChange::Put { .. } | StageChange::Delete { .. } | StageChange::Truncate => None,
        });
        let keys: Vec<StageKey> = incomplete.collect();
        let side = self.shared.spec.writes();
        self.rows_by_keys(&self.writer, &self.stage.by_keys(), &keys)
            .await
            .map_err(StreamError::database("read staged rows", side))
    }

    /// Takes a change into the step; `false`: it cannot be decided yet.
    fn take(
        &self,
        step: &mut Step,
        chunks: &HashMap<StageKey, usize>,
        known: &HashMap<StageKey, StageRow>,
        parked: &ParkedRow,
        change: &StageChange,
    ) -> bool {
        let verdict = |key: &StageKey| {
            let chunk = chunks.get(key).copied().unwrap_or(usize::MAX);
            (self.snapshots.verdict(chunk, parked.xid), chunk)
        };
        match change {
            StageChange::Truncate => {
                let Some(emptied) = self.snapshots.truncated(parked.xid) else { return false };
                step.rows.retain(|_, row| row.as_ref().is_none_or(|(_, at)| !emptied.contains(at)));
                step.emptied.extend(emptied);
            }
            StageChange::Delete { key } => match verdict(key).0 {
                Verdict::Undecided => return false,
                Verdict::Seen => {}
                Verdict::Counts => drop(step.rows.insert(key.clone(), None)),
            },
            StageChange::Put { old, key, row } => {
                let (counts, chunk) = verdict(key);
                let old_counts = old.as_ref().map(|old| verdict(old).0);
                if counts == Verdict::Undecided || old_counts == Some(Verdict::Undecided) {
                    return false;
                }
                let mut row = row.clone();
                let before = old.as_ref().unwrap_or(key);
                if !row.is_complete() && old_counts.unwrap_or(counts) == Verdict::Counts {
                    match step.rows.get(before) {
                        Some(Some((earlier, _))) => row.complete_from(earlier),
                        Some(None) => {}
                        None => {
                            let earlier = known.get(before).filter(|_| step.emptied.is_empty());
                            earlier.into_iter().for_each(|earlier| row.complete_from(earlier));
                        }
                    }
                }
                if let (Some(old), Some(Verdict::Counts)) = (old, old_counts) {
                    step.rows.insert(old.clone(), None);
                }
                if counts == Verdict::Counts {
                    step.rows.insert(key.clone(), Some((row, chunk)));
                }
            }
        }
        step.seqs.push(parked.seq);
        step.size.add(parked.message.len());
        true
    }

    async fn write(&mut self, mut step: Step) -> Result<(), StreamError> {
        let side = self.shared.spec.writes();
        let staged = |error| StreamError::database("write staged rows", side)(error);
        if !step.emptied.is_empty() {
            let numbers: Vec<i32> =
                step.emptied.iter().filter_map(|number| i32::try_from(*number).ok()).collect();
            self.writer.execute(&self.stage.empty(), &[&numbers]).await.map_err(staged)?;
        }
        self.fill(&mut step).await?;
        let (mut gone, mut rows) = (Vec::new(), Vec::new());
        for (key, row) in step.rows {
            match row {
                // A row that is not whole even now is gone from the source: its end is on the way.
                Some((row, chunk)) if row.is_complete() => rows.push((row, chunk)),
                Some(_) | None => gone.push(key),
            }
        }
        if !gone.is_empty() {
            let width = self.stage.key.len();
            let arrays = TextArray::columns(width, &gone, key_value);
            self.writer.execute(&self.stage.delete(), &params(&arrays)).await.map_err(staged)?;
        }
        if !rows.is_empty() {
            let width = self.stage.columns.len();
            let arrays = TextArray::columns(width, &rows, |(row, _), at| row.0.get(at)?.text());
            let chunks: Vec<i32> =
                rows.iter().filter_map(|(_, chunk)| i32::try_from(*chunk).ok()).collect();
            let mut params = params(&arrays);
            params.push(&chunks);
            self.writer.execute(&self.stage.put(), &params).await.map_err(staged)?;
        }
        let removed =
            queue::delete(&self.writer, &self.shared.spec, &self.source, &step.seqs).await?;
        if usize::try_from(removed) != Ok(step.seqs.len()) {
            // Somebody else works on the table, too.
            return Err(StreamError::Stale);
        }
        self.shared.unpark(&self.source, step.size);
        Ok(())
    }

    /// Completes rows from the source as it is now: what is newer there than the change is only right
    /// once everything up to now was replayed.
    async fn fill(&mut self, step: &mut Step) -> Result<(), StreamError> {
        let is_incomplete = |row: &Option<(StageRow, usize)>| {
            row.as_ref().is_some_and(|(row, _)| !row.is_complete())
        };
        let rows = step.rows.iter().filter(|(_, row)| is_incomplete(row));
        let keys: Vec<StageKey> = rows.map(|(key, _)| key.clone()).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let side = self.shared.spec.reads();
        let now = self
            .rows_by_keys(&self.reader, &self.stage.by_keys_on_source(), &keys)
            .await
            .map_err(StreamError::database("read values the log left out", side))?;
        for key in keys {
            if let (Some(Some((row, _))), Some(now)) = (step.rows.get_mut(&key), now.get(&key)) {
                row.complete_from(now);
            }
        }
        if self.complete_lsn.is_some() {
            self.complete_at(self.source_position().await?).await?;
        }
        Ok(())
    }

    async fn complete_at(&mut self, lsn: Lsn) -> Result<(), StreamError> {
        let spec = &self.shared.spec;
        self.writer
            .execute(
                "UPDATE ficus.copy SET complete_lsn = $3 WHERE stream = $1 AND source = $2",
                &[&spec.key(), &self.source, &PgLsn::from(lsn.as_u64())],
            )
            .await
            .map_err(StreamError::database("note how far the stage must be", spec.writes()))?;
        self.complete_lsn = Some(lsn);
        Ok(())
    }

    async fn rows_by_keys(
        &self,
        client: &Client,
        sql: &str,
        keys: &[StageKey],
    ) -> Result<HashMap<StageKey, StageRow>, tokio_postgres::Error> {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let width = self.stage.key.len();
        let arrays = TextArray::columns(width, keys, key_value);
        let rows = client.query(sql, &params(&arrays)).await?;
        let cell = |text: Option<String>| text.map_or(Cell::Null, |text| Cell::Text(text.into()));
        let rows = rows.iter().filter_map(|row| {
            let cells = (0..self.stage.columns.len()).map(|at| cell(row.get(at)));
            let row = StageRow(cells.collect());
            Some((row.key(&self.stage.key)?, row))
        });
        Ok(rows.collect())
    }

    /// How far the source has written; with a mark behind it, so that the stream gets there even where
    /// nothing else happens.
    pub(super) async fn source_position(&self) -> Result<Lsn, StreamError> {
        let row = self
            .reader
            .query_one(
                "SELECT pg_current_wal_insert_lsn(),
                     pg_logical_emit_message(true, 'ficus.heartbeat', '')",
                &[],
            )
            .await
            .map_err(StreamError::database("read the position", self.shared.spec.reads()))?;
        Ok(Lsn::new(row.get::<_, PgLsn>(0).into()))
    }

    /// How far the stream is: everything before is written or parked.
    pub(super) fn stream_position(&self) -> Lsn {
        *self.shared.position().borrow()
    }

    pub(super) async fn read_sql(&self, sql: &str) -> Result<(), StreamError> {
        let side = self.shared.spec.reads();
        let done = self.reader.batch_execute(sql).await;
        done.map_err(StreamError::database("control a chunk's transaction", side))
    }

    pub(super) async fn write_sql(&self, sql: &str) -> Result<(), StreamError> {
        let side = self.shared.spec.writes();
        let done = self.writer.batch_execute(sql).await;
        done.map_err(StreamError::database("control a resync's transaction", side))
    }
}

fn key_value(key: &StageKey, at: usize) -> Option<&[u8]> {
    key.get(at).map(Bytes::as_ref)
}

impl StageChange {
    fn keys(&self) -> impl Iterator<Item = &StageKey> {
        let (one, other) = match self {
            Self::Put { old, key, .. } => (Some(key), old.as_ref()),
            Self::Delete { key } => (Some(key), None),
            Self::Truncate => (None, None),
        };
        one.into_iter().chain(other)
    }
}

impl std::fmt::Debug for TableResync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableResync").field("table", &self.source).finish_non_exhaustive()
    }
}
