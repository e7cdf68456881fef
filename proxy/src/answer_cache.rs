//! Answers that are given again without asking an upstream (RFC 9111, as a shared cache), for routes
//! whose policy wants it. pingora knows the rules of freshness, ranges and revalidation, and lets one
//! of several equal requests ask; here is decided what they may be applied to.
//!
//! Nothing is looked up or kept while a capability is transferred or its answers are compared. Every
//! write of a capability makes everything kept of it unreachable before its answer is passed on.

mod store;

use std::{
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    time::{Duration, SystemTime},
};

use http::{HeaderMap, Method, StatusCode, header};
use pingora::{
    cache::{
        CacheKey, CacheMeta, CacheMetaDefaults, CacheOptionOverrides, NoCacheReason, RespCacheable,
        VarianceBuilder,
        cache_control::CacheControl,
        filters::resp_cacheable,
        key::HashBinary,
        lock::{CacheKeyLockImpl, CacheLock},
    },
    http::{RequestHeader, ResponseHeader},
    proxy::Session,
};

use store::Store;

/// How long one request may keep others waiting for its answer.
const COLLAPSE_MAX: Duration = Duration::from_secs(5);

/// Answers that say nothing about their freshness are not kept by pingora.
static DEFAULTS: CacheMetaDefaults = CacheMetaDefaults::new(|_| None, 0, 0);

/// What a policy says about keeping answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeepRules {
    /// How long a successful answer is fresh that says nothing itself; zero keeps none.
    pub(crate) fresh: Duration,
    /// Longer bodies, in bytes, are not kept.
    pub(crate) body_max: usize,
}

/// The kept answers of one proxy.
pub(crate) struct AnswerCache {
    // pingora borrows both for ever.
    store: &'static Store,
    lock: &'static CacheKeyLockImpl,
}

/// Counts the writes after which nothing kept before may be given. Begins anywhere, so that a new one
/// never meets answers of an old one.
#[derive(Debug)]
pub(crate) struct Writes(AtomicU64);

impl Default for Writes {
    fn default() -> Self {
        Self(AtomicU64::new(rand::random()))
    }
}

impl Writes {
    /// A write was executed, or may have been.
    pub(crate) fn note(&self) {
        self.0.fetch_add(1, SeqCst);
    }

    fn count(&self) -> u64 {
        self.0.load(SeqCst)
    }
}

impl AnswerCache {
    /// A cache of at most `bytes`. Its memory is never given back: one for each process.
    pub(crate) fn new(bytes: usize) -> Self {
        let lock: Box<CacheKeyLockImpl> = CacheLock::new_boxed(COLLAPSE_MAX);
        Self { store: Box::leak(Box::new(Store::new(bytes))), lock: Box::leak(lock) }
    }

    /// Bytes that are kept now.
    pub(crate) fn bytes(&self) -> u64 {
        self.store.bytes()
    }

    /// Lets this request be answered from the cache, and its answer be kept.
    pub(crate) fn enable(&self, session: &mut Session, rules: KeepRules) {
        if !is_askable(session.req_header()) {
            return;
        }
        let mut patience = CacheOptionOverrides::default();
        patience.wait_timeout = Some(COLLAPSE_MAX);
        session.cache.enable(self.store, None, None, Some(self.lock), Some(patience));
        session.cache.set_max_file_size_bytes(rules.body_max);
    }
}

impl std::fmt::Debug for AnswerCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnswerCache").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

/// Whether an answer kept for others may be given to this request at all.
fn is_askable(request: &RequestHeader) -> bool {
    let is_plain = matches!(request.method, Method::GET | Method::HEAD);
    is_plain && !request.headers.contains_key(header::UPGRADE)
}

/// The name an answer is kept under. `owner` says whose answer it is (capability, side, policy); each
/// part has its length before it, so that no two requests share a name.
pub(crate) fn key(owner: &str, writes: &Writes, host: &[u8], target: &[u8]) -> CacheKey {
    let mut name = Vec::with_capacity(owner.len() + host.len() + target.len() + 32);
    name.extend_from_slice(&writes.count().to_le_bytes());
    for part in [owner.as_bytes(), host, target] {
        name.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        name.extend_from_slice(part);
    }
    CacheKey::new(name, "")
}

/// Whether an answer may be kept for others, and how long it is fresh.
pub(crate) fn judge(
    request: &RequestHeader,
    response: &ResponseHeader,
    is_known: bool,
    rules: KeepRules,
    now: SystemTime,
) -> RespCacheable {
    let refused = |why| RespCacheable::Uncacheable(NoCacheReason::Custom(why));
    if response.headers.contains_key(header::SET_COOKIE) {
        return refused("it sets a cookie");
    }
    if varies_on_everything(&response.headers) {
        return refused("it varies on everything");
    }
    // A cookie names a person as well as a token does.
    let is_personal = is_known
        || request.headers.contains_key(header::AUTHORIZATION)
        || request.headers.contains_key(header::COOKIE);
    let control = CacheControl::from_resp_headers(response);
    let says_nothing = control.is_none()
        && !response.headers.contains_key(header::EXPIRES)
        && !response.headers.contains_key(header::PRAGMA);
    if says_nothing && !is_personal && !rules.fresh.is_zero() && is_success(response.status) {
        let until = now + rules.fresh;
        return RespCacheable::Cacheable(CacheMeta::new(until, now, 0, 0, response.clone()));
    }
    resp_cacheable(control.as_ref(), response.clone(), is_personal, &DEFAULTS)
}

fn is_success(status: StatusCode) -> bool {
    matches!(status, StatusCode::OK | StatusCode::NOT_MODIFIED)
}

fn varies_on_everything(headers: &HeaderMap) -> bool {
    vary(headers).any(|name| name == "*")
}

fn vary(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::VARY).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|name| !name.is_empty())
}

/// What tells the variants of one address apart: the fields of the request that the answer names in
/// `Vary`, all values of each.
pub(crate) fn variant(kept: &HeaderMap, request: &RequestHeader) -> Option<HashBinary> {
    let mut variance = VarianceBuilder::new();
    for name in vary(kept) {
        let name = name.to_ascii_lowercase();
        let mut all = Vec::new();
        for value in request.headers.get_all(&name) {
            all.extend_from_slice(value.as_bytes());
            all.push(b'\n');
        }
        variance.add_owned_name_value(name, all);
    }
    variance.finalize()
}

/// Seconds since the upstream made an answer that is given again.
pub(crate) fn age(meta: &CacheMeta, now: SystemTime) -> u64 {
    let before = meta.response_header().headers.get(header::AGE);
    let before = before.and_then(|age| age.to_str().ok()?.trim().parse().ok()).unwrap_or(0_u64);
    let here = now.duration_since(meta.updated()).unwrap_or_default();
    before.saturating_add(here.as_secs())
}

#[cfg(test)]
mod tests;
