//! What each action does, and the fact it reports. Every error is a fact too: `Failed` never means that
//! nothing happened.

use std::time::Duration;

use cutover::{Action, Direction, Epoch, Event, GuardState, Phase};
use guard::GuardError;
use tokio::time::Instant;

use super::{Outcome, Run};
use crate::{
    blockers::blockers, board::Published, preflight, replicator::in_words, sides::SideError,
};

/// Longest a fence stands before anyone may expire it.
const FENCE_TTL_MAX: Duration = Duration::from_secs(5);
/// The fence is decided at least this long before its deadline.
const DECIDE_MARGIN: Duration = Duration::from_millis(500);
/// What is kept for preparing and deciding once both sides are known to be equal.
const RESERVE: Duration = Duration::from_millis(300);
/// All attempts at the fence together.
const FENCE_BUDGET: Duration = Duration::from_secs(2);
/// Longest comparison of touched keys before writes are held.
const EARLY_COMPARE_MAX: Duration = Duration::from_secs(30);
/// Between two looks at the new owner's barrier.
const BARRIER_POLL: Duration = Duration::from_millis(5);
/// Sequences of the new owner start so far above the old owner's.
const SEQUENCE_GAP: i64 = 1000;

fn ok(event: Event, detail: impl Into<String>) -> Outcome {
    Outcome { event, detail: detail.into() }
}

fn failed(reason: impl Into<String>) -> Outcome {
    let reason = reason.into();
    Outcome { detail: reason.clone(), event: Event::Failed { reason } }
}

impl From<SideError> for Outcome {
    fn from(error: SideError) -> Self {
        failed(error.to_string())
    }
}

impl Run {
    pub(super) async fn act(&mut self, action: &Action) -> Outcome {
        let done = match *action {
            Action::RunPreflight => Ok(self.run_preflight().await),
            Action::AttachReverse => Ok(self.attach_reverse().await),
            Action::PublishHold => Ok(self.publish_hold().await),
            Action::Fence { expected } => self.fence(expected).await,
            Action::AwaitBarrier { epoch } => self.await_barrier(epoch).await,
            Action::VerifyDirty => Ok(self.verify_dirty().await),
            Action::Prepare { epoch } => self.prepare(epoch).await,
            Action::Decide { epoch } => self.decide(epoch).await,
            Action::Open { epoch } => self.open(epoch).await,
            Action::PublishOwner { epoch } => Ok(self.publish_owner(epoch).await),
            Action::Observe => self.observe().await,
            Action::Expire { epoch } => self.expire(epoch).await,
            Action::Unprepare { epoch, proof } => self.unprepare(epoch, proof).await,
            Action::Release => Ok(self.release()),
        };
        done.unwrap_or_else(Outcome::from)
    }

    async fn run_preflight(&self) -> Outcome {
        let findings = preflight::run(&self.core, &self.capability, self.direction).await;
        match findings.verdict() {
            Ok(epoch) => ok(Event::PreflightPassed { epoch }, "all checks passed"),
            Err(findings) => ok(Event::PreflightRefused { findings }, "refused"),
        }
    }

    /// The stream of the way back is created on the first transfer and stays attached.
    async fn attach_reverse(&self) -> Outcome {
        let way_back = match self.direction {
            Direction::Forward => cutover::StreamKind::Reverse,
            Direction::Back => cutover::StreamKind::Forward,
        };
        match self.core.replicator.start(&self.capability, way_back).await {
            Ok(state) => self.compare_early(format!("{} stream {state}", way_back.as_str())).await,
            Err(status) => failed(format!(
                "the {} stream could not be attached: {}",
                way_back.as_str(),
                in_words(&status)
            )),
        }
    }

