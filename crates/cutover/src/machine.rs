//! The machine of one transfer. `step` says what a state and a fact lead to and what to do next;
//! `recover` says the same for a coordinator that comes back. Pure: the coordinator persists the new
//! state, then acts, then reports what it saw as the next event.
//!
//! ```text
//! Preflight ─ AttachingReverse ─ Holding ─ Fencing ─ Draining ─ Verifying ─ Preparing ─ Deciding
//!     │              │              └────────┴──────────┴──────────┴───────────┴──────────┤
//!     └──────────────┴──> Aborted <────────────────────────────── Aborting <──────────────┤
//!                                                                     │ (found decided)   │ decided
//!                                                                     └──────> Opening <──┘
//!                                                             Done <── Releasing <──┘
//! ```
//! Sides are named by their role: the *old owner* gives the writes up, the *new owner* takes them. Which
//! database that is depends on the direction alone, so a rollback is the same machine.

mod follow;

pub use follow::recover;

use serde::{Deserialize, Serialize};

use crate::{Epoch, GuardRow};

/// How often the fence is tried before the transfer is aborted.
pub const FENCE_ATTEMPTS_MAX: u32 = 5;

/// Where a transfer stands; written to the journal before the state's action is carried out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum State {
    /// The checks run; nothing was changed.
    Preflight,
    /// The stream of the way back is being attached, stopped; writers notice nothing.
    AttachingReverse {
        /// Epoch at which the old owner was seen open.
        from: Epoch,
    },
    /// Proxies are told to hold writes; each one's hold ends with its lease.
    Holding {
        /// Epoch at which the old owner was seen open.
        from: Epoch,
    },
    /// The fence is being set; it may or may not stand.
    Fencing {
        /// Epoch at which the old owner was seen open.
        from: Epoch,
        /// Tries so far, from 1.
        attempt: u32,
    },
    /// The fence stands and expires by itself; the new owner applies what lies before the barrier.
    Draining {
        /// The fence's epoch.
        epoch: Epoch,
    },
    /// Both sides are quiet; keys touched since the last clean pass are compared.
    Verifying {
        /// The fence's epoch.
        epoch: Epoch,
    },
    /// The new owner stops applying and moves its sequences.
    Preparing {
        /// The fence's epoch.
        epoch: Epoch,
    },
    /// The compare-and-set on the old owner's guard may have happened or not.
    Deciding {
        /// The fence's epoch.
        epoch: Epoch,
    },
    /// Past the point of no return: the new owner is being opened, by whoever comes first.
    Opening {
        /// The decided epoch.
        epoch: Epoch,
    },
    /// The new owner is open; proxies are told, and let held writes go.
    Releasing {
        /// The decided epoch.
        epoch: Epoch,
    },
    /// Finished: the new owner serves.
    Done {
        /// The decided epoch.
        epoch: Epoch,
    },
    /// Being undone; the guards are read and followed until the old owner is open again.
    Aborting {
        /// Why.
        reason: String,
    },
    /// Finished: the old owner serves as before.
    Aborted {
        /// Why.
        reason: String,
    },
}

/// A fact the coordinator saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// Every check passed; the old owner is open at this epoch.
    PreflightPassed {
        /// The old owner's epoch.
        epoch: Epoch,
    },
    /// At least one check did not pass.
    PreflightRefused {
        /// One sentence for each.
        findings: Vec<String>,
    },
    /// The way back exists and is stopped.
    ReverseAttached,
    /// Every connected proxy holds and has no write in flight.
    Held {
        /// Known proxies that did not answer; they only cost their lease.
        silent: u32,
    },
    /// The fence committed.
    Fenced {
        /// Its epoch.
        epoch: Epoch,
    },
    /// Table locks were not granted in time; the fence was rolled back.
    FenceBlocked {
        /// Who holds them.
        blockers: String,
    },
    /// The new owner's database recorded this barrier as applied.
    BarrierApplied {
        /// The barrier's epoch.
        epoch: Epoch,
    },
    /// The compared keys are equal.
    Verified {
        /// How many were compared.
        rows: u64,
    },
    /// The compared keys differ.
    Differs {
        /// How many.
        differences: u64,
        /// Some of their names.
        samples: Vec<String>,
    },
    /// The new owner is prepared.
    Prepared {
        /// For this epoch.
        epoch: Epoch,
    },
    /// The old owner's guard says MOVED.
    Decided {
        /// At this epoch.
        epoch: Epoch,
    },
    /// The new owner's guard says OPEN.
    Opened {
        /// At this epoch.
        epoch: Epoch,
    },
    /// The new owner was published to the proxies.
    Published,
    /// The old owner's guard is open again.
    Expired {
        /// At this epoch.
        epoch: Epoch,
    },
    /// The new owner applies again.
    Unprepared,
    /// The end of the hold was published to the proxies.
    Released,
    /// Both guard rows as they are now.
    Observed {
        /// The old owner's.
        old: GuardRow,
        /// The new owner's.
        new: GuardRow,
    },
    /// The action was refused, ran out of time, or its outcome is unknown. Never a reason to go on.
    Failed {
        /// What happened.
        reason: String,
    },
    /// An operator asked to stop.
    Cancelled {
        /// Who and why.
        reason: String,
    },
}

