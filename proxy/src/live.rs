//! What a capability keeps over reloads and generations: its gate, how far its service has caught up,
//! and its counters.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use cutover::Side;
use tokio::sync::{Notify, watch};

use crate::{causal::CatchUp, gate::Gate, latency::Window};

/// The lasting part of one capability.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) name: String,
    pub(crate) gate: Arc<Gate>,
    pub(crate) catch_up: CatchUp,
    /// While set, a barrier is asked for at least so often: reads go to the service.
    pub(crate) heartbeat: watch::Sender<Option<Duration>>,
    pub(crate) source: Cohort,
    pub(crate) target: Cohort,
    pub(crate) shadow: ShadowCounts,
}

/// Requests one side answered.
#[derive(Debug)]
pub(crate) struct Cohort {
    pub(crate) requests: AtomicU64,
    /// 5xx, timeouts and connections refused.
    pub(crate) errors: AtomicU64,
    /// Errors since the last request that was none.
    pub(crate) errors_in_a_row: AtomicU64,
    /// Reads only.
    pub(crate) latency: Window,
}

/// Shadowed reads since start.
#[derive(Debug, Default)]
pub(crate) struct ShadowCounts {
    pub(crate) compared: AtomicU64,
    pub(crate) mismatched: AtomicU64,
    pub(crate) skipped: AtomicU64,
}

impl Live {
    pub(crate) fn new(name: &str, owner: Side, drained: Arc<Notify>) -> Self {
        Self {
            name: name.to_owned(),
            gate: Arc::new(Gate::new(owner, drained)),
            catch_up: CatchUp::new(),
            heartbeat: watch::Sender::new(None),
            source: Cohort::new(),
            target: Cohort::new(),
            shadow: ShadowCounts::default(),
        }
    }

    /// The counters of one side.
    pub(crate) const fn cohort(&self, side: Side) -> &Cohort {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    /// Begins new windows of the percentiles.
    pub(crate) fn rotate(&self) {
        self.source.latency.rotate();
        self.target.latency.rotate();
    }
}

impl Cohort {
    fn new() -> Self {
        Self {
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            errors_in_a_row: AtomicU64::new(0),
            latency: Window::new(),
        }
    }

    /// Counts one request; `read_took` is set for reads.
    pub(crate) fn record(&self, failed: bool, read_took: Option<Duration>) {
        self.requests.fetch_add(1, Relaxed);
        if failed {
            self.errors.fetch_add(1, Relaxed);
            self.errors_in_a_row.fetch_add(1, Relaxed);
        } else if self.errors_in_a_row.load(Relaxed) != 0 {
            self.errors_in_a_row.store(0, Relaxed);
        }
        if let Some(took) = read_took {
            self.latency.record(took);
        }
    }
}
