//! How much work the process has, and what it refuses because of it: shadows from 80 % of a limit on,
//! requests at the limit. What is under way is never given up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use routes::Shed;
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::load::{RESIDENT, SHED, UNDER_WAY},
    shared::Shared,
};

/// How often the resident memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Where the kernel tells a process how large it is, in pages: total, resident, …
const STATM: &str = "/proc/self/statm";

/// What would be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Nothing.
    Calm,
    /// Shadows.
    Tight,
    /// New requests, too.
    Over,
}

/// Which limit is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Requests,
    Memory,
}

/// The work of one process.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    requests: AtomicUsize,
    /// Bytes, when it was last looked at.
    resident: AtomicU64,
}

/// One request under way; it counts until this is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Pressure>);

impl Level {
    /// The level at which `used` of `limit` stands.
    fn of(used: u64, limit: u64) -> Self {
        match used {
            _ if used > limit => Self::Over,
            _ if used.saturating_mul(5) > limit.saturating_mul(4) => Self::Tight,
            _ => Self::Calm,
        }
    }
}

impl Limit {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Memory => "memory",
        }
    }
}

impl Pressure {
    /// Counts a request, which is looked at after that.
    pub(crate) fn enter(self: &Arc<Self>) -> UnderWay {
        self.requests.fetch_add(1, Relaxed);
        UnderWay(Arc::clone(self))
    }

    /// The worse of both levels, and the limit it comes from.
    fn level(&self, shed: Shed) -> (Level, Limit) {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let requests = Level::of(count(self.requests.load(Relaxed)), count(shed.requests));
        let resident = self.resident.load(Relaxed);
        let memory = shed.memory.map_or(Level::Calm, |limit| Level::of(resident, limit));
        if memory > requests { (memory, Limit::Memory) } else { (requests, Limit::Requests) }
    }

    /// Whether a request that was counted is refused, and why.
    pub(crate) fn refuses_request(&self, shed: Shed) -> Option<Limit> {
        let (level, limit) = self.level(shed);
        (level == Level::Over).then(|| {
            SHED.with_label_values(&["request", limit.as_str()]).inc();
            limit
        })
    }

    /// Whether a shadow is left out.
    pub(crate) fn refuses_shadow(&self, shed: Shed) -> bool {
        let (level, limit) = self.level(shed);
        let is_refused = level >= Level::Tight;
        if is_refused {
            SHED.with_label_values(&["shadow", limit.as_str()]).inc();
        }
        is_refused
    }

    /// Copies the counts into the registry.
    pub(crate) fn publish(&self) {
        UNDER_WAY.set(i64::try_from(self.requests.load(Relaxed)).unwrap_or(i64::MAX));
        RESIDENT.set(i64::try_from(self.resident.load(Relaxed)).unwrap_or(i64::MAX));
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Relaxed);
    }
}

/// Looks at the resident memory until told to stop.
pub(crate) async fn watch_memory(shared: Arc<Shared>, stop: CancellationToken) {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        // A file of the kernel's: reading it waits for no disk.
        let text = std::fs::read_to_string(STATM).unwrap_or_default();
        if let Some(pages) = resident_pages(&text) {
            shared.pressure.resident.store(pages.saturating_mul(page), Relaxed);
        }
    }
}

fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHED_AT: Shed = Shed { requests: 10, memory: Some(1_000) };

    fn pressure(requests: usize, resident: u64) -> Pressure {
        Pressure { requests: AtomicUsize::new(requests), resident: AtomicU64::new(resident) }
    }

    #[test]
    fn shadows_end_before_requests_do() {
        let cases = [
            (8, 800, (Level::Calm, Limit::Requests)),
            (9, 800, (Level::Tight, Limit::Requests)),
            (10, 0, (Level::Tight, Limit::Requests)),
            (11, 0, (Level::Over, Limit::Requests)),
            (0, 801, (Level::Tight, Limit::Memory)),
            (9, 1_001, (Level::Over, Limit::Memory)),
        ];
        for (requests, resident, expected) in cases {
            let level = pressure(requests, resident).level(SHED_AT);
            assert_eq!(level, expected, "{requests} requests, {resident} bytes");
        }
    }

    #[test]
    fn memory_without_a_limit_refuses_nothing() {
        let unlimited = Shed { memory: None, ..SHED_AT };
        assert_eq!(pressure(0, u64::MAX).level(unlimited).0, Level::Calm);
    }

    #[test]
    fn a_request_counts_until_it_is_dropped() {
        let pressure = Arc::new(pressure(10, 0));
        let under_way = pressure.enter();
        assert_eq!(pressure.refuses_request(SHED_AT), Some(Limit::Requests));
        drop(under_way);
        assert_eq!(pressure.refuses_request(SHED_AT), None);
    }

    #[test]
    fn this_process_is_larger_than_nothing() {
        let text = std::fs::read_to_string(STATM).expect("a Linux kernel");
        assert!(resident_pages(&text).is_some_and(|pages| pages > 100), "{text}");
    }
}
