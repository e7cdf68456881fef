//! Compares both sides of a capability through the mapping, while both are in use.
//!
//! ```text
//! chunk of keys ── count and hash on both sides ── differ? ── key by key ── differ? ── look again:
//!     owner's row, barrier, other side's row, owner's row: a true difference when the owner's row
//!     stayed the same and the other side's is not equal to it
//! ```

mod background;
mod look_again;
mod narrow;
mod outcome;
mod pace;
mod pass;
mod record;
mod repair;
mod table;
mod turn;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cutover::{Side, StreamKind};
use routes::{Capability, Config};
use rpc::v1;
use telemetry::Chain;
use tokio::sync::mpsc;
use tokio_postgres::Client;

use crate::{
    StreamError,
    dirty::DirtyKeys,
    metrics,
    probe::{BarrierError, BarrierHandle},
    session,
    spec::StreamSpec,
    status::{self, StreamShared},
};
pub(crate) use background::Rhythm;
use outcome::Outcome;
use pace::Pace;
use pass::{Manner, Pass, Round};
use repair::Repairer;
use table::VerifiedTable;
pub(crate) use turn::Asker;
use turn::{Turn, Turns};

/// A barrier that takes longer fails the pass: what is not known is not equal.
const BARRIER_WITHIN: Duration = Duration::from_secs(30);

/// Tables of which nothing is known are compared with the touched keys while they have no more rows
/// than this together; beyond it a comparison of every row comes first.
const UNKNOWN_ROWS_MAX: u64 = 200_000;

/// Verifies one capability, one pass at a time.
#[derive(Debug)]
pub(crate) struct Verifier {
    capability: String,
    streams: Vec<StreamSpec>,
    dirty: Arc<DirtyKeys>,
    /// The capability's streams, as they run.
    running: BTreeMap<StreamKind, (Arc<StreamShared>, BarrierHandle)>,
    turns: Arc<Turns>,
    /// Keeps what the next pass under a fence need not look up again.
    ready: tokio::sync::Mutex<Option<Ready>>,
    last: Mutex<Option<Outcome>>,
}

/// What to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every row.
    Full,
    /// What was touched since it was last found equal. `quiet`: nothing is on its way.
    Touched { quiet: bool },
}

/// What somebody asks for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) asker: Asker,
    pub(crate) scope: Scope,
    pub(crate) direction: StreamKind,
    /// Only these, by their names in the monolith; all when empty.
    pub(crate) tables: Vec<String>,
    /// Write rows that differ anew.
    pub(crate) repair: bool,
}

/// Why a pass did not come to a result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    /// Another pass has not ended.
    #[error("a verification of this capability is running, wait for it")]
    Busy,
    /// Another pass took over.
    #[error("another verification of this capability took over, run it again")]
    Displaced,
    /// The side that was to be compared is not the copy.
    #[error(
        "the {0} stream does not apply: a transfer is on its way, or was made meanwhile; run it again"
    )]
    Moved(&'static str),
    /// There is no such table.
    #[error("{0} is no table of this capability")]
    NoTable(String),
    /// There is nothing the touched keys could be added to.
    #[error("{0}: run a full verification first")]
    NeedsFull(String),
    /// A database failed.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// What was committed is not known to be applied.
    #[error("the {kind} stream gave no barrier: {source}")]
    Barrier {
        /// Which stream.
        kind: &'static str,
        /// Why.
        source: BarrierError,
    },
}

impl Verifier {
    pub(crate) fn new(
        config: &Config,
        capability: &Capability,
        dirty: Arc<DirtyKeys>,
        running: BTreeMap<StreamKind, (Arc<StreamShared>, BarrierHandle)>,
    ) -> Self {
        let streams = StreamSpec::all(config)
            .into_iter()
            .filter(|spec| *spec.capability == *capability.name)
            .collect();
        Self {
            capability: capability.name.clone(),
            streams,
            dirty,
            running,
            turns: Arc::default(),
            ready: tokio::sync::Mutex::new(None),
            last: Mutex::new(None),
        }
    }

