//! Carries a transfer out: the machine decides, this persists, acts, and reports what it saw.
//!
//! ```text
//! state ─ journal ─> action ─ effect in a database, a proxy, the replicator ─> event ─ step ─> state
//! ```
//! A coordinator that dies anywhere leaves a journaled state; the next leader reads both guards and
//! follows them. Nothing here decides whether it is safe to go on: the compare-and-set in the guard
//! functions does.

mod effects;
mod hold;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use cutover::{Action, Direction, Event, State, Transition, step};
use tokio::{sync::watch, time::Instant};

use crate::{
    api::{Step, Transfer},
    board::Hold,
    core::{Core, Reservation, Running},
    failpoint::Failpoint,
    metrics,
    sides::Sides,
    store::{JournalLine, NewTransfer, StoreError, Unfinished},
};

/// Pause before an action is tried again that can only be retried.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// What an action led to.
#[derive(Debug)]
struct Outcome {
    event: Event,
    detail: String,
}

/// One transfer in progress.
#[derive(Debug)]
pub(crate) struct Run {
    core: Arc<Core>,
    sides: Arc<Sides>,
    capability: String,
    direction: Direction,
    state: State,
    record: watch::Sender<Transfer>,
    begun: Instant,
    hold: Option<Hold>,
    hold_begun: Option<Instant>,
    fence_begun: Option<Instant>,
    /// Who held the locks at the last attempt.
    blockers: String,
    fence_ends: Option<Instant>,
    reservation: Reservation,
}

/// A transfer that is wanted and passed its preflight.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) capability: String,
    pub(crate) direction: Direction,
    pub(crate) actor: String,
    /// What the preflight led to.
    pub(crate) transition: Transition,
    /// How the preflight went.
    pub(crate) preflight: Step,
    pub(crate) sides: Arc<Sides>,
    pub(crate) reservation: Reservation,
}

fn record(id: i64, direction: Direction, actor: &str) -> Transfer {
    Transfer {
        id,
        direction,
        outcome: "running".to_owned(),
        reason: String::new(),
        actor: actor.to_owned(),
        started_unix_ms: crate::clock::unix_ms(),
        total_ms: 0,
        hold_ms: 0,
        steps: Vec::new(),
    }
}

/// Begins a transfer that passed its preflight; it goes on in a task of its own. `None` when the store
/// knows of another one under way.
///
/// # Errors
/// When the store can not record it; nothing was changed then.
pub(crate) async fn begin(
    core: &Arc<Core>,
    accepted: Accepted,
) -> Result<Option<watch::Receiver<Transfer>>, StoreError> {
    let Accepted { capability, direction, actor, transition, preflight, sides, reservation } =
        accepted;
    let (state, actions) = transition;
    let new = NewTransfer { capability: &capability, direction, actor: &actor, state: &state };
    let Some(id) = core.store.begin_transfer(&new).await? else { return Ok(None) };
    let line =
        JournalLine { transfer: id, step: &preflight, event: "preflight_passed", state: &state };
    core.store.journal(&line).await?;
    let mut first = record(id, direction, &actor);
    first.steps.push(preflight);
    let run = Run {
        core: Arc::clone(core),
        sides,
        capability,
        direction,
        state,
        record: watch::Sender::new(first),
        begun: Instant::now(),
        hold: None,
        hold_begun: None,
        fence_begun: None,
        blockers: String::new(),
        fence_ends: None,
        reservation,
    };
    Ok(Some(run.spawn(actions)))
}

/// Takes up a transfer that an earlier coordinator left behind: reads the guards and follows them.
pub(crate) fn recover(
    core: &Arc<Core>,
    unfinished: Unfinished,
    sides: Arc<Sides>,
    reservation: Reservation,
) -> watch::Receiver<Transfer> {
    let Unfinished { state, capability, record } = unfinished;
    tracing::info!(
        capability,
        transfer = record.id,
        state = state.as_str(),
        "taking up a transfer"
    );
    let run = Run {
        core: Arc::clone(core),
        sides,
        capability,
        direction: record.direction,
        state,
        record: watch::Sender::new(record),
        begun: Instant::now(),
        hold: None,
        hold_begun: None,
        fence_begun: None,
        blockers: String::new(),
        fence_ends: None,
        reservation,
    };
    run.spawn(vec![Action::Observe])
}

