//! What all parts of a running proxy share: the published snapshot, and a few flags.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use crate::{
    access_log::LogFile,
    answer_cache::AnswerCache,
    causal::SubjectKeys,
    metrics,
    plan::Snapshot,
    pressure::Pressure,
    shadow::{Mismatches, Shadower},
};

/// Shared by requests, tasks and the admin server.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Written by the keeper alone.
    pub(crate) snapshot: ArcSwap<Snapshot>,
    /// Generation whose gates are all turned; stored last.
    applied: AtomicU64,
    /// A report should be sent now.
    pub(crate) report: Arc<Notify>,
    /// The process is about to stop: answers say `Connection: close`.
    lame: AtomicBool,
    ready: AtomicBool,
    /// A route table from control, or from the state file, or none is needed.
    pub(crate) informed: watch::Sender<bool>,
    pub(crate) subjects: SubjectKeys,
    pub(crate) shadower: Shadower,
    pub(crate) mismatches: Arc<Mismatches>,
    /// Kept answers.
    pub(crate) answers: AnswerCache,
    pub(crate) pressure: Arc<Pressure>,
    /// Set once at the start, where the access log has a file of its own.
    pub(crate) access_log: OnceLock<LogFile>,
}

impl Shared {
    pub(crate) fn new(snapshot: Snapshot, report: Arc<Notify>) -> Self {
        let mismatches = Arc::new(Mismatches::default());
        let answers = AnswerCache::new(snapshot.plan.config.gateway.answer_cache);
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            applied: AtomicU64::new(0),
            report,
            lame: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            informed: watch::Sender::new(false),
            subjects: SubjectKeys::default(),
            shadower: Shadower::new(Arc::clone(&mismatches)),
            mismatches,
            answers,
            pressure: Arc::default(),
            access_log: OnceLock::new(),
        }
    }

    /// The generation whose gates are all turned.
    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(SeqCst)
    }

    pub(crate) fn set_applied(&self, generation: u64) {
        self.applied.store(generation, SeqCst);
        metrics::GENERATION.set(i64::try_from(generation).unwrap_or(i64::MAX));
    }

    pub(crate) fn is_lame(&self) -> bool {
        self.lame.load(SeqCst)
    }

    pub(crate) fn set_lame(&self) {
        self.lame.store(true, SeqCst);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(SeqCst)
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, SeqCst);
    }

    /// Copies counts that live elsewhere into the registry.
    pub(crate) fn refresh_gauges(&self) {
        self.pressure.publish();
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        metrics::upstreams::refresh(&self.snapshot.load().plan);
        for planned in &self.snapshot.load().plan.capabilities {
            let traffic = planned.live.gate.traffic();
            let labels = [planned.live.name.as_str()];
            metrics::HELD.with_label_values(&labels).set(number(traffic.held));
            metrics::INFLIGHT.with_label_values(&labels).set(number(traffic.inflight));
        }
    }
}
