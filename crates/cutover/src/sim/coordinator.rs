//! The simulated coordinator: persists, acts, reports; dies and comes back. What it sent before it
//! died still arrives.

mod effects;

use super::world::{Table, Task, World};
use crate::{Action, Direction, Event, Ownership, Side, State, guard_rules::repair, recover, step};

const FENCE_TTL_MS: u64 = 1000;
const HOLD_BUDGET_MS: u64 = 300;
const DRAIN_BUDGET_MS: u64 = 800;
const IDLE_MS: u64 = 40;

/// The coordinator's own tasks; those of an earlier life are ignored unless they are already on their
/// way to a database.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Between transfers: repair what is left, start another one.
    Idle { life: u32 },
    /// A new life looks at the journal and the guards.
    Return { life: u32 },
    /// The state was persisted; now act.
    Act { life: u32, action: Action },
    /// An action arrives at the databases.
    Effect { life: u32, direction: Direction, action: Action },
    /// Waiting for proxies or for the barrier.
    Poll { life: u32, action: Action, until: u64 },
    /// What came of an action.
    Outcome { life: u32, event: Event },
}

#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    generation: u64,
    holding: bool,
    inflight: usize,
}

/// What survives a crash (`stored`, `generation`) and what does not.
#[derive(Debug, Default)]
pub(super) struct Coordinator {
    life: u32,
    stored: Option<(Direction, State)>,
    generation: u64,
    heard: Vec<Heard>,
    completed: u64,
    aborted: u64,
}

impl Coordinator {
    pub(super) fn state_name(&self) -> Option<(&'static str, &'static str)> {
        self.stored.as_ref().map(|(direction, state)| (direction.as_str(), state.as_str()))
    }

    pub(super) const fn is_busy(&self) -> bool {
        self.stored.is_some()
    }

    pub(super) const fn counts(&self) -> (u64, u64) {
        (self.completed, self.aborted)
    }

    pub(super) fn reported(
        &mut self,
        proxy: usize,
        generation: u64,
        holding: bool,
        inflight: usize,
    ) {
        if self.heard.len() <= proxy {
            self.heard.resize(proxy + 1, Heard::default());
        }
        if let Some(heard) = self.heard.get_mut(proxy) {
            *heard = Heard { generation, holding, inflight };
        }
    }

    fn held_by_all(&self, proxies: usize) -> bool {
        self.heard.len() == proxies
            && self.heard.iter().all(|heard| {
                heard.generation == self.generation && heard.holding && heard.inflight == 0
            })
    }

    fn some_busy(&self) -> bool {
        self.heard.iter().any(|heard| heard.generation == self.generation && heard.inflight > 0)
    }
}

impl World {
    pub(super) fn coordinate(&mut self, what: Step) {
        let alive = self.coordinator.life;
        match what {
            Step::Idle { life } if life == alive => self.idle(),
            Step::Return { life } if life == alive => self.come_back(),
            Step::Act { life, action } if life == alive => self.act(action),
            Step::Effect { life, direction, action } => self.effect(life, direction, &action),
            Step::Poll { life, action, until } if life == alive => self.poll(action, until),
            Step::Outcome { life, event } if life == alive => self.outcome(event),
            Step::Idle { .. }
            | Step::Return { .. }
            | Step::Act { .. }
            | Step::Poll { .. }
            | Step::Outcome { .. } => {}
        }
    }

    /// The new life may begin while the old one's messages are still under way.
    pub(super) fn crash_coordinator(&mut self) {
        self.coordinator.life += 1;
        self.coordinator.heard.clear();
        let life = self.coordinator.life;
        let down = self.rng.between(5, 1500);
        self.after(down, Task::Coordinate(Step::Return { life }));
    }

    fn idle(&mut self) {
        let life = self.coordinator.life;
        let pair = self.pair();
        if let Some(found) = repair(&pair, true) {
            self.carry_out(found);
        } else if let Ownership::Owned { by, .. } = pair.ownership() {
            self.publish_owner(by);
            if self.is_working() && self.rng.once_in(3) {
                let direction = match by {
                    Side::Source => Direction::Forward,
                    Side::Target => Direction::Back,
                };
                self.enter(direction, (State::Preflight, State::Preflight.entry_actions()));
                return;
            }
        }
        if self.now < super::SETTLED_BY_MS {
            self.after(IDLE_MS, Task::Coordinate(Step::Idle { life }));
        }
    }

    fn come_back(&mut self) {
        let pair = self.pair();
        match self.coordinator.stored.clone() {
            Some((direction, state)) => {
                let next = recover(direction, &state, &pair);
                self.enter(direction, next);
            }
            None => self.idle(),
        }
    }

    fn outcome(&mut self, event: Event) {
        let Some((direction, state)) = self.coordinator.stored.clone() else { return };
        match step(&state, event) {
            Ok(next) => self.enter(direction, next),
            Err(error) => self.recorder.violation(self.now, &error.to_string()),
        }
    }

    /// Persist, then act; a crash in between leaves the state without its action.
    fn enter(&mut self, direction: Direction, (state, actions): (State, Vec<Action>)) {
        let life = self.coordinator.life;
        if state.is_finished() {
            if state.is_decided() {
                self.coordinator.completed += 1;
            } else {
                self.coordinator.aborted += 1;
            }
            self.coordinator.stored = None;
            self.after(IDLE_MS, Task::Coordinate(Step::Idle { life }));
            return;
        }
        self.coordinator.stored = Some((direction, state));
        for action in actions {
            let delay = self.rng.between(1, 4);
            self.after(delay, Task::Coordinate(Step::Act { life, action }));
        }
    }

    fn broadcast(&mut self, owner: Side, hold: bool) {
        self.coordinator.generation += 1;
        let table = Table { generation: self.coordinator.generation, owner, hold };
        for proxy in 0..self.proxy_count() {
            self.send(Task::Publish { proxy, table });
        }
    }

    fn publish_owner(&mut self, owner: Side) {
        self.broadcast(owner, false);
    }

    fn direction(&self) -> Direction {
        self.coordinator.stored.as_ref().map_or(Direction::Forward, |(direction, _)| *direction)
    }

    fn act(&mut self, action: Action) {
        let (life, now, direction) = (self.coordinator.life, self.now, self.direction());
        match action {
            Action::PublishHold => {
                self.broadcast(direction.old_owner(), true);
                self.poll(action, now + HOLD_BUDGET_MS);
            }
            Action::AwaitBarrier { .. } => self.poll(action, now + DRAIN_BUDGET_MS),
            Action::RunPreflight
            | Action::AttachReverse
            | Action::Fence { .. }
            | Action::VerifyDirty
            | Action::Prepare { .. }
            | Action::Decide { .. }
            | Action::Open { .. }
            | Action::PublishOwner { .. }
            | Action::Observe
            | Action::Expire { .. }
            | Action::Unprepare { .. }
            | Action::Release => {
                self.send(Task::Coordinate(Step::Effect { life, direction, action }));
            }
        }
    }
}
