//! Tables that wait, as the applier sees them: their changes are parked with the stream's position,
//! and replayed in transactions of their own while the position stands.

use std::borrow::Cow;

use crate::{
    StreamError,
    apply::Applier,
    change::{Change, Row},
    tables::{self, NewState, ParkedRow, TableRow, TableState, key_of_conflict, queue},
};

/// A parked change that was understood.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) seq: i64,
    pub(crate) change: Change,
}

/// How a step of a replay went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StepDone {
    /// Changes that were left out.
    pub(crate) skipped: u64,
}

impl Applier {
    /// Parks changes in the open transaction, opening one if there is none.
    ///
    /// # Errors
    /// What the database said; [`StreamError::Stale`] when the tables stand otherwise by now.
    pub(crate) async fn park(&mut self, changes: &[Change]) -> Result<(), StreamError> {
        self.begin().await?;
        let parked: Vec<_> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Parked(parked) => Some(parked.clone()),
                Change::Insert { .. }
                | Change::Update { .. }
                | Change::Delete { .. }
                | Change::Truncate { .. } => None,
            })
            .collect();
        let plans = self.tables.plans();
        let sources: Vec<String> = plans.iter().map(|plan| plan.source.to_string()).collect();
        queue::insert(&self.session.client, &self.spec, &sources, &parked).await
    }

    /// The next parked messages of a table behind `after`.
    ///
    /// # Errors
    /// What the database said.
    pub(crate) async fn parked(
        &mut self,
        source: &str,
        after: i64,
    ) -> Result<Vec<ParkedRow>, StreamError> {
        queue::next(&self.session.client, &self.spec, source, after, None).await
    }

    /// Applies parked changes and removes them, in one transaction that leaves the position where it
    /// is. `table` says whether one that does not fit may be left out.
    ///
    /// # Errors
    /// [`StreamError::Conflict`] when one does not fit and may not be left out.
    pub(crate) async fn replay(
        &mut self,
        source: &str,
        table: &TableRow,
        replayed: &[Replayed],
    ) -> Result<StepDone, StreamError> {
        self.begin().await?;
        let mut skipped = 0;
        let changes: Vec<Change> = replayed.iter().map(|each| each.change.clone()).collect();
        let changes = self.completed(changes).await?;
        if table.skips {
            self.session.run("SAVEPOINT replay").await?;
            match self.write(&changes).await {
                Err(StreamError::Conflict { .. }) => {
                    self.session.run("ROLLBACK TO SAVEPOINT replay").await?;
                    skipped = self.replay_but_one(source, table, &changes).await?;
                }
                result => result?,
            }
        } else {
            self.write(&changes).await?;
        }
        let seqs: Vec<i64> = replayed.iter().map(|each| each.seq).collect();
        let removed = queue::delete(&self.session.client, &self.spec, source, &seqs).await?;
        if usize::try_from(removed) != Ok(seqs.len()) {
            return Err(StreamError::Stale);
        }
        self.commit(self.row().lsn, None).await?;
        Ok(StepDone { skipped })
    }

    /// Nothing is parked any more: the table's changes are applied as they come from here on.
    ///
    /// # Errors
    /// What the database said.
    pub(crate) async fn make_ready(&mut self, source: &str) -> Result<(), StreamError> {
        self.begin().await?;
        let client = &self.session.client;
        // Only descriptions are left.
        queue::drop_all(client, &self.spec, source).await?;
        let new = NewState { state: TableState::Ready, reason: "", key: None, skips: false };
        tables::set_state(client, &self.spec, source, new).await?;
        self.commit(self.row().lsn, None).await.map(drop)
    }

    /// Applies changes one by one and leaves out the first that does not fit, when that is the one the
    /// table was stopped by.
    async fn replay_but_one(
        &mut self,
        source: &str,
        table: &TableRow,
        changes: &[Change],
    ) -> Result<u64, StreamError> {
        let mut skipped = 0_i64;
        for change in changes {
            if skipped > 0 {
                self.write(std::slice::from_ref(change)).await?;
                continue;
            }
            self.session.run("SAVEPOINT change").await?;
            match self.write(std::slice::from_ref(change)).await {
                Err(StreamError::Conflict { table: named, what, source: cause }) => {
                    let is_meant = match (table.key.as_deref(), key_of_conflict(&named)) {
                        (Some(wanted), Some(found)) => wanted == found,
                        (None, _) | (_, None) => true,
                    };
                    if !is_meant {
                        return Err(StreamError::Conflict { table: named, what, source: cause });
                    }
                    self.session.run("ROLLBACK TO SAVEPOINT change").await?;
                    tracing::warn!(
                        stream = self.key,
                        table = named,
                        what,
                        "change left out on an operator's word"
                    );
                    skipped = 1;
                }
                result => result?,
            }
        }
        self.session
            .client
            .execute(
                "UPDATE ficus.copy SET skips = false, skipped = skipped + $3
                 WHERE stream = $1 AND source = $2",
                &[&self.key, &source, &skipped],
            )
            .await
            .map_err(StreamError::database("note a skipped change", self.side()))?;
        Ok(u64::try_from(skipped).unwrap_or(0))
    }

    /// New rows from before a column was added lack its value: it is read from the source, where the
    /// row still is.
    async fn completed(&mut self, changes: Vec<Change>) -> Result<Vec<Change>, StreamError> {
        let plans = self.tables.plans();
        let mut completed = Vec::with_capacity(changes.len());
        for change in changes {
            completed.push(match change {
                Change::Insert { table, new } if !self.tables.is_complete(table, &new) => {
                    let plan = plans.get(table).ok_or(StreamError::Worker)?;
                    let rows: Vec<Cow<'_, Row>> = vec![Cow::Owned(new)];
                    let mut rows = self.filled(table, plan, rows).await?;
                    let new = rows.pop().ok_or(StreamError::Worker)?.into_owned();
                    Change::Insert { table, new }
                }
                other @ (Change::Insert { .. }
                | Change::Update { .. }
                | Change::Delete { .. }
                | Change::Truncate { .. }
                | Change::Parked(_)) => other,
            });
        }
        Ok(completed)
    }
}
