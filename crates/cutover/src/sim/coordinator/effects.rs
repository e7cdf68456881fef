//! What an action does when it arrives, and what its sender hears: now and then nothing.

use super::{FENCE_TTL_MS, Step, World};
use crate::{
    Action, Direction, Epoch, Event, GuardState, Ownership, guard_rules::Refused, sim::world::Task,
};

const POLL_EVERY_MS: u64 = 5;

fn known(result: Result<Event, Refused>) -> Event {
    result.unwrap_or_else(|refused| Event::Failed { reason: refused.to_string() })
}

impl World {
    pub(super) fn effect(&mut self, life: u32, direction: Direction, action: &Action) {
        let lost = self.rng.between(0, 60);
        if lost == 0 {
            // never arrived
            self.reply(life, Event::Failed { reason: "no connection".to_owned() });
            return;
        }
        let event = self.carried_out(direction, action);
        if lost == 1 {
            // done, but the answer was lost
            self.reply(life, Event::Failed { reason: "connection lost".to_owned() });
        } else {
            self.reply(life, event);
        }
    }

    fn reply(&mut self, life: u32, event: Event) {
        self.send(Task::Coordinate(Step::Outcome { life, event }));
    }

    fn carried_out(&mut self, direction: Direction, action: &Action) -> Event {
        let (old, new) = (direction.old_owner(), direction.new_owner());
        let now = self.now;
        match *action {
            Action::RunPreflight => self.preflight(direction),
            Action::AttachReverse => Event::ReverseAttached,
            Action::PublishHold | Action::AwaitBarrier { .. } | Action::Observe => {
                let pair = self.pair();
                Event::Observed { old: *pair.side(old), new: *pair.side(new) }
            }
            Action::Fence { expected } => {
                match self.database(old).fence(expected, now + FENCE_TTL_MS) {
                    None => Event::FenceBlocked { blockers: "a writer".to_owned() },
                    Some(result) => known(result.map(|epoch| Event::Fenced { epoch })),
                }
            }
            Action::VerifyDirty => self.verify(direction),
            Action::Prepare { epoch } => {
                known(self.database(new).prepare(epoch).map(|()| Event::Prepared { epoch }))
            }
            Action::Decide { epoch } => {
                let prepared = self.database(new).row(now).prepared;
                let decided = self.database(old).decide(epoch, prepared, now);
                known(decided.map(|()| Event::Decided { epoch }))
            }
            Action::Open { epoch } => {
                let row = self.database(old).row(now);
                let seen = if row.state == GuardState::Moved { row.epoch } else { Epoch::NONE };
                known(self.database(new).open(epoch, seen).map(|()| Event::Opened { epoch }))
            }
            Action::PublishOwner { .. } => {
                self.publish_owner(new);
                Event::Published
            }
            Action::Expire { epoch } => known(
                self.database(old).expire(epoch, true, now).map(|epoch| Event::Expired { epoch }),
            ),
            Action::Unprepare { epoch, proof } => {
                known(self.database(new).unprepare(epoch, proof).map(|()| Event::Unprepared))
            }
            Action::Release => {
                self.publish_owner(old);
                Event::Released
            }
        }
    }

    fn preflight(&self, direction: Direction) -> Event {
        match self.pair().ownership() {
            Ownership::Owned { by, epoch } if by == direction.old_owner() => {
                Event::PreflightPassed { epoch }
            }
            Ownership::Owned { .. } | Ownership::InTransition { .. } | Ownership::Split => {
                Event::PreflightRefused { findings: vec!["not the owner".to_owned()] }
            }
        }
    }

    /// The barrier was applied, so while the fence stands both sides must be equal.
    fn verify(&mut self, direction: Direction) -> Event {
        let [source, target] = &self.databases;
        if source.equals(target) {
            return Event::Verified { rows: 0 };
        }
        if self.pair().side(direction.old_owner()).state == GuardState::Fenced {
            self.recorder.violation(self.now, "I6 the sides differ under the fence");
        }
        Event::Differs { differences: 1, samples: Vec::new() }
    }

    /// Waits for the proxies or for the barrier, within a budget.
    pub(super) fn poll(&mut self, action: Action, until: u64) {
        let (life, late) = (self.coordinator.life, self.now >= until);
        let direction = self.direction();
        let event = if let Action::AwaitBarrier { epoch } = action {
            let seen = self.database(direction.new_owner()).inbound.barrier_seen == epoch;
            let reason = "the barrier was not applied in time".to_owned();
            match (seen, late) {
                (true, _) => Some(Event::BarrierApplied { epoch }),
                (false, true) => Some(Event::Failed { reason }),
                (false, false) => None,
            }
        } else {
            let reason = "writes are still in flight".to_owned();
            match (self.coordinator.held_by_all(self.proxy_count()), late) {
                (true, _) => Some(Event::Held { silent: 0 }),
                (false, true) if self.coordinator.some_busy() => Some(Event::Failed { reason }),
                // the silent ones only cost their lease: the guard protects
                (false, true) => Some(Event::Held { silent: 1 }),
                (false, false) => None,
            }
        };
        match event {
            Some(event) => self.reply(life, event),
            None => self.after(POLL_EVERY_MS, Task::Coordinate(Step::Poll { life, action, until })),
        }
    }
}
