//! `shift`: who answers reads. Writes are never moved by it.

use std::sync::Arc;

use axum::http::StatusCode;
use cutover::{Phase, StreamKind};
use rpc::v1::StreamStatus;
use serde::Deserialize;

use super::{Actor, no_transfer, published};
use crate::{board::Published, core::Core, problem::Problem, replicator::stream_of};

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum ShiftTo {
    /// Share of the subjects in percent.
    Percent(u8),
    /// `replicating`, `shadowing`, or `auto`: by the configured steps; `pause_steps`, `resume_steps`.
    Word(String),
}

/// Where a shift leads, whether that needs a copy that is ready, and whether steps go on by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Aim {
    phase: Phase,
    needs_stream: bool,
    automatic: bool,
}

/// Publishes and records a new share.
pub(crate) async fn shift(
    core: &Arc<Core>,
    name: &str,
    actor: &Actor,
    to: &ShiftTo,
) -> Result<(), Problem> {
    no_transfer(core, name)?;
    let before = published(core, name)?;
    if let ShiftTo::Word(word) = to
        && let Some(paused) = word.as_str().strip_suffix("_steps").and_then(pause_or_resume)
    {
        return Ok(core.store.set_steps_paused(name, paused).await?);
    }
    let first = core.capability(name).and_then(|each| each.shift.steps.first().copied());
    let aim = aim(before.phase, to, first.unwrap_or(1))?;
    if aim.needs_stream {
        let reply = core.replicator.ask().await.map_err(|error| {
            Problem::new(StatusCode::BAD_GATEWAY, "replicator", error)
                .remedy("is the replicator running? ficus cdc")
        })?;
        ready(stream_of(&reply, name, StreamKind::Forward))?;
    }
    let now = Published { phase: aim.phase, ..before };
    if now != before && !core.board.replace(name, before, now) {
        return Err(Problem::conflict("changed_meanwhile", "the phase has changed meanwhile")
            .remedy("look at ficus status and ask again"));
    }
    core.store.set_automatic(name, aim.automatic).await?;
    core.store.set_phase(name, aim.phase, before.epoch, (&actor.name, "shift")).await?;
    Ok(())
}

/// `pause_steps` and `resume_steps` move nothing: they stop and let go on the automatic steps.
fn pause_or_resume(word: &str) -> Option<bool> {
    match word {
        "pause" => Some(true),
        "resume" => Some(false),
        _ => None,
    }
}

fn aim(phase: Phase, to: &ShiftTo, first_step: u8) -> Result<Aim, Problem> {
    let order = |phase: Phase| match phase {
        Phase::Monolith => 0,
        Phase::Replicating => 1,
        Phase::Shadowing => 2,
        Phase::Reading { .. } => 3,
        Phase::Switched | Phase::Completed => 4,
    };
    if order(phase) == 0 {
        return Err(Problem::conflict("not_started", "nothing is replicated yet")
            .remedy("run: ficus start"));
    }
    if order(phase) == 4 {
        return Err(Problem::conflict(
            "service_owns",
            "the service owns reads and writes; only a transfer moves them back",
        )
        .remedy("run: ficus rollback"));
    }
    let aim = |phase, needs_stream, automatic| Aim { phase, needs_stream, automatic };
    match to {
        ShiftTo::Percent(0) if order(phase) < 3 => Ok(aim(phase, false, false)),
        ShiftTo::Percent(0) => Ok(aim(Phase::Reading { percent: 0 }, false, false)),
        ShiftTo::Percent(percent) if *percent > 100 => Err(no_share(&percent.to_string())),
        ShiftTo::Percent(percent) if order(phase) >= 2 => {
            Ok(aim(Phase::Reading { percent: *percent }, true, false))
        }
        ShiftTo::Percent(_) => Err(shadow_first()),
        ShiftTo::Word(word) => match word.as_str() {
            "replicating" => Ok(aim(Phase::Replicating, false, false)),
            "shadowing" => Ok(aim(Phase::Shadowing, order(phase) < 2, false)),
            "auto" if order(phase) >= 2 => {
                let percent = phase.read_percent().max(first_step);
                Ok(aim(Phase::Reading { percent }, true, true))
            }
            "auto" => Err(shadow_first()),
            other => Err(no_share(other)),
        },
    }
}

fn shadow_first() -> Problem {
    Problem::conflict("not_shadowed", "no answer of the service was compared yet")
        .remedy("shift to shadowing first and look at the mismatches")
}

fn no_share(text: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "share", format!("{text:?} is no share")).remedy(
        "\"replicating\", \"shadowing\", \"auto\", 0 to 100, \"pause_steps\" or \"resume_steps\"",
    )
}

fn ready(stream: Option<&StreamStatus>) -> Result<(), Problem> {
    let Some(stream) = stream else {
        return Err(Problem::conflict("not_replicated", "there is no forward stream")
            .remedy("run: ficus start"));
    };
    let unready = stream.tables.iter().find(|table| table.state != "ready");
    if stream.state == "streaming" && unready.is_none() {
        return Ok(());
    }
    let table =
        unready.map_or_else(String::new, |each| format!("; {} is {}", each.source, each.state));
    Err(Problem::conflict(
        "not_replicated",
        format!("the forward stream is {}{table} {}", stream.state, stream.reason),
    )
    .remedy("wait until every table is ready and the stream is streaming: ficus status"))
}

#[cfg(test)]
mod tests {
    use cutover::Phase;

    use super::{Aim, ShiftTo, aim};

    fn word(text: &str) -> ShiftTo {
        ShiftTo::Word(text.to_owned())
    }

    #[test]
    fn the_way_leads_from_replicating_over_shadowing_to_a_share() {
        let shadowing = aim(Phase::Replicating, &word("shadowing"), 1).unwrap();
        assert_eq!(
            shadowing,
            Aim { phase: Phase::Shadowing, needs_stream: true, automatic: false }
        );
        assert!(aim(Phase::Replicating, &ShiftTo::Percent(10), 1).is_err(), "shadow first");
        let ten = aim(Phase::Shadowing, &ShiftTo::Percent(10), 1).unwrap();
        assert_eq!(ten.phase, Phase::Reading { percent: 10 });
        assert!(ten.needs_stream);
    }

    #[test]
    fn back_to_nothing_is_always_allowed_and_asks_for_nothing() {
        let back = aim(Phase::Reading { percent: 50 }, &ShiftTo::Percent(0), 1).unwrap();
        let zero = Phase::Reading { percent: 0 };
        assert_eq!(back, Aim { phase: zero, needs_stream: false, automatic: false });
        assert!(!aim(Phase::Reading { percent: 50 }, &word("shadowing"), 1).unwrap().needs_stream);
    }

    #[test]
    fn what_the_service_owns_is_not_moved_by_a_share() {
        for to in [ShiftTo::Percent(0), ShiftTo::Percent(50), word("shadowing")] {
            assert!(aim(Phase::Switched, &to, 1).is_err());
        }
        assert!(aim(Phase::Shadowing, &ShiftTo::Percent(101), 1).is_err());
        assert!(aim(Phase::Monolith, &ShiftTo::Percent(0), 1).is_err());
    }

    #[test]
    fn automatic_steps_begin_with_the_first_one_and_a_share_by_hand_ends_them() {
        let begun = aim(Phase::Shadowing, &word("auto"), 5).unwrap();
        assert_eq!(begun.phase, Phase::Reading { percent: 5 });
        assert!(begun.automatic);
        assert!(!aim(begun.phase, &ShiftTo::Percent(20), 5).unwrap().automatic);
    }
}
