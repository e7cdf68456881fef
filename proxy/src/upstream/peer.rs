//! One address of an upstream: what is connected to, and what is known of it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use pingora::upstreams::peer::HttpPeer;
use routes::{Protocol, Verify};

use super::{credentials::Credentials, ejection::Record};

/// Requests that share one HTTP/2 connection.
const STREAMS_MAX: usize = 100;

/// How often a quiet HTTP/2 connection is asked whether it still is one.
const PING_EVERY: Duration = Duration::from_secs(30);

/// Share of its turns that a peer takes when it has just come back.
const WARMTH_MIN: f64 = 0.1;

/// One address of an upstream.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// With every timeout set; pingora's own defaults wait for ever.
    template: HttpPeer,
    has_tls: bool,
    /// Shared by the peers of an upstream; set before the first request when it has TLS.
    credentials: Arc<ArcSwapOption<Credentials>>,
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
        credentials: &Arc<ArcSwapOption<Credentials>>,
        before: Option<&Self>,
    ) -> Self {
        let timeouts = config.timeouts;
        let mut template = template(address, config);
        template.options.connection_timeout = Some(timeouts.connect);
        template.options.total_connection_timeout = Some(timeouts.connect + timeouts.tls);
        template.options.read_timeout = Some(timeouts.read);
        template.options.write_timeout = Some(timeouts.send);
        template.options.idle_timeout = Some(timeouts.idle);
        // Without an active check nothing would ever call it healthy again.
        let kept = before.filter(|before| config.health.is_some() || before.is_healthy());
        let known = kept.map(|before| Arc::clone(&before.known)).unwrap_or_default();
        let (has_tls, credentials) = (config.tls.is_some(), Arc::clone(credentials));
        Self { address, template, has_tls, credentials, known }
    }

    /// Whether it is spoken to with TLS.
    pub(crate) const fn has_tls(&self) -> bool {
        self.has_tls
    }

    /// What pingora connects to, with no read longer than `limit`; `None` while its certificates are
    /// not there.
    pub(crate) fn to_http_peer(&self, limit: Option<Duration>) -> Option<Box<HttpPeer>> {
        let mut peer = Box::new(self.template.clone());
        if self.has_tls {
            let credentials = self.credentials.load();
            let credentials = credentials.as_ref()?;
            peer.options.ca = credentials.ca.clone();
            peer.client_cert_key = credentials.client.clone();
            // A connection is used again only by what would make the same one.
            peer.group_key ^= credentials.digest;
        }
        if let (Some(limit), Some(read)) = (limit, peer.options.read_timeout) {
            peer.options.read_timeout = Some(read.min(limit));
        }
        Some(peer)
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

/// Without times and certificates.
fn template(address: SocketAddr, config: &routes::Upstream) -> HttpPeer {
    let server_name = config.tls.as_ref().map(|tls| tls.server_name.clone());
    let mut peer = HttpPeer::new(address, server_name.is_some(), server_name.unwrap_or_default());
    if let Some(tls) = &config.tls {
        peer.options.verify_cert = tls.verify != Verify::None;
        peer.options.verify_hostname = tls.verify == Verify::Full;
    }
    let (max, min) = match config.protocol {
        Protocol::Http1 => (1, 1),
        Protocol::Http2 => (2, 2),
        Protocol::Auto => (2, 1),
    };
    peer.options.set_http_version(max, min);
    peer.options.max_h2_streams = STREAMS_MAX;
    peer.options.h2_ping_interval = Some(PING_EVERY);
    peer.group_key = u64::from(max) << 8 | u64::from(min);
    peer
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
