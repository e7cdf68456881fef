//! One pass over the tables of a capability.

use cutover::{Side, StreamKind};
use rpc::v1;
use tokio::{sync::mpsc, time::Instant};
use tokio_postgres::Client;

use super::{
    BARRIER_WITHIN, Ready, Verifier, VerifyError,
    outcome::Outcome,
    pace::Pace,
    repair::Repairer,
    table::{KeyRange, VerifiedTable},
    turn::Turn,
};
use crate::{
    StreamError,
    change::Key,
    dirty::{LeadRange, Mark, Parts},
};

/// Keys of one comparison.
pub(super) const KEYS_AT_ONCE: usize = 1_000;
/// Ranges of one comparison, and about how many values they hold together.
const RANGES_AT_ONCE: usize = 500;
const RANGES_WIDTH: u64 = 20_000;

/// A running pass.
pub(super) struct Pass<'a> {
    pub(super) verifier: &'a Verifier,
    pub(super) source: &'a Client,
    pub(super) target: &'a Client,
    /// The stream that carries the owner's writes.
    direction: StreamKind,
    pub(super) repairer: Option<Repairer>,
    turn: &'a Turn,
    pace: Pace,
    progress: Option<mpsc::Sender<v1::VerifyProgress>>,
    round: &'a mut Round,
    /// When the work since the last rest began.
    worked_from: Instant,
}

/// How far a pass over all rows is: it can be left and gone on with.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// The authority on which the other side is written; with another one nothing here holds.
    epoch: Option<i64>,
    rows_total: u64,
    /// Which of the tables.
    place: usize,
    /// In it, what is done up to here.
    after: Option<Key>,
    began: Option<Mark>,
    differences_before: u64,
    pub(super) found: Outcome,
}

/// How a pass goes about it.
pub(super) struct Manner {
    pub(super) direction: StreamKind,
    pub(super) pace: Pace,
    pub(super) repairer: Option<Repairer>,
    pub(super) progress: Option<mpsc::Sender<v1::VerifyProgress>>,
}

impl<'a> Pass<'a> {
    /// Begins, or goes on with a round.
    ///
    /// # Errors
    /// [`VerifyError::Moved`] when the stream may not write on the other side, or was stopped since the
    /// round began.
    pub(super) async fn begin(
        verifier: &'a Verifier,
        ready: &'a Ready,
        turn: &'a Turn,
        manner: Manner,
        round: &'a mut Round,
    ) -> Result<Self, VerifyError> {
        let Manner { direction, pace, repairer, progress } = manner;
        let pass = Self {
            verifier,
            source: &ready.source,
            target: &ready.target,
            direction,
            repairer,
            turn,
            pace,
            progress,
            round,
            worked_from: Instant::now(),
        };
        let epoch = pass.epoch().await?;
        if pass.round.epoch.is_some_and(|begun| begun != epoch) {
            return Err(VerifyError::Moved(direction.as_str()));
        }
        pass.round.epoch = Some(epoch);
        Ok(pass)
    }

    /// Compares every row of these tables.
    pub(super) async fn all_rows(&mut self, tables: &[VerifiedTable]) -> Result<(), VerifyError> {
        if self.round.rows_total == 0 {
            for table in tables {
                self.round.rows_total += table.rows_estimated(self.source).await?;
            }
        }
        while let Some(table) = tables.get(self.round.place) {
            if self.round.began.is_none() {
                self.round.differences_before = self.round.found.differences();
                self.round.began = Some(self.mark(table).await?);
            }
            self.rows_within(table, None).await?;
            let is_clean = self.round.differences_before == self.round.found.differences();
            if let (true, StreamKind::Forward, Some(mark)) =
                (is_clean, table.kind, self.round.began)
            {
                self.verifier.dirty.clean(table.index, mark);
            }
            (self.round.began, self.round.after) = (None, None);
            self.round.place += 1;
        }
        Ok(())
    }

