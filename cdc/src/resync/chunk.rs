//! Reading chunks: each with a snapshot of its own, written together with the note that it was read.

use std::pin::pin;

use bytes::Bytes;
use futures::{SinkExt as _, TryStreamExt as _};
use pg::Snapshot;
use tokio_postgres::types::PgLsn;

use super::{decode::StageKey, table::TableResync};
use crate::{StreamError, metrics};

impl TableResync {
    /// Reads what is known of earlier attempts.
    pub(super) async fn load_chunks(&mut self) -> Result<(), StreamError> {
        let spec = &self.shared.spec;
        let rows = self
            .writer
            .query(
                "SELECT up_to, snapshot FROM ficus.chunk WHERE stream = $1 AND source = $2
                 ORDER BY number",
                &[&spec.key(), &self.source],
            )
            .await
            .map_err(StreamError::database("read the chunks", spec.writes()))?;
        for row in &rows {
            let up_to: Option<Vec<String>> = row.get(0);
            let snapshot = parse(row.get(1))?;
            let key = up_to.map(|key| key.into_iter().map(Bytes::from).collect());
            self.add(snapshot, key);
        }
        Ok(())
    }

    /// Reads the next chunk and writes it to the stage.
    ///
    /// # Errors
    /// Nothing of the chunk is there then.
    pub(super) async fn read_chunk(&mut self) -> Result<(), StreamError> {
        let (reads, writes) = (self.shared.spec.reads(), self.shared.spec.writes());
        // A table that is rewritten looks empty to older snapshots: lock it before there is one.
        self.read_sql(&format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; LOCK TABLE {} IN ACCESS SHARE MODE",
            self.plan.read.quoted()
        ))
        .await?;
        let after = self.bounds.last().cloned();
        let snapshot: String = self
            .reader
            .query_one("SELECT pg_current_snapshot()::text", &[])
            .await
            .map_err(StreamError::database("read the snapshot of a chunk", reads))?
            .get(0);
        let up_to = self.boundary(after.as_ref()).await?;
        self.write_sql("BEGIN").await?;
        let number = self.snapshots.count();
        let rows = self.pipe(number, after.as_ref(), up_to.as_ref()).await?;
        self.read_sql("COMMIT").await?;
        let complete = match &up_to {
            Some(_) => None,
            None => Some(PgLsn::from(self.source_position().await?.as_u64())),
        };
        let texts: Option<Vec<String>> = up_to.as_ref().map(|key| {
            key.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
        });
        let count = i64::try_from(rows).unwrap_or(i64::MAX);
        let number = i32::try_from(number).unwrap_or(i32::MAX);
        let noted = self
            .writer
            .execute(
                "WITH chunk AS (
                     INSERT INTO ficus.chunk (stream, source, number, up_to, snapshot)
                     VALUES ($1, $2, $3, $4, $5))
                 UPDATE ficus.copy SET rows_copied = rows_copied + $6, complete_lsn = $7
                 WHERE stream = $1 AND source = $2 AND state = 'resyncing'",
                &[
                    &self.shared.spec.key(),
                    &self.source,
                    &number,
                    &texts,
                    &snapshot,
                    &count,
                    &complete,
                ],
            )
            .await
            .map_err(StreamError::database("note a chunk", writes))?;
        if noted != 1 {
            return Err(StreamError::Stale);
        }
        self.write_sql("COMMIT").await?;
        self.complete_lsn = complete.map(|lsn| pg::Lsn::new(lsn.into()));
        self.add(parse(&snapshot)?, up_to);
        metrics::copied(&self.shared.spec.key(), rows);
        self.shared.update_table(&self.source, |table| table.rows_copied += rows);
        Ok(())
    }

    fn add(&mut self, snapshot: Snapshot, up_to: Option<StageKey>) {
        self.snapshots.add(snapshot, up_to.is_none());
        self.bounds.extend(up_to);
    }

    async fn boundary(&self, after: Option<&StageKey>) -> Result<Option<StageKey>, StreamError> {
        let sql = self.stage.boundary(after, self.shared.spec.chunk_rows);
        let row = self
            .reader
            .query_opt(&sql, &[])
            .await
            .map_err(StreamError::database("find the end of a chunk", self.shared.spec.reads()))?;
        let value = |row: &tokio_postgres::Row, place| row.get::<_, String>(place).into();
        Ok(row.map(|row| (0..self.stage.key.len()).map(|place| value(&row, place)).collect()))
    }

    async fn pipe(
        &self,
        number: usize,
        after: Option<&StageKey>,
        up_to: Option<&StageKey>,
    ) -> Result<u64, StreamError> {
        let (reads, writes) = (self.shared.spec.reads(), self.shared.spec.writes());
        let read = |error| StreamError::database("read a chunk", reads)(error);
        let write = |error| StreamError::database("write a chunk", writes)(error);
        let rows =
            self.reader.copy_out(&self.stage.rows(number, after, up_to)).await.map_err(read)?;
        let sink = self.writer.copy_in::<_, Bytes>(&self.stage.copy_in()).await.map_err(write)?;
        let (mut rows, mut sink) = (pin!(rows), pin!(sink));
        while let Some(bytes) = rows.try_next().await.map_err(read)? {
            sink.feed(bytes).await.map_err(write)?;
        }
        sink.finish().await.map_err(write)
    }
}

fn parse(text: &str) -> Result<Snapshot, StreamError> {
    Snapshot::parse(text).map_err(|error| StreamError::Operator(error.to_string()))
}
