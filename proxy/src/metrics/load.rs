//! What the process as a whole is doing.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGauge};

use super::{counter, plain_gauge};

pub(crate) static SHED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "ficus_proxy_shed_total",
        "Requests and shadows refused because of the load, by the limit that was reached.",
        &["kind", "limit"],
    )
});
pub(crate) static LOG_LINES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "ficus_proxy_access_log_lines_total",
        "Lines for the file of the access log: written, left_out because the disk was too slow, failed.",
        &["outcome"],
    )
});
pub(crate) static UNDER_WAY: LazyLock<IntGauge> = LazyLock::new(|| {
    plain_gauge(
        "ficus_proxy_requests_under_way",
        "Requests begun and not ended, held ones included.",
    )
});
pub(crate) static RESIDENT: LazyLock<IntGauge> =
    LazyLock::new(|| plain_gauge("ficus_proxy_resident_bytes", "Memory of the process."));
