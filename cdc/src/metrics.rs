//! The figures of the replicator, `ficus_cdc_*`.

use std::{sync::LazyLock, time::Duration};

use prometheus::{
    HistogramVec, IntCounterVec, IntGaugeVec, register_histogram_vec, register_int_counter_vec,
    register_int_gauge_vec,
};

static UP: LazyLock<IntGaugeVec> =
    LazyLock::new(|| gauge("ficus_cdc_stream_up", "1 while the stream reads the log"));
static ROWS: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter("ficus_cdc_rows_applied_total", "row changes written"));
static TRANSACTIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter("ficus_cdc_transactions_applied_total", "source transactions written")
});
static CONFLICTS: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter("ficus_cdc_conflicts_total", "changes that did not meet their row"));
static BREACHES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter("ficus_cdc_breaches_total", "writes seen on a side that does not own the capability")
});
static LAG_BYTES: LazyLock<IntGaugeVec> =
    LazyLock::new(|| gauge("ficus_cdc_lag_bytes", "log of the source that is not applied yet"));
static RETAINED_BYTES: LazyLock<IntGaugeVec> =
    LazyLock::new(|| gauge("ficus_cdc_slot_retained_bytes", "log the source keeps for the slot"));
static END_TO_END: LazyLock<HistogramVec> = LazyLock::new(|| {
    register_histogram_vec!(
        "ficus_cdc_end_to_end_lag_seconds",
        "from commit on the source to commit on the target",
        &["stream"],
        vec![0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0]
    )
    .expect("the name is valid and registered once")
});
static COPIED: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter("ficus_cdc_rows_copied_total", "rows of initial copies"));
static GUARD_ACTIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "ficus_cdc_guard_actions_total",
        "transfers finished or undone in place of the coordinator",
        &["capability", "action"]
    )
    .expect("the name is valid and registered once")
});

fn counter(name: &str, help: &str) -> IntCounterVec {
    register_int_counter_vec!(name, help, &["stream"])
        .expect("the name is valid and registered once")
}

fn gauge(name: &str, help: &str) -> IntGaugeVec {
    register_int_gauge_vec!(name, help, &["stream"]).expect("the name is valid and registered once")
}

pub(crate) fn stream_up(stream: &str, is_up: bool) {
    UP.with_label_values(&[stream]).set(i64::from(is_up));
}

pub(crate) fn applied(stream: &str, rows: u64, transactions: u64, lag: Duration) {
    ROWS.with_label_values(&[stream]).inc_by(rows);
    TRANSACTIONS.with_label_values(&[stream]).inc_by(transactions);
    END_TO_END.with_label_values(&[stream]).observe(lag.as_secs_f64());
}

pub(crate) fn conflict(stream: &str) {
    CONFLICTS.with_label_values(&[stream]).inc();
}

pub(crate) fn breach(stream: &str) {
    BREACHES.with_label_values(&[stream]).inc();
}

pub(crate) fn copied(stream: &str, rows: u64) {
    COPIED.with_label_values(&[stream]).inc_by(rows);
}

pub(crate) fn sampled(stream: &str, lag_bytes: Option<u64>, retained_bytes: u64) {
    // An unknown lag is no lag of zero: the series ends.
    match lag_bytes {
        Some(bytes) => LAG_BYTES.with_label_values(&[stream]).set(signed(bytes)),
        None => drop(LAG_BYTES.remove_label_values(&[stream])),
    }
    RETAINED_BYTES.with_label_values(&[stream]).set(signed(retained_bytes));
}

pub(crate) fn guard_action(capability: &str, action: &str) {
    GUARD_ACTIONS.with_label_values(&[capability, action]).inc();
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
