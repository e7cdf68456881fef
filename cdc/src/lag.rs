//! How long a position has been behind: since when the database that is read was ahead of it.

use std::{collections::VecDeque, time::Duration};

use pg::Lsn;
use tokio::time::Instant;

/// Beyond this many moments every second one is forgotten: the past becomes coarser, never empty.
const MOMENTS_MAX: usize = 1024;

/// Where the end of the log was, moment after moment.
#[derive(Debug, Default)]
pub(crate) struct LagClock {
    moments: VecDeque<(Instant, Lsn)>,
}

impl LagClock {
    /// The log ended here at this moment.
    pub(crate) fn note(&mut self, at: Instant, end: Lsn) {
        if self.moments.back().is_some_and(|(_, last)| end <= *last) {
            return;
        }
        self.moments.push_back((at, end));
        if self.moments.len() > MOMENTS_MAX {
            let mut number = 0_usize;
            self.moments.retain(|_| {
                number += 1;
                number % 2 == 1
            });
        }
    }

    /// How long ago the log was first seen beyond this position; zero when it was not. `None`: the
    /// log was never looked at.
    pub(crate) fn behind(&self, now: Instant, position: Lsn) -> Option<Duration> {
        let (_, end) = self.moments.back()?;
        if *end <= position {
            return Some(Duration::ZERO);
        }
        let first = self.moments.partition_point(|(_, end)| *end <= position);
        self.moments.get(first).map(|(at, _)| now.saturating_duration_since(*at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lsn(value: u64) -> Lsn {
        Lsn::new(value)
    }

    #[test]
    fn a_position_is_behind_since_the_log_was_first_seen_beyond_it() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut clock = LagClock::default();
        assert_eq!(clock.behind(at(0), lsn(1)), None);
        for (second, end) in [(0, 10), (1, 20), (2, 20), (3, 30)] {
            clock.note(at(second), lsn(end));
        }
        for (position, expected) in [(5, 9), (10, 8), (19, 8), (20, 6), (30, 0), (99, 0)] {
            let behind = clock.behind(at(9), lsn(position));
            assert_eq!(behind, Some(Duration::from_secs(expected)), "{position}");
        }
    }

    #[test]
    fn a_long_past_becomes_coarser_and_stays_bounded() {
        let start = Instant::now();
        let mut clock = LagClock::default();
        for second in 0..10_000 {
            clock.note(start + Duration::from_secs(second), lsn(second + 1));
        }
        assert!(clock.moments.len() <= MOMENTS_MAX, "{}", clock.moments.len());
        let now = start + Duration::from_secs(10_000);
        assert_eq!(clock.behind(now, lsn(0)), Some(Duration::from_secs(10_000)));
    }
}