    /// Runs a pass and tells its progress; the last message has `done`.
    ///
    /// # Errors
    /// [`VerifyError`]; nothing is known of the rows that were not reached.
    pub(crate) async fn verify(
        &self,
        request: Request,
        progress: mpsc::Sender<v1::VerifyProgress>,
    ) -> Result<(), VerifyError> {
        let turn = self.turns.take(request.asker).await.map_err(|_busy| VerifyError::Busy)?;
        let pass = async {
            match request.scope {
                Scope::Full => self.full(&turn, &request, progress).await,
                Scope::Touched { quiet } => {
                    self.touched(&turn, request.direction, quiet, progress).await
                }
            }
        };
        tokio::select! {
            biased;
            () = turn.displaced() => Err(VerifyError::Displaced),
            result = Box::pin(pass) => result,
        }
    }

    async fn full(
        &self,
        turn: &Turn,
        request: &Request,
        progress: mpsc::Sender<v1::VerifyProgress>,
    ) -> Result<(), VerifyError> {
        let mut ready = self.prepare().await?;
        let is_partial = !request.tables.is_empty();
        if is_partial {
            ready.keep_only(&request.tables)?;
        }
        let direction = request.direction;
        let repairer = match self.streams.iter().find(|spec| spec.kind == direction) {
            Some(spec) if request.repair => Some(Repairer::open(spec).await?),
            Some(_) | None => None,
        };
        let manner = Manner { direction, pace: Pace::Full, repairer, progress: Some(progress) };
        let mut round = Round::default();
        let mut pass = Pass::begin(self, &ready, turn, manner, &mut round).await?;
        pass.all_rows(&ready.tables).await?;
        pass.finish().await;
        if is_partial {
            self.keep_partial(round.found);
        } else {
            self.keep_full(&ready.target, round.found).await;
        }
        Ok(())
    }

    async fn touched(
        &self,
        turn: &Turn,
        direction: StreamKind,
        quiet: bool,
        progress: mpsc::Sender<v1::VerifyProgress>,
    ) -> Result<(), VerifyError> {
        let mut kept = self.ready.lock().await;
        let ready = match kept.take().filter(Ready::is_open) {
            Some(ready) => ready,
            None => self.prepare().await?,
        };
        self.check_touched_suffices(&ready).await?;
        let manner =
            Manner { direction, pace: Pace::Full, repairer: None, progress: Some(progress) };
        let mut round = Round::default();
        let mut pass = Pass::begin(self, &ready, turn, manner, &mut round).await?;
        pass.touched(&ready.tables, quiet).await?;
        pass.finish().await;
        *kept = Some(ready);
        self.keep_touched(round.found);
        Ok(())
    }

    /// The last result, with what was touched since, and what runs now.
    pub(crate) fn report(&self) -> Option<v1::Verification> {
        let last = self.last();
        let running = self.turns.progress();
        if last.is_none() && running.is_none() {
            return None;
        }
        let last = last.unwrap_or_default();
        let size = self.dirty.size();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Some(v1::Verification {
            capability: self.capability.clone(),
            rows: last.rows,
            differences: last.differences(),
            finished_unix_ms: last.finished_unix_ms,
            dirty_keys: count(size.keys),
            dirty_ranges: count(size.ranges),
            dirty_overflow: size.tables > 0,
            samples: last.samples,
            clean_unix_ms: last.clean_unix_ms,
            running,
        })
    }

    fn last(&self) -> Option<Outcome> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The result of a pass over everything.
    async fn keep_full(&self, target: &Client, mut found: Outcome) {
        found.finished_unix_ms = status::now_unix_ms();
        let is_clean = found.differences() == 0;
        found.clean_unix_ms = match self.last() {
            _ if is_clean => found.finished_unix_ms,
            Some(last) => last.clean_unix_ms,
            None => 0,
        };
        self.keep("full", found.clone());
        if let Err(error) = record::save(target, &self.capability, &found).await {
            let capability = &self.capability;
            tracing::warn!(capability, error = %Chain(&error), "the result was not kept");
        }
    }

    /// The result for a few tables: bad news is news of the capability, good news is not.
    fn keep_partial(&self, found: Outcome) {
        let was_clean = self.last().is_some_and(|last| last.differences() == 0);
        if found.differences() > 0 && was_clean {
            self.keep("tables", Outcome { finished_unix_ms: status::now_unix_ms(), ..found });
        }
    }

