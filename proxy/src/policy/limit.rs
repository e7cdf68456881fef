//! How many requests one subject may send: a token bucket (GCRA) for each, in bounded memory, with the
//! `RateLimit` fields of the IETF draft.

use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};
use http::{HeaderName, HeaderValue};
use routes::{Limit, SubjectSource};

use super::{Asked, Subject};
use crate::{shared_limit::Count, subject};

/// Subjects that are told apart; what comes beyond shares a few buckets, so that memory stays bounded.
const SUBJECTS_MAX: usize = 100_000;
const SHARED_BUCKETS: u64 = 1_024;

/// Every so many requests subjects that have their whole share again are forgotten.
const SWEEP_EVERY: u32 = 4_096;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Room for most subjects as they are counted by.
const KEY_BYTES: usize = 64;

/// The limit of one policy; lasts over reloads that leave it as it is.
pub(crate) struct Limiter {
    pub(super) config: Limit,
    name: String,
    buckets: RateLimiter<u64, DashMapStateStore<u64>, DefaultClock, StateInformationMiddleware>,
    hasher: RandomState,
    requests: AtomicU32,
    is_full: std::sync::atomic::AtomicBool,
    policy: HeaderValue,
}

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) is_admitted: bool,
    /// When refused: how long until one is admitted.
    pub(crate) wait: Duration,
    fields: [(HeaderName, HeaderValue); 2],
}

impl Limiter {
    pub(super) fn new(name: &str, config: &Limit) -> Self {
        let one = NonZeroU32::MIN;
        let (requests, burst) =
            (NonZeroU32::new(config.requests).unwrap_or(one), NonZeroU32::new(config.burst));
        let period = (config.per / requests.get()).max(Duration::from_nanos(1));
        let quota = Quota::with_period(period).unwrap_or_else(|| Quota::per_second(requests));
        let quota = quota.allow_burst(burst.unwrap_or(one));
        let policy = format!("\"{name}\";q={};w={}", config.requests, whole_seconds(config.per));
        Self {
            config: config.clone(),
            name: name.to_owned(),
            buckets: RateLimiter::dashmap(quota).with_middleware(),
            hasher: RandomState::new(),
            requests: AtomicU32::new(0),
            is_full: std::sync::atomic::AtomicBool::new(false),
            policy: HeaderValue::from_str(&policy).expect("names are plain"),
        }
    }

    /// Whose requests this one is counted with.
    pub(super) fn key(&self, asked: Asked<'_>, subject: Option<&Subject>) -> Vec<u8> {
        let mut key = Vec::with_capacity(KEY_BYTES);
        for (index, source) in (0..u8::MAX).zip(&self.config.by) {
            // One source's values never meet another's.
            key.push(index);
            let written = match source {
                SubjectSource::JwtClaim(claim) => {
                    subject.and_then(|subject| subject.write_key(claim, &mut key))
                }
                SubjectSource::Cookie(_) | SubjectSource::Header(_) | SubjectSource::Ip => {
                    subject::from(source, asked.headers, asked.address)
                        .map(|value| key.extend_from_slice(&value))
                }
            };
            if written.is_some() {
                return key;
            }
            key.clear();
        }
        key.push(u8::MAX);
        key.extend_from_slice(&subject::address(asked.address));
        key
    }

    /// Counts a request of a subject.
    pub(super) fn count(&self, subject: &[u8]) -> Counted {
        if self.requests.fetch_add(1, Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.buckets.retain_recent();
            self.is_full.store(self.buckets.len() > SUBJECTS_MAX, Relaxed);
        }
        let hash = self.hasher.hash_one(subject);
        let key = if self.is_full.load(Relaxed) { hash % SHARED_BUCKETS } else { hash };
        match self.buckets.check_key(&key) {
            Ok(state) => self.counted(state.remaining_burst_capacity(), None),
            Err(refused) => {
                let wait = refused.wait_time_from(self.buckets.clock().now());
                self.counted(0, Some(wait))
            }
        }
    }

    /// What another place counted.
    pub(super) fn told(&self, count: Count) -> Counted {
        self.counted(count.left, (!count.is_allowed).then_some(count.wait))
    }

    fn counted(&self, remaining: u32, wait: Option<Duration>) -> Counted {
        let missing = self.config.burst.saturating_sub(remaining);
        let period = self.config.per / self.config.requests.max(1);
        let reset = wait.unwrap_or_else(|| period.saturating_mul(missing));
        let state = format!("\"{}\";r={remaining};t={}", self.name, whole_seconds(reset));
        let state = HeaderValue::try_from(state).expect("names are plain");
        Counted {
            is_admitted: wait.is_none(),
            wait: wait.unwrap_or_default(),
            fields: [(LIMIT, state), (POLICY, self.policy.clone())],
        }
    }
}

impl Counted {
    /// What the downstream is told about it.
    pub(crate) const fn fields(&self) -> &[(HeaderName, HeaderValue); 2] {
        &self.fields
    }

    /// Whole seconds after which it is worth to ask again, at least 1.
    pub(crate) fn retry_after(&self) -> u64 {
        whole_seconds(self.wait).max(1)
    }
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Rounded up: who waits so long has waited long enough.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(requests: u32, per: u64, burst: u32) -> Limiter {
        let per = Duration::from_secs(per);
        Limiter::new("api", &Limit { requests, per, burst, by: Vec::new(), shared: false })
    }

    fn field(counted: &Counted, name: &str) -> String {
        let found = counted.fields().iter().find(|(each, _)| each == name);
        found.map(|(_, value)| value.to_str().expect("text").to_owned()).unwrap_or_default()
    }

    #[test]
    fn a_subject_gets_its_burst_and_then_has_to_wait() {
        let limiter = limiter(60, 3_600, 3);
        let remaining: Vec<String> =
            (0..3).map(|_| field(&limiter.count(b"alice"), "ratelimit")).collect();
        assert_eq!(remaining[0], "\"api\";r=2;t=60");
        assert!(remaining[2].starts_with("\"api\";r=0;t=1"), "{remaining:?}");
        let refused = limiter.count(b"alice");
        assert!(!refused.is_admitted);
        assert!((59..=60).contains(&refused.retry_after()), "{refused:?}");
        assert_eq!(field(&refused, "ratelimit-policy"), "\"api\";q=60;w=3600");
        assert!(limiter.count(b"bob").is_admitted);
    }

    #[test]
    fn beyond_the_bound_subjects_share_a_few_buckets() {
        let limiter = limiter(1, 86_400, 1);
        for number in 0..SUBJECTS_MAX + usize::try_from(SWEEP_EVERY).expect("small") * 2 {
            limiter.count(number.to_string().as_bytes());
        }
        let before = limiter.buckets.len();
        for number in 0..10_000 {
            limiter.count(format!("late {number}").as_bytes());
        }
        let shared = usize::try_from(SHARED_BUCKETS).expect("small");
        assert!(limiter.buckets.len() <= before + shared, "{before} {}", limiter.buckets.len());
    }

    #[test]
    fn parts_of_seconds_are_rounded_up() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_secs(2)), 2);
    }
}