impl Run {
    fn spawn(self, actions: Vec<Action>) -> watch::Receiver<Transfer> {
        let receiver = self.record.subscribe();
        self.reservation.publish(Running { record: receiver.clone() });
        let core = Arc::clone(&self.core);
        let over = core.term().map(|term| term.over);
        core.tasks.spawn(async move {
            let Some(over) = over else { return };
            // A leader that lost its term stops at once; the next one follows the guards.
            tokio::select! {
                () = self.drive(actions) => {}
                () = over.cancelled() => tracing::warn!("leadership lost during a transfer"),
            }
        });
        receiver
    }

    async fn drive(mut self, first: Vec<Action>) {
        let mut actions = VecDeque::from(first);
        while let Some(action) = actions.pop_front() {
            let point = self.core.failpoint.clone();
            Failpoint::pass(point.as_ref(), action.as_str(), false).await;
            let begun = Instant::now();
            let outcome = self.act(&action).await;
            let ms = begun.elapsed().as_secs_f64() * 1000.0;
            Failpoint::pass(point.as_ref(), action.as_str(), true).await;
            let failed = matches!(outcome.event, Event::Failed { .. });
            let name = outcome.event.as_str();
            let (state, next) = self.next(outcome.event);
            let step = Step { step: action.as_str().to_owned(), ms, detail: outcome.detail };
            self.state = state;
            actions = next.into();
            if let Err(reason) = self.journal(step, name).await {
                actions = self.unrecorded(&reason, actions);
            }
            if failed && !self.state.is_finished() {
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
        self.finish().await;
    }

    /// The machine's answer. An event that has no meaning is a fault of ours and counts as a failure.
    fn next(&self, event: Event) -> Transition {
        step(&self.state, event).unwrap_or_else(|error| {
            tracing::error!(%error, "transfer step out of order");
            let failed = Event::Failed { reason: error.to_string() };
            step(&self.state, failed).unwrap_or_else(|_| (self.state.clone(), Vec::new()))
        })
    }

    /// Before the decision nothing is done that was not written down; after it the guards are enough.
    fn unrecorded(&self, reason: &str, actions: VecDeque<Action>) -> VecDeque<Action> {
        tracing::warn!(capability = self.capability, reason, "the journal could not be written");
        if self.state.is_decided() || matches!(self.state, State::Aborting { .. }) {
            return actions;
        }
        vec![Action::Observe].into()
    }

    async fn journal(&self, step: Step, event: &str) -> Result<(), String> {
        metrics::step(&step.step, step.ms);
        tracing::info!(
            capability = self.capability,
            step = step.step,
            event,
            ms = step.ms,
            state = self.state.as_str(),
            detail = step.detail,
            "transfer step"
        );
        let transfer = self.record.borrow().id;
        let line = JournalLine { transfer, step: &step, event, state: &self.state };
        let written = self.core.store.journal(&line).await.map_err(|error| error.to_string());
        self.record.send_modify(|record| {
            record.steps.push(step);
            record.total_ms = millis(self.begun.elapsed());
        });
        written
    }

    async fn finish(mut self) {
        let (outcome, reason) = match &self.state {
            State::Aborted { reason } | State::Aborting { reason } => ("aborted", reason.clone()),
            State::Done { .. } => ("done", String::new()),
            State::Preflight
            | State::AttachingReverse { .. }
            | State::Holding { .. }
            | State::Fencing { .. }
            | State::Draining { .. }
            | State::Verifying { .. }
            | State::Preparing { .. }
            | State::Deciding { .. }
            | State::Opening { .. }
            | State::Releasing { .. } => ("aborted", "stopped out of order".to_owned()),
        };
        self.end_hold();
        metrics::transfer(self.direction, outcome);
        let mut ended = self.record.borrow().clone();
        ended.outcome = outcome.to_owned();
        ended.reason = reason;
        ended.total_ms = millis(self.begun.elapsed());
        tracing::info!(
            capability = self.capability,
            transfer = ended.id,
            direction = self.direction.as_str(),
            outcome,
            reason = ended.reason,
            total_ms = ended.total_ms,
            hold_ms = ended.hold_ms,
            "transfer ended"
        );
        while let Err(error) = self.core.store.end_transfer(&ended, &self.state).await {
            tracing::warn!(%error, "the end of the transfer could not be recorded, trying again");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        drop(self.reservation);
        self.record.send_replace(ended);
    }

    fn end_hold(&mut self) {
        if self.hold.take().is_some()
            && let Some(begun) = self.hold_begun
        {
            let held = millis(begun.elapsed());
            metrics::hold(begun.elapsed());
            self.record.send_modify(|record| record.hold_ms = held);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
