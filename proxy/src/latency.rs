//! Percentiles over the last seconds in constant memory: counts in buckets an eighth of a power of two
//! wide (at most 12.5 % off), for the current and the previous window.

use std::{
    sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

/// Eight buckets for each power of two of microseconds, up to 2^31 µs (36 minutes).
const BUCKETS: usize = 256;

/// Durations of the last one to two windows.
#[derive(Debug)]
pub(crate) struct Window {
    halves: [Box<[AtomicU32]>; 2],
    current: AtomicUsize,
}

impl Window {
    pub(crate) fn new() -> Self {
        let empty = || (0..BUCKETS).map(|_| AtomicU32::new(0)).collect();
        Self { halves: [empty(), empty()], current: AtomicUsize::new(0) }
    }

    /// Counts one duration.
    pub(crate) fn record(&self, duration: Duration) {
        let current = self.half(self.current.load(Relaxed));
        if let Some(bucket) = current.get(bucket_of(duration)) {
            bucket.fetch_add(1, Relaxed);
        }
    }

    /// Forgets the older half and begins a new one. Called by one task at a fixed interval.
    pub(crate) fn rotate(&self) {
        let next = self.current.load(Relaxed) + 1;
        for bucket in self.half(next) {
            bucket.store(0, Relaxed);
        }
        self.current.store(next, Relaxed);
    }

    /// The 99th percentile, zero when nothing was recorded.
    pub(crate) fn p99(&self) -> Duration {
        let counts: Vec<u64> = self
            .half(0)
            .iter()
            .zip(self.half(1))
            .map(|(a, b)| u64::from(a.load(Relaxed)) + u64::from(b.load(Relaxed)))
            .collect();
        let total: u64 = counts.iter().sum();
        let rank = (total * 99).div_ceil(100);
        let mut seen = 0;
        for (index, count) in counts.iter().enumerate() {
            seen += count;
            if seen >= rank && seen > 0 {
                return middle_of(index);
            }
        }
        Duration::ZERO
    }

    fn half(&self, index: usize) -> &[AtomicU32] {
        let [even, odd] = &self.halves;
        if index.is_multiple_of(2) { even } else { odd }
    }
}

fn bucket_of(duration: Duration) -> usize {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(8);
    let exponent = micros.ilog2();
    let eighth = (micros >> (exponent - 3)) & 7;
    let index = u64::from(exponent) * 8 + eighth;
    usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

fn middle_of(index: usize) -> Duration {
    let index = u64::try_from(index).unwrap_or(0);
    let (exponent, eighth) = (index / 8, index % 8);
    let width = 1_u64 << exponent.saturating_sub(3);
    Duration::from_micros((8 + eighth) * width + width / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentile_is_within_an_eighth_of_the_truth() {
        let window = Window::new();
        for millis in 1..=1000 {
            window.record(Duration::from_millis(millis));
        }
        let p99 = window.p99().as_secs_f64();
        assert!((0.99 * 0.875..0.99 * 1.125).contains(&p99), "{p99}");
    }

    #[test]
    fn durations_older_than_two_windows_are_forgotten() {
        let window = Window::new();
        window.record(Duration::from_secs(9));
        window.rotate();
        assert!(window.p99() > Duration::from_secs(8));
        window.rotate();
        assert_eq!(window.p99(), Duration::ZERO);
    }

    #[test]
    fn extreme_durations_fall_into_the_outermost_buckets() {
        assert_eq!(bucket_of(Duration::ZERO), 24);
        assert_eq!(bucket_of(Duration::MAX), BUCKETS - 1);
    }
}
