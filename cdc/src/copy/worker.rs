//! One copy worker: a session with each database, one unit of work after the other.

use std::{pin::pin, sync::Arc};

use bytes::Bytes;
use futures::{SinkExt, TryStreamExt};
use pg::quote_literal;
use tokio_postgres::Client;

use crate::{
    StreamError,
    copy::{Range, Unit, Work, rewritten::refuse_rewritten},
    mapping::{Assignment, TablePlan, Value},
    metrics, session,
};

/// Where rows wait for the mapping's expressions.
const STAGE: &str = "pg_temp.ficus_stage";

/// A worker of a copy.
pub(super) struct Worker {
    work: Arc<Work>,
    reader: Client,
    writer: Client,
}

impl Worker {
    /// Works until nothing is left.
    ///
    /// # Errors
    /// The first failure ends the worker; the copy with it.
    pub(super) async fn work(work: Arc<Work>) -> Result<(), StreamError> {
        let spec = &work.shared.spec;
        let reader = session::open(spec.read_url(), spec.reads(), "ficus-cdc-copy").await?;
        let writer = session::open(spec.write_url(), spec.writes(), "ficus-cdc-copy").await?;
        reader
            .batch_execute(&format!(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
                quote_literal(&work.snapshot)
            ))
            .await
            .map_err(StreamError::database("take the slot's snapshot", spec.reads()))?;
        writer
            .batch_execute("SET session_replication_role = replica")
            .await
            .map_err(StreamError::database("become a replication session", spec.writes()))?;
        let worker = Self { work: Arc::clone(&work), reader, writer };
        while let Some(unit) = worker.work.next() {
            worker.copy(&unit).await?;
        }
        Ok(())
    }

    async fn copy(&self, unit: &Unit) -> Result<(), StreamError> {
        let plan = self.work.plans.get(unit.table).ok_or(StreamError::Worker)?;
        let source = plan.source.to_string();
        self.work.shared.update_table(&source, |table| "copying".clone_into(&mut table.state));
        self.write_sql("BEGIN").await?;
        let rows = if plan.is_identity() {
            self.straight(plan, unit.range).await?
        } else {
            self.staged(plan, unit.range).await?
        };
        let reads = self.work.shared.spec.reads();
        refuse_rewritten(&self.reader, plan, reads).await?;
        let is_done = self.work.done(unit.table);
        let state = if is_done { "ready" } else { "copying" };
        let key = self.work.shared.spec.key();
        let count = i64::try_from(rows).unwrap_or(i64::MAX);
        self.writer
            .execute(
                "UPDATE ficus.copy SET rows_copied = rows_copied + $3, state = $4
                 WHERE stream = $1 AND source = $2",
                &[&key, &source, &count, &state],
            )
            .await
            .map_err(StreamError::database("note the copy's progress", self.writes()))?;
        self.write_sql("COMMIT").await?;
        metrics::copied(&key, rows);
        self.work.shared.update_table(&source, |table| {
            table.rows_copied += rows;
            state.clone_into(&mut table.state);
        });
        Ok(())
    }

    /// Bytes go through as they come.
    async fn straight(&self, plan: &TablePlan, range: Range) -> Result<u64, StreamError> {
        let read = |assignment: &Assignment| match assignment.value {
            Value::Column(index) => plan.name_of(index),
            Value::Sql(_) => String::new(),
        };
        let columns: Vec<String> = plan.assignments.iter().map(read).collect();
        let written: Vec<String> =
            plan.assignments.iter().map(|each| pg::quote_ident(&each.column)).collect();
        let target = format!("{} ({})", plan.write.quoted(), written.join(", "));
        self.pipe(&select(plan, &columns, range), &target, "(FORMAT binary)").await
    }

    /// Through a staging table of the read columns, where the database that is written evaluates
    /// filter and expressions.
    async fn staged(&self, plan: &TablePlan, range: Range) -> Result<u64, StreamError> {
        let mut names = Vec::new();
        let mut definitions = Vec::new();
        let mut is_binary = true;
        for column in plan.needed().into_iter().filter_map(|index| plan.columns.get(index)) {
            let name = pg::quote_ident(&column.name);
            definitions.push(format!("{name} {}", column.cast));
            names.push(name);
            is_binary &= column.builtin;
        }
        self.write_sql(&format!(
            "CREATE TEMP TABLE ficus_stage ({}) ON COMMIT DROP",
            definitions.join(", ")
        ))
        .await?;
        let format = if is_binary { "(FORMAT binary)" } else { "(FORMAT text)" };
        let target = format!("{STAGE} ({})", names.join(", "));
        self.pipe(&select(plan, &names, range), &target, format).await?;
        self.writer
            .execute(&plan.insert_from(STAGE), &[])
            .await
            .map_err(|source| self.unusable(plan, source))
    }

    async fn pipe(&self, query: &str, target: &str, format: &str) -> Result<u64, StreamError> {
        let reads = self.work.shared.spec.reads();
        let rows = self
            .reader
            .copy_out(&format!("COPY ({query}) TO STDOUT {format}"))
            .await
            .map_err(StreamError::database("read rows to copy", reads))?;
        let sink = self
            .writer
            .copy_in::<_, Bytes>(&format!("COPY {target} FROM STDIN {format}"))
            .await
            .map_err(StreamError::database("write copied rows", self.writes()))?;
        let (mut rows, mut sink) = (pin!(rows), pin!(sink));
        while let Some(bytes) =
            rows.try_next().await.map_err(StreamError::database("read rows to copy", reads))?
        {
            sink.feed(bytes)
                .await
                .map_err(StreamError::database("write copied rows", self.writes()))?;
        }
        sink.finish().await.map_err(StreamError::database("write copied rows", self.writes()))
    }

    async fn write_sql(&self, sql: &str) -> Result<(), StreamError> {
        self.writer
            .batch_execute(sql)
            .await
            .map_err(StreamError::database("control the copy's transaction", self.writes()))
    }

    /// The mapping's expressions failed on real rows: name the table.
    fn unusable(&self, plan: &TablePlan, source: tokio_postgres::Error) -> StreamError {
        match source.as_db_error().map(|db| db.message().to_owned()) {
            Some(said) => StreamError::Conflict {
                table: plan.write.to_string(),
                what: format!("rows of {} do not fit: {said}", plan.read),
                source: Some(source),
            },
            None => StreamError::database("write copied rows", self.writes())(source),
        }
    }

    fn writes(&self) -> cutover::Side {
        self.work.shared.spec.writes()
    }
}

fn select(plan: &TablePlan, columns: &[String], range: Range) -> String {
    let rows = format!("SELECT {} FROM {}", columns.join(", "), plan.read.quoted());
    match range {
        Range::Whole => rows,
        Range::Pages { from, to: Some(to) } => {
            format!("{rows} WHERE ctid >= '({from},0)'::tid AND ctid < '({to},0)'::tid")
        }
        Range::Pages { from, to: None } => format!("{rows} WHERE ctid >= '({from},0)'::tid"),
    }
}
