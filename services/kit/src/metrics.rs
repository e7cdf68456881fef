//! Request figures of one service process, in the Prometheus text format.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};

/// Requests answered, by method, matched route and status.
pub const REQUESTS_TOTAL: &str = "ficus_service_requests_total";
/// Time from the head of the request to the head of the answer, by method and matched route.
pub const REQUEST_DURATION_SECONDS: &str = "ficus_service_request_duration_seconds";

/// Bucket bounds in seconds: a service answers from an index in about a millisecond, and the proxy
/// gives up after thirty seconds.
const BUCKETS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Registry and request figures. Cheap to clone; clones share their figures.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
}

impl Metrics {
    /// Figures that carry the constant label `service`.
    ///
    /// # Errors
    /// When `service` is not a valid label value.
    pub fn new(service: &str) -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new(REQUESTS_TOTAL, "Requests answered.").const_label("service", service),
            &["method", "route", "status"],
        )?;
        let durations = HistogramVec::new(
            HistogramOpts::new(REQUEST_DURATION_SECONDS, "Time to the head of the answer.")
                .buckets(BUCKETS.to_vec())
                .const_label("service", service),
            &["method", "route"],
        )?;
        let metrics = Self { registry: Registry::new(), requests, durations };
        metrics.register(metrics.requests.clone())?;
        metrics.register(metrics.durations.clone())?;
        Ok(metrics)
    }

    /// Adds a figure of the service's own.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn register(&self, collector: impl Collector + 'static) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(collector))
    }

    /// Counts one answered request. `route` is the matched pattern, never the path itself.
    pub fn observe(&self, method: &str, route: &str, status: u16, took: Duration) {
        self.requests.with_label_values(&[method, route, &status.to_string()]).inc();
        self.durations.with_label_values(&[method, route]).observe(took.as_secs_f64());
    }

    /// All figures in the text format.
    ///
    /// # Errors
    /// When a registered figure breaks the format.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
