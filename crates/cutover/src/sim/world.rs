//! The simulated world: two databases, appliers in both directions, proxies, a watcher, and the queue
//! of everything that is under way.

mod appliers;
mod database;
mod traffic;

use std::collections::BTreeMap;

use super::{
    Report, SETTLED_BY_MS, WORK_UNTIL_MS,
    coordinator::{Coordinator, Step},
    report::Recorder,
    rng::Rng,
};
use crate::{
    Epoch, GuardPair, GuardState, Ownership, Side,
    guard_rules::{Repair, repair},
};
use appliers::Applier;
pub(super) use database::{Database, Record};
pub(super) use traffic::Table;
use traffic::{Outcome, Proxy};

const PROXIES: usize = 3;
const WATCH_EVERY_MS: u64 = 50;
const APPLY_EVERY_MS: u64 = 4;

/// Something that happens at a time.
#[derive(Clone, Debug)]
pub(super) enum Task {
    /// A client's write reaches a proxy.
    Arrive,
    /// A proxy's request reaches a database.
    Deliver { write: u64, side: Side, proxy: usize, life: u32 },
    /// A transaction that was let in commits.
    Commit { write: u64, side: Side, proxy: usize, life: u32 },
    /// The answer reaches the proxy.
    Answer { write: u64, acknowledged: bool, proxy: usize, life: u32 },
    /// A route table reaches a proxy.
    Publish { proxy: usize, table: Table },
    /// A proxy has heard nothing for the length of a lease.
    LeaseEnds { proxy: usize, life: u32, generation: u64 },
    /// A proxy's report reaches the coordinator.
    Report { proxy: usize, generation: u64, holding: bool, inflight: usize },
    /// An applier of the stream into this side looks for work.
    Read { side: Side, life: u32 },
    /// An applier's transaction, begun some time ago, arrives; maybe a zombie's.
    Apply { side: Side, epoch: Epoch, position: usize },
    /// The watcher looks at both guards.
    Watch,
    /// The watcher does what it decided on what it saw some time ago.
    Repair(Repair),
    /// The coordinator's business.
    Coordinate(Step),
    /// Something dies.
    Crash,
}

