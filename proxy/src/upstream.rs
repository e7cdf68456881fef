//! An upstream and its peers: which address the next request goes to, whether it may be sent at all,
//! and how long anything may take. What is learned of peers lasts over reloads.

pub(crate) mod asking;
pub(crate) mod breaker;
pub(crate) mod budget;
mod call;
pub(crate) mod credentials;
pub(crate) mod ejection;
mod peer;

use std::{
    hash::Hasher,
    net::SocketAddr,
    sync::{Arc, LazyLock},
};

use arc_swap::ArcSwapOption;
use routes::{Effect, UpstreamLimits};
use siphasher::sip::SipHasher13;
use tokio::{sync::Semaphore, time::Instant};

pub(crate) use call::{Call, Refused};
pub(crate) use peer::Peer;

use breaker::Breaker;
use budget::Budget;
use credentials::Credentials;

/// One upstream of a compiled configuration.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) config: routes::Upstream,
    peers: Box<[Peer]>,
    credentials: Arc<ArcSwapOption<Credentials>>,
    lasting: Arc<Lasting>,
    slots: Option<Arc<Slots>>,
}

/// What outlives a configuration.
#[derive(Debug, Default)]
struct Lasting {
    reads: Breaker,
    writes: Breaker,
    budget: Budget,
}

/// Room for requests under way.
#[derive(Debug)]
struct Slots {
    limits: UpstreamLimits,
    under_way: Arc<Semaphore>,
    pending: Arc<Semaphore>,
}

/// What a peer is chosen for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish<'w> {
    /// The same key goes to the same peer; without one the less loaded peer is chosen.
    pub(crate) key: Option<&'w [u8]>,
    /// Just failed; taken only if there is no other.
    pub(crate) avoid: Option<SocketAddr>,
}

/// Milliseconds of the clock that peers and breakers are judged by.
pub(crate) fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Upstream {
    /// `before` is the upstream of this name in the configuration that this one replaces.
    pub(crate) fn new(config: routes::Upstream, before: Option<&Self>) -> Self {
        let known = |address| before?.peers.iter().find(|peer| peer.address == address);
        let credentials = Arc::default();
        let peers = config
            .peers
            .iter()
            .map(|address| Peer::new(*address, &config, &credentials, known(*address)))
            .collect();
        let lasting = before.map(|before| Arc::clone(&before.lasting)).unwrap_or_default();
        let kept = before.and_then(|before| before.slots.as_ref());
        let slots = config.resilience.limits.map(|limits| match kept {
            Some(slots) if slots.limits == limits => Arc::clone(slots),
            Some(_) | None => Arc::new(Slots::new(limits)),
        });
        Self { config, peers, credentials, lasting, slots }
    }

    /// All peers.
    pub(crate) fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// New connections use these certificates. `true` when others were used before.
    pub(crate) fn set_credentials(&self, credentials: &Arc<Credentials>) -> bool {
        let before = self.credentials.swap(Some(Arc::clone(credentials)));
        before.is_some_and(|before| before.digest != credentials.digest)
    }

    /// The breaker of a route class.
    pub(crate) fn breaker(&self, class: Effect) -> &Breaker {
        match class {
            Effect::Read => &self.lasting.reads,
            Effect::Write => &self.lasting.writes,
        }
    }

    /// Whether a request may be sent once more; takes it from the budget if so.
    pub(crate) fn take_retry(&self) -> bool {
        self.lasting.budget.take()
    }

    /// The peer for a request. When all are left out one is asked nevertheless: what left them out may
    /// be what is broken.
    pub(crate) fn choose(&self, wish: Wish<'_>) -> Option<&Peer> {
        self.choose_index(wish, now()).and_then(|index| self.peers.get(index))
    }

    fn choose_index(&self, wish: Wish<'_>, now: u64) -> Option<usize> {
        if self.peers.len() <= 1 {
            return (!self.peers.is_empty()).then_some(0);
        }
        let is_wanted = |peer: &Peer| peer.is_usable(now) && Some(peer.address) != wish.avoid;
        let pick = |is_candidate: &dyn Fn(&Peer) -> bool| match wish.key {
            Some(key) => self.nearest(key, is_candidate),
            None => self.less_loaded(is_candidate, now),
        };
        pick(&is_wanted).or_else(|| pick(&|peer| peer.is_usable(now))).or_else(|| pick(&|_| true))
    }

    /// Rendezvous hashing: the candidate whose hash with the key is greatest. When a peer goes, only
    /// its own keys move.
    fn nearest(&self, key: &[u8], is_candidate: &dyn Fn(&Peer) -> bool) -> Option<usize> {
        let candidates = self.peers.iter().enumerate().filter(|(_, peer)| is_candidate(peer));
        candidates.max_by_key(|(_, peer)| weight(key, peer.address)).map(|(index, _)| index)
    }

    /// The less loaded of two random candidates. One that came back a short time ago gives its turn
    /// to the other most of the time.
    fn less_loaded(&self, is_candidate: &dyn Fn(&Peer) -> bool, now: u64) -> Option<usize> {
        let first = self.random_candidate(is_candidate, None)?;
        let Some(second) = self.random_candidate(is_candidate, Some(first)) else {
            return Some(first);
        };
        let (one, other) = (self.peers.get(first)?, self.peers.get(second)?);
        let slow_start = self.config.resilience.slow_start;
        let takes_turn = |warmth: f64| warmth >= 1.0 || rand::random::<f64>() < warmth;
        let takes = [one, other].map(|peer| takes_turn(peer.warmth(slow_start, now)));
        Some(match takes {
            [true, false] => first,
            [false, true] => second,
            [true, true] | [false, false] if other.under_way() < one.under_way() => second,
            [true, true] | [false, false] => first,
        })
    }

    /// The first candidate in turn from a random place.
    fn random_candidate(
        &self,
        is_candidate: &dyn Fn(&Peer) -> bool,
        except: Option<usize>,
    ) -> Option<usize> {
        let count = self.peers.len();
        let start = rand::random_range(0..count);
        (0..count).map(|step| (start + step) % count).find(|index| {
            Some(*index) != except && self.peers.get(*index).is_some_and(is_candidate)
        })
    }
}

impl Slots {
    fn new(limits: UpstreamLimits) -> Self {
        let room = |count: u32| {
            let count = usize::try_from(count).unwrap_or(Semaphore::MAX_PERMITS);
            Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)))
        };
        Self { limits, under_way: room(limits.requests), pending: room(limits.pending) }
    }
}

/// The same on every proxy and after every restart.
fn weight(key: &[u8], address: SocketAddr) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x6669_6375_7370_6565, 0x7263_686f_6963_6500);
    match address {
        SocketAddr::V4(address) => hasher.write(&address.ip().octets()),
        SocketAddr::V6(address) => hasher.write(&address.ip().octets()),
    }
    hasher.write_u16(address.port());
    hasher.write(key);
    hasher.finish()
}

#[cfg(test)]
mod tests;
