//! What the proxies reported, and whether they are there.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rpc::v1::{CapabilityTraffic, MismatchGroup, ProxyReport};
use tokio::{sync::watch, time::Instant};

use crate::{
    api::{ProxyStatus, Traffic},
    tally::Tally,
};

/// A proxy reports at least every 500 ms; four missed reports and it counts as away.
const SILENT_AFTER: Duration = Duration::from_secs(2);
/// A proxy whose stream ended and that did not come back was shut down.
const GONE_AFTER: Duration = Duration::from_secs(10);
/// A proxy that did not say that it leaves may be cut off and still serve: it is shown for so long.
const SHOWN_FOR: Duration = Duration::from_secs(3600);
/// Proxies that are cut off and shown at the same time.
const CUT_OFF_MAX: usize = 100;

#[derive(Debug)]
struct Known {
    report: ProxyReport,
    last_seen: Instant,
    streams: u32,
    /// From a table that was sent to the report that it is in force.
    acknowledged_after: Option<Duration>,
    /// Kept apart, because most reports carry none.
    mismatches: Vec<MismatchGroup>,
}

impl Known {
    fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_seen)
    }

    fn is_connected(&self, now: Instant) -> bool {
        self.streams > 0 && self.silence(now) < SILENT_AFTER
    }

    fn is_gone(&self, now: Instant) -> bool {
        self.streams == 0 && (self.report.leaving || self.silence(now) > GONE_AFTER)
    }

    /// Nothing says that it stopped: it may serve its last state.
    fn is_cut_off(&self, now: Instant) -> bool {
        !self.report.leaving && !self.is_connected(now) && self.silence(now) > GONE_AFTER
    }

    fn is_shown(&self, now: Instant) -> bool {
        !self.is_gone(now) || (self.is_cut_off(now) && self.silence(now) < SHOWN_FOR)
    }

    /// Takes a report over.
    fn hear(&mut self, mut report: ProxyReport) {
        if let Some(mismatches) = report.mismatches.take() {
            self.mismatches = mismatches.groups;
        }
        self.last_seen = Instant::now();
        self.report = report;
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
    /// What was counted of each capability since this leader began.
    tallies: Mutex<BTreeMap<String, Tally>>,
    changed: watch::Sender<u64>,
}

impl Default for Proxies {
    fn default() -> Self {
        Self { known: Mutex::default(), tallies: Mutex::default(), changed: watch::Sender::new(0) }
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
        forget(&mut known, now);
        if let Some(entry) = known.get(&report.proxy_id) {
            self.count(&entry.report, &report);
        }
        let entry = known.entry(report.proxy_id.clone()).or_insert_with(|| Known {
            report: ProxyReport::default(),
            last_seen: now,
            streams: 0,
            acknowledged_after: None,
            mismatches: Vec::new(),
        });
        entry.streams += 1;
        entry.hear(report);
        drop(known);
        self.changed.send_modify(|count| *count += 1);
    }

    /// A report on an open stream.
    pub(crate) fn reported(&self, report: ProxyReport) {
        if let Some(entry) = self.lock().get_mut(&report.proxy_id) {
            self.count(&entry.report, &report);
            entry.hear(report);
        }
        self.changed.send_modify(|count| *count += 1);
    }

    /// How long a table took from here into force in that proxy.
    pub(crate) fn acknowledged(&self, proxy_id: &str, after: Duration) {
        if let Some(entry) = self.lock().get_mut(proxy_id) {
            entry.acknowledged_after = Some(after);
        }
    }

    /// Adds what grew from one report to the next.
    fn count(&self, before: &ProxyReport, now: &ProxyReport) {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        for traffic in &now.capabilities {
            let earlier = before.capabilities.iter().find(|e| e.capability == traffic.capability);
            let earlier = earlier.map(Tally::of).unwrap_or_default();
            *tallies.entry(traffic.capability.clone()).or_default() +=
                Tally::of(traffic).since(earlier);
        }
    }

    /// Everything counted of a capability since this leader began; only grows.
    pub(crate) fn tally(&self, capability: &str) -> Tally {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.get(capability).copied().unwrap_or_default()
    }

    /// The worst connected proxy's.
    pub(crate) fn failures_in_a_row(&self, capability: &str) -> u64 {
        let now = Instant::now();
        let known = self.lock();
        let connected = known.values().filter(|proxy| proxy.is_connected(now));
        let traffic = connected.filter_map(|proxy| proxy.traffic(capability));
        traffic.map(|traffic| traffic.failures_in_a_row).max().unwrap_or(0)
    }

    /// Where answers differ, as each proxy last said.
    pub(crate) fn mismatches(&self) -> Vec<MismatchGroup> {
        let now = Instant::now();
        let known = self.lock();
        let shown = known.values().filter(|proxy| proxy.is_shown(now));
        shown.flat_map(|proxy| proxy.mismatches.iter().cloned()).collect()
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
        forget(&mut known, now);
        known
            .iter()
            .map(|(id, proxy)| ProxyStatus {
                id: id.clone(),
                connected: proxy.is_connected(now),
                generation: proxy.report.generation,
                silent_ms: u64::try_from(proxy.silence(now).as_millis()).unwrap_or(u64::MAX),
                other_config: proxy.report.config_digest != config_digest,
                cut_off: proxy.is_cut_off(now),
                version: proxy.report.version.clone(),
                host: proxy.report.host.clone(),
                addresses: proxy.report.addresses.clone(),
                acknowledged_after_ms: proxy
                    .acknowledged_after
                    .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
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

/// Forgets who left, and the oldest of those cut off when they are too many.
fn forget(known: &mut BTreeMap<String, Known>, now: Instant) {
    known.retain(|_, proxy| proxy.is_shown(now));
    let mut cut_off: Vec<(Instant, String)> = known
        .iter()
        .filter(|(_, proxy)| proxy.is_cut_off(now))
        .map(|(id, proxy)| (proxy.last_seen, id.clone()))
        .collect();
    cut_off.sort_unstable();
    let surplus = cut_off.len().saturating_sub(CUT_OFF_MAX);
    for (_, id) in cut_off.into_iter().take(surplus) {
        known.remove(&id);
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
        let cut_off = proxies.statuses_at(later(11_000), "");
        assert!(cut_off[0].cut_off, "nobody said that it stopped");
        assert_eq!(proxies.hold_progress("tickets", 1).silent, 1);
        assert!(proxies.statuses_at(later(4_000_000), "").is_empty());
    }

    #[test]
    fn a_proxy_that_says_it_leaves_is_forgotten_at_once() {
        let proxies = Proxies::default();
        proxies.opened(report("a", 1, false, 0));
        proxies.reported(ProxyReport { leaving: true, ..report("a", 1, false, 0) });
        proxies.closed("a");
        assert!(proxies.statuses("").is_empty());
    }

    #[test]
    fn what_is_counted_neither_jumps_nor_falls_when_proxies_come_and_go() {
        let counted = |id: &str, requests_target| {
            let mut report = report(id, 1, false, 0);
            report.capabilities[0].requests_target = requests_target;
            report
        };
        let proxies = Proxies::default();
        let tally = || proxies.tally("tickets").requests_target;
        proxies.opened(counted("a", 1_000));
        assert_eq!(tally(), 0, "what was before this leader does not count");
        proxies.reported(counted("a", 1_010));
        proxies.opened(counted("b", 500));
        proxies.reported(counted("b", 505));
        assert_eq!(tally(), 15);
        proxies.closed("a");
        proxies.opened(counted("a", 1_020));
        assert_eq!(tally(), 25, "it went on while it was away");
    }
}
