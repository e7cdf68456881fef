//! Writes batches of changes, exactly once: the rows and the stream's position change in one
//! transaction, on the condition that the position and the epoch still are what we believe.
//!
//! ```text
//! BEGIN, lock the row of ficus.apply ── rows, set-based ──> UPDATE ficus.apply ... COMMIT
//! ```
//!
//! An error leaves the session in the middle of a transaction: drop the applier then.

mod fill;
mod net;
mod parked;
mod session;

#[cfg(test)]
mod tests;

use std::{borrow::Cow, sync::Arc};

use cutover::Side;
use futures::future;
use pg::Lsn;
use tokio_postgres::{Client, error::SqlState};

use crate::{
    StreamError,
    apply_row::{self, ApplyRow, Barrier, Mode, Statements, TargetLog},
    change::{Change, Row},
    mapping::{Format, TablePlan},
    spec::StreamSpec,
};
use net::{NetRows, Step, Tables};
pub(crate) use parked::Replayed;
use session::{ApplySession, Verb};

/// The writing end of a stream.
#[derive(Debug)]
pub(crate) struct Applier {
    spec: Arc<StreamSpec>,
    key: String,
    tables: Tables,
    /// The form in which values come.
    format: Format,
    session: ApplySession,
    statements: Statements,
    /// A session with the database that is read, for values the log left out.
    reader: Option<Client>,
    row: ApplyRow,
    is_open: bool,
}

/// What to do with rows that an affected-rows count does not match.
#[derive(Clone, Copy)]
enum Expect {
    /// Every row must be met.
    All,
    /// The filter decides.
    Any,
}

impl Applier {
    /// Connects and reads the stream's row.
    ///
    /// # Errors
    /// [`StreamError::Gone`] when there is none.
    pub(crate) async fn open(
        spec: Arc<StreamSpec>,
        plans: Arc<[TablePlan]>,
        format: Format,
    ) -> Result<Self, StreamError> {
        let side = spec.writes();
        let session =
            ApplySession::open(spec.write_url(), side, &spec.slot(), &plans, format).await?;
        let key = spec.key();
        let row = apply_row::read(&session.client, &key)
            .await
            .map_err(StreamError::database("read the stream's row", side))?
            .ok_or(StreamError::Gone)?;
        let statements = Statements::prepare(&session.client)
            .await
            .map_err(StreamError::database("read the stream's row", side))?;
        let tables = Tables::new(plans);
        Ok(Self {
            spec,
            key,
            tables,
            format,
            session,
            statements,
            reader: None,
            row,
            is_open: false,
        })
    }

    /// What the stream's row said last.
    pub(crate) const fn row(&self) -> &ApplyRow {
        &self.row
    }

    /// Reads the stream's row again.
    ///
    /// # Errors
    /// [`StreamError::Stale`] when somebody else moved it.
    pub(crate) async fn refresh(&mut self) -> Result<(), StreamError> {
        let row = apply_row::read(&self.session.client, &self.key)
            .await
            .map_err(StreamError::database("read the stream's row", self.side()))?;
        self.adopt(row)
    }

    /// Writes changes into the open transaction, opening one if there is none.
    ///
    /// # Errors
    /// [`StreamError::Conflict`] when a change does not meet its row; [`StreamError::Stale`] when the
    /// stream may not apply any more.
    pub(crate) async fn write(&mut self, changes: &[Change]) -> Result<(), StreamError> {
        self.begin().await?;
        if self.row.mode == Mode::Stopped {
            // It was stopped after the changes were taken for granted: look again from the start.
            return Err(StreamError::Stale);
        }
        let tables = self.tables.clone();
        if changes.len() < 2 {
            return self.steps(net::ordered(changes, &tables)).await;
        }
        self.session.run("SAVEPOINT ficus").await?;
        match self.steps(net::merged(changes, &tables)).await {
            // Merging gave up an order that mattered (values of a unique index that change hands), or
            // there is a conflict; one by one tells which, and in which row.
            Err(StreamError::Conflict { .. }) => {
                self.session.run("ROLLBACK TO SAVEPOINT ficus").await?;
                self.steps(net::ordered(changes, &tables)).await
            }
            result => result,
        }
    }

