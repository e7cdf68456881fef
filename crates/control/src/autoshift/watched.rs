//! What is remembered of one capability between two looks, and the evidence that is made from it.

use std::{collections::VecDeque, time::Duration};

use cutover::StreamKind;
use routes::Abort;
use tokio::time::Instant;

use crate::{
    core::Core,
    replicator::stream_of,
    tally::Tally,
    verdict::{Evidence, is_slow},
};

/// How far back what is recent reaches.
const RECENT: Duration = Duration::from_secs(10);
/// Readings are kept so far apart.
const READING_EVERY: Duration = Duration::from_secs(1);

/// One capability whose reads are being moved.
#[derive(Debug)]
pub(super) struct Watched {
    percent: u8,
    stepped: Instant,
    at_step: Tally,
    /// As of the last look.
    seen: Tally,
    readings: VecDeque<(Instant, Tally)>,
    lag_unknown_since: Option<Instant>,
    slow_since: Option<Instant>,
}

impl Watched {
    /// Begins with a step just made.
    pub(super) fn begin(percent: u8, now: Tally) -> Self {
        Self {
            percent,
            stepped: Instant::now(),
            at_step: now,
            seen: now,
            readings: VecDeque::new(),
            lag_unknown_since: None,
            slow_since: None,
        }
    }

    /// Begins again: what was counted before does not count for the new share.
    pub(super) fn stepped(&mut self, percent: u8, now: Tally) {
        let lag_unknown_since = self.lag_unknown_since;
        *self = Self { lag_unknown_since, ..Self::begin(percent, now) };
    }

    /// Looks at the proxies and the stream.
    pub(super) fn evidence(
        &mut self,
        core: &Core,
        name: &str,
        percent: u8,
        limits: &Abort,
    ) -> Evidence {
        let tally = core.proxies.tally(name);
        if percent != self.percent {
            // somebody shifted by hand since the last look
            self.stepped(percent, self.seen);
        }
        self.seen = tally;
        let now = Instant::now();
        let traffic = core.proxies.traffic(name);
        let slow = is_slow(traffic.p99_source_ms, traffic.p99_target_ms, limits);
        self.slow_since = slow.then(|| self.slow_since.unwrap_or(now));
        let lag = lag(core, name);
        self.lag_unknown_since =
            if lag.is_some() { None } else { Some(self.lag_unknown_since.unwrap_or(now)) };
        let since = |begin: Option<Instant>| {
            begin.map_or(Duration::ZERO, |begin| now.saturating_duration_since(begin))
        };
        Evidence {
            recent: self.recent(now, tally),
            since_step: tally.since(self.at_step),
            p99_source_ms: traffic.p99_source_ms,
            p99_target_ms: traffic.p99_target_ms,
            slow_for: since(self.slow_since),
            failures_in_a_row: core.proxies.failures_in_a_row(name),
            lag,
            lag_unknown_for: since(self.lag_unknown_since),
            step_age: since(Some(self.stepped)),
        }
    }

    fn recent(&mut self, now: Instant, tally: Tally) -> Tally {
        while self.readings.front().is_some_and(|(at, _)| now.duration_since(*at) > RECENT) {
            self.readings.pop_front();
        }
        let newest = self.readings.back().map(|(at, _)| *at);
        if newest.is_none_or(|at| now.duration_since(at) >= READING_EVERY) {
            self.readings.push_back((now, tally));
        }
        self.readings.front().map_or_else(Tally::default, |(_, before)| tally.since(*before))
    }
}

fn lag(core: &Core, name: &str) -> Option<Duration> {
    let heard = core.replicator.heard();
    let reply = heard.status.as_ref().ok()?;
    stream_of(reply, name, StreamKind::Forward)?.lag_ms.map(Duration::from_millis)
}