    /// Compares what was touched since the last pass while writes still flow, so that little is left to
    /// compare under the fence, and a difference is found before anybody waits.
    async fn compare_early(&self, attached: String) -> Outcome {
        let compared = tokio::time::timeout(EARLY_COMPARE_MAX, self.compare_dirty(false)).await;
        match compared {
            Ok(Outcome { event: Event::Verified { .. }, detail }) => {
                ok(Event::ReverseAttached, format!("{attached}, {detail}"))
            }
            Ok(Outcome { event: Event::Differs { samples, .. }, detail }) => {
                failed(format!("{detail}: {}", samples.join(", ")))
            }
            Ok(Outcome { detail, .. }) => failed(detail),
            Err(_elapsed) => failed(format!(
                "comparing what was touched since the last verification took longer than {EARLY_COMPARE_MAX:?}"
            )),
        }
    }

    async fn fence(&mut self, expected: Epoch) -> Result<Outcome, SideError> {
        let side = self.direction.old_owner();
        let Some(capability) = self.core.capability(&self.capability) else {
            return Ok(failed("the capability is not configured any more"));
        };
        let (limits, begun) = (capability.fence, Instant::now());
        let ttl = limits.hold.min(FENCE_TTL_MAX);
        let first = *self.fence_begun.get_or_insert(begun);
        let left = FENCE_BUDGET.saturating_sub(first.elapsed());
        if left.is_zero() {
            return Ok(failed(format!(
                "table locks were not granted within {FENCE_BUDGET:?}: {}",
                self.blockers
            )));
        }
        let client = self.sides.client(side).await?;
        let wait = limits.lock_timeout.min(left);
        let call = client.fence(&self.capability, expected, ttl, wait);
        match self.sides.call(side, call).await {
            Ok(row) => {
                self.fence_ends = Some(begun + ttl);
                Ok(ok(Event::Fenced { epoch: row.epoch }, format!("epoch {}", row.epoch)))
            }
            Err(error) if matches!(error.guard(), Some(GuardError::LockTimeout(_))) => {
                let blockers = blockers(&self.sides, side, &self.capability).await;
                self.blockers.clone_from(&blockers);
                Ok(ok(Event::FenceBlocked { blockers: blockers.clone() }, blockers))
            }
            Err(error) => Err(error),
        }
    }

    /// Until when both sides must be known to be equal.
    fn quiet_until(&self) -> Instant {
        let ends = self.fence_ends.unwrap_or_else(Instant::now);
        ends.checked_sub(DECIDE_MARGIN + RESERVE).unwrap_or(ends)
    }

    async fn await_barrier(&self, epoch: Epoch) -> Result<Outcome, SideError> {
        let side = self.direction.new_owner();
        let deadline = self.quiet_until();
        loop {
            let inbound = self.sides.record(side).await?.inbound;
            let seen = inbound.map_or(Epoch::NONE, |inbound| inbound.barrier_seen);
            if seen == epoch {
                return Ok(ok(Event::BarrierApplied { epoch }, format!("barrier {epoch} applied")));
            }
            if Instant::now() >= deadline {
                return Ok(failed(format!(
                    "the {side} has not applied the barrier {epoch} in time, last seen {seen}"
                )));
            }
            tokio::time::sleep(BARRIER_POLL).await;
        }
    }

