//! One copy worker: a session with each database, one unit of work after the other.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use pg::quote_literal;
use tokio::time::Instant;

use crate::{
    StreamError,
    copy::{
        Work,
        rewritten::refuse_rewritten,
        units::{Range, Unit},
    },
    mapping::{Assignment, Format, TablePlan, Value},
    metrics, replica, session,
    wire::{Answer, PassError, Passed, Session, WireError, pass},
};

/// Where rows wait for the mapping's expressions.
const STAGE: &str = "pg_temp.ficus_stage";

/// SQLSTATE classes in which a server speaks of values: out of range, against a constraint.
const VALUE_CLASSES: [&str; 2] = ["22", "23"];

/// A worker of a copy.
pub(super) struct Worker {
    work: Arc<Work>,
    reader: Session,
    writer: Session,
}

impl Worker {
    /// Works until nothing is left.
    ///
    /// # Errors
    /// The first failure ends the worker; the copy with it.
    pub(super) async fn work(work: Arc<Work>) -> Result<(), StreamError> {
        let spec = &work.shared.spec;
        let (reads, writes) = (spec.reads(), spec.writes());
        let mut reader = session::open_for_copy(spec.read_url(), reads, "ficus-cdc-copy").await?;
        let mut writer = session::open_for_copy(spec.write_url(), writes, "ficus-cdc-copy").await?;
        reader
            .query(&format!(
                // Rows that a policy hides from this role are an error, not missing.
                "SET row_security = off;
                 BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
                quote_literal(&work.snapshot)
            ))
            .await
            .map_err(StreamError::copy("take the slot's snapshot", reads))?;
        match writer.query("SET session_replication_role = replica").await {
            // The copy has made sure that nothing would fire.
            Err(error) if error.sqlstate() == Some(replica::REFUSED) => {}
            done => drop(done.map_err(StreamError::copy("become a replication session", writes))?),
        }
        writer
            // A commit that is lost with the server is lost with the one that says "copied".
            .query("SET synchronous_commit = off")
            .await
            .map_err(StreamError::copy("become a replication session", writes))?;
        let mut worker = Self { work: Arc::clone(&work), reader, writer };
        while let Some(unit) = worker.work.next() {
            worker.copy(&unit).await?;
        }
        Ok(())
    }

    async fn copy(&mut self, unit: &Unit) -> Result<(), StreamError> {
        let work = Arc::clone(&self.work);
        let plan = work.plans.get(unit.table).ok_or(StreamError::Worker)?;
        let source = plan.source.to_string();
        work.shared.update_table(&source, |table| "copying".clone_into(&mut table.state));
        self.write("BEGIN").await?;
        let rows = match plan.straight() {
            Some(format) => self.straight(plan, unit, format).await?,
            None => self.staged(plan, unit).await?,
        };
        refuse_rewritten(&mut self.reader, plan, work.shared.spec.reads()).await?;
        let is_done = work.done(unit.table);
        let state = if is_done { "ready" } else { "copying" };
        let key = work.shared.spec.key();
        self.write(&format!(
            "UPDATE ficus.copy SET rows_copied = rows_copied + {rows}, state = '{state}'
             WHERE stream = {} AND source = {}; COMMIT",
            quote_literal(&key),
            quote_literal(&source),
        ))
        .await?;
        metrics::copied(&key, rows);
        work.shared.update_table(&source, |table| {
            table.rows_copied += rows;
            if is_done && !work.indexed.contains(&source) {
                state.clone_into(&mut table.state);
            }
        });
        Ok(())
    }

    /// Bytes go through as they come.
    async fn straight(
        &mut self,
        plan: &TablePlan,
        unit: &Unit,
        format: Format,
    ) -> Result<u64, StreamError> {
        let read = |assignment: &Assignment| match assignment.value {
            Value::Column(index) => plan.name_of(index),
            Value::Sql(_) => String::new(),
        };
        let columns: Vec<String> = plan.assignments.iter().map(read).collect();
        let written: Vec<String> =
            plan.assignments.iter().map(|each| pg::quote_ident(&each.column)).collect();
        let target = format!("{} ({})", plan.write.quoted(), written.join(", "));
        self.pass(plan, unit, (&columns, &target), format).await
    }

