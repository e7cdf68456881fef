//! Takes reads back to the monolith when the service does not answer them well, and, when asked to,
//! moves them on by the configured steps. Never touches writes.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use cutover::{Phase, StreamKind};
use tokio::time::Instant;

use crate::{
    api::Traffic,
    board::Published,
    core::Core,
    replicator::stream_of,
    verdict::{Lag, Verdict, verdict},
};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Counters are compared over this many looks.
const WINDOW_LOOKS: usize = 10;

#[derive(Debug, Default)]
struct Watched {
    readings: VecDeque<Traffic>,
    lag_unknown_since: Option<Instant>,
}

/// Looks every second until the term ends.
pub(crate) async fn run(core: &Arc<Core>) {
    let mut watched: BTreeMap<String, Watched> = BTreeMap::new();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tick.tick().await;
        for name in core.config.capabilities.keys() {
            let Some(published) = core.board.get(name) else { continue };
            let Phase::Reading { percent } = published.phase else {
                watched.remove(name);
                continue;
            };
            if core.is_transferring(name) {
                continue;
            }
            look(core, name, published, percent, watched.entry(name.clone()).or_default()).await;
        }
    }
}

async fn look(
    core: &Arc<Core>,
    name: &str,
    published: Published,
    percent: u8,
    watched: &mut Watched,
) {
    let Some(capability) = core.capability(name) else { return };
    let now = core.proxies.traffic(name);
    let lag = watched.lag(core, name);
    let before = watched.readings.front().cloned().unwrap_or_else(|| now.clone());
    let answer = verdict(&before, &now, lag, &capability.abort);
    watched.readings.push_back(now);
    if watched.readings.len() > WINDOW_LOOKS {
        watched.readings.pop_front();
    }
    match answer {
        Verdict::Bad(reason) if percent > 0 => {
            tracing::warn!(capability = name, reason, "taking reads back to the monolith");
            watched.readings.clear();
            step(core, name, published, 0, &reason).await;
        }
        Verdict::Bad(_) | Verdict::Inconclusive(_) => {}
        Verdict::Good => {
            let next = capability.shift.steps.iter().copied().find(|step| *step > percent);
            if let Some(next) = next
                && is_due(core, name, capability.shift.every).await
            {
                watched.readings.clear();
                step(core, name, published, next, "the last step went well").await;
            }
        }
    }
}

impl Watched {
    fn lag(&mut self, core: &Core, name: &str) -> Lag {
        let heard = core.replicator.heard();
        let known = heard
            .status
            .as_ref()
            .ok()
            .and_then(|reply| stream_of(reply, name, StreamKind::Forward)?.lag_ms);
        if let Some(ms) = known {
            self.lag_unknown_since = None;
            return Lag::Known(Duration::from_millis(ms));
        }
        Lag::Unknown(self.lag_unknown_since.get_or_insert_with(Instant::now).elapsed())
    }
}

async fn is_due(core: &Core, name: &str, every: Duration) -> bool {
    match core.store.capability(name).await {
        Ok(row) => row.automatic && !row.paused && row.age >= every,
        Err(error) => {
            tracing::debug!(%error, "the age of a step is unknown, waiting");
            false
        }
    }
}

async fn step(core: &Arc<Core>, name: &str, before: Published, percent: u8, reason: &str) {
    let now = Published { phase: Phase::Reading { percent }, ..before };
    if !core.board.replace(name, before, now) {
        return;
    }
    let who = ("automatic", reason);
    if let Err(error) = core.store.set_phase(name, now.phase, now.epoch, who).await {
        tracing::warn!(%error, capability = name, "the step was not recorded");
    }
    if percent == 0
        && let Err(error) = core.store.set_automatic(name, false).await
    {
        tracing::warn!(%error, capability = name, "automatic steps were not switched off");
    }
}
