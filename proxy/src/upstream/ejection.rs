//! Passive ejection: a peer whose requests fail is left out for a while, longer each time, as long as
//! enough others remain. The rules are pure functions; [`Record`] keeps a peer's counts in atomics.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use routes::Ejection;

/// Why a peer is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Too many failures in a row.
    Failures,
    /// Too large a share of a window.
    ErrorShare,
}

impl Reason {
    /// Stable name used in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::ErrorShare => "error_share",
        }
    }
}

/// Requests of one window; counts stop at 65535.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Window {
    /// Number of the window since the start.
    index: u32,
    requests: u16,
    failed: u16,
}

impl Window {
    /// With one more request, in the window `index`.
    const fn after(self, index: u32, is_failure: bool) -> Self {
        let kept = if self.index == index { self } else { Self { index, requests: 0, failed: 0 } };
        if kept.requests == u16::MAX {
            return kept;
        }
        let failed = if is_failure { kept.failed + 1 } else { kept.failed };
        Self { index, requests: kept.requests + 1, failed }
    }

    const fn to_word(self) -> u64 {
        (self.index as u64) << 32 | (self.requests as u64) << 16 | self.failed as u64
    }

    fn from_word(word: u64) -> Self {
        let half = |bits: u64| u16::try_from(bits & 0xffff).unwrap_or(u16::MAX);
        let index = u32::try_from(word >> 32).unwrap_or(u32::MAX);
        Self { index, requests: half(word >> 16), failed: half(word) }
    }
}

/// Whether counts are bad enough.
fn reason(rules: &Ejection, in_a_row: u32, window: Window) -> Option<Reason> {
    if in_a_row >= rules.failures {
        return Some(Reason::Failures);
    }
    let share = f64::from(window.failed) / f64::from(window.requests.max(1));
    let counts = u32::from(window.requests) >= rules.min_requests && window.failed > 0;
    (counts && share >= rules.error_share).then_some(Reason::ErrorShare)
}

/// How long a peer that was left out `times` times before is left out now.
fn time_out(rules: &Ejection, times: u32) -> Duration {
    let factor = 1_u32.checked_shl(times).unwrap_or(u32::MAX);
    rules.time.saturating_mul(factor).min(rules.max_time)
}

/// Whether one more of `all` peers may be left out when `out` already are.
pub(crate) fn may_eject(rules: &Ejection, out: usize, all: usize) -> bool {
    let count = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    // A little more, because 0.29 * 100 is less than 29.
    count(out) + 1.0 <= (count(all) * rules.max_share + 1e-9).floor()
}

/// What is known of one peer. Times are milliseconds of the clock the caller uses.
#[derive(Debug, Default)]
pub(crate) struct Record {
    in_a_row: AtomicU32,
    window: AtomicU64,
    times: AtomicU32,
    /// End of the latest time out; 0 when there was none.
    until: AtomicU64,
}

impl Record {
    /// Whether the peer is left out now.
    pub(crate) fn is_out(&self, now: u64) -> bool {
        now < self.until.load(Relaxed)
    }

    /// When the latest time out ends or ended.
    pub(crate) fn back_at(&self) -> u64 {
        self.until.load(Relaxed)
    }

    /// Counts one request. Returns why the peer should be left out, if it should.
    pub(crate) fn count(&self, rules: &Ejection, is_failure: bool, now: u64) -> Option<Reason> {
        let length = u64::try_from(rules.window.as_millis()).unwrap_or(u64::MAX).max(1);
        let index = u32::try_from(now / length).unwrap_or(u32::MAX);
        let step = |word| Some(Window::from_word(word).after(index, is_failure).to_word());
        let before = self.window.fetch_update(Relaxed, Relaxed, step).unwrap_or_default();
        if !is_failure {
            if self.in_a_row.load(Relaxed) != 0 {
                self.in_a_row.store(0, Relaxed);
            }
            return None;
        }
        let in_a_row = self.in_a_row.fetch_add(1, Relaxed).saturating_add(1);
        let window = Window::from_word(before).after(index, is_failure);
        reason(rules, in_a_row, window).filter(|_| !self.is_out(now))
    }

    /// Leaves the peer out from now on, and returns for how long.
    pub(crate) fn eject(&self, rules: &Ejection, now: u64) -> Duration {
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let is_forgotten = now > self.back_at().saturating_add(millis(rules.max_time));
        let times = if is_forgotten { 0 } else { self.times.load(Relaxed) };
        let time = time_out(rules, times);
        self.times.store(times.saturating_add(1), Relaxed);
        self.in_a_row.store(0, Relaxed);
        self.window.store(0, Relaxed);
        self.until.store(now.saturating_add(millis(time)), Relaxed);
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Ejection {
        Ejection { failures: 3, min_requests: 10, ..Ejection::default() }
    }

    #[test]
    fn failures_in_a_row_leave_a_peer_out_and_a_success_between_them_does_not() {
        let record = Record::default();
        let ends = [true, true, false, true, true].map(|end| record.count(&rules(), end, 0));
        assert_eq!(ends, [None; 5]);
        assert_eq!(record.count(&rules(), true, 0), Some(Reason::Failures));
    }

    #[test]
    fn half_of_a_window_leaves_a_peer_out_and_the_same_over_two_windows_does_not() {
        let (one, two) = (Record::default(), Record::default());
        let mut last = (None, None);
        for step in 0..10_u32 {
            let is_failure = step % 2 == 1;
            let now = u64::from(step / 5) * 10_000;
            last = (one.count(&rules(), is_failure, 0), two.count(&rules(), is_failure, now));
        }
        assert_eq!(last, (Some(Reason::ErrorShare), None));
    }

    #[test]
    fn the_time_out_doubles_up_to_its_limit_and_is_forgotten_after_a_long_time_without() {
        let record = Record::default();
        let mut now = 0;
        let mut times = Vec::new();
        for _ in 0..7 {
            times.push(record.eject(&rules(), now).as_secs());
            now = record.back_at();
            assert!(record.is_out(now - 1) && !record.is_out(now));
        }
        assert_eq!(times, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(record.eject(&rules(), now + 300_001).as_secs(), 10);
    }

    #[test]
    fn a_peer_that_is_out_is_not_put_out_again_by_requests_that_were_under_way() {
        let record = Record::default();
        record.eject(&rules(), 0);
        assert_eq!([(); 5].map(|()| record.count(&rules(), true, 1)), [None; 5]);
    }

    #[test]
    fn the_share_of_peers_left_out_is_capped() {
        let most = |all: usize, max_share: f64| {
            let rules = Ejection { max_share, ..rules() };
            (0..all).take_while(|out| may_eject(&rules, *out, all)).count()
        };
        assert_eq!([1, 2, 3, 4, 9].map(|all| most(all, 0.5)), [0, 1, 1, 2, 4]);
        assert_eq!((most(5, 0.0), most(1, 1.0), most(100, 0.29)), (0, 1, 29));
    }
}
