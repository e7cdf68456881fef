//! A circuit breaker: stops asking an upstream that only fails, then tries it with a few requests.
//!
//! ```text
//! closed ──failures in a row──> open ──time──> half open ──all probes succeed──> closed
//!                                 ^─────one probe fails─────┘
//! ```
//!
//! The machine is pure: states, events and the time (milliseconds) go in, the next state comes out.
//! [`Breaker`] keeps it in one atomic word, so that requests neither lock nor wait.

use std::{
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    time::Duration,
};

/// Where a breaker stands. Times are milliseconds of the clock the caller uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// Everything is sent.
    Closed {
        /// Failures in a row.
        failures: u32,
    },
    /// Nothing is sent before `until`.
    Open { until: u64 },
    /// Some requests are sent to see how they end. At `until` those without an end count as lost, and
    /// as many again are let through.
    HalfOpen { until: u64, admitted: u32, succeeded: u32 },
}

/// The right to send one request, and what its end says to the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Permit {
    /// Sent while closed.
    Normal,
    /// One of the probes of the round that ends then.
    Probe { until: u64 },
}

impl State {
    /// The state after a request asks to be sent, and its permit unless it is refused.
    pub(crate) fn admit(self, rules: &routes::Breaker, now: u64) -> (Self, Option<Permit>) {
        match self {
            Self::Closed { .. } => (self, Some(Permit::Normal)),
            Self::Open { until } if now < until => (self, None),
            Self::HalfOpen { until, admitted, succeeded } if now < until => {
                if admitted >= rules.probes {
                    return (self, None);
                }
                let state = Self::HalfOpen { until, admitted: admitted + 1, succeeded };
                (state, Some(Permit::Probe { until }))
            }
            Self::Open { .. } | Self::HalfOpen { .. } => {
                let until = now.saturating_add(millis(rules.open));
                (Self::HalfOpen { until, admitted: 1, succeeded: 0 }, Some(Permit::Probe { until }))
            }
        }
    }

    /// The state after a request with this permit ended. What ends late, after the state it was sent
    /// in, says nothing any more.
    pub(crate) fn after(
        self,
        permit: Permit,
        is_failure: bool,
        rules: &routes::Breaker,
        now: u64,
    ) -> Self {
        let open = Self::Open { until: now.saturating_add(millis(rules.open)) };
        match (self, permit) {
            (Self::Closed { failures }, Permit::Normal) if is_failure => {
                if failures + 1 >= rules.failures {
                    open
                } else {
                    Self::Closed { failures: failures + 1 }
                }
            }
            (Self::Closed { .. }, Permit::Normal) => Self::Closed { failures: 0 },
            (Self::HalfOpen { until, .. }, Permit::Probe { until: of }) if until == of => {
                self.after_probe(is_failure, rules, open)
            }
            (Self::Closed { .. } | Self::Open { .. } | Self::HalfOpen { .. }, _) => self,
        }
    }

    fn after_probe(self, is_failure: bool, rules: &routes::Breaker, open: Self) -> Self {
        match self {
            Self::HalfOpen { .. } if is_failure => open,
            Self::HalfOpen { succeeded, .. } if succeeded + 1 >= rules.probes => {
                Self::Closed { failures: 0 }
            }
            Self::HalfOpen { until, admitted, succeeded } => {
                Self::HalfOpen { until, admitted, succeeded: succeeded + 1 }
            }
            Self::Closed { .. } | Self::Open { .. } => self,
        }
    }

    /// Stable name for operators.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
        }
    }

    /// Two bits of kind, forty of time, twice eleven of counts; or thirty-two of failures.
    fn to_word(self) -> u64 {
        match self {
            Self::Closed { failures } => u64::from(failures) << 2,
            Self::Open { until } => 1 | (until & TIME_MASK) << 2,
            Self::HalfOpen { until, admitted, succeeded } => {
                let counts =
                    u64::from(admitted) & COUNT_MASK | (u64::from(succeeded) & COUNT_MASK) << 11;
                2 | (until & TIME_MASK) << 2 | counts << 42
            }
        }
    }

    fn from_word(word: u64) -> Self {
        let count = |bits: u64| u32::try_from(bits & COUNT_MASK).unwrap_or(u32::MAX);
        let until = word >> 2 & TIME_MASK;
        match word & 3 {
            0 => Self::Closed { failures: u32::try_from(word >> 2).unwrap_or(u32::MAX) },
            1 => Self::Open { until },
            _ => {
                Self::HalfOpen { until, admitted: count(word >> 42), succeeded: count(word >> 53) }
            }
        }
    }
}

/// Forty bits: 34 years.
const TIME_MASK: u64 = (1 << 40) - 1;
/// Eleven bits; `probes` is at most 1000.
const COUNT_MASK: u64 = (1 << 11) - 1;

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX) & TIME_MASK
}

/// A state that requests share.
#[derive(Debug, Default)]
pub(crate) struct Breaker(AtomicU64);

impl Breaker {
    /// A permit, unless the breaker is open.
    pub(crate) fn admit(&self, rules: &routes::Breaker, now: u64) -> Option<Permit> {
        self.change(|state| state.admit(rules, now))
    }

    /// Hears how a request ended. `true` when this opened the breaker.
    pub(crate) fn record(
        &self,
        permit: Permit,
        is_failure: bool,
        rules: &routes::Breaker,
        now: u64,
    ) -> bool {
        self.change(|state| {
            let next = state.after(permit, is_failure, rules, now);
            (next, matches!(next, State::Open { .. }) && next != state)
        })
    }

    /// Where it stands; an open one whose time has passed is half open only with its first probe.
    pub(crate) fn state(&self) -> State {
        State::from_word(self.0.load(SeqCst))
    }

    fn change<T>(&self, step: impl Fn(State) -> (State, T)) -> T {
        let mut word = self.0.load(SeqCst);
        loop {
            let (next, answer) = step(State::from_word(word));
            let next = next.to_word();
            if next == word {
                return answer;
            }
            match self.0.compare_exchange_weak(word, next, SeqCst, SeqCst) {
                Ok(_) => return answer,
                Err(current) => word = current,
            }
        }
    }
}

#[cfg(test)]
mod tests;
