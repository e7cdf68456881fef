//! One pass over the tables of a capability.

use cutover::{Side, StreamKind};
use rpc::v1;
use tokio::sync::mpsc;
use tokio_postgres::Client;

use super::{
    Outcome, Ready, SAMPLES_MAX, Verifier, VerifyError,
    table::{KeyRange, VerifiedTable},
};
use crate::{change::Key, dirty::KeySet};

/// Rows of one chunk: small enough to find a difference fast, large enough for few round trips.
const CHUNK_ROWS: u32 = 5_000;
/// Keys of one comparison.
pub(super) const KEYS_AT_ONCE: usize = 1_000;

/// A running pass.
pub(super) struct Pass<'a> {
    pub(super) verifier: &'a Verifier,
    pub(super) source: &'a Client,
    pub(super) target: &'a Client,
    /// The stream that carries the owner's writes.
    direction: StreamKind,
    progress: mpsc::Sender<v1::VerifyProgress>,
    found: Outcome,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        verifier: &'a Verifier,
        ready: &'a Ready,
        direction: StreamKind,
        progress: mpsc::Sender<v1::VerifyProgress>,
    ) -> Self {
        let found = Outcome::default();
        Self { verifier, source: &ready.source, target: &ready.target, direction, progress, found }
    }

    /// Compares every row.
    pub(super) async fn all_rows(&mut self, tables: &[VerifiedTable]) -> Result<(), VerifyError> {
        for table in tables {
            let total = table.rows_estimated(self.source).await?;
            let before = self.found.rows;
            let mut after: Option<Key> = None;
            loop {
                let up_to = table.boundary(self.source, after.as_ref(), CHUNK_ROWS).await?;
                let range = KeyRange { after: after.take(), up_to: up_to.clone() };
                self.chunk(table, &range).await?;
                let rows = self.found.rows.saturating_sub(before);
                self.tell(table, rows, total.max(rows)).await;
                match up_to {
                    Some(key) => after = Some(key),
                    None => break,
                }
            }
        }
        Ok(())
    }

    /// Compares these keys.
    pub(super) async fn keys(
        &mut self,
        tables: &[VerifiedTable],
        keys: &KeySet,
    ) -> Result<(), VerifyError> {
        for table in tables.iter().filter(|table| table.kind == StreamKind::Forward) {
            let Some(touched) = keys.tables.get(&table.index) else { continue };
            let keys: Vec<Key> = touched.iter().filter_map(|key| table.key_touched(key)).collect();
            for chunk in keys.chunks(KEYS_AT_ONCE) {
                let (source, target) = tokio::join!(
                    table.by_keys(self.source, Side::Source, chunk),
                    table.by_keys(self.target, Side::Target, chunk)
                );
                let (source, target) = (source?, target?);
                let suspects: Vec<Key> = chunk
                    .iter()
                    .filter(|key| source.get(*key) != target.get(*key))
                    .cloned()
                    .collect();
                self.found.rows += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
                self.settle(table, suspects).await?;
                self.tell(table, self.found.rows, self.found.rows).await;
            }
        }
        Ok(())
    }

    /// Sends the last message and gives the result.
    pub(super) async fn finish(self) -> Outcome {
        let message = v1::VerifyProgress {
            done: true,
            table: String::new(),
            rows: self.found.rows,
            rows_total: self.found.rows,
            differences: self.found.differences,
            samples: self.found.samples.clone(),
        };
        drop(self.progress.send(message).await);
        self.found
    }

    /// The side that owns the rows, and the stream that carries them to the other one.
    pub(super) const fn truth(&self, table: &VerifiedTable) -> (Side, StreamKind) {
        match (table.kind, self.direction) {
            (StreamKind::Reference, _) => (Side::Source, StreamKind::Reference),
            (_, StreamKind::Reverse) => (Side::Target, StreamKind::Reverse),
            (_, StreamKind::Forward | StreamKind::Reference) => (Side::Source, StreamKind::Forward),
        }
    }

    pub(super) const fn client(&self, side: Side) -> &Client {
        match side {
            Side::Source => self.source,
            Side::Target => self.target,
        }
    }

    async fn chunk(&mut self, table: &VerifiedTable, range: &KeyRange) -> Result<(), VerifyError> {
        let (source, target) = tokio::join!(
            table.digest(self.source, Side::Source, range),
            table.digest(self.target, Side::Target, range)
        );
        let (source, target) = (source?, target?);
        self.found.rows += source.rows;
        if source == target {
            return Ok(());
        }
        let (source, target) = tokio::join!(
            table.list(self.source, Side::Source, range),
            table.list(self.target, Side::Target, range)
        );
        let (source, target) = (source?, target?);
        let mut suspects: Vec<Key> = source
            .iter()
            .filter(|(key, hash)| target.get(*key) != Some(*hash))
            .map(|(key, _)| key.clone())
            .collect();
        suspects.extend(target.keys().filter(|key| !source.contains_key(*key)).cloned());
        suspects.sort_unstable();
        self.settle(table, suspects).await
    }

    async fn settle(
        &mut self,
        table: &VerifiedTable,
        suspects: Vec<Key>,
    ) -> Result<(), VerifyError> {
        if suspects.is_empty() {
            return Ok(());
        }
        for key in self.look_again(table, suspects).await? {
            self.found.differences += 1;
            if self.found.samples.len() < SAMPLES_MAX {
                self.found.samples.push(format!("{}{key}", table.name()));
            }
        }
        Ok(())
    }

    async fn tell(&self, table: &VerifiedTable, rows: u64, rows_total: u64) {
        let message = v1::VerifyProgress {
            done: false,
            table: table.name().to_string(),
            rows,
            rows_total,
            differences: self.found.differences,
            samples: self.found.samples.clone(),
        };
        // Nobody listens any more: the pass is about to be dropped.
        drop(self.progress.send(message).await);
    }
}

impl std::fmt::Debug for Pass<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass").field("direction", &self.direction).finish_non_exhaustive()
    }
}
