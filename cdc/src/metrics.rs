//! The figures of the replicator, `ficus_cdc_*`. What is not known has no series: it is never zero.

use std::{sync::LazyLock, time::Duration};

use prometheus::{
    GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, register_gauge_vec,
    register_histogram_vec, register_int_counter_vec, register_int_gauge_vec,
};

use crate::{
    spec::StreamSpec,
    status::State,
    tables::ParkedSize,
    wal::{Assessment, Level, SlotStatus},
};

const REGISTERED: &str = "the name is valid and registered once";

static UP: LazyLock<IntGaugeVec> =
    LazyLock::new(|| gauge("ficus_cdc_stream_up", "1 while the stream reads the log"));
static STATE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "ficus_cdc_stream_state",
        "1 for the state the stream is in",
        &["stream", "state"]
    )
    .expect(REGISTERED)
});
static RECEIVED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter("ficus_cdc_received_bytes_total", "bytes of the log's stream, protocol included")
});
static ROWS: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter("ficus_cdc_rows_applied_total", "row changes written"));
static CHANGES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "ficus_cdc_changes_applied_total",
        "row changes written, by the table that is written and kind of change",
        &["stream", "table", "kind"]
    )
    .expect(REGISTERED)
});
static TRANSACTIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter("ficus_cdc_transactions_applied_total", "source transactions written")
});
static BATCH_ROWS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let buckets = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5].to_vec();
    histogram("ficus_cdc_batch_rows", "row changes in one target transaction", buckets)
});
static BATCH_BYTES: LazyLock<HistogramVec> = LazyLock::new(|| {
    let buckets = [1024.0, 16_384.0, 262_144.0, 4_194_304.0, 67_108_864.0].to_vec();
    histogram("ficus_cdc_batch_bytes", "bytes of row values in one target transaction", buckets)
});
static SPILLED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter("ficus_cdc_spilled_bytes_total", "bytes of big transactions put on our own disk")
});
static SERVER_SPILLED: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge(
        "ficus_cdc_server_spilled_bytes",
        "bytes that decoding put on the disk of the server that is read, since its figures were reset",
    )
});
static CONFLICTS: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter("ficus_cdc_conflicts_total", "changes that did not meet their row"));
static BREACHES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter("ficus_cdc_breaches_total", "writes seen on a side that does not own the capability")
});
static LAG_BYTES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "ficus_cdc_lag_bytes",
        "log of the database that is read beyond what is received, applied, confirmed",
        &["stream", "position"]
    )
    .expect(REGISTERED)
});
static LAG_SECONDS: LazyLock<GaugeVec> = LazyLock::new(|| {
    register_gauge_vec!(
        "ficus_cdc_lag_seconds",
        "how long the log has been beyond what is received, applied, confirmed",
        &["stream", "position"]
    )
    .expect(REGISTERED)
});
static END_TO_END: LazyLock<HistogramVec> = LazyLock::new(|| {
    let buckets = vec![0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
    histogram(
        "ficus_cdc_end_to_end_lag_seconds",
        "from commit on the source to commit on the target",
        buckets,
    )
});
static RETAINED_BYTES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge("ficus_cdc_slot_retained_bytes", "log that the database that is read keeps for the slot")
});
static LIMIT_BYTES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge(
        "ficus_cdc_wal_limit_bytes",
        "log that may be kept: the budget, or the server's own limit",
    )
});
static USED_RATIO: LazyLock<GaugeVec> = LazyLock::new(|| {
    float_gauge("ficus_cdc_wal_limit_used_ratio", "share of the limit that is kept, from 0")
});
static EXHAUSTED_IN: LazyLock<GaugeVec> = LazyLock::new(|| {
    float_gauge(
        "ficus_cdc_wal_limit_reached_in_seconds",
        "until the limit at the rate of the last minute; no series while the log does not grow",
    )
});
static WAL_LEVEL: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "ficus_cdc_wal_level",
        "1 for how serious it is: ok, warning, alarm, exhausted, lost",
        &["stream", "level"]
    )
    .expect(REGISTERED)
});
static SLOT_STATUS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "ficus_cdc_slot_status",
        "1 for the wal_status of the slot: reserved, extended, unreserved, lost",
        &["stream", "status"]
    )
    .expect(REGISTERED)
});
static GIVEN_UP: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter("ficus_cdc_given_up_total", "streams ended because of the log kept for them")
});
static OLDEST_TRANSACTION: LazyLock<GaugeVec> = LazyLock::new(|| {
    float_gauge(
        "ficus_cdc_oldest_transaction_seconds",
        "age of the oldest transaction of the server that is read; it holds the slot back",
    )
});
static COPIED: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter("ficus_cdc_rows_copied_total", "rows of initial copies"));
static VERIFIED_AT: LazyLock<GaugeVec> = LazyLock::new(|| {
    register_gauge_vec!(
        "ficus_cdc_verified_timestamp_seconds",
        "when the last verification ended",
        &["capability"]
    )
    .expect(REGISTERED)
});
static VERIFIED_ROWS: LazyLock<IntGaugeVec> =
    LazyLock::new(|| by_capability("ficus_cdc_verified_rows", "rows that were compared last"));
