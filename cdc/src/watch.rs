//! Watches the guard rows of both databases of every capability, tells what they say, and finishes
//! what somebody left unfinished: nobody has to wait for a coordinator.

mod mend;
mod side;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cutover::{GuardPair, GuardRow, GuardState, Side};
use routes::Config;
use rpc::v1;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use crate::spec::Databases;
use mend::Mender;
use side::{Reading, SideReader};

/// Nothing is in transition.
const CALM: Duration = Duration::from_millis(500);
/// A transfer is on its way: clients are waiting.
const BUSY: Duration = Duration::from_millis(50);

/// What is known of one capability's guards; `None` for a side that could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Guards {
    pub(crate) source: Option<GuardRow>,
    pub(crate) target: Option<GuardRow>,
}

/// By capability.
pub(crate) type AllGuards = BTreeMap<String, Guards>;

/// The watching task.
#[derive(Debug)]
pub(crate) struct Watcher {
    capabilities: BTreeMap<String, Databases>,
    guards: watch::Sender<Arc<AllGuards>>,
}

impl Guards {
    pub(crate) const fn pair(&self) -> Option<GuardPair> {
        match (self.source, self.target) {
            (Some(source), Some(target)) => Some(GuardPair { source, target }),
            (_, None) | (None, _) => None,
        }
    }

    /// Whether anything may change soon, or is not known.
    fn is_busy(&self) -> bool {
        let in_transition = |row: &GuardRow| {
            row.state == GuardState::Fenced
                || (row.state == GuardState::Moved && row.prepared != cutover::Epoch::NONE)
        };
        let nobody_is_open = self.pair().is_some_and(|pair| {
            pair.source.state != GuardState::Open && pair.target.state != GuardState::Open
        });
        nobody_is_open || [self.source, self.target].iter().flatten().any(in_transition)
    }

    fn message(&self, capability: &str) -> v1::GuardView {
        let unknown = || v1::GuardSide { known: false, ..v1::GuardSide::default() };
        let side = |row: Option<GuardRow>| Some(row.map_or_else(unknown, v1::GuardSide::from));
        v1::GuardView {
            capability: capability.to_owned(),
            source: side(self.source),
            target: side(self.target),
        }
    }
}

/// The message for everybody who watches.
pub(crate) fn views(guards: &AllGuards) -> Vec<v1::GuardView> {
    guards.iter().map(|(capability, guards)| guards.message(capability)).collect()
}

impl Watcher {
    pub(crate) fn new(config: &Config) -> (Self, watch::Receiver<Arc<AllGuards>>) {
        let capabilities: BTreeMap<String, Databases> = config
            .capabilities
            .values()
            .filter_map(|each| Some((each.name.clone(), Databases::of(config, each)?)))
            .collect();
        let unknown: AllGuards =
            capabilities.keys().map(|name| (name.clone(), Guards::default())).collect();
        let (guards, receiver) = watch::channel(Arc::new(unknown));
        (Self { capabilities, guards }, receiver)
    }

    /// Watches until stopped.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        let calm = watch::Sender::new(false);
        let mut readings: BTreeMap<(Side, String), watch::Receiver<Reading>> = BTreeMap::new();
        let urls: BTreeSet<(Side, String)> = self
            .capabilities
            .values()
            .flat_map(|databases| {
                [Side::Source, Side::Target].map(|side| (side, databases.url(side).to_owned()))
            })
            .collect();
        for (side, url) in urls {
            let (reader, reading) = SideReader::new(url.clone(), side, calm.subscribe());
            tasks.spawn(reader.run(stop.clone()));
            readings.insert((side, url), reading);
        }
        for (capability, databases) in &self.capabilities {
            let mender =
                Mender::new(capability.clone(), databases.clone(), self.guards.subscribe());
            tasks.spawn(mender.run(stop.clone()));
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.publish(&readings, &calm) => {}
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Puts the readings of both sides together whenever there is a new one.
    async fn publish(
        &self,
        readings: &BTreeMap<(Side, String), watch::Receiver<Reading>>,
        busy: &watch::Sender<bool>,
    ) {
        let mut readers: Vec<watch::Receiver<Reading>> = readings.values().cloned().collect();
        // Readings age even when no new one comes.
        let mut tick = tokio::time::interval(CALM);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let guards = self.combine(readings, Instant::now());
            busy.send_if_modified(|was| {
                let is = guards.values().any(Guards::is_busy);
                std::mem::replace(was, is) != is
            });
            self.guards.send_if_modified(|published| {
                let changed = **published != guards;
                if changed {
                    *published = Arc::new(guards);
                }
                changed
            });
            if readers.is_empty() {
                return std::future::pending().await;
            }
            let changes = readers.iter_mut().map(|reader| Box::pin(reader.changed()));
            tokio::select! {
                _ = futures::future::select_all(changes) => {}
                _ = tick.tick() => {}
            }
        }
    }

    fn combine(
        &self,
        readings: &BTreeMap<(Side, String), watch::Receiver<Reading>>,
        now: Instant,
    ) -> AllGuards {
        let row = |side: Side, databases: &Databases, capability: &str| {
            let reading = readings.get(&(side, databases.url(side).to_owned()))?.borrow();
            reading.row(capability, now)
        };
        self.capabilities
            .iter()
            .map(|(capability, databases)| {
                let source = row(Side::Source, databases, capability);
                let target = row(Side::Target, databases, capability);
                (capability.clone(), Guards { source, target })
            })
            .collect()
    }
}