    async fn verify_dirty(&self) -> Outcome {
        let compared = self.compare_dirty(true);
        match tokio::time::timeout_at(self.quiet_until(), compared).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => failed("comparing the touched keys took too long"),
        }
    }

    async fn compare_dirty(&self, quiet: bool) -> Outcome {
        let replicator = &self.core.replicator;
        let verify = replicator.verify_touched(&self.capability, self.direction, quiet).await;
        let mut progress = match verify {
            Ok(progress) => progress,
            Err(status) => {
                return failed(format!("touched keys were not compared: {}", in_words(&status)));
            }
        };
        loop {
            match progress.message().await {
                Ok(Some(line)) if !line.done => {}
                Ok(Some(line)) if line.differences == 0 => {
                    let detail = format!("{} touched keys equal", line.rows);
                    return ok(Event::Verified { rows: line.rows }, detail);
                }
                Ok(Some(line)) => {
                    let detail = format!("{} rows differ", line.differences);
                    let (differences, samples) = (line.differences, line.samples);
                    return ok(Event::Differs { differences, samples }, detail);
                }
                Ok(None) => return failed("comparing the touched keys ended without a result"),
                Err(status) => {
                    return failed(format!(
                        "touched keys were not compared: {}",
                        in_words(&status)
                    ));
                }
            }
        }
    }

    async fn prepare(&self, epoch: Epoch) -> Result<Outcome, SideError> {
        let side = self.direction.new_owner();
        let client = self.sides.client(side).await?;
        let call = client.prepare(&self.capability, epoch, SEQUENCE_GAP);
        let row = self.sides.call(side, call).await?;
        Ok(ok(Event::Prepared { epoch: row.prepared }, format!("{side} prepared for {epoch}")))
    }

    async fn decide(&self, epoch: Epoch) -> Result<Outcome, SideError> {
        let (old, new) = (self.direction.old_owner(), self.direction.new_owner());
        let prepared = self.sides.row(new).await?.prepared;
        let client = self.sides.client(old).await?;
        let call = client.decide(&self.capability, epoch, prepared, DECIDE_MARGIN);
        let row = self.sides.call(old, call).await?;
        Ok(ok(Event::Decided { epoch: row.epoch }, format!("{old} moved at {}", row.epoch)))
    }

    async fn open(&self, epoch: Epoch) -> Result<Outcome, SideError> {
        let (old, new) = (self.direction.old_owner(), self.direction.new_owner());
        let row = self.sides.row(old).await?;
        let decided = if row.state == GuardState::Moved { row.epoch } else { Epoch::NONE };
        let client = self.sides.client(new).await?;
        let row = self.sides.call(new, client.open(&self.capability, epoch, decided)).await?;
        Ok(ok(Event::Opened { epoch: row.epoch }, format!("{new} open at {}", row.epoch)))
    }

    /// Proxies first: held writes wait for nothing else. What the store misses, the guards still say.
    async fn publish_owner(&mut self, epoch: Epoch) -> Outcome {
        let owner = self.direction.new_owner();
        let phase = match self.direction {
            Direction::Forward => Phase::Switched,
            Direction::Back => Phase::Reading { percent: 0 },
        };
        self.core.board.hand_over(&self.capability, Published { phase, owner, epoch });
        self.end_hold();
        let actor = self.record.borrow().actor.clone();
        let who = (actor.as_str(), self.direction.as_str());
        match self.core.store.set_phase(&self.capability, phase, epoch, who).await {
            Ok(()) => ok(Event::Published, format!("generation {}", self.core.board.generation())),
            Err(error) => failed(format!("the new phase was not recorded: {error}")),
        }
    }

    async fn observe(&self) -> Result<Outcome, SideError> {
        let pair = self.sides.pair().await?;
        let old = *pair.side(self.direction.old_owner());
        let new = *pair.side(self.direction.new_owner());
        let detail = format!(
            "old owner {}({}), new owner {}({})",
            old.state.as_str(),
            old.epoch,
            new.state.as_str(),
            new.epoch
        );
        Ok(ok(Event::Observed { old, new }, detail))
    }

    async fn expire(&self, epoch: Epoch) -> Result<Outcome, SideError> {
        let side = self.direction.old_owner();
        let client = self.sides.client(side).await?;
        let row = self.sides.call(side, client.expire(&self.capability, epoch, true)).await?;
        Ok(ok(Event::Expired { epoch: row.epoch }, format!("{side} open at {}", row.epoch)))
    }

    async fn unprepare(&self, epoch: Epoch, proof: Epoch) -> Result<Outcome, SideError> {
        let side = self.direction.new_owner();
        let client = self.sides.client(side).await?;
        let _row = self.sides.call(side, client.unprepare(&self.capability, epoch, proof)).await?;
        Ok(ok(Event::Unprepared, format!("{side} applies again")))
    }

    fn release(&mut self) -> Outcome {
        self.end_hold();
        ok(Event::Released, "writes go on as before")
    }
}
