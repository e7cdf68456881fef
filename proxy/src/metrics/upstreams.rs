//! What is counted of upstreams as a whole and of their peers.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGaugeVec};
use routes::Effect;

use super::{counter, gauge};
use crate::{plan::Plan, upstream::now};

pub(crate) static EJECTIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "ficus_proxy_upstream_ejections_total",
        "Times a peer was left out because of its answers, by reason.",
        &["upstream", "reason"],
    )
});
pub(crate) static RETRIES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "ficus_proxy_upstream_retries_total",
        "Requests that could be sent again: sent, no_budget or no_attempts.",
        &["upstream", "outcome"],
    )
});
pub(crate) static REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "ficus_proxy_upstream_refused_total",
        "Requests not sent to an upstream: breaker_open, full, no_credentials or no_peers.",
        &["upstream", "reason"],
    )
});
pub(crate) static BREAKER_OPENED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "ficus_proxy_breaker_opened_total",
        "Times a breaker opened, by class of the routes.",
        &["upstream", "class"],
    )
});
static BREAKER_STATE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge(
        "ficus_proxy_breaker_state",
        "1 for the state a breaker is in: closed, open or half_open.",
        &["upstream", "class", "state"],
    )
});
static PEERS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge(
        "ficus_proxy_upstream_peers",
        "Peers by state: usable, unhealthy or ejected.",
        &["upstream", "state"],
    )
});
static UNDER_WAY: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge(
        "ficus_proxy_upstream_inflight_requests",
        "Requests sent to an upstream and not ended.",
        &["upstream"],
    )
});

/// Copies the states of a plan's upstreams into the registry.
pub(crate) fn refresh(plan: &Plan) {
    let now = now();
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    for (name, upstream) in &plan.upstreams {
        let peers = upstream.peers();
        let unhealthy = peers.iter().filter(|peer| !peer.is_healthy()).count();
        let usable = peers.iter().filter(|peer| peer.is_usable(now)).count();
        let ejected = peers.len() - unhealthy - usable;
        for (state, count) in [("usable", usable), ("unhealthy", unhealthy), ("ejected", ejected)] {
            PEERS.with_label_values(&[name.as_str(), state]).set(number(count));
        }
        let under_way = peers.iter().map(crate::upstream::Peer::under_way).sum();
        UNDER_WAY.with_label_values(&[name.as_str()]).set(number(under_way));
        if upstream.config.resilience.breaker.is_none() {
            continue;
        }
        for class in [Effect::Read, Effect::Write] {
            let current = upstream.breaker(class).state().as_str();
            for state in ["closed", "open", "half_open"] {
                let labels = [name.as_str(), class.as_str(), state];
                BREAKER_STATE.with_label_values(&labels).set(i64::from(state == current));
            }
        }
    }
}
