//! `cutover` and `rollback`: preflight, then the coordinator; every step is a line of the answer.

use std::sync::Arc;

use cutover::{Direction, Event, Phase, State, step};
use tokio::{sync::watch, time::Instant};

use super::{Actor, published, under_way};
use crate::{
    api::{Finding, Step, Transfer, TransferResult},
    coordinator::{self, Accepted},
    core::{Core, Reservation},
    http::Lines,
    preflight,
    problem::Problem,
};

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) direction: Direction,
    pub(crate) actor: Actor,
    pub(crate) dry_run: bool,
}

/// Whether a transfer may be checked at all; keeps others out while it exists.
pub(crate) fn admit_transfer(
    core: &Arc<Core>,
    name: &str,
    direction: Direction,
) -> Result<Reservation, Problem> {
    let phase = published(core, name)?.phase;
    match (direction, phase) {
        (Direction::Forward, Phase::Monolith) => {
            return Err(Problem::conflict("not_started", "nothing is replicated yet")
                .remedy(format!("run: ficus start {name}")));
        }
        (Direction::Forward, Phase::Switched) => {
            return Err(Problem::conflict(
                "already_switched",
                "the service owns the writes already",
            ));
        }
        (_, Phase::Completed) => {
            return Err(Problem::conflict("completed", "the way back was let go"));
        }
        (Direction::Back, Phase::Switched)
        | (Direction::Forward, Phase::Replicating | Phase::Shadowing | Phase::Reading { .. }) => {}
        (
            Direction::Back,
            Phase::Monolith | Phase::Replicating | Phase::Shadowing | Phase::Reading { .. },
        ) => {
            return Err(Problem::conflict("not_switched", "the monolith owns the writes already"));
        }
    }
    core.reserve(name).ok_or_else(|| under_way(core, name))
}

/// Runs to the end; the client may leave before.
pub(crate) async fn transfer(
    core: &Arc<Core>,
    wanted: Wanted,
    reservation: Reservation,
    lines: Lines,
) {
    let begun = Instant::now();
    let findings = preflight::run(core, &wanted.name, wanted.direction).await;
    let ms = begun.elapsed().as_secs_f64() * 1000.0;
    let checks = findings.list.len();
    let preflight = Step { step: "preflight".to_owned(), ms, detail: format!("{checks} checks") };
    lines.write(&preflight).await;
    let result = match findings.verdict() {
        Err(reasons) => refused(reasons.join("; "), findings.list),
        Ok(_) if wanted.dry_run => TransferResult {
            outcome: "ready".to_owned(),
            reason: String::new(),
            findings: findings.list,
            transfer: None,
        },
        Ok(epoch) => {
            let passed = Event::PreflightPassed { epoch };
            match accept(core, wanted, reservation, preflight, passed).await {
                Ok(record) => follow(record, &lines).await,
                Err(reason) => refused(reason, Vec::new()),
            }
        }
    };
    lines.write(&result).await;
}

fn refused(reason: String, findings: Vec<Finding>) -> TransferResult {
    TransferResult { outcome: "refused".to_owned(), reason, findings, transfer: None }
}

async fn accept(
    core: &Arc<Core>,
    wanted: Wanted,
    reservation: Reservation,
    preflight: Step,
    passed: Event,
) -> Result<watch::Receiver<Transfer>, String> {
    let transition = step(&State::Preflight, passed).map_err(|error| error.to_string())?;
    let sides = core.sides(&wanted.name).ok_or("an upstream has no database")?;
    let accepted = Accepted {
        capability: wanted.name,
        direction: wanted.direction,
        actor: wanted.actor.name,
        transition,
        preflight,
        sides,
        reservation,
    };
    match coordinator::begin(core, accepted).await {
        Ok(Some(record)) => Ok(record),
        Ok(None) => Err("another transfer of this capability is not finished yet".to_owned()),
        Err(error) => Err(format!("the transfer could not be recorded: {error}")),
    }
}

/// Writes each step as it happens, then says how it ended.
async fn follow(mut record: watch::Receiver<Transfer>, lines: &Lines) -> TransferResult {
    // the preflight was written already
    let mut written = 1;
    loop {
        let seen = record.borrow_and_update().clone();
        for step in seen.steps.iter().skip(written) {
            lines.write(step).await;
        }
        written = seen.steps.len();
        if seen.outcome != "running" {
            let (outcome, reason) = (seen.outcome.clone(), seen.reason.clone());
            return TransferResult { outcome, reason, findings: Vec::new(), transfer: Some(seen) };
        }
        if record.changed().await.is_err() {
            return TransferResult {
                outcome: "interrupted".to_owned(),
                reason: "this control stopped leading; the next leader takes the transfer up"
                    .to_owned(),
                findings: Vec::new(),
                transfer: Some(seen),
            };
        }
    }
}