    /// Compares what was touched; on a side that is `quiet` nothing is on its way.
    pub(super) async fn touched(
        &mut self,
        tables: &[VerifiedTable],
        quiet: bool,
    ) -> Result<(), VerifyError> {
        for table in tables.iter().filter(|table| table.kind == StreamKind::Forward) {
            let mark = self.verifier.dirty.begin(table.index);
            let parts = self.verifier.dirty.parts(table.index);
            if parts.is_empty() {
                continue;
            }
            if !quiet {
                self.verifier.barrier(self.truth(table).1, BARRIER_WITHIN).await?;
            }
            let before = self.round.found.differences();
            self.parts(table, parts).await?;
            if self.round.found.differences() == before {
                self.verifier.dirty.clean(table.index, mark);
            }
        }
        Ok(())
    }

    /// Sends the last message.
    pub(super) async fn finish(self) {
        if let Some(progress) = self.progress {
            let rows = self.round.found.rows;
            drop(progress.send(self.round.found.message(true, "", rows)).await);
        }
    }

    /// The side that owns the rows, and the stream that carries them to the other one.
    pub(super) const fn truth(&self, table: &VerifiedTable) -> (Side, StreamKind) {
        match (table.kind, self.direction) {
            (StreamKind::Reference, _) => (Side::Source, StreamKind::Reference),
            (_, StreamKind::Reverse) => (Side::Target, StreamKind::Reverse),
            (_, StreamKind::Forward | StreamKind::Reference) => (Side::Source, StreamKind::Forward),
        }
    }

