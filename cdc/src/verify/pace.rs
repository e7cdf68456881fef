//! How fast a comparison may go: so many rows a second, and never more than a share of the time, so
//! that a slow database gets longer rests.

use std::time::Duration;

/// Rests are at least this many times as long as the work before them.
const REST_TO_WORK: u32 = 3;

/// Rows of one chunk at full speed: few enough to find a difference fast, enough for few round trips.
const CHUNK_ROWS: u32 = 5_000;
const CHUNK_ROWS_MIN: u32 = 100;

/// A speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Somebody waits for it.
    Full,
    /// In the background.
    Bounded {
        /// Rows a second, at least one.
        rows_per_second: u32,
    },
}

impl Pace {
    /// Rows to read at once; not more than a second's.
    pub(super) fn chunk_rows(self) -> u32 {
        match self {
            Self::Full => CHUNK_ROWS,
            Self::Bounded { rows_per_second } => rows_per_second.clamp(CHUNK_ROWS_MIN, CHUNK_ROWS),
        }
    }

    /// How long to rest after so many rows that took so long.
    pub(super) fn rest(self, rows: u64, worked: Duration) -> Duration {
        match self {
            Self::Full => Duration::ZERO,
            Self::Bounded { rows_per_second } => {
                let micros = rows.saturating_mul(1_000_000) / u64::from(rows_per_second.max(1));
                let by_rate = Duration::from_micros(micros).saturating_sub(worked);
                by_rate.max(worked.saturating_mul(REST_TO_WORK))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace::Bounded { rows_per_second: 20_000 };

    #[test]
    fn a_bounded_pace_never_reads_more_rows_a_second_than_it_may() {
        for worked in [0, 1, 5, 50, 500, 5_000].map(Duration::from_millis) {
            for rows in [0, 1, 100, 5_000, 1_000_000] {
                let took = worked + PACE.rest(rows, worked);
                let allowed = 20_000.0 * took.as_secs_f64();
                assert!(rows as f64 <= allowed + 0.1, "{rows} rows in {took:?}");
            }
        }
    }

    #[test]
    fn a_slow_database_works_at_most_a_quarter_of_the_time() {
        let worked = Duration::from_secs(2);
        assert_eq!(PACE.rest(10, worked), Duration::from_secs(6));
    }

    #[test]
    fn who_waits_does_not_rest() {
        assert_eq!(Pace::Full.rest(1_000_000, Duration::from_secs(1)), Duration::ZERO);
    }

    #[test]
    fn a_slow_pace_reads_small_chunks() {
        let chunk = |rows_per_second| Pace::Bounded { rows_per_second }.chunk_rows();
        assert_eq!([1, 1_000, 20_000].map(chunk), [100, 1_000, 5_000]);
    }
}