static DIFFERENCES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    by_capability("ficus_cdc_verified_differences", "rows that differed in the last verification")
});
static DIRTY_KEYS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    by_capability(
        "ficus_cdc_dirty_keys",
        "keys touched since the last clean verification; no series when they are too many",
    )
});
static PARKED_ROWS: LazyLock<IntGaugeVec> =
    LazyLock::new(|| table_gauge("ficus_cdc_parked_rows", "changes kept for a table that waits"));
static PARKED_BYTES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    table_gauge("ficus_cdc_parked_bytes", "size of the changes kept for a table that waits")
});
static SKIPPED: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter("ficus_cdc_skipped_total", "changes left out on an operator's word"));
static GUARD_ACTIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "ficus_cdc_guard_actions_total",
        "transfers finished or undone in place of the coordinator",
        &["capability", "action"]
    )
    .expect(REGISTERED)
});

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Insert,
    Update,
    Delete,
    Truncate,
}

/// How far a position is behind: bytes, and for how long.
pub(crate) type Lag = Option<(u64, Duration)>;

/// What is known of a stream at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sampled {
    /// Since the last one.
    pub(crate) received_bytes: u64,
    pub(crate) received: Lag,
    pub(crate) applied: Lag,
    pub(crate) confirmed: Lag,
    pub(crate) wal: Option<Assessment>,
    pub(crate) server_spilled: Option<u64>,
    pub(crate) oldest_transaction: Option<Duration>,
}

/// What is counted for every change, resolved once for a run of a stream.
#[derive(Debug)]
pub(crate) struct StreamMeters {
    /// For each table, by kind of change.
    changes: Vec<[IntCounter; ChangeKind::COUNT]>,
    batch_rows: Histogram,
    batch_bytes: Histogram,
    spilled: IntCounter,
}

impl ChangeKind {
    pub(crate) const COUNT: usize = 4;
    pub(crate) const ALL: [Self; Self::COUNT] =
        [Self::Insert, Self::Update, Self::Delete, Self::Truncate];

    /// Its place in [`Self::ALL`].
    pub(crate) const fn place(self) -> usize {
        match self {
            Self::Insert => 0,
            Self::Update => 1,
            Self::Delete => 2,
            Self::Truncate => 3,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
        }
    }
}

impl StreamMeters {
    /// `tables` by their place in the stream.
    pub(crate) fn new(stream: &str, tables: &[String]) -> Self {
        let of_table = |table: &String| {
            ChangeKind::ALL
                .map(|kind| CHANGES.with_label_values(&[stream, table.as_str(), kind.as_str()]))
        };
        Self {
            changes: tables.iter().map(of_table).collect(),
            batch_rows: BATCH_ROWS.with_label_values(&[stream]),
            batch_bytes: BATCH_BYTES.with_label_values(&[stream]),
            spilled: SPILLED.with_label_values(&[stream]),
        }
    }

    /// So many changes of a table were written.
    pub(crate) fn changes(&self, table: usize, kind: ChangeKind, count: u64) {
        let kinds = self.changes.get(table);
        if let Some(counter) = kinds.and_then(|kinds| kinds.get(kind.place())) {
            counter.inc_by(count);
        }
    }

    /// One target transaction was committed.
    pub(crate) fn batch(&self, rows: u64, bytes: u64) {
        self.batch_rows.observe(float(rows));
        self.batch_bytes.observe(float(bytes));
    }

    /// So many bytes of a transaction that has not committed went to our disk.
    pub(crate) fn spilled(&self, bytes: u64) {
        self.spilled.inc_by(bytes);
    }
}

fn counter(name: &str, help: &str) -> IntCounterVec {
    register_int_counter_vec!(name, help, &["stream"]).expect(REGISTERED)
}

fn gauge(name: &str, help: &str) -> IntGaugeVec {
    register_int_gauge_vec!(name, help, &["stream"]).expect(REGISTERED)
}

fn table_gauge(name: &str, help: &str) -> IntGaugeVec {
    register_int_gauge_vec!(name, help, &["stream", "table"]).expect(REGISTERED)
}

fn float_gauge(name: &str, help: &str) -> GaugeVec {
    register_gauge_vec!(name, help, &["stream"]).expect(REGISTERED)
}

