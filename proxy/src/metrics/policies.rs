//! What policies are counted in.

use std::sync::LazyLock;

use prometheus::{HistogramVec, IntCounterVec};

use super::{counter, histogram};

pub(crate) static POLICIES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "ficus_proxy_policy_answers_total",
        "Requests a policy decided about, by why: address, attack, attack_detected, unauthenticated, \
         forbidden, no_keys, unknown, limited, limits_silent, preflight.",
        &["policy", "outcome"],
    )
});
pub(crate) static KEY_FETCHES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "ficus_proxy_key_fetches_total",
        "Fetches of an issuer's keys, by outcome: fetched or failed.",
        &["issuer", "outcome"],
    )
});

pub(crate) static SHARED_LIMIT_FAILURES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "ficus_proxy_shared_limit_failures_total",
        "Requests the shared limits did not count, by why: resting, late or failed.",
        &["reason"],
    )
});
pub(crate) static EXAMINATIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "ficus_proxy_examinations_total",
        "Requests a rule set was to be asked about, by outcome: passed, blocked, detected, late, skipped, \
         too_long or failed.",
        &["policy", "outcome"],
    )
});
pub(crate) static EXAMINATION_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    histogram(
        "ficus_proxy_examination_seconds",
        "Time a rule set needed for one request, without the time it waited for its turn.",
        &["policy"],
    )
});
pub(crate) static KEPT_ANSWERS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "ficus_proxy_kept_answers_total",
        "Requests whose policy keeps answers, by how they met them: hit, miss, stale, expired, \
         revalidated, or why they passed by.",
        &["policy", "phase"],
    )
});