    /// Moves the stream's position to `lsn` and commits, with everything written since the last time.
    /// Answers how far the log of the target goes then: the commit is safe when it is flushed up to
    /// there. A commit with a barrier is safe at once, with everything before it.
    ///
    /// # Errors
    /// [`StreamError::Stale`] when somebody else moved it: nothing was written then.
    pub(crate) async fn commit(
        &mut self,
        lsn: Lsn,
        barrier: Option<&Barrier>,
    ) -> Result<TargetLog, StreamError> {
        self.begin().await?;
        let moved = self
            .statements
            .advance(&self.session.client, &self.key, &self.row, lsn, barrier)
            .await
            .map_err(StreamError::database("move the stream's position", self.side()))?;
        if !moved {
            return Err(StreamError::Stale);
        }
        let commit = match barrier {
            Some(_) => "SET LOCAL synchronous_commit = on; COMMIT",
            None => "COMMIT",
        };
        let (committed, log) = future::join(self.session.run(commit), self.log()).await;
        committed?;
        self.is_open = false;
        self.row.lsn = lsn;
        log
    }

    /// How far the log of the database that is written goes.
    ///
    /// # Errors
    /// When it can not be asked.
    pub(crate) async fn log(&self) -> Result<TargetLog, StreamError> {
        let log = self.statements.log(&self.session.client).await;
        log.map_err(StreamError::database("read the position of the target's log", self.side()))
    }

    /// A session with the database that is read.
    ///
    /// # Errors
    /// When it can not be reached.
    pub(crate) async fn reader(&mut self) -> Result<&Client, StreamError> {
        let reader = match self.reader.take() {
            Some(reader) if !reader.is_closed() => reader,
            Some(_) | None => {
                let side = self.spec.reads();
                crate::session::open(self.spec.read_url(), side, "ficus-cdc-reader").await?
            }
        };
        Ok(self.reader.insert(reader))
    }

    const fn side(&self) -> Side {
        self.session.side
    }

    async fn begin(&mut self) -> Result<(), StreamError> {
        if self.is_open {
            return Ok(());
        }
        let client = &self.session.client;
        // Sent together, answered in order.
        let (begun, row) = future::join(
            client.batch_execute(&self.session.begin),
            self.statements.lock(client, &self.key),
        )
        .await;
        let side = self.side();
        begun.map_err(StreamError::database("begin", side))?;
        let row = row.map_err(StreamError::database("lock the stream's row", side))?;
        self.adopt(row)?;
        self.is_open = true;
        Ok(())
    }

    /// Believes the row, unless that changes where the stream stands.
    fn adopt(&mut self, row: Option<ApplyRow>) -> Result<(), StreamError> {
        let row = row.ok_or(StreamError::Gone)?;
        if row.paused {
            return Err(StreamError::Paused);
        }
        if row.lsn != self.row.lsn || row.tables != self.row.tables {
            return Err(StreamError::Stale);
        }
        self.row = row;
        Ok(())
    }

    async fn steps(&mut self, steps: Vec<Step<'_>>) -> Result<(), StreamError> {
        let plans = self.tables.plans();
        let plan = |table: usize| plans.get(table).ok_or(StreamError::Worker);
        for step in steps {
            match step {
                Step::Rows { table, net } => self.rows(table, plan(table)?, net).await?,
                Step::Rekey { table, old, new } => {
                    self.rekey(table, plan(table)?, old, new).await?;
                }
                Step::Truncate { tables } => self.truncate(tables).await?,
            }
        }
        Ok(())
    }

    async fn rows(
        &mut self,
        table: usize,
        plan: &TablePlan,
        net: NetRows<'_>,
    ) -> Result<(), StreamError> {
        let expect = if plan.filter.is_some() { Expect::Any } else { Expect::All };
        if !net.deletes.is_empty() {
            self.execute((table, plan), Verb::Delete, &net.deletes, expect).await?;
        }
        for (known, rows) in net.updates {
            if plan.filter.is_some() {
                self.change_filtered(table, plan, rows).await?;
            } else if plan.is_partly_computable(&known) {
                for row in self.filled(table, plan, rows).await? {
                    let known = self.tables.known(table, &row).collect();
                    self.update(table, plan, known, &[row]).await?;
                }
            } else {
                self.update(table, plan, known, &rows).await?;
            }
        }
        if !net.inserts.is_empty() {
            self.execute((table, plan), Verb::Insert, &net.inserts, expect).await?;
        }
        Ok(())
    }

