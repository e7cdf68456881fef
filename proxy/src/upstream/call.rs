//! One attempt to send a request to an upstream: whether it may be sent, to which peer, and what its
//! end says about the peer and the upstream.

use std::sync::Arc;

use routes::Effect;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::{Peer, Slots, Upstream, Wish, breaker::Permit, ejection, now};
use crate::metrics::upstreams as meters;

/// Why a request is not sent to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Its breaker is open.
    Open,
    /// As many requests as allowed are under way and waiting.
    Full,
    /// Its certificates are not there.
    NoCredentials,
    /// It has no peers.
    NoPeers,
}

/// An attempt under way; counts as such until it is dropped.
#[derive(Debug)]
pub(crate) struct Call {
    upstream: Arc<Upstream>,
    peer: usize,
    class: Effect,
    permit: Option<Permit>,
    is_settled: bool,
    _slot: Option<OwnedSemaphorePermit>,
}

impl Refused {
    /// Stable name used in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "breaker_open",
            Self::Full => "full",
            Self::NoCredentials => "no_credentials",
            Self::NoPeers => "no_peers",
        }
    }
}

impl Call {
    /// Waits for room and chooses a peer.
    ///
    /// # Errors
    /// When the request must not be sent; nothing was.
    pub(crate) async fn begin(
        upstream: &Arc<Upstream>,
        class: Effect,
        wish: Wish<'_>,
        is_first: bool,
    ) -> Result<Self, Refused> {
        let slot = match &upstream.slots {
            Some(slots) => Some(slots.take().await.ok_or(Refused::Full)?),
            None => None,
        };
        let now = now();
        let peer = upstream.choose_index(wish, now).ok_or(Refused::NoPeers)?;
        let resilience = &upstream.config.resilience;
        let permit = match &resilience.breaker {
            Some(rules) => Some(upstream.breaker(class).admit(rules, now).ok_or(Refused::Open)?),
            None => None,
        };
        if is_first {
            upstream.lasting.budget.pay_in(resilience.retry.budget);
        }
        let upstream = Arc::clone(upstream);
        if let Some(peer) = upstream.peers.get(peer) {
            peer.add_request();
        }
        Ok(Self { upstream, peer, class, permit, is_settled: false, _slot: slot })
    }

    /// Where the request is sent.
    pub(crate) fn peer(&self) -> Option<&Peer> {
        self.upstream.peers.get(self.peer)
    }

    /// Hears how the attempt ended; only the first end counts.
    pub(crate) fn settle(&mut self, is_failure: bool) {
        if std::mem::replace(&mut self.is_settled, true) {
            return;
        }
        let (now, resilience) = (now(), &self.upstream.config.resilience);
        let name = self.upstream.config.name.as_str();
        if let (Some(rules), Some(permit)) = (&resilience.breaker, self.permit)
            && self.upstream.breaker(self.class).record(permit, is_failure, rules, now)
        {
            meters::BREAKER_OPENED.with_label_values(&[name, self.class.as_str()]).inc();
            let class = self.class.as_str();
            tracing::warn!(
                upstream = name,
                class,
                "the breaker opened: nothing is sent for a while"
            );
        }
        self.judge_peer(is_failure, now);
    }

    fn judge_peer(&self, is_failure: bool, now: u64) {
        let (rules, peers) = (&self.upstream.config.resilience.ejection, self.upstream.peers());
        let Some(peer) = self.peer().filter(|_| ejection::may_eject(rules, 0, peers.len())) else {
            return;
        };
        let Some(reason) = peer.record().count(rules, is_failure, now) else { return };
        let out = peers.iter().filter(|peer| !peer.is_usable(now)).count();
        let name = self.upstream.config.name.as_str();
        if !ejection::may_eject(rules, out, peers.len()) {
            return;
        }
        let time = peer.record().eject(rules, now);
        meters::EJECTIONS.with_label_values(&[name, reason.as_str()]).inc();
        tracing::warn!(
            upstream = name,
            address = %peer.address,
            reason = reason.as_str(),
            seconds = time.as_secs_f64(),
            "a peer was left out because of its answers"
        );
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(peer) = self.peer() {
            peer.remove_request();
        }
    }
}

impl Slots {
    async fn take(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(slot) = Arc::clone(&self.under_way).try_acquire_owned() {
            return Some(slot);
        }
        let _pending = self.pending.try_acquire().ok()?;
        let slot = Arc::clone(&self.under_way).acquire_owned();
        timeout(self.limits.wait, slot).await.ok()?.ok()
    }
}
