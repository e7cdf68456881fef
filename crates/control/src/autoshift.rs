//! Takes reads back to the monolith when the service does not answer them well, and, when asked to,
//! moves them on by the configured steps. Never touches writes.

mod watched;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cutover::Phase;
use serde_json::json;

use crate::{
    board::Published,
    core::Core,
    steps::{Next, next},
    store::{Step, StepBack},
    verdict::verdict,
};
use watched::Watched;

/// Proxies report every 500 ms: a step back is made within a second of what calls for it.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Looks until the term ends.
pub(crate) async fn run(core: &Arc<Core>) {
    let mut watched: BTreeMap<String, Watched> = BTreeMap::new();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        for name in core.config.capabilities.keys() {
            let Some(published) = core.board.get(name) else { continue };
            let tally = core.proxies.tally(name);
            let Phase::Reading { percent } = published.phase else {
                // what is counted after this look belongs to the first step, should it come now
                watched.insert(name.clone(), Watched::begin(0, tally));
                core.saw_verdict(name, None);
                continue;
            };
            if core.is_transferring(name) {
                continue;
            }
            let one = watched.entry(name.clone()).or_insert_with(|| Watched::begin(percent, tally));
            look(core, name, published, percent, one).await;
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
    let steps = match core.store.steps(name).await {
        Ok(steps) => steps,
        // unknown steps are none; a step back does not depend on them
        Err(error) => {
            tracing::debug!(%error, "how the steps stand is unknown, making none on");
            crate::store::StepsRow::default()
        }
    };
    let evidence = watched.evidence(core, name, percent, &capability.abort);
    let judged = verdict(&evidence, &capability.abort);
    let decided = next(percent, judged.clone(), &steps, &capability.shift);
    core.saw_verdict(name, Some((judged, decided.clone())));
    let (percent, reason, back) = match decided {
        Next::Stay(_) => return,
        Next::Back { reason, again } => {
            tracing::warn!(capability = name, reason, again, "taking reads back to the monolith");
            let cool_down = capability.shift.cool_down;
            (0, reason, Some(StepBack { automatic: again, cool_down }))
        }
        Next::On(percent) if steps.step_backs > 0 && evidence.since_step.requests_target == 0 => {
            (percent, format!("the cool-down after step back {} is over", steps.step_backs), None)
        }
        Next::On(percent) => (percent, "the last step went well".to_owned(), None),
    };
    let now = Published { phase: Phase::Reading { percent }, ..published };
    if !core.board.replace(name, published, now) {
        return;
    }
    watched.stepped(percent, core.proxies.tally(name));
    let step = Step {
        phase: now.phase,
        epoch: now.epoch,
        reason: &reason,
        evidence: json!(evidence),
        back,
    };
    if let Err(error) = core.store.record_step(name, step).await {
        tracing::warn!(%error, capability = name, "the step was not recorded");
    }
}