/// What the coordinator does next. Every action may be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Action {
    /// Check everything; change nothing.
    RunPreflight,
    /// Create slot and apply row of the stream from the new to the old owner, stopped.
    AttachReverse,
    /// Tell the proxies to hold writes and wait until none is in flight.
    PublishHold,
    /// `ficus.fence` on the old owner.
    Fence {
        /// Epoch at which it must be open.
        expected: Epoch,
    },
    /// Wait until the new owner's database has recorded the barrier.
    AwaitBarrier {
        /// The barrier's epoch.
        epoch: Epoch,
    },
    /// Compare the keys touched since the last clean pass.
    VerifyDirty,
    /// `ficus.prepare` on the new owner.
    Prepare {
        /// The fence's epoch.
        epoch: Epoch,
    },
    /// `ficus.decide` on the old owner, with what was read on the new one.
    Decide {
        /// The fence's epoch.
        epoch: Epoch,
    },
    /// `ficus.open` on the new owner.
    Open {
        /// The decided epoch.
        epoch: Epoch,
    },
    /// Record and publish the new owner; held writes go there.
    PublishOwner {
        /// The decided epoch.
        epoch: Epoch,
    },
    /// Read both guard rows.
    Observe,
    /// `ficus.expire` on the old owner, by force.
    Expire {
        /// The fence's epoch.
        epoch: Epoch,
    },
    /// `ficus.unprepare` on the new owner.
    Unprepare {
        /// The epoch it was prepared for.
        epoch: Epoch,
        /// The old owner's later epoch.
        proof: Epoch,
    },
    /// Publish that nothing is held any more; writes go to the old owner as before.
    Release,
}

/// The event has no meaning in this state: a fault of the caller, nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {event} has no meaning in state {state}")]
pub struct TransitionError {
    /// Name of the state.
    pub state: &'static str,
    /// Name of the event.
    pub event: &'static str,
}

/// New state and what to do in it.
pub type Transition = (State, Vec<Action>);

impl State {
    /// Stable name for the journal, metrics and displays.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::AttachingReverse { .. } => "attaching_reverse",
            Self::Holding { .. } => "holding",
            Self::Fencing { .. } => "fencing",
            Self::Draining { .. } => "draining",
            Self::Verifying { .. } => "verifying",
            Self::Preparing { .. } => "preparing",
            Self::Deciding { .. } => "deciding",
            Self::Opening { .. } => "opening",
            Self::Releasing { .. } => "releasing",
            Self::Done { .. } => "done",
            Self::Aborting { .. } => "aborting",
            Self::Aborted { .. } => "aborted",
        }
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Aborted { .. })
    }

    /// Whether the decision is known to have been made: only forward from here.
    #[must_use]
    pub const fn is_decided(&self) -> bool {
        matches!(self, Self::Opening { .. } | Self::Releasing { .. } | Self::Done { .. })
    }

    /// What a coordinator does on entering this state.
    #[must_use]
    pub fn entry_actions(&self) -> Vec<Action> {
        match self {
            Self::Preflight => vec![Action::RunPreflight],
            Self::AttachingReverse { .. } => vec![Action::AttachReverse],
            Self::Holding { .. } => vec![Action::PublishHold],
            Self::Fencing { from, .. } => vec![Action::Fence { expected: *from }],
            Self::Draining { epoch } => vec![Action::AwaitBarrier { epoch: *epoch }],
            Self::Verifying { .. } => vec![Action::VerifyDirty],
            Self::Preparing { epoch } => vec![Action::Prepare { epoch: *epoch }],
            Self::Deciding { epoch } => vec![Action::Decide { epoch: *epoch }],
            Self::Opening { epoch } => vec![Action::Open { epoch: *epoch }],
            Self::Releasing { epoch } => vec![Action::PublishOwner { epoch: *epoch }],
            Self::Aborting { .. } => vec![Action::Observe],
            Self::Done { .. } | Self::Aborted { .. } => Vec::new(),
        }
    }
}