    async fn update(
        &mut self,
        table: usize,
        plan: &TablePlan,
        known: Vec<usize>,
        rows: &[Cow<'_, Row>],
    ) -> Result<(), StreamError> {
        // A known key alone changes nothing.
        if !plan.changes_with(&known) {
            return Ok(());
        }
        self.execute((table, plan), Verb::Update(known), rows, Expect::All).await
    }

    /// Changed rows of a filtered table may come into view, leave it, or stay on either side.
    async fn change_filtered(
        &mut self,
        table: usize,
        plan: &TablePlan,
        rows: Vec<Cow<'_, Row>>,
    ) -> Result<(), StreamError> {
        let rows = self.filled(table, plan, rows).await?;
        // A row that the source no longer has comes again as a delete.
        let rows: Vec<Cow<'_, Row>> =
            rows.into_iter().filter(|row| self.tables.is_complete(table, row)).collect();
        if rows.is_empty() {
            return Ok(());
        }
        self.execute((table, plan), Verb::DeleteUnmatched, &rows, Expect::Any).await?;
        self.execute((table, plan), Verb::Upsert, &rows, Expect::Any).await
    }

    async fn rekey(
        &mut self,
        table: usize,
        plan: &TablePlan,
        old: &Row,
        new: &Row,
    ) -> Result<(), StreamError> {
        let mut rows = vec![Cow::Borrowed(new)];
        if plan.filter.is_some() {
            let old = [Cow::Borrowed(old)];
            self.execute((table, plan), Verb::Delete, &old, Expect::Any).await?;
            return self.change_filtered(table, plan, rows).await;
        }
        if plan.is_partly_computable(&self.tables.known(table, new).collect::<Vec<_>>()) {
            rows = self.filled(table, plan, rows).await?;
        }
        let known = rows.iter().flat_map(|row| self.tables.known(table, row)).collect();
        let verb = Verb::Rekey(known);
        let done = self.session.execute((table, plan), verb.clone(), &rows, &[old]).await;
        self.check(plan, &verb, &rows, Expect::All, done)
    }

    async fn truncate(&mut self, tables: &[usize]) -> Result<(), StreamError> {
        let mut whole = Vec::new();
        let mut statements = Vec::new();
        for plan in tables.iter().filter_map(|table| self.tables.plan(*table)) {
            match &plan.left_home {
                Some(condition) => {
                    statements
                        .push(format!("DELETE FROM {} WHERE ({condition})", plan.write.quoted()));
                }
                None => whole.push(plan.write.quoted()),
            }
        }
        if !whole.is_empty() {
            statements.push(format!("TRUNCATE {}", whole.join(", ")));
        }
        for statement in statements {
            let done = self.session.client.batch_execute(&statement).await;
            done.map_err(StreamError::database(
                "empty the tables that were truncated",
                self.side(),
            ))?;
        }
        Ok(())
    }

    async fn execute(
        &mut self,
        (table, plan): (usize, &TablePlan),
        verb: Verb,
        rows: &[Cow<'_, Row>],
        expect: Expect,
    ) -> Result<(), StreamError> {
        let done = match verb {
            Verb::Insert => self.session.insert((table, plan), rows).await,
            Verb::Upsert
            | Verb::Update(_)
            | Verb::Rekey(_)
            | Verb::Delete
            | Verb::DeleteUnmatched => {
                self.session.execute((table, plan), verb.clone(), rows, &[]).await
            }
        };
        self.check(plan, &verb, rows, expect, done)
    }

    /// A row that was not met, or a value that a constraint refuses, is a conflict.
    fn check(
        &self,
        plan: &TablePlan,
        verb: &Verb,
        rows: &[Cow<'_, Row>],
        expect: Expect,
        done: Result<u64, tokio_postgres::Error>,
    ) -> Result<(), StreamError> {
        let (verb, wanted) = (verb.as_str(), rows.len());
        let conflict = |what: String, source: Option<tokio_postgres::Error>| {
            let key = match rows {
                [row] => row.key(plan),
                _ => None,
            };
            let key = key.map(|key| key.to_string()).unwrap_or_default();
            StreamError::Conflict { table: format!("{}{key}", plan.write), what, source }
        };
        match done {
            Ok(count) => match expect {
                Expect::All if usize::try_from(count) != Ok(wanted) => {
                    Err(conflict(format!("{verb} of {wanted} rows met {count}"), None))
                }
                Expect::All | Expect::Any => Ok(()),
            },
            Err(error) if is_integrity_violation(&error) => {
                let said = error.as_db_error().map_or("", |db| db.message()).to_owned();
                Err(conflict(format!("{verb} was refused: {said}"), Some(error)))
            }
            Err(error) => Err(StreamError::database("write rows", self.side())(error)),
        }
    }
}

fn is_integrity_violation(error: &tokio_postgres::Error) -> bool {
    error.code().map(SqlState::code).is_some_and(|code| code.starts_with("23"))
}
