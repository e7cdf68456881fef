//! What the proxies reported, and whether they are there.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rpc::v1::{CapabilityTraffic, ProxyReport};
use tokio::{sync::watch, time::Instant};

use crate::api::{ProxyStatus, Traffic};

/// A proxy reports at least every 500 ms; four missed reports and it counts as away.
const SILENT_AFTER: Duration = Duration::from_secs(2);
/// A proxy whose stream ended and that did not come back was shut down.
const GONE_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Known {
    report: ProxyReport,
    last_seen: Instant,
    streams: u32,
}

impl Known {
    fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_seen)
    }

    fn is_connected(&self, now: Instant) -> bool {
        self.streams > 0 && self.silence(now) < SILENT_AFTER
    }

    fn is_gone(&self, now: Instant) -> bool {
        self.streams == 0 && self.silence(now) > GONE_AFTER
    }

    fn traffic(&self, capability: &str) -> Option<&CapabilityTraffic> {
        self.report.capabilities.iter().find(|traffic| traffic.capability == capability)
    }
}

/// How far the proxies are with a hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HoldProgress {
    /// Connected and still working: "ID has 3 writes in flight".
    pub(crate) busy: Vec<String>,
    /// Known, but not heard of since the hold was published.
    pub(crate) silent: u32,
    /// Holding, with nothing in flight.
    pub(crate) holding: u32,
}

/// All proxies seen by this leader.
#[derive(Debug)]
pub(crate) struct Proxies {
    known: Mutex<BTreeMap<String, Known>>,
    changed: watch::Sender<u64>,
}

impl Default for Proxies {
    fn default() -> Self {
        Self { known: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Proxies {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        // every change below is complete before the lock is released
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream was opened by, or belongs to, this proxy.
    pub(crate) fn opened(&self, report: ProxyReport) {
        let mut known = self.lock();
        let now = Instant::now();
        known.retain(|_, proxy| !proxy.is_gone(now));
        let entry = known.entry(report.proxy_id.clone()).or_insert_with(|| Known {
            report: ProxyReport::default(),
            last_seen: now,
            streams: 0,
        });
        entry.streams += 1;
        entry.last_seen = now;
        entry.report = report;
        drop(known);
        self.changed.send_modify(|count| *count += 1);
    }

    /// A report on an open stream.
    pub(crate) fn reported(&self, report: ProxyReport) {
        if let Some(entry) = self.lock().get_mut(&report.proxy_id) {
            entry.last_seen = Instant::now();
            entry.report = report;
        }
        self.changed.send_modify(|count| *count += 1);
    }

    /// The stream ended.
    pub(crate) fn closed(&self, proxy_id: &str) {
        if let Some(entry) = self.lock().get_mut(proxy_id) {
            entry.streams = entry.streams.saturating_sub(1);
            entry.last_seen = Instant::now();
        }
        self.changed.send_modify(|count| *count += 1);
    }

    /// Wakes up with every report.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// How far they are with holding a capability's writes since this generation.
    pub(crate) fn hold_progress(&self, capability: &str, generation: u64) -> HoldProgress {
        let mut progress = HoldProgress::default();
        let now = Instant::now();
        for (id, proxy) in self.lock().iter().filter(|(_, proxy)| !proxy.is_gone(now)) {
            let traffic = proxy.traffic(capability);
            let inflight = traffic.map_or(0, |traffic| traffic.inflight_writes);
            let holding = proxy.report.generation >= generation
                && traffic.is_some_and(|traffic| traffic.holding);
            if !proxy.is_connected(now) || !holding {
                progress.silent += 1;
            } else if inflight > 0 {
                progress.busy.push(format!("proxy {id} has {inflight} writes in flight"));
            } else {
                progress.holding += 1;
            }
        }
        progress
    }

    /// Everybody, by id.
    pub(crate) fn statuses(&self, config_digest: &str) -> Vec<ProxyStatus> {
        self.statuses_at(Instant::now(), config_digest)
    }

    fn statuses_at(&self, now: Instant, config_digest: &str) -> Vec<ProxyStatus> {
        let mut known = self.lock();
        known.retain(|_, proxy| !proxy.is_gone(now));
        known
            .iter()
            .map(|(id, proxy)| ProxyStatus {
                id: id.clone(),
                connected: proxy.is_connected(now),
                generation: proxy.report.generation,
                silent_ms: u64::try_from(proxy.silence(now).as_millis()).unwrap_or(u64::MAX),
                other_config: proxy.report.config_digest != config_digest,
            })
            .collect()
    }

    /// Sum over the connected ones.
    pub(crate) fn traffic(&self, capability: &str) -> Traffic {
        let mut sum = Traffic::default();
        let now = Instant::now();
        for proxy in self.lock().values().filter(|proxy| proxy.is_connected(now)) {
            let Some(traffic) = proxy.traffic(capability) else { continue };
            sum.held += traffic.held;
            sum.inflight_writes += traffic.inflight_writes;
            sum.requests_source += traffic.requests_source;
            sum.requests_target += traffic.requests_target;
            sum.errors_source += traffic.errors_source;
            sum.errors_target += traffic.errors_target;
            sum.shadow_compared += traffic.shadow_compared;
            sum.shadow_mismatched += traffic.shadow_mismatched;
            sum.shadow_skipped += traffic.shadow_skipped;
            sum.p99_source_ms = sum.p99_source_ms.max(traffic.p99_source_ms);
            sum.p99_target_ms = sum.p99_target_ms.max(traffic.p99_target_ms);
        }
        sum
    }

    /// A new leader knows nobody.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rpc::v1::{CapabilityTraffic, ProxyReport};
    use tokio::time::Instant;

    use super::Proxies;

    fn report(id: &str, generation: u64, holding: bool, inflight_writes: u64) -> ProxyReport {
        let traffic = CapabilityTraffic {
            capability: "tickets".to_owned(),
            holding,
            inflight_writes,
            ..CapabilityTraffic::default()
        };
        ProxyReport {
            proxy_id: id.to_owned(),
            generation,
            capabilities: vec![traffic],
            ..ProxyReport::default()
        }
    }

    #[test]
    fn a_hold_is_complete_when_every_connected_proxy_holds_and_has_nothing_in_flight() {
        let proxies = Proxies::default();
        proxies.opened(report("a", 7, true, 0));
        proxies.opened(report("b", 7, true, 2));
        proxies.opened(report("c", 6, false, 0));
        let progress = proxies.hold_progress("tickets", 7);
        assert_eq!(progress.busy, ["proxy b has 2 writes in flight"]);
        assert_eq!((progress.holding, progress.silent), (1, 1), "c still has the older table");
        proxies.reported(report("b", 7, true, 0));
        proxies.reported(report("c", 8, true, 0));
        let progress = proxies.hold_progress("tickets", 7);
        assert_eq!((progress.holding, progress.silent, progress.busy.len()), (3, 0, 0));
    }

    #[test]
    fn a_proxy_is_away_after_two_silent_seconds_and_forgotten_after_its_stream_ended() {
        let proxies = Proxies::default();
        proxies.opened(report("a", 1, false, 0));
        assert!(proxies.statuses("")[0].connected);
        let later = |millis| Instant::now() + Duration::from_millis(millis);
        assert!(!proxies.statuses_at(later(2100), "")[0].connected);
        assert_eq!(proxies.statuses_at(later(60_000), "").len(), 1, "its stream is still open");
        proxies.closed("a");
        assert!(proxies.statuses_at(later(11_000), "").is_empty());
    }
}