/// Everything there is.
#[derive(Debug)]
pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) now: u64,
    queue: BTreeMap<(u64, u64), Task>,
    sequence: u64,
    pub(super) databases: [Database; 2],
    appliers: [Applier; 2],
    proxies: Vec<Proxy>,
    pub(super) coordinator: Coordinator,
    pub(super) recorder: Recorder,
    outcomes: BTreeMap<u64, Outcome>,
    next_write: u64,
    crashes: u64,
    last_seen: Option<(Option<(&'static str, &'static str)>, GuardPair)>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut world = Self {
            rng: Rng::new(seed),
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            databases: [Database::owner(), Database::other()],
            appliers: [Applier::default(), Applier::default()],
            proxies: (0..PROXIES).map(|_| Proxy::default()).collect(),
            coordinator: Coordinator::default(),
            recorder: Recorder::new(),
            outcomes: BTreeMap::new(),
            next_write: 0,
            crashes: 0,
            last_seen: None,
        };
        world.after(1, Task::Arrive);
        world.after(2, Task::Watch);
        for side in [Side::Source, Side::Target] {
            world.after(3, Task::Read { side, life: 0 });
        }
        world.after(20, Task::Coordinate(Step::Idle { life: 0 }));
        world.after(200, Task::Crash);
        world
    }

    pub(super) fn after(&mut self, delay: u64, task: Task) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), task);
    }

    /// After a message's delay, now and then a long one.
    pub(super) fn send(&mut self, task: Task) {
        let delay =
            if self.rng.once_in(40) { self.rng.between(50, 1500) } else { self.rng.between(1, 12) };
        self.after(delay, task);
    }

    pub(super) const fn database(&mut self, side: Side) -> &mut Database {
        let [source, target] = &mut self.databases;
        match side {
            Side::Source => source,
            Side::Target => target,
        }
    }

    const fn applier(&mut self, side: Side) -> &mut Applier {
        let [source, target] = &mut self.appliers;
        match side {
            Side::Source => source,
            Side::Target => target,
        }
    }

    pub(super) fn pair(&self) -> GuardPair {
        let [source, target] = &self.databases;
        GuardPair { source: source.row(self.now), target: target.row(self.now) }
    }

    pub(super) const fn is_working(&self) -> bool {
        self.now < WORK_UNTIL_MS
    }

    pub(super) fn proxy_count(&self) -> usize {
        self.proxies.len()
    }

    /// Does the next thing; `None` when nothing is left.
    pub(super) fn advance(&mut self) -> Option<u64> {
        let ((now, _), task) = self.queue.pop_first()?;
        self.now = now;
        self.recorder.log(now, &task);
        match task {
            Task::Arrive => self.arrive(),
            Task::Deliver { write, side, proxy, life } => self.deliver(write, side, proxy, life),
            Task::Commit { write, side, proxy, life } => self.commit(write, side, proxy, life),
            Task::Answer { write, acknowledged, proxy, life } => {
                self.answer(write, acknowledged, proxy, life);
            }
            Task::Publish { proxy, table } => self.publish(proxy, table),
            Task::LeaseEnds { proxy, life, generation } => self.lease_ends(proxy, life, generation),
            Task::Report { proxy, generation, holding, inflight } => {
                self.coordinator.reported(proxy, generation, holding, inflight);
            }
            Task::Read { side, life } => self.read(side, life),
            Task::Apply { side, epoch, position } => self.apply(side, epoch, position),
            Task::Watch => self.watch(),
            Task::Repair(found) => self.carry_out(found),
            Task::Coordinate(step) => self.coordinate(step),
            Task::Crash => self.crash(),
        }
        Some(now)
    }

    fn watch(&mut self) {
        if let Some(found) = repair(&self.pair(), false) {
            self.send(Task::Repair(found));
        }
        if self.now < SETTLED_BY_MS {
            self.after(WATCH_EVERY_MS, Task::Watch);
        }
    }

    /// The guard functions check for themselves, so acting on an old observation is harmless.
    pub(super) fn carry_out(&mut self, found: Repair) {
        let now = self.now;
        match found {
            Repair::Expire { side, epoch } => {
                // The leader's own expiry of an abandoned fence is by force.
                let _refused = self.database(side).expire(epoch, true, now).is_err();
            }
            Repair::Open { side, epoch } => {
                let _refused = self.database(side).open(epoch, epoch).is_err();
            }
            Repair::Unprepare { side, epoch, proof } => {
                let _refused = self.database(side).unprepare(epoch, proof).is_err();
            }
        }
    }

    fn crash(&mut self) {
        if !self.is_working() {
            return;
        }
        self.crashes += 1;
        match self.rng.between(0, 6) {
            0..=2 => self.crash_coordinator(),
            3 => self.restart_applier(Side::Source),
            4 => self.restart_applier(Side::Target),
            _ => self.crash_some_proxy(),
        }
        let next = self.rng.between(30, 3000);
        self.after(next, Task::Crash);
    }

    /// The invariants that must hold at every moment. While one side is open the other can not gain
    /// commits of its own, so looking after every change of the guards is enough.
    pub(super) fn check(&mut self, now: u64) {
        if self.databases.iter().any(Database::has_twice) {
            self.recorder.violation(now, "I2 a write was applied twice");
        }
        let seen = (self.coordinator.state_name(), self.pair());
        let Some((_, before)) = self.last_seen.replace(seen).filter(|last| *last != seen) else {
            return;
        };
        let pair = seen.1;
        self.recorder.saw(&seen);
        if pair.ownership() == Ownership::Split {
            self.recorder.violation(now, "I1 both sides are open");
        }
        if pair.source.epoch < before.source.epoch || pair.target.epoch < before.target.epoch {
            self.recorder.violation(now, "I3 an epoch went back");
        }
        for (open, other) in [(Side::Source, Side::Target), (Side::Target, Side::Source)] {
            if pair.side(open).state == GuardState::Open && !self.holds_all_of(open, other) {
                self.recorder.violation(now, "I2 the open side lacks a commit of the other");
            }
        }
    }

    fn holds_all_of(&self, open: Side, other: Side) -> bool {
        let [source, target] = &self.databases;
        match (open, other) {
            (Side::Source, _) => source.holds(target.own_writes()),
            (Side::Target, _) => target.holds(source.own_writes()),
        }
    }

    /// The invariants that hold once everything has settled.
    pub(super) fn finish(mut self) -> Report {
        let now = self.now;
        let Ownership::Owned { by, .. } = self.pair().ownership() else {
            self.recorder.violation(now, "I4 no side is open in the end");
            return self.report();
        };
        if self.coordinator.is_busy() {
            self.recorder.violation(now, "I4 a transfer never ended");
        }
        if self.proxies.iter().any(Proxy::is_holding) {
            self.recorder.violation(now, "I4 a proxy holds writes for ever");
        }
        let outcomes = std::mem::take(&mut self.outcomes);
        for (write, outcome) in &outcomes {
            let on_owner = self.database(by).count(*write);
            let elsewhere = self.database(by.other()).count(*write);
            let broken = match outcome {
                Outcome::Acknowledged => on_owner != 1,
                Outcome::Refused => on_owner + elsewhere > 0,
                Outcome::Unknown => on_owner > 1,
            };
            if broken {
                self.recorder.violation(now, &format!("I2 write {write} was {outcome:?}"));
            }
            if on_owner != elsewhere {
                self.recorder.violation(now, &format!("I6 write {write} is on one side only"));
            }
        }
        self.outcomes = outcomes;
        self.report()
    }

    fn report(self) -> Report {
        let acknowledged =
            self.outcomes.values().filter(|outcome| **outcome == Outcome::Acknowledged).count();
        let (completed, aborted) = self.coordinator.counts();
        let acknowledged = u64::try_from(acknowledged).unwrap_or(u64::MAX);
        self.recorder.report([completed, aborted, acknowledged, self.crashes])
    }
}
