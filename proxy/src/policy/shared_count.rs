//! Counting the requests of one subject together with other proxies. Each request is counted once, when
//! it is admitted: not its retries, and not its shadow.

use std::{sync::Arc, time::Duration};

use routes::{Limit, OnFailure, SharedLimits as Config};

use crate::{
    metrics::policies::SHARED_LIMIT_FAILURES,
    shared_limit::{Count, Rate, SharedLimits},
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

    /// Counts a request of the subject with this key.
    ///
    /// # Errors
    /// What is to be done when nobody counts.
    pub(super) async fn count(&self, policy: &str, key: &[u8]) -> Result<Count, OnFailure> {
        let counted = self.store.limits.count(&common_key(policy, key), self.rate).await;
        counted.map_err(|failure| {
            SHARED_LIMIT_FAILURES.with_label_values(&[failure.as_str()]).inc();
            self.store.config.on_failure
        })
    }
}

/// What the store knows a subject by: a hash, so that it learns nothing about anybody.
fn common_key(policy: &str, key: &[u8]) -> Vec<u8> {
    let hash = ring::digest::digest(&ring::digest::SHA256, key);
    let mut name = format!("ficus:limit:{policy}:").into_bytes();
    name.extend_from_slice(hash.as_ref());
    name
}
