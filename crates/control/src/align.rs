//! Keeping what is published and remembered in line with the guards, which are the truth: at the start
//! of a term, and every second while nobody is transferring.

use std::{sync::Arc, time::Duration};

use cutover::{
    Ownership, Phase, Side,
    guard_rules::{Repair, repair},
};

use crate::{
    board::Published,
    coordinator,
    core::Core,
    metrics,
    sides::{SideError, Sides},
    store::StoreError,
};

const ALIGN_EVERY: Duration = Duration::from_secs(1);

/// Publishes what is remembered, corrected by the guards, in a fresh block of generations.
pub(crate) async fn begin_term(core: &Arc<Core>) -> Result<(), StoreError> {
    core.store.announce_leader(&core.control.listen.to_string()).await?;
    let first = core.store.next_generations().await?;
    let mut entries = Vec::new();
    for name in core.config.capabilities.keys() {
        let row = core.store.capability(name).await?;
        let published = Published { phase: row.phase, owner: row.phase.owner(), epoch: row.epoch };
        entries.push((name.clone(), published));
    }
    core.board.begin_term(first, entries);
    for name in core.config.capabilities.keys() {
        align(core, name, false).await;
    }
    Ok(())
}

/// Takes up what an earlier leader left unfinished.
pub(crate) async fn take_up_transfers(core: &Arc<Core>) {
    let found = match core.store.unfinished().await {
        Ok(found) => found,
        Err(error) => {
            tracing::error!(%error, "unfinished transfers could not be read");
            return;
        }
    };
    for unfinished in found {
        let name = unfinished.capability.clone();
        let (Some(sides), Some(reservation)) = (core.sides(&name), core.reserve(&name)) else {
            tracing::error!(
                capability = name,
                "an unfinished transfer's capability is not configured"
            );
            continue;
        };
        let _record = coordinator::recover(core, unfinished, sides, reservation);
    }
}

/// Aligns every capability again and again until the term ends.
pub(crate) async fn run(core: &Arc<Core>) {
    let mut tick = tokio::time::interval(ALIGN_EVERY);
    loop {
        tick.tick().await;
        if core.board.needs_generations() {
            match core.store.next_generations().await {
                Ok(first) => core.board.add_generations(first),
                Err(error) => tracing::warn!(%error, "no fresh generations"),
            }
        }
        for name in core.config.capabilities.keys() {
            align(core, name, true).await;
        }
    }
}

/// One look at a capability's guards: `mend` also ends what nobody is working on.
async fn align(core: &Arc<Core>, name: &str, mend: bool) {
    let Some(sides) = core.sides(name) else { return };
    let Some(before) = core.board.get(name) else { return };
    if before.phase == Phase::Monolith || core.is_transferring(name) {
        return;
    }
    let pair = match sides.pair().await {
        Ok(pair) => pair,
        Err(error) => {
            core.saw_guards(name, Err(error.to_string()));
            return;
        }
    };
    core.saw_guards(name, Ok(pair));
    // A transfer may have begun while the guards were read; then they are its business. What slips
    // through here is refused by the compare-and-set of the guard functions and of the board.
    if core.is_transferring(name) {
        return;
    }
    if mend && let Some(found) = repair(&pair, true) {
        match carry_out(&sides, name, found).await {
            Ok(()) => tracing::info!(capability = name, ?found, "ended what nobody was working on"),
            Err(error) => tracing::debug!(capability = name, %error, "guard was not repaired"),
        }
        return;
    }
    match pair.ownership() {
        Ownership::Owned { by, epoch } => {
            let phase = in_line(before.phase, by);
            follow(core, name, before, Published { phase, owner: by, epoch }).await;
        }
        Ownership::InTransition { .. } => {}
        Ownership::Split => {
            tracing::error!(capability = name, "both sides are open: stop all writers");
        }
    }
}

/// The phase that agrees with the owner.
fn in_line(phase: Phase, owner: Side) -> Phase {
    if phase.owner() == owner {
        return phase;
    }
    match owner {
        Side::Source => Phase::Reading { percent: 0 },
        Side::Target => Phase::Switched,
    }
}

async fn follow(core: &Arc<Core>, name: &str, before: Published, now: Published) {
    metrics::published(name, now);
    if before == now || !core.board.replace(name, before, now) {
        return;
    }
    tracing::info!(capability = name, phase = %now.phase, epoch = %now.epoch, "following the guards");
    let who = ("guards", "the guard rows say so");
    if let Err(error) = core.store.set_phase(name, now.phase, now.epoch, who).await {
        tracing::warn!(%error, capability = name, "the phase was not recorded");
    }
}

async fn carry_out(sides: &Sides, name: &str, found: Repair) -> Result<(), SideError> {
    match found {
        Repair::Expire { side, epoch } => {
            let client = sides.client(side).await?;
            sides.call(side, client.expire(name, epoch, true)).await.map(drop)
        }
        Repair::Open { side, epoch } => {
            let client = sides.client(side).await?;
            sides.call(side, client.open(name, epoch, epoch)).await.map(drop)
        }
        Repair::Unprepare { side, epoch, proof } => {
            let client = sides.client(side).await?;
            sides.call(side, client.unprepare(name, epoch, proof)).await.map(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use cutover::{Phase, Side};

    use super::in_line;

    #[test]
    fn the_guards_owner_wins_over_the_remembered_phase() {
        assert_eq!(in_line(Phase::Reading { percent: 50 }, Side::Target), Phase::Switched);
        assert_eq!(in_line(Phase::Switched, Side::Source), Phase::Reading { percent: 0 });
        assert_eq!(in_line(Phase::Completed, Side::Target), Phase::Completed);
        assert_eq!(in_line(Phase::Shadowing, Side::Source), Phase::Shadowing);
    }
}