    pub(super) const fn client(&self, side: Side) -> &'a Client {
        match side {
            Side::Source => self.source,
            Side::Target => self.target,
        }
    }

    pub(super) const fn count_rows(&mut self, rows: u64) {
        self.round.found.rows += rows;
    }

    pub(super) const fn count_repaired(&mut self, rows: u64) {
        self.round.found.repaired += rows;
    }

    pub(super) const fn epoch_begun(&self) -> Option<i64> {
        self.round.epoch
    }

    /// Fails when the other side is not written on the authority that the pass began with.
    pub(super) async fn check_authority(&self, table: &VerifiedTable) -> Result<(), VerifyError> {
        if table.kind == StreamKind::Forward && Some(self.epoch().await?) != self.round.epoch {
            return Err(VerifyError::Moved(self.direction.as_str()));
        }
        Ok(())
    }

    /// Rests as the pace has it after reading so many rows.
    pub(super) async fn rest_after(&mut self, rows: u64) {
        let rest = self.pace.rest(rows, self.worked_from.elapsed());
        if !rest.is_zero() {
            tokio::time::sleep(rest).await;
        }
        self.worked_from = Instant::now();
    }

    /// The epoch of the stream that writes the other side.
    async fn epoch(&self) -> Result<i64, VerifyError> {
        let side = self.direction.applies_to();
        let key = self.direction.key(&self.verifier.capability);
        let row = self
            .client(side)
            .query_opt(
                "SELECT epoch FROM ficus.apply WHERE stream = $1 AND mode = 'apply'",
                &[&key],
            )
            .await
            .map_err(StreamError::database("read the stream's row", side))?;
        row.map(|row| row.get(0)).ok_or(VerifyError::Moved(self.direction.as_str()))
    }

    /// What was touched before the mark is applied when this returns.
    async fn mark(&self, table: &VerifiedTable) -> Result<Mark, VerifyError> {
        if table.kind != StreamKind::Forward {
            return Ok(Mark::default());
        }
        let mark = self.verifier.dirty.begin(table.index);
        self.verifier.barrier(self.truth(table).1, BARRIER_WITHIN).await?;
        Ok(mark)
    }

    async fn parts(&mut self, table: &VerifiedTable, parts: Parts) -> Result<(), VerifyError> {
        if parts.is_whole {
            self.round.after = None;
            return self.rows_within(table, None).await;
        }
        let mut ranges = parts.ranges.as_slice();
        while !ranges.is_empty() {
            let (lot, rest) = ranges.split_at(lot_of(ranges));
            for range in self.ranges_that_differ(table, lot).await? {
                self.round.after = None;
                self.rows_within(table, Some(range)).await?;
            }
            self.tell(table).await;
            ranges = rest;
        }
        let keys: Vec<Key> = parts.keys.iter().filter_map(|key| table.key_touched(key)).collect();
        for keys in keys.chunks(KEYS_AT_ONCE) {
            self.keys(table, keys).await?;
        }
        Ok(())
    }

    async fn keys(&mut self, table: &VerifiedTable, keys: &[Key]) -> Result<(), VerifyError> {
        let (source, target) = tokio::join!(
            table.by_keys(self.source, Side::Source, keys),
            table.by_keys(self.target, Side::Target, keys)
        );
        let (source, target) = (source?, target?);
        let suspects: Vec<Key> =
            keys.iter().filter(|key| source.get(*key) != target.get(*key)).cloned().collect();
        self.round.found.rows += u64::try_from(keys.len()).unwrap_or(u64::MAX);
        self.settle(table, suspects).await?;
        self.tell(table).await;
        Ok(())
    }

    /// Compares the rows behind `round.after`, chunk by chunk.
    async fn rows_within(
        &mut self,
        table: &VerifiedTable,
        within: Option<LeadRange>,
    ) -> Result<(), VerifyError> {
        loop {
            let after = self.round.after.clone();
            let mut range = KeyRange { after, up_to: None, within: within.clone() };
            let rows = self.pace.chunk_rows();
            range.up_to = table.boundary(self.source, &range, rows).await?;
            let up_to = range.up_to.clone();
            self.chunk(table, range).await?;
            // Before anything else is waited for: what is counted is not compared again.
            let is_last = up_to.is_none();
            self.round.after = up_to.or_else(|| self.round.after.take());
            self.tell(table).await;
            if is_last {
                return Ok(());
            }
        }
    }

    async fn chunk(&mut self, table: &VerifiedTable, range: KeyRange) -> Result<(), VerifyError> {
        let (source, target) = tokio::join!(
            table.digest(self.source, Side::Source, &range),
            table.digest(self.target, Side::Target, &range)
        );
        let (source, target) = (source?, target?);
        let rows = source.rows;
        self.rest_after(rows.max(target.rows)).await;
        if source != target {
            let suspects = self.narrow(table, range, (source, target)).await?;
            self.settle(table, suspects).await?;
        }
        // Only now: a chunk that is left in the middle is compared again.
        self.round.found.rows += rows;
        Ok(())
    }

    async fn settle(
        &mut self,
        table: &VerifiedTable,
        suspects: Vec<Key>,
    ) -> Result<(), VerifyError> {
        if suspects.is_empty() {
            return Ok(());
        }
        let mut differences = self.look_again(table, suspects).await?;
        if self.repairer.is_some() && !differences.is_empty() {
            differences = self.repair(table, differences).await?;
        }
        for difference in differences {
            self.round.found.add(table, &difference);
        }
        Ok(())
    }

    async fn tell(&self, table: &VerifiedTable) {
        let (found, total) = (&self.round.found, self.round.rows_total);
        let name = table.name().to_string();
        self.turn.reached(&name, found.rows, total.max(found.rows), found.differences());
        if let Some(progress) = &self.progress {
            // Nobody listens any more: the pass is about to be dropped.
            drop(progress.send(found.message(false, &name, total)).await);
        }
    }
}

/// How many of the first ranges are compared at once.
fn lot_of(ranges: &[LeadRange]) -> usize {
    let mut width = 0_u64;
    let fits = |range: &&LeadRange| {
        width = width.saturating_add(range.width);
        width <= RANGES_WIDTH
    };
    ranges.iter().take(RANGES_AT_ONCE).take_while(fits).count().max(1)
}

impl std::fmt::Debug for Pass<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass").field("direction", &self.direction).finish_non_exhaustive()
    }
}
