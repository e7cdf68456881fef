//! `complete`, `pause`, `resume`.

use std::sync::Arc;

use cutover::{Phase, StreamKind};

use super::{Actor, no_transfer, published};
use crate::{board::Published, core::Core, problem::Problem};

/// Lets the reverse stream and the way back go. The monolith's tables stay closed.
pub(crate) async fn complete(
    core: &Arc<Core>,
    name: &str,
    actor: &Actor,
    force: bool,
) -> Result<(), Problem> {
    let Some(_reservation) = core.reserve(name) else { return Err(super::under_way(core, name)) };
    let before = published(core, name)?;
    if before.phase != Phase::Switched {
        return Err(Problem::conflict(
            "not_switched",
            format!("{name} is {}, only a switched capability can be completed", before.phase),
        ));
    }
    let soak = core.capability(name).map(|each| each.reverse.soak).unwrap_or_default();
    let age = core.store.steps(name).await?.age;
    if age < soak && !force {
        return Err(Problem::conflict(
            "soaking",
            format!(
                "the service has owned the writes for {} s of {} s",
                age.as_secs(),
                soak.as_secs()
            ),
        )
        .remedy("wait, or give the way back up earlier with force"));
    }
    // first the phase: a stream without a phase that needs it is garbage, the opposite is a trap
    let now = Published { phase: Phase::Completed, ..before };
    core.store.set_phase(name, now.phase, now.epoch, (&actor.name, "complete")).await?;
    let _unchanged_or_published = core.board.replace(name, before, now);
    core.replicator.drop_stream(name, StreamKind::Reverse).await?;
    core.replicator.drop_stream(name, StreamKind::Forward).await?;
    Ok(())
}

/// Stops, or lets go on, the capability's streams and automatic steps.
pub(crate) async fn set_paused(core: &Arc<Core>, name: &str, paused: bool) -> Result<(), Problem> {
    no_transfer(core, name)?;
    let phase = published(core, name)?.phase;
    if matches!(phase, Phase::Monolith) {
        return Err(Problem::conflict("not_started", "nothing is replicated yet"));
    }
    let reply = core.replicator.ask().await.unwrap_or_default();
    core.store.set_paused(name, paused).await?;
    for kind in [StreamKind::Forward, StreamKind::Reverse, StreamKind::Reference] {
        if crate::replicator::stream_of(&reply, name, kind).is_none() {
            continue;
        }
        if paused {
            core.replicator.pause(name, kind).await?;
        } else {
            core.replicator.resume(name, kind).await?;
        }
    }
    Ok(())
}