    /// Through a staging table of the read columns, where the database that is written evaluates
    /// filter and expressions.
    async fn staged(&mut self, plan: &TablePlan, unit: &Unit) -> Result<u64, StreamError> {
        let mut names = Vec::new();
        let mut definitions = Vec::new();
        for column in plan.needed().into_iter().filter_map(|index| plan.columns.get(index)) {
            let name = pg::quote_ident(&column.name);
            definitions.push(format!("{name} {}", column.cast));
            names.push(name);
        }
        self.write(&format!(
            "CREATE TEMP TABLE ficus_stage ({}) ON COMMIT DROP",
            definitions.join(", ")
        ))
        .await?;
        let target = format!("{STAGE} ({})", names.join(", "));
        self.pass(plan, unit, (&names, &target), plan.staged()).await?;
        let inserted = self.writer.query(&plan.insert_from(STAGE)).await;
        inserted.map(|answer| answer.count).map_err(|source| self.refused(plan, source))
    }

    async fn pass(
        &mut self,
        plan: &TablePlan,
        unit: &Unit,
        (columns, target): (&[String], &str),
        format: Format,
    ) -> Result<u64, StreamError> {
        let reads = self.work.shared.spec.reads();
        let options = format.options();
        let read = format!("COPY ({}) TO STDOUT {options}", select(unit, columns));
        let write = format!("COPY {target} FROM STDIN {options}");
        let counted = AtomicU64::new(0);
        let report = |passed: Passed| {
            counted.fetch_add(passed.messages, Ordering::Relaxed);
            self.work.progress.passed(Instant::now(), unit.table, passed);
        };
        let counts = pass((&mut self.reader, &read), (&mut self.writer, &write), report).await;
        let counts = counts.map_err(|error| match error {
            PassError::Source(source) => StreamError::copy("read rows to copy", reads)(source),
            PassError::Target(source) => self.refused(plan, source),
        })?;
        self.work.progress.unit_done(unit.table, unit.bytes, counted.into_inner(), counts.read);
        if counts.read == counts.written {
            return Ok(counts.written);
        }
        Err(StreamError::Operator(format!(
            "{} rows of {} were read and {} written to {}: a trigger that is ENABLE ALWAYS keeps rows              out, disable it",
            counts.read, plan.read, counts.written, plan.write
        )))
    }

    async fn write(&mut self, sql: &str) -> Result<Answer, StreamError> {
        let answer = self.writer.query(sql).await;
        answer.map_err(StreamError::copy("control the copy's transaction", self.writes()))
    }

    /// Real rows do not fit the written table: name it.
    fn refused(&self, plan: &TablePlan, source: WireError) -> StreamError {
        let said = source
            .server_error()
            .filter(|error| VALUE_CLASSES.iter().any(|class| error.sqlstate.starts_with(class)));
        match said {
            Some(said) => StreamError::Conflict {
                table: plan.write.to_string(),
                what: format!("rows of {} do not fit: {}", plan.read, said.message),
                source: None,
            },
            None => StreamError::copy("write copied rows", self.writes())(source),
        }
    }

    fn writes(&self) -> cutover::Side {
        self.work.shared.spec.writes()
    }
}

fn select(unit: &Unit, columns: &[String]) -> String {
    let rows = format!("SELECT {} FROM {}", columns.join(", "), unit.read.quoted());
    match unit.range {
        Range::Whole => rows,
        Range::Pages { from, to: Some(to) } => {
            format!("{rows} WHERE ctid >= '({from},0)'::tid AND ctid < '({to},0)'::tid")
        }
        Range::Pages { from, to: None } => format!("{rows} WHERE ctid >= '({from},0)'::tid"),
    }
}
