//! What policies are counted in.

use std::sync::LazyLock;

use prometheus::IntCounterVec;

use super::counter;

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
pub(crate) static KEPT_ANSWERS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "ficus_proxy_kept_answers_total",
        "Requests whose policy keeps answers, by how they met them: hit, miss, stale, expired, \
         revalidated, or why they passed by.",
        &["policy", "phase"],
    )
});
