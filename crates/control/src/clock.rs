//! The wall clock, for showing times to people. Decisions use monotonic time or the databases' clocks.

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(0)
}