impl Action {
    /// Stable name for the journal, failpoints and displays.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::RunPreflight => "preflight",
            Self::AttachReverse => "reverse",
            Self::PublishHold => "hold",
            Self::Fence { .. } => "fence",
            Self::AwaitBarrier { .. } => "drain",
            Self::VerifyDirty => "verify",
            Self::Prepare { .. } => "prepare",
            Self::Decide { .. } => "decide",
            Self::Open { .. } => "open",
            Self::PublishOwner { .. } => "publish",
            Self::Observe => "observe",
            Self::Expire { .. } => "expire",
            Self::Unprepare { .. } => "unprepare",
            Self::Release => "release",
        }
    }
}

impl Event {
    /// Stable name for the journal.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::PreflightPassed { .. } => "preflight_passed",
            Self::PreflightRefused { .. } => "preflight_refused",
            Self::ReverseAttached => "reverse_attached",
            Self::Held { .. } => "held",
            Self::Fenced { .. } => "fenced",
            Self::FenceBlocked { .. } => "fence_blocked",
            Self::BarrierApplied { .. } => "barrier_applied",
            Self::Verified { .. } => "verified",
            Self::Differs { .. } => "differs",
            Self::Prepared { .. } => "prepared",
            Self::Decided { .. } => "decided",
            Self::Opened { .. } => "opened",
            Self::Published => "published",
            Self::Expired { .. } => "expired",
            Self::Unprepared => "unprepared",
            Self::Released => "released",
            Self::Observed { .. } => "observed",
            Self::Failed { .. } => "failed",
            Self::Cancelled { .. } => "cancelled",
        }
    }
}

/// What the fact leads to.
///
/// # Errors
/// [`TransitionError`] when the event is not one the state's action can produce.
pub fn step(state: &State, event: Event) -> Result<Transition, TransitionError> {
    let error = TransitionError { state: state.as_str(), event: event.as_str() };
    match event {
        Event::Failed { reason } => failed(state, reason).ok_or(error),
        Event::Cancelled { reason } => cancelled(state, reason).ok_or(error),
        Event::Observed { old, new } => Ok(follow::follow(state, &old, &new)),
        Event::PreflightPassed { .. }
        | Event::PreflightRefused { .. }
        | Event::ReverseAttached
        | Event::Held { .. }
        | Event::Fenced { .. }
        | Event::FenceBlocked { .. }
        | Event::BarrierApplied { .. }
        | Event::Verified { .. }
        | Event::Differs { .. }
        | Event::Prepared { .. }
        | Event::Decided { .. }
        | Event::Opened { .. }
        | Event::Published
        | Event::Expired { .. }
        | Event::Unprepared
        | Event::Released => progressed(state, event).ok_or(error),
    }
}

fn enter(state: State) -> Transition {
    let actions = state.entry_actions();
    (state, actions)
}

/// An abort that changed nothing in any database.
fn release(reason: String) -> Transition {
    (State::Aborting { reason }, vec![Action::Release])
}

fn progressed(state: &State, event: Event) -> Option<Transition> {
    match state {
        State::Preflight => preflight(&event),
        State::AttachingReverse { from } => {
            (event == Event::ReverseAttached).then(|| enter(State::Holding { from: *from }))
        }
        State::Holding { from } => {
            let Event::Held { .. } = event else { return None };
            Some(enter(State::Fencing { from: *from, attempt: 1 }))
        }
        State::Fencing { from, attempt } => fencing(*from, *attempt, event),
        State::Draining { epoch } => {
            let Event::BarrierApplied { epoch: seen } = event else { return None };
            Some(expecting(*epoch, seen, "barrier", State::Verifying { epoch: seen }))
        }
        State::Verifying { epoch } => verifying(*epoch, event),
        State::Preparing { epoch } => {
            let Event::Prepared { epoch: seen } = event else { return None };
            Some(expecting(*epoch, seen, "prepare", State::Deciding { epoch: seen }))
        }
        State::Deciding { epoch } => {
            let Event::Decided { epoch: seen } = event else { return None };
            Some(expecting(*epoch, seen, "decide", State::Opening { epoch: seen }))
        }
        State::Opening { .. } => {
            let Event::Opened { epoch } = event else { return None };
            Some(enter(State::Releasing { epoch }))
        }
        State::Releasing { epoch } => {
            (event == Event::Published).then(|| enter(State::Done { epoch: *epoch }))
        }
        State::Aborting { reason } => aborting(reason, &event),
        State::Done { .. } | State::Aborted { .. } => None,
    }
}

