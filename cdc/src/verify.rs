//! Compares both sides of a capability through the mapping, while both are in use.
//!
//! ```text
//! chunk of keys ── count and hash on both sides ── differ? ── key by key ── differ? ── look again:
//!     owner's row, barrier, other side's row, owner's row: a true difference when the owner's row
//!     stayed the same and the other side's is not equal to it
//! ```

mod look_again;
mod pass;
mod table;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cutover::{Side, StreamKind};
use routes::{Capability, Config};
use rpc::v1;
use tokio::sync::mpsc;
use tokio_postgres::Client;

use crate::{
    StreamError,
    dirty::DirtyKeys,
    metrics,
    probe::{BarrierError, BarrierHandle},
    session,
    spec::StreamSpec,
    status,
};
use pass::Pass;
use table::VerifiedTable;

/// Differences whose keys are told.
const SAMPLES_MAX: usize = 20;

/// A barrier that takes longer fails the pass: what is not known is not equal.
const BARRIER_WITHIN: Duration = Duration::from_secs(30);

/// Verifies one capability, one pass at a time.
#[derive(Debug)]
pub(crate) struct Verifier {
    capability: String,
    streams: Vec<StreamSpec>,
    dirty: Arc<DirtyKeys>,
    barriers: BTreeMap<StreamKind, BarrierHandle>,
    /// Held by the running pass; keeps what the next one under a fence need not look up again.
    ready: tokio::sync::Mutex<Option<Ready>>,
    last: Mutex<Option<Outcome>>,
}

/// What to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every row.
    Full,
    /// The keys that were touched since the last clean pass.
    Dirty,
}

/// Why a pass did not come to a result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    /// Another pass has not ended.
    #[error("a verification of this capability is running, wait for it")]
    Busy,
    /// There is nothing the touched keys could be added to.
    #[error("{0}: run a full verification first")]
    NeedsFull(&'static str),
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

/// What a pass found.
#[derive(Clone, Debug, Default)]
struct Outcome {
    rows: u64,
    differences: u64,
    samples: Vec<String>,
    finished_unix_ms: u64,
    /// Every row has been compared since the process started, and found equal.
    is_complete: bool,
}

impl Verifier {
    pub(crate) fn new(
        config: &Config,
        capability: &Capability,
        dirty: Arc<DirtyKeys>,
        barriers: BTreeMap<StreamKind, BarrierHandle>,
    ) -> Self {
        let streams = StreamSpec::all(config)
            .into_iter()
            .filter(|spec| *spec.capability == *capability.name)
            .collect();
        Self {
            capability: capability.name.clone(),
            streams,
            dirty,
            barriers,
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
        scope: Scope,
        direction: StreamKind,
        progress: mpsc::Sender<v1::VerifyProgress>,
    ) -> Result<(), VerifyError> {
        let mut kept = self.ready.try_lock().map_err(|_| VerifyError::Busy)?;
        let ready = match kept.take().filter(|ready| scope == Scope::Dirty && ready.is_open()) {
            Some(ready) => ready,
            None => self.prepare().await?,
        };
        if scope == Scope::Dirty {
            self.check_dirty_suffices(&ready.tables)?;
        }
        let keys = self.dirty.begin_pass();
        let ending = EndPass { dirty: &self.dirty, is_clean: false };
        let mut pass = Pass::new(self, &ready, direction, progress);
        match scope {
            Scope::Full => pass.all_rows(&ready.tables).await?,
            Scope::Dirty => pass.keys(&ready.tables, &keys).await?,
        }
        let found = pass.finish().await;
        *kept = Some(ready);
        self.keep(scope, found, ending);
        Ok(())
    }

    /// The last result, with what was touched since.
    pub(crate) fn report(&self) -> Option<v1::Verification> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let (dirty_keys, dirty_overflow) = self.dirty.size();
        Some(v1::Verification {
            capability: self.capability.clone(),
            rows: last.rows,
            differences: last.differences,
            finished_unix_ms: last.finished_unix_ms,
            dirty_keys: u64::try_from(dirty_keys).unwrap_or(u64::MAX),
            dirty_overflow,
            samples: last.samples,
        })
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
        for table in tables.iter_mut().filter(|table| table.kind == StreamKind::Forward) {
            table.compare_keys_with(plans.get(table.index));
        }
        Ok(tables)
    }

    fn check_dirty_suffices(&self, tables: &[VerifiedTable]) -> Result<(), VerifyError> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if !last.as_ref().is_some_and(|last| last.is_complete) {
            return Err(VerifyError::NeedsFull("no full verification was clean since the start"));
        }
        if self.dirty.size().1 {
            return Err(VerifyError::NeedsFull("too many rows were touched since the last one"));
        }
        if tables.iter().any(|table| !table.keys_agree) {
            return Err(VerifyError::NeedsFull("the two directions identify rows differently"));
        }
        Ok(())
    }

    fn keep(&self, scope: Scope, found: Outcome, mut ending: EndPass<'_>) {
        let is_clean = found.differences == 0;
        ending.is_clean = is_clean;
        drop(ending);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = match scope {
            Scope::Full => found.rows,
            // What the last full pass saw still stands.
            Scope::Dirty => last.as_ref().map_or(found.rows, |last| last.rows),
        };
        tracing::info!(
            capability = self.capability,
            rows,
            differences = found.differences,
            scope = ?scope,
            "verification ended"
        );
        let finished_unix_ms = status::now_unix_ms();
        metrics::verified(&self.capability, rows, found.differences, finished_unix_ms);
        *last = Some(Outcome { rows, finished_unix_ms, is_complete: is_clean, ..found });
    }

    async fn barrier(&self, kind: StreamKind, within: Duration) -> Result<(), VerifyError> {
        let not_there = BarrierError::Unknown("there is no such stream".to_owned());
        let result = match self.barriers.get(&kind) {
            Some(handle) => handle.wait(within).await.map(drop),
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
    fn is_open(&self) -> bool {
        !self.source.is_closed() && !self.target.is_closed()
    }
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ready").field("tables", &self.tables.len()).finish_non_exhaustive()
    }
}

/// Ends the pass for the touched keys however it ends.
#[derive(Debug)]
struct EndPass<'a> {
    dirty: &'a DirtyKeys,
    is_clean: bool,
}

impl Drop for EndPass<'_> {
    fn drop(&mut self) {
        self.dirty.end_pass(self.is_clean);
    }
}
