//! One limit for several proxies: the counting is done by one script inside Redis (or a server that
//! speaks like it), on that server's clock, so that proxies need not agree about the time.
//!
//! A request waits at most a configured time for it. After a failure nobody asks for a while, and the
//! caller decides what counts meanwhile.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use redis::{
    Client, Script,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use tokio::{
    sync::OnceCell,
    time::{Instant, timeout},
};

/// How long nobody asks after a failure: a store that is down costs one waiting time in so long.
const REST: Duration = Duration::from_secs(1);

/// GCRA. `tat` is the moment at which the subject will have used nothing; a request moves it one
/// interval on, and is refused while it lies further ahead than the burst allows. Answers whether the
/// request counts, how many more may follow at once, and microseconds: until one is allowed, and until
/// all are.
const SCRIPT: &str = r"
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local interval = tonumber(ARGV[1])
local burst = tonumber(ARGV[2])
local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local ahead = tat - now
local allowed = ahead <= interval * (burst - 1)
if allowed then
  ahead = ahead + interval
  redis.call('SET', KEYS[1], string.format('%.0f', now + ahead), 'PX', math.ceil(ahead / 1000))
end
local room = interval * burst - ahead
local left = math.max(math.floor(room / interval), 0)
local wait = 0
if left == 0 then wait = interval - room end
return { allowed and 1 or 0, left, math.max(math.ceil(wait), 0), math.ceil(ahead) }
";

/// How fast requests of one subject may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Time for which one request uses up the allowance, at least 1 µs.
    pub(crate) interval: Duration,
    /// Requests at once after a pause, at least 1.
    pub(crate) burst: u32,
}

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    /// It is within the limit, and was counted.
    pub(crate) is_allowed: bool,
    /// How many may follow at once.
    pub(crate) left: u32,
    /// Until the next is allowed; zero when one is.
    pub(crate) wait: Duration,
    /// Until all of the burst is.
    pub(crate) reset: Duration,
}

/// The store did not say.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Silent {
    /// It failed a moment ago and is left alone.
    #[error("the shared limits rest after a failure")]
    Resting,
    /// It took too long.
    #[error("the shared limits did not answer in time")]
    Late,
    /// It cannot be reached, or refused.
    #[error("the shared limits cannot be asked")]
    Failed(#[source] redis::RedisError),
}

/// The place where several proxies count together.
pub(crate) struct SharedLimits {
    client: Client,
    connection: OnceCell<ConnectionManager>,
    script: Script,
    patience: Duration,
    born: Instant,
    /// Milliseconds after `born` until which nobody asks.
    rests_until: AtomicU64,
}

impl Silent {
    /// Stable name used in metrics.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Resting => "resting",
            Self::Late => "late",
            Self::Failed(_) => "failed",
        }
    }
}

impl SharedLimits {
    /// A store behind a `redis://` address, asked for at most `patience` a request. Nothing is
    /// connected before the first question.
    ///
    /// # Errors
    /// When the address is not one.
    pub(crate) fn new(url: &str, patience: Duration) -> Result<Self, redis::RedisError> {
        Ok(Self {
            client: Client::open(url)?,
            connection: OnceCell::new(),
            script: Script::new(SCRIPT),
            patience,
            born: Instant::now(),
            rests_until: AtomicU64::new(0),
        })
    }

    /// Counts one request under `key`.
    ///
    /// # Errors
    /// When the store does not say in time; the request is then counted or not.
    pub(crate) async fn count(&self, key: &[u8], rate: Rate) -> Result<Count, Silent> {
        if self.now() < self.rests_until.load(Relaxed) {
            return Err(Silent::Resting);
        }
        let outcome = match timeout(self.patience, self.ask(key, rate)).await {
            Ok(Ok(count)) => Ok(count),
            Ok(Err(error)) => Err(Silent::Failed(error)),
            Err(_) => Err(Silent::Late),
        };
        if outcome.is_err() {
            self.rests_until.store(self.now() + millis(REST), Relaxed);
        }
        outcome
    }

    async fn ask(&self, key: &[u8], rate: Rate) -> Result<Count, redis::RedisError> {
        let connect = || {
            let config = ConnectionManagerConfig::new()
                .set_connection_timeout(Some(REST))
                .set_response_timeout(Some(self.patience))
                .set_number_of_retries(0);
            self.client.get_connection_manager_with_config(config)
        };
        let mut connection = self.connection.get_or_try_init(connect).await?.clone();
        let interval = u64::try_from(rate.interval.as_micros()).unwrap_or(u64::MAX).max(1);
        let mut call = self.script.prepare_invoke();
        call.key(key).arg(interval).arg(rate.burst.max(1));
        let (allowed, left, wait, reset): (u8, u32, u64, u64) =
            call.invoke_async(&mut connection).await?;
        Ok(Count {
            is_allowed: allowed == 1,
            left,
            wait: Duration::from_micros(wait),
            reset: Duration::from_micros(reset),
        })
    }

    fn now(&self) -> u64 {
        millis(self.born.elapsed())
    }
}

impl std::fmt::Debug for SharedLimits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address may carry a password.
        f.debug_struct("SharedLimits").field("patience", &self.patience).finish_non_exhaustive()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