fn preflight(event: &Event) -> Option<Transition> {
    match event {
        Event::PreflightPassed { epoch } => Some(enter(State::AttachingReverse { from: *epoch })),
        Event::PreflightRefused { findings } => {
            Some(enter(State::Aborted { reason: findings.join("; ") }))
        }
        Event::ReverseAttached
        | Event::Held { .. }
        | Event::Fenced { .. }
        | Event::FenceBlocked { .. }
        | Event::BarrierApplied { .. }
        | Event::Verified { .. }
        | Event::Differs { .. }
        | Event::Prepared { .. }
        | Event::Decided { .. }
        | Event::Opened { .. }
        | Event::Published
        | Event::Expired { .. }
        | Event::Unprepared
        | Event::Released
        | Event::Observed { .. }
        | Event::Failed { .. }
        | Event::Cancelled { .. } => None,
    }
}

/// Going on needs exactly the epoch that was fenced; anything else is undone.
fn expecting(fenced: Epoch, seen: Epoch, what: &str, next: State) -> Transition {
    if fenced == seen {
        return enter(next);
    }
    enter(State::Aborting { reason: format!("{what} answered epoch {seen}, fenced is {fenced}") })
}

fn fencing(from: Epoch, attempt: u32, event: Event) -> Option<Transition> {
    if let Event::Fenced { epoch } = event {
        return Some(expecting(from.next(), epoch, "fence", State::Draining { epoch }));
    }
    let Event::FenceBlocked { blockers } = event else { return None };
    if attempt < FENCE_ATTEMPTS_MAX {
        return Some(enter(State::Fencing { from, attempt: attempt + 1 }));
    }
    Some(release(format!("table locks were not granted in {attempt} attempts: {blockers}")))
}

fn verifying(epoch: Epoch, event: Event) -> Option<Transition> {
    if let Event::Verified { .. } = event {
        return Some(enter(State::Preparing { epoch }));
    }
    let Event::Differs { differences, samples } = event else { return None };
    let reason = format!("{differences} rows differ under the fence: {}", samples.join(", "));
    Some(enter(State::Aborting { reason }))
}

fn aborting(reason: &str, event: &Event) -> Option<Transition> {
    let reason = reason.to_owned();
    match event {
        Event::Released => Some(enter(State::Aborted { reason })),
        Event::Expired { .. } | Event::Unprepared => Some(enter(State::Aborting { reason })),
        Event::PreflightPassed { .. }
        | Event::PreflightRefused { .. }
        | Event::ReverseAttached
        | Event::Held { .. }
        | Event::Fenced { .. }
        | Event::FenceBlocked { .. }
        | Event::BarrierApplied { .. }
        | Event::Verified { .. }
        | Event::Differs { .. }
        | Event::Prepared { .. }
        | Event::Decided { .. }
        | Event::Opened { .. }
        | Event::Published
        | Event::Observed { .. }
        | Event::Failed { .. }
        | Event::Cancelled { .. } => None,
    }
}

/// A failure may hide a success, so whatever may have left a fence is looked at before it is undone.
fn failed(state: &State, reason: String) -> Option<Transition> {
    match state {
        State::Preflight | State::AttachingReverse { .. } => Some(enter(State::Aborted { reason })),
        State::Holding { .. } => Some(release(reason)),
        State::Fencing { .. }
        | State::Draining { .. }
        | State::Verifying { .. }
        | State::Preparing { .. }
        | State::Deciding { .. } => Some(enter(State::Aborting { reason })),
        // After the decision there is only forward: look again, whoever opened it meanwhile.
        State::Opening { .. } => Some((state.clone(), vec![Action::Observe])),
        State::Releasing { .. } => Some(enter(state.clone())),
        State::Aborting { .. } => Some(enter(state.clone())),
        State::Done { .. } | State::Aborted { .. } => None,
    }
}

fn cancelled(state: &State, reason: String) -> Option<Transition> {
    if state.is_decided() || matches!(state, State::Aborting { .. }) {
        return None;
    }
    failed(state, reason)
}

#[cfg(test)]
mod tests;
