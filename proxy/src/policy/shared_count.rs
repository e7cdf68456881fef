//! Counting the requests of one subject together with other proxies. Each request is counted once, when
//! it is admitted: not its retries, and not its shadow.

use std::{sync::Arc, time::Duration};

use http::header;
use routes::{Limit, OnFailure, SharedLimits as Config};

use super::{Answered, Applied, Asked, Counted, Policy};
use crate::{
    answer::Problem,
    metrics::policies::SHARED_LIMIT_FAILURES,
    shared_limit::{Rate, SharedLimits},
};

/// The store all policies with a shared limit use; lasts over reloads that leave it as it is.
#[derive(Debug)]
pub(super) struct CommonStore {
    pub(super) config: Config,
    limits: SharedLimits,
}

/// The limit of one policy that is shared.
#[derive(Debug)]
pub(super) struct CommonLimit {
    store: Arc<CommonStore>,
    rate: Rate,
}

/// A request that must be counted before it goes on.
#[derive(Debug)]
pub(crate) struct Pending {
    policy: Arc<Policy>,
    key: Vec<u8>,
}

impl CommonStore {
    /// `None` when the address is not one of a Redis.
    pub(super) fn new(config: &Config) -> Option<Self> {
        let limits = SharedLimits::new(config.redis.expose(), config.timeout).ok()?;
        Some(Self { config: config.clone(), limits })
    }
}

impl CommonLimit {
    pub(super) fn new(store: &Arc<CommonStore>, limit: &Limit) -> Self {
        let interval = (limit.per / limit.requests.max(1)).max(Duration::from_micros(1));
        Self { store: Arc::clone(store), rate: Rate { interval, burst: limit.burst } }
    }
}

impl Applied {
    /// What has to be counted elsewhere, if anything has.
    pub(crate) fn pending(&self, asked: Asked<'_>) -> Option<Pending> {
        self.policy.common.as_ref()?;
        let key = self.policy.limit_key(asked, self.subject.as_ref())?;
        Some(Pending { policy: Arc::clone(&self.policy), key })
    }

    /// Goes on with what was counted.
    ///
    /// # Errors
    /// The answer, when the subject has sent too many.
    pub(crate) fn settle(&mut self, counted: Option<Counted>) -> Result<(), Answered> {
        let Some(counted) = counted else { return Ok(()) };
        self.fields.extend_from_slice(counted.fields());
        match counted.is_admitted {
            true => Ok(()),
            false => Err(self.policy.too_many(&counted, &self.fields)),
        }
    }
}

impl Pending {
    /// Counts the request; `None` when nothing counts.
    ///
    /// # Errors
    /// The answer, when nobody can count and the policy then refuses.
    pub(crate) async fn count(self) -> Result<Option<Counted>, Problem> {
        let Self { policy, key } = self;
        let (Some(common), Some(limiter)) = (&policy.common, &policy.limiter) else {
            return Ok(None);
        };
        let failure =
            match common.store.limits.count(&common_key(&policy.name, &key), common.rate).await {
                Ok(count) => return Ok(Some(limiter.told(count))),
                Err(failure) => failure,
            };
        SHARED_LIMIT_FAILURES.with_label_values(&[failure.as_str()]).inc();
        match common.store.config.on_failure {
            OnFailure::Local => Ok(Some(limiter.count(&key))),
            OnFailure::Allow => Ok(None),
            OnFailure::Refuse => {
                policy.note("limits_silent");
                let detail = "requests cannot be counted at the moment; nothing was done";
                let problem = Problem::new(503, "limits-silent", detail);
                Err(problem.with_field(header::RETRY_AFTER, 1.into()))
            }
        }
    }
}

/// What the store knows a subject by: a hash, so that it learns nothing about anybody.
fn common_key(policy: &str, key: &[u8]) -> Vec<u8> {
    let hash = ring::digest::digest(&ring::digest::SHA256, key);
    let mut name = format!("ficus:limit:{policy}:").into_bytes();
    name.extend_from_slice(hash.as_ref());
    name
}