fn by_capability(name: &str, help: &str) -> IntGaugeVec {
    register_int_gauge_vec!(name, help, &["capability"]).expect(REGISTERED)
}

fn histogram(name: &str, help: &str, buckets: Vec<f64>) -> HistogramVec {
    register_histogram_vec!(name, help, &["stream"], buckets).expect(REGISTERED)
}

/// The stream is in this state now. One that does not exist has no series.
pub(crate) fn stream_state(stream: &str, now: State) {
    let is_there = now != State::Absent;
    show(&UP, &[stream], is_there.then(|| u64::from(now.is_reading())));
    for state in State::EXISTING {
        let value = is_there.then(|| u64::from(state == now));
        show(&STATE, &[stream, state.as_str()], value);
    }
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

pub(crate) fn given_up(stream: &str) {
    GIVEN_UP.with_label_values(&[stream]).inc();
}

pub(crate) fn copied(stream: &str, rows: u64) {
    COPIED.with_label_values(&[stream]).inc_by(rows);
}

/// Shows what is known of a stream now.
pub(crate) fn sampled(spec: &StreamSpec, seen: &Sampled) {
    let stream = spec.key();
    RECEIVED.with_label_values(&[&stream]).inc_by(seen.received_bytes);
    for (position, lag) in
        [("received", seen.received), ("applied", seen.applied), ("confirmed", seen.confirmed)]
    {
        let labels = [stream.as_str(), position];
        show(&LAG_BYTES, &labels, lag.map(|(bytes, _)| bytes));
        show_float(&LAG_SECONDS, &labels, lag.map(|(_, behind)| behind.as_secs_f64()));
    }
    let (labels, wal) = ([stream.as_str()], seen.wal.as_ref());
    show(&SERVER_SPILLED, &labels, seen.server_spilled);
    show(&RETAINED_BYTES, &labels, wal.and_then(|wal| wal.retained));
    show(&LIMIT_BYTES, &labels, wal.map(|wal| wal.limit));
    show_float(&USED_RATIO, &labels, wal.and_then(|wal| wal.used));
    let eta = wal.and_then(|wal| wal.eta);
    show_float(&EXHAUSTED_IN, &labels, eta.map(|eta| eta.as_secs_f64()));
    let oldest = seen.oldest_transaction;
    show_float(&OLDEST_TRANSACTION, &labels, oldest.map(|age| age.as_secs_f64()));
    let now = wal.and_then(|wal| wal.level);
    for level in Level::ALL {
        let value = now.map(|now| u64::from(now == level));
        show(&WAL_LEVEL, &[stream.as_str(), level.as_str()], value);
    }
    for status in SlotStatus::ALL {
        let value = wal.map(|wal| u64::from(wal.slot == status));
        show(&SLOT_STATUS, &[stream.as_str(), status.as_str()], value);
    }
}

/// A verification ended.
pub(crate) fn verified(capability: &str, rows: u64, differences: u64, finished_unix_ms: u64) {
    let finished = Duration::from_millis(finished_unix_ms).as_secs_f64();
    VERIFIED_AT.with_label_values(&[capability]).set(finished);
    show(&VERIFIED_ROWS, &[capability], Some(rows));
    show(&DIFFERENCES, &[capability], Some(differences));
}

/// So many keys and ranges of keys are to be looked at again, or whole tables.
pub(crate) fn dirty(capability: &str, (keys, overflow): (usize, bool)) {
    let known = u64::try_from(keys).ok().filter(|_| !overflow);
    show(&DIRTY_KEYS, &[capability], known);
}

pub(crate) fn parked(stream: &str, table: &str, size: ParkedSize) {
    show(&PARKED_ROWS, &[stream, table], Some(size.rows));
    show(&PARKED_BYTES, &[stream, table], Some(size.bytes));
}

pub(crate) fn skipped(stream: &str) {
    SKIPPED.with_label_values(&[stream]).inc();
}

pub(crate) fn guard_action(capability: &str, action: &str) {
    GUARD_ACTIONS.with_label_values(&[capability, action]).inc();
}

/// Sets a series, or ends it.
fn show(gauge: &IntGaugeVec, labels: &[&str], value: Option<u64>) {
    match value {
        Some(value) => {
            gauge.with_label_values(labels).set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        // There may be no such series.
        None => drop(gauge.remove_label_values(labels)),
    }
}

fn show_float(gauge: &GaugeVec, labels: &[&str], value: Option<f64>) {
    match value {
        Some(value) => gauge.with_label_values(labels).set(value),
        None => drop(gauge.remove_label_values(labels)),
    }
}

/// A histogram needs no more than the 52 bits of a float.
fn float(value: u64) -> f64 {
    value as f64
}
