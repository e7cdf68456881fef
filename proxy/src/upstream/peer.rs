//! One address of an upstream: what is connected to, and what is known of it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use pingora::upstreams::peer::HttpPeer;

use super::ejection::Record;

/// Share of its turns that a peer takes when it has just come back.
const WARMTH_MIN: f64 = 0.1;

/// One address of an upstream.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// With every timeout set; pingora's own defaults wait for ever.
    template: HttpPeer,
    known: Arc<Known>,
}

/// What outlives a configuration.
#[derive(Debug)]
struct Known {
    healthy: AtomicBool,
    /// When it became healthy again; 0 when it always was.
    well_since: AtomicU64,
    under_way: AtomicUsize,
    record: Record,
}

impl Peer {
    pub(super) fn new(
        address: SocketAddr,
        config: &routes::Upstream,
        before: Option<&Self>,
    ) -> Self {
        let timeouts = config.timeouts;
        let mut template = HttpPeer::new(address, false, String::new());
        template.options.connection_timeout = Some(timeouts.connect);
        template.options.total_connection_timeout = Some(timeouts.connect + timeouts.tls);
        template.options.read_timeout = Some(timeouts.read);
        template.options.write_timeout = Some(timeouts.send);
        template.options.idle_timeout = Some(timeouts.idle);
        // Without an active check nothing would ever call it healthy again.
        let kept = before.filter(|before| config.health.is_some() || before.is_healthy());
        let known = kept.map(|before| Arc::clone(&before.known)).unwrap_or_default();
        Self { address, template, known }
    }

    /// What pingora connects to, with no read longer than `limit`.
    pub(crate) fn to_http_peer(&self, limit: Option<Duration>) -> Box<HttpPeer> {
        let mut peer = Box::new(self.template.clone());
        if let (Some(limit), Some(read)) = (limit, peer.options.read_timeout) {
            peer.options.read_timeout = Some(read.min(limit));
        }
        peer
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.known.healthy.load(Relaxed)
    }

    pub(crate) fn set_healthy(&self, healthy: bool) {
        let was_healthy = self.known.healthy.swap(healthy, Relaxed);
        if healthy && !was_healthy {
            self.known.well_since.store(super::now(), Relaxed);
        }
    }

    /// Whether it takes its turn: healthy, and not left out because of its answers.
    pub(crate) fn is_usable(&self, now: u64) -> bool {
        self.is_healthy() && !self.record().is_out(now)
    }

    /// Counts of its answers.
    pub(crate) fn record(&self) -> &Record {
        &self.known.record
    }

    /// Requests sent and not ended.
    pub(crate) fn under_way(&self) -> usize {
        self.known.under_way.load(Relaxed)
    }

    pub(super) fn add_request(&self) {
        self.known.under_way.fetch_add(1, Relaxed);
    }

    pub(super) fn remove_request(&self) {
        self.known.under_way.fetch_sub(1, Relaxed);
    }

    /// Share of its turns it takes, growing from a tenth to 1 after it came back.
    pub(super) fn warmth(&self, slow_start: Duration, now: u64) -> f64 {
        let back_at = self.record().back_at().max(self.known.well_since.load(Relaxed));
        if back_at == 0 || slow_start.is_zero() {
            return 1.0;
        }
        let passed = Duration::from_millis(now.saturating_sub(back_at));
        passed.div_duration_f64(slow_start).clamp(WARMTH_MIN, 1.0)
    }
}

impl Default for Known {
    fn default() -> Self {
        Self {
            healthy: AtomicBool::new(true),
            well_since: AtomicU64::new(0),
            under_way: AtomicUsize::new(0),
            record: Record::default(),
        }
    }
}
