//! Names and label sets of everything the proxy counts. Series of the hot path are resolved once per
//! route and then only incremented.

pub(crate) mod load;
pub(crate) mod policies;
pub(crate) mod upstreams;

use std::sync::{LazyLock, OnceLock};

use cutover::Phase;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    core::Collector,
};

static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "ficus_proxy_requests_total",
        "Requests by route, the side that answered, phase and status class.",
        &["route", "capability", "upstream", "phase", "status"],
    )
});
static DURATION: LazyLock<HistogramVec> = LazyLock::new(|| {
    histogram(
        "ficus_proxy_request_duration_seconds",
        "From the first byte of the request to the last of the answer, waiting at the gate included.",
        &["route", "capability", "upstream"],
    )
});
pub(crate) static GATE_WAIT: LazyLock<HistogramVec> = LazyLock::new(|| {
    histogram(
        "ficus_proxy_gate_wait_seconds",
        "How long held writes waited, by how it ended.",
        &["capability", "outcome"],
    )
});
pub(crate) static HELD: LazyLock<IntGaugeVec> =
    LazyLock::new(|| gauge("ficus_proxy_held", "Writes waiting at the gate.", &["capability"]));
pub(crate) static INFLIGHT: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge("ficus_proxy_inflight_writes", "Writes sent and not answered.", &["capability"])
});
pub(crate) static GENERATION: LazyLock<IntGauge> = LazyLock::new(|| {
    let gauge = IntGauge::new("ficus_proxy_generation", "Generation of the applied route table.");
    registered(gauge.expect("the name is valid"))
});
pub(crate) static CONNECTED: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge("ficus_proxy_connected", "1 while the stream from this part is up.", &["part"])
});
pub(crate) static UNKNOWN_WRITES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "ficus_proxy_unknown_writes_total",
        "Writes that were sent and whose answer never came.",
        &["capability"],
    )
});
pub(crate) static FENCED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "ficus_proxy_fenced_writes_total",
        "Writes a service refused because it does not own the capability.",
        &["capability"],
    )
});
pub(crate) static FALLBACKS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "ficus_proxy_read_fallbacks_total",
        "Reads answered by the monolith because the service could not be reached.",
        &["capability"],
    )
});
pub(crate) static SHADOW: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "ficus_proxy_shadow_total",
        "Shadowed reads by outcome: equal, caught_up, mismatch, or why they were skipped.",
        &["capability", "route", "outcome"],
    )
});
pub(crate) static BARRIERS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter("ficus_proxy_barriers_total", "Barriers asked for.", &["capability", "outcome"])
});
/// By the kind of the problem the downstream was told.
pub(crate) static REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "ficus_proxy_refused_requests_total",
        "Requests of HTTP/1 that were answered before they were read to their end.",
        &["kind"],
    )
});
pub(crate) static TURNED_AWAY: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "ficus_proxy_refused_connections_total",
        "Connections closed at once, by the limit that was reached: total or client.",
        &["limit"],
    )
});
static CONNECTIONS: LazyLock<IntGauge> = LazyLock::new(|| {
    let gauge = IntGauge::new("ficus_proxy_connections", "Open connections of downstreams.");
    registered(gauge.expect("the name is valid"))
});
pub(crate) static RELOADS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter("ficus_proxy_config_reload_total", "Readings of routes.toml.", &["outcome"])
});

/// One open connection; counted until dropped.
#[derive(Debug)]
pub(crate) struct Open(());

impl Open {
    pub(crate) fn new() -> Self {
        CONNECTIONS.inc();
        Self(())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        CONNECTIONS.dec();
    }
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An upstream of this side.
    Upstream(cutover::Side),
    /// The proxy itself.
    Proxy,
}

/// The series of one route, resolved when first used.
#[derive(Debug)]
pub(crate) struct RouteMeters {
    route: String,
    capability: String,
    upstreams: [String; 3],
    requests: Box<[OnceLock<IntCounter>]>,
    durations: [OnceLock<Histogram>; 3],
}

const PHASES: usize = 6;
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

impl RouteMeters {
    /// `service` is the upstream that takes the route's capability.
    pub(crate) fn new(route: &str, capability: &str, service: &str) -> Self {
        Self {
            route: route.to_owned(),
            capability: capability.to_owned(),
            upstreams: ["monolith".to_owned(), service.to_owned(), "proxy".to_owned()],
            requests: (0..3 * PHASES * CLASSES.len()).map(|_| OnceLock::new()).collect(),
            durations: [const { OnceLock::new() }; 3],
        }
    }

    /// Counts one request. Status 0 stands for a downstream that left without an answer.
    pub(crate) fn record(&self, origin: Origin, phase: Phase, status: u16, seconds: f64) {
        let origin = origin.index();
        let class = usize::from(status / 100).min(CLASSES.len() - 1);
        let slot = (origin * PHASES + phase_index(phase)) * CLASSES.len() + class;
        let upstream = self.upstream(origin);
        if let (Some(slot), Some(class)) = (self.requests.get(slot), CLASSES.get(class)) {
            let labels = [&self.route, &self.capability, upstream, phase.as_str(), class];
            slot.get_or_init(|| REQUESTS.with_label_values(&labels)).inc();
        }
        if let Some(duration) = self.durations.get(origin) {
            let labels = [&self.route, &self.capability, upstream];
            duration.get_or_init(|| DURATION.with_label_values(&labels)).observe(seconds);
        }
    }

    /// Name of the upstream an answer came from.
    pub(crate) fn upstream_of(&self, origin: Origin) -> &str {
        self.upstream(origin.index())
    }

    pub(crate) fn route(&self) -> &str {
        &self.route
    }

    pub(crate) fn capability(&self) -> &str {
        &self.capability
    }

    fn upstream(&self, origin: usize) -> &str {
        self.upstreams.get(origin).map_or("", String::as_str)
    }
}

impl Origin {
    const fn index(self) -> usize {
        match self {
            Self::Upstream(cutover::Side::Source) => 0,
            Self::Upstream(cutover::Side::Target) => 1,
            Self::Proxy => 2,
        }
    }
}

const fn phase_index(phase: Phase) -> usize {
    match phase {
        Phase::Monolith => 0,
        Phase::Replicating => 1,
        Phase::Shadowing => 2,
        Phase::Reading { .. } => 3,
        Phase::Switched => 4,
        Phase::Completed => 5,
    }
}

fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(IntCounterVec::new(Opts::new(name, help), labels).expect("the names are valid"))
}

fn gauge(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    registered(IntGaugeVec::new(Opts::new(name, help), labels).expect("the names are valid"))
}

fn plain_gauge(name: &str, help: &str) -> IntGauge {
    registered(IntGauge::new(name, help).expect("the name is valid"))
}

fn histogram(name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    let buckets =
        vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    let options = HistogramOpts::new(name, help).buckets(buckets);
    registered(HistogramVec::new(options, labels).expect("the names are valid"))
}

fn registered<C: Collector + Clone + 'static>(collector: C) -> C {
    prometheus::register(Box::new(collector.clone())).expect("each name is registered once");
    collector
}
