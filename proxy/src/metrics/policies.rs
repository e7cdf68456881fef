//! What policies are counted in.

use std::sync::LazyLock;

use prometheus::IntCounterVec;

use super::counter;

pub(crate) static POLICIES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "ficus_proxy_policy_answers_total",
        "Requests a policy decided about, by why: address, attack, attack_detected, unauthenticated, \
         forbidden, no_keys, unknown, limited, preflight.",
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