    fn keep_touched(&self, found: Outcome) {
        let last = self.last();
        // What the last full pass saw still stands.
        let rows = last.as_ref().map_or(found.rows, |last| last.rows);
        let clean_unix_ms = last.map_or(0, |last| last.clean_unix_ms);
        let finished_unix_ms = status::now_unix_ms();
        self.keep("touched", Outcome { rows, finished_unix_ms, clean_unix_ms, ..found });
    }

    fn keep(&self, scope: &'static str, found: Outcome) {
        let (capability, rows, repaired) = (&self.capability, found.rows, found.repaired);
        let differences = found.differences();
        if differences == 0 {
            tracing::info!(capability, rows, repaired, scope, "verification found no difference");
        } else {
            tracing::error!(capability, rows, differences, repaired, scope, "rows differ");
        }
        metrics::verified(capability, rows, differences, found.finished_unix_ms);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
    }

    async fn prepare(&self) -> Result<Ready, VerifyError> {
        let open = async |side: Side| {
            let url = self.url(side).ok_or(StreamError::Worker)?;
            session::open(url, side, "ficus-cdc-verify").await
        };
        Ok(Ready {
            tables: self.tables().await?,
            source: open(Side::Source).await?,
            target: open(Side::Target).await?,
        })
    }

    /// The tables to compare, in the direction of the forward stream, and then the references.
    async fn tables(&self) -> Result<Vec<VerifiedTable>, StreamError> {
        let mut reverse = None;
        let mut tables = Vec::new();
        for spec in &self.streams {
            match spec.kind {
                StreamKind::Forward | StreamKind::Reference => {
                    for (index, plan) in spec.plans().await?.into_iter().enumerate() {
                        tables.push(VerifiedTable::new(spec.kind, index, plan));
                    }
                }
                StreamKind::Reverse => reverse = Some(spec),
            }
        }
        // A way back that can not be resolved makes its keys useless, not the comparison.
        let plans = match reverse {
            Some(spec) => spec.plans().await.unwrap_or_default(),
            None => Vec::new(),
        };
        let mut plans = plans.into_iter();
        for table in tables.iter_mut().filter(|table| table.kind == StreamKind::Forward) {
            table.with_way_back(plans.next());
        }
        Ok(tables)
    }

    async fn check_touched_suffices(&self, ready: &Ready) -> Result<(), VerifyError> {
        let mut unknown_rows = 0;
        for table in ready.tables.iter().filter(|table| table.is_moved()) {
            let parts = self.dirty.parts(table.index);
            if parts.is_whole {
                unknown_rows += table.rows_estimated(&ready.source).await?;
            } else if !table.keys_agree && !parts.is_empty() {
                let why =
                    format!("the two directions identify rows of {} differently", table.name());
                return Err(VerifyError::NeedsFull(why));
            }
        }
        if unknown_rows > UNKNOWN_ROWS_MAX {
            let why = format!("{unknown_rows} rows were not compared since the replicator started");
            return Err(VerifyError::NeedsFull(why));
        }
        Ok(())
    }

    async fn barrier(&self, kind: StreamKind, within: Duration) -> Result<(), VerifyError> {
        let not_there = BarrierError::Unknown("there is no such stream".to_owned());
        let result = match self.running.get(&kind) {
            Some((_, handle)) => handle.wait(within).await.map(drop),
            None => Err(not_there),
        };
        result.map_err(|source| VerifyError::Barrier { kind: kind.as_str(), source })
    }

    fn url(&self, side: Side) -> Option<&str> {
        self.streams.first().map(|spec| spec.databases.url(side))
    }
}

/// The resolved tables, and a session on each side.
struct Ready {
    tables: Vec<VerifiedTable>,
    source: Client,
    target: Client,
}

impl Ready {
    fn keep_only(&mut self, names: &[String]) -> Result<(), VerifyError> {
        for name in names {
            if !self.tables.iter().any(|table| table.name().to_string() == *name) {
                return Err(VerifyError::NoTable(name.clone()));
            }
        }
        self.tables.retain(|table| names.contains(&table.name().to_string()));
        Ok(())
    }

    fn is_open(&self) -> bool {
        !self.source.is_closed() && !self.target.is_closed()
    }
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ready").field("tables", &self.tables.len()).finish_non_exhaustive()
    }
}
