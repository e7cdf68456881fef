//! Figures of control, in the process's default registry.

use std::{sync::LazyLock, time::Duration};

use cutover::Direction;
use prometheus::{
    Histogram, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, histogram_opts, opts,
};

const BUCKETS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// A metric that could not be registered twice still counts, it is only not shown.
fn registered<T: prometheus::core::Collector + Clone + 'static>(metric: T) -> T {
    if let Err(error) = prometheus::register(Box::new(metric.clone())) {
        tracing::debug!(%error, "metric is not registered");
    }
    metric
}

static STEP: LazyLock<HistogramVec> = LazyLock::new(|| {
    let options = histogram_opts!(
        "ficus_control_transfer_step_seconds",
        "Time of each step of a transfer",
        BUCKETS.to_vec()
    );
    registered(HistogramVec::new(options, &["step"]).expect("the name and labels are valid"))
});

static HOLD: LazyLock<Histogram> = LazyLock::new(|| {
    let options = histogram_opts!(
        "ficus_control_hold_seconds",
        "From the published hold to its end",
        BUCKETS.to_vec()
    );
    registered(Histogram::with_opts(options).expect("the name is valid"))
});

static TRANSFERS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options = opts!("ficus_control_transfers_total", "Transfers by direction and outcome");
    registered(
        IntCounterVec::new(options, &["direction", "outcome"])
            .expect("the name and labels are valid"),
    )
});

static LEADER: LazyLock<IntGauge> = LazyLock::new(|| {
    registered(
        IntGauge::new("ficus_control_leader", "1 while this process leads")
            .expect("the name is valid"),
    )
});

static READ_PERCENT: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let options = opts!("ficus_control_read_percent", "Share of reads the service answers");
    registered(IntGaugeVec::new(options, &["capability"]).expect("the name and labels are valid"))
});

static EPOCH: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let options = opts!("ficus_control_epoch_number", "Epoch of the owner, by capability and side");
    registered(
        IntGaugeVec::new(options, &["capability", "owner"]).expect("the name and labels are valid"),
    )
});

pub(crate) fn step(name: &str, ms: f64) {
    STEP.with_label_values(&[name]).observe(ms / 1000.0);
}

pub(crate) fn hold(held: Duration) {
    HOLD.observe(held.as_secs_f64());
}

pub(crate) fn transfer(direction: Direction, outcome: &str) {
    TRANSFERS.with_label_values(&[direction.as_str(), outcome]).inc();
}

pub(crate) fn leader(leads: bool) {
    LEADER.set(i64::from(leads));
}

pub(crate) fn published(capability: &str, published: crate::board::Published) {
    READ_PERCENT.with_label_values(&[capability]).set(i64::from(published.phase.read_percent()));
    EPOCH
        .with_label_values(&[capability, published.owner.as_str()])
        .set(i64::try_from(published.epoch.0).unwrap_or(i64::MAX));
}
