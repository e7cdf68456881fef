//! What is done to a stream, and when.

use std::fmt;
use std::time::Duration;

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

/// Longest pause before a fault, and longest time until it is undone.
const PAUSE_MAX_MS: u64 = 700;

/// What a stream is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Copy,
    Stream,
    /// Both sides are compared while it streams.
    Verify,
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The replicator's process; another one is started.
    Replicator,
    /// SIGKILL of a walsender: the server restarts by itself.
    WalsenderKilled,
    /// `pg_terminate_backend` of the walsender.
    WalsenderTerminated,
    /// The target server stops at once and is started again.
    Target,
    /// The same for the source server.
    Source,
    /// Every connection to a server breaks in the middle of a message, and none can be made for a while.
    Cut(Side),
    /// Nothing arrives any more, and nobody is told.
    Stall(Side),
    /// What the server sends arrives; what is sent to it does not.
    HalfOpen(Side),
}

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Target,
}

/// What happens in one run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// When the first fault comes.
    pub(super) phase: Phase,
    /// Each after a pause; the second duration is how long it lasts.
    pub(super) faults: Vec<(Fault, [Duration; 2])>,
}

impl Phase {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Stream => "stream",
            Self::Verify => "verify",
        }
    }
}

impl Fault {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Replicator => "replicator",
            Self::WalsenderKilled => "walsender_killed",
            Self::WalsenderTerminated => "walsender_terminated",
            Self::Target => "target_stopped",
            Self::Source => "source_stopped",
            Self::Cut(Side::Source) => "source_cut",
            Self::Cut(Side::Target) => "target_cut",
            Self::Stall(Side::Source) => "source_stalled",
            Self::Stall(Side::Target) => "target_stalled",
            Self::HalfOpen(Side::Source) => "source_half_open",
            Self::HalfOpen(Side::Target) => "target_half_open",
        }
    }
}

impl Plan {
    pub(super) fn of(random: &mut StdRng, seed: u64) -> Self {
        let phase = match seed % 3 {
            0 => Phase::Copy,
            1 => Phase::Stream,
            _ => Phase::Verify,
        };
        let faults = (0..random.random_range(1..=4)).map(|_| {
            let side = if random.random_ratio(1, 2) { Side::Source } else { Side::Target };
            let kinds = [
                Fault::Replicator,
                Fault::Replicator,
                Fault::WalsenderKilled,
                Fault::WalsenderTerminated,
                Fault::Target,
                Fault::Source,
                Fault::Cut(side),
                Fault::Stall(side),
                Fault::HalfOpen(side),
            ];
            let fault = kinds.choose(random).copied().unwrap_or(Fault::Replicator);
            let times = [0; 2].map(|_| Duration::from_millis(random.random_range(0..PAUSE_MAX_MS)));
            (fault, times)
        });
        Self { phase, faults: faults.collect() }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.phase.as_str())?;
        for (fault, [pause, lasting]) in &self.faults {
            write!(f, ", {} after {pause:?} for {lasting:?}", fault.as_str())?;
        }
        Ok(())
    }
}
