//! The one place that reads the wall clock: to compare with commit times of the databases.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pg::replication::unix_time_us;

/// Milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// How long ago a commit was, by its server's clock; zero when that clock is ahead of ours.
pub(crate) fn since_commit(commit_time_us: i64) -> Duration {
    let committed_ms = u64::try_from(unix_time_us(commit_time_us) / 1000).unwrap_or(0);
    Duration::from_millis(unix_ms().saturating_sub(committed_ms))
}
