//! Comparisons that nobody asked for: every so often, slowly, while the streams stream.

use std::{sync::Arc, time::Duration};

use cutover::{Side, StreamKind};
use telemetry::Chain;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{
    Asker, Verifier, VerifyError,
    pace::Pace,
    pass::{Manner, Pass, Round},
    record,
};
use crate::{session, status::State};

/// How often is looked whether a comparison is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After a failure, and before tables that became unknown are compared.
const PAUSE: Duration = Duration::from_secs(60);
/// After another comparison took over: a transfer has more than one.
const YIELD: Duration = Duration::from_secs(5);

/// `[cdc]` `verify_every` and `verify_rate`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rhythm {
    /// From the end of one comparison to the begin of the next; zero is never.
    pub(crate) every: Duration,
    pub(crate) rows_per_second: u32,
}

/// When the next comparison is due.
#[derive(Debug)]
struct Plan {
    rhythm: Rhythm,
    /// When the last one ended, and whether it found no difference.
    last: Option<(Instant, bool)>,
    not_before: Option<Instant>,
}

impl Plan {
    fn is_due(&self, now: Instant, has_begun: bool, unknown_tables: usize) -> bool {
        if self.rhythm.every.is_zero() || self.not_before.is_some_and(|at| now < at) {
            return false;
        }
        match self.last {
            _ if has_begun => true,
            None => true,
            Some((at, was_clean)) => {
                let since = now.duration_since(at);
                since >= self.rhythm.every || (was_clean && unknown_tables > 0 && since >= PAUSE)
            }
        }
    }
}

impl Verifier {
    /// Compares again and again until stopped.
    pub(crate) async fn keep_comparing(self: Arc<Self>, rhythm: Rhythm, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut plan = Plan { rhythm, last: None, not_before: None };
        let mut is_loaded = false;
        let mut round: Option<(StreamKind, Round)> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = look.tick() => {}
            }
            let Some(direction) = self.streaming() else { continue };
            if !is_loaded {
                is_loaded = self.load().await;
            }
            let (has_begun, unknown) = (round.is_some(), self.dirty.size().tables);
            if !plan.is_due(Instant::now(), has_begun, unknown) {
                continue;
            }
            let compared = self.in_background(rhythm, direction, &mut round);
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = Box::pin(compared) => ended,
            };
            self.after(ended, &mut plan, &mut round);
        }
    }

    fn after(
        &self,
        ended: Result<bool, VerifyError>,
        plan: &mut Plan,
        round: &mut Option<(StreamKind, Round)>,
    ) {
        let now = Instant::now();
        match ended {
            Ok(is_clean) => {
                *round = None;
                plan.last = Some((now, is_clean));
            }
            // Somebody else compares: go on where it was left.
            Err(VerifyError::Displaced) => plan.not_before = Some(now + YIELD),
            Err(VerifyError::Busy) => {}
            Err(error) => {
                *round = None;
                plan.not_before = Some(now + PAUSE);
                let capability = &self.capability;
                tracing::warn!(capability, error = %Chain(&error), "background verification ended early");
            }
        }
    }

    /// One comparison of every row, or the rest of one; answers whether it found no difference.
    async fn in_background(
        &self,
        rhythm: Rhythm,
        direction: StreamKind,
        round: &mut Option<(StreamKind, Round)>,
    ) -> Result<bool, VerifyError> {
        let turn = self.turns.take(Asker::Background).await.map_err(|_busy| VerifyError::Busy)?;
        if round.as_ref().is_none_or(|(begun, _)| *begun != direction) {
            *round = Some((direction, Round::default()));
        }
        let Some((_, round)) = round else { return Err(VerifyError::Busy) };
        let pace = Pace::Bounded { rows_per_second: rhythm.rows_per_second };
        let manner = Manner { direction, pace, repairer: None, progress: None };
        let compared = async {
            let ready = self.prepare().await?;
            let mut pass = Pass::begin(self, &ready, &turn, manner, round).await?;
            pass.all_rows(&ready.tables).await?;
            drop(pass);
            let found = std::mem::take(&mut round.found);
            let is_clean = found.differences() == 0;
            self.keep_full(&ready.target, found).await;
            Ok(is_clean)
        };
        tokio::select! {
            biased;
            () = turn.displaced() => Err(VerifyError::Displaced),
            result = compared => result,
        }
    }

    /// Which stream carries the owner's writes; `None` while one of the streams does not stream.
    fn streaming(&self) -> Option<StreamKind> {
        let state = |kind| self.running.get(&kind).map(|(shared, _)| shared.state());
        match state(StreamKind::Reference) {
            None | Some(State::Streaming) => {}
            Some(_) => return None,
        }
        [StreamKind::Forward, StreamKind::Reverse]
            .into_iter()
            .find(|kind| state(*kind) == Some(State::Streaming))
    }

    /// Remembers what an earlier replicator found; answers whether it could be read.
    async fn load(&self) -> bool {
        let Some(url) = self.url(Side::Target) else { return true };
        let loaded = async {
            let client = session::open(url, Side::Target, "ficus-cdc-verify").await?;
            record::load(&client, &self.capability).await
        };
        match loaded.await {
            Ok(found) => {
                let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if last.is_none() {
                    *last = found;
                }
                true
            }
            Err(error) => {
                tracing::debug!(error = %Chain(&error), "the last verification was not read");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(every_s: u64, last: Option<(Instant, bool)>) -> Plan {
        let rhythm = Rhythm { every: Duration::from_secs(every_s), rows_per_second: 1 };
        Plan { rhythm, last, not_before: None }
    }

    #[test]
    fn a_comparison_is_due_at_first_then_every_so_often_and_soon_when_tables_became_unknown() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(plan(3_600, None).is_due(start, false, 0));
        let clean = plan(3_600, Some((start, true)));
        assert!(!clean.is_due(after(3_599), false, 0));
        assert!(clean.is_due(after(3_600), false, 0));
        assert!(!clean.is_due(after(59), false, 1));
        assert!(clean.is_due(after(60), false, 1));
        let found_some = plan(3_600, Some((start, false)));
        assert!(
            !found_some.is_due(after(60), false, 1),
            "the differences keep their tables unknown"
        );
        assert!(!plan(0, None).is_due(after(100_000), false, 9), "zero is never");
        let mut yielding = plan(3_600, None);
        yielding.not_before = Some(after(15));
        assert!(!yielding.is_due(after(14), true, 0));
        assert!(yielding.is_due(after(15), false, 0));
        assert!(clean.is_due(after(1), true, 0), "what has begun is ended");
    }
}
