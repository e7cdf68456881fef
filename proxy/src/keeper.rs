//! The one task that decides where capabilities stand: it hears control, the guards and new
//! configurations, and publishes what requests see. Nobody else turns a gate.
//!
//! Order of publication: gates close, then the snapshot is replaced, then gates open, then the
//! generation counts as applied. So no read can be answered by the old owner after the new one has
//! acknowledged a write, and an applied generation means that its holds are in force.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use cutover::{GuardRow, Phase, Side};
use routes::Config;
use rpc::v1;
use telemetry::Chain;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    gate::Position,
    intent::{Intent, Intents},
    live::Live,
    ownership::{Hold, Rule, Sight, resolve},
    plan::{Plan, Snapshot, Standing},
    shared::Shared,
    upstream::credentials::CredentialsByUpstream,
};

/// Shortest and longest interval of the barriers that prove how far behind the service is.
const HEARTBEAT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Something the keeper must hear.
#[derive(Debug)]
pub(crate) enum Update {
    /// Control sent its table, or the same one again as a sign of life.
    Table(v1::RouteTable),
    /// Guard rows as the replicator read them.
    Guards(Vec<v1::GuardView>),
    /// The replicator is away: what it said no longer counts.
    GuardsLost,
    /// A new configuration; the sender learns when it is in force.
    Config(Box<Config>, CredentialsByUpstream, oneshot::Sender<()>),
}

/// Everything the keeper knows.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    registry: Registry,
    plan: Arc<Plan>,
    intents: Intents,
    heard_at: Option<Instant>,
    sights: BTreeMap<String, Sight>,
    saved: watch::Sender<Intents>,
}

/// The lasting parts of capabilities, by name. Nothing is ever removed: a capability that leaves the
/// file and comes back finds its gate as it was.
#[derive(Debug)]
pub(crate) struct Registry {
    live: HashMap<String, Arc<Live>>,
    drained: Arc<Notify>,
    created: mpsc::UnboundedSender<Arc<Live>>,
}

impl Registry {
    /// `created` hears of every new capability, to start its tasks.
    pub(crate) fn new(drained: Arc<Notify>, created: mpsc::UnboundedSender<Arc<Live>>) -> Self {
        Self { live: HashMap::new(), drained, created }
    }

    /// The lasting part of a capability, new or known.
    pub(crate) fn get(&mut self, name: &str) -> Arc<Live> {
        if let Some(live) = self.live.get(name) {
            return Arc::clone(live);
        }
        let live = Arc::new(Live::new(name, Side::Source, Arc::clone(&self.drained)));
        self.live.insert(name.to_owned(), Arc::clone(&live));
        if self.created.send(Arc::clone(&live)).is_err() {
            tracing::debug!(capability = name, "no task was started: the proxy is stopping");
        }
        live
    }
}

/// Where every capability stands before anything was heard.
pub(crate) fn first_snapshot(plan: &Arc<Plan>) -> Snapshot {
    let nothing = Standing { phase: Phase::Monolith, owner: Side::Source, sight: Sight::Unknown };
    let standings = plan.capabilities.iter().map(|_| nothing).collect();
    Snapshot { generation: 0, plan: Arc::clone(plan), standings }
}

impl Keeper {
    /// Starts from what was saved, and publishes it at once.
    pub(crate) fn new(
        shared: Arc<Shared>,
        registry: Registry,
        intents: Intents,
        saved: watch::Sender<Intents>,
    ) -> Self {
        let plan = Arc::clone(&shared.snapshot.load().plan);
        let sights = BTreeMap::new();
        let keeper = Self { shared, registry, plan, intents, heard_at: None, sights, saved };
        keeper.publish();
        keeper
    }

    /// Hears until told to stop.
    pub(crate) async fn run(
        mut self,
        mut updates: mpsc::Receiver<Update>,
        stop: CancellationToken,
    ) {
        loop {
            let lease = self.next_lease_end();
            tokio::select! {
                () = stop.cancelled() => return,
                update = updates.recv() => match update {
                    Some(update) => self.hear(update),
                    None => return,
                },
                () = sleep_until(lease.unwrap_or_else(Instant::now)), if lease.is_some() => {
                    tracing::warn!("control was not heard for the length of its lease: holds end");
                    self.publish();
                }
            }
        }
    }

    fn hear(&mut self, update: Update) {
        match update {
            Update::Table(table) => self.hear_table(&table),
            Update::Guards(views) => {
                for view in views {
                    let row = |side: &Option<v1::GuardSide>| {
                        side.as_ref().and_then(|side| GuardRow::try_from(side).ok())
                    };
                    let sight = Sight::of(row(&view.source), row(&view.target));
                    let before = self.sights.insert(view.capability.clone(), sight);
                    if sight == Sight::Split && before != Some(sight) {
                        tracing::error!(
                            capability = view.capability,
                            "both guards are open: writes are held until one is closed"
                        );
                    }
                }
                self.publish();
            }
            Update::GuardsLost => {
                self.sights.clear();
                self.publish();
            }
            Update::Config(config, credentials, done) => {
                match Plan::compile(*config, Some(&self.plan), |name| self.registry.get(name)) {
                    Ok(plan) => {
                        plan.set_credentials(&credentials);
                        self.plan = Arc::new(plan);
                        self.publish();
                    }
                    Err(error) => {
                        tracing::error!(%error, "refused the new configuration; the old one stays");
                    }
                }
                if done.send(()).is_err() {
                    tracing::debug!("nobody waited for the configuration");
                }
            }
        }
    }

    fn hear_table(&mut self, table: &v1::RouteTable) {
        if table.generation < self.intents.generation {
            tracing::warn!(
                generation = table.generation,
                applied = self.intents.generation,
                "refused an older route table"
            );
            return;
        }
        self.heard_at = Some(Instant::now());
        // What the table does not name stays where it was, unheld: silence says nothing about an owner.
        let unheld =
            |(name, intent): (&String, &Intent)| (name.clone(), Intent { hold: None, ..*intent });
        let mut capabilities: BTreeMap<String, Intent> =
            self.intents.capabilities.iter().map(unheld).collect();
        for state in &table.capabilities {
            let before = self.intents.capabilities.get(&state.capability);
            match Intent::of(state) {
                Ok(intent) => {
                    let since = self.hold_since(intent, before, &state.capability);
                    capabilities.insert(state.capability.clone(), since);
                }
                Err(error) => {
                    tracing::error!(error = %Chain(&error), "kept the last known route state");
                    capabilities.extend(before.map(|before| (state.capability.clone(), *before)));
                }
            }
        }
        let is_new = table.generation > self.intents.generation;
        self.intents = Intents { generation: table.generation, capabilities };
        self.publish();
        self.shared.informed.send_replace(true);
        if is_new {
            tracing::info!(generation = table.generation, "applied a route table");
            self.saved.send_replace(self.intents.clone());
        }
    }

    /// A hold begins at the latest epoch known then; one that goes on keeps that epoch unless control
    /// has seen a later one.
    fn hold_since(&self, mut intent: Intent, before: Option<&Intent>, name: &str) -> Intent {
        if let Some(hold) = &mut intent.hold {
            let known = match before.and_then(|before| before.hold) {
                Some(going_on) => Some(going_on.since),
                None => self.sights.get(name).and_then(|sight| sight.open_epoch()),
            };
            hold.since = hold.since.max(known.unwrap_or_default());
        }
        intent
    }

    fn publish(&self) {
        let rules: Vec<(Standing, Rule)> =
            self.plan.capabilities.iter().map(|planned| self.stand(&planned.live.name)).collect();
        let planned = || self.plan.capabilities.iter().zip(&rules);
        for (planned, (_, rule)) in planned().filter(|(_, (_, rule))| rule.holding) {
            tracing::debug!(capability = planned.live.name, owner = %rule.owner, "gate closed");
            planned.live.gate.turn(Position::Closed);
        }
        self.shared.snapshot.store(Arc::new(Snapshot {
            generation: self.intents.generation,
            plan: Arc::clone(&self.plan),
            standings: rules.iter().map(|(standing, _)| *standing).collect(),
        }));
        for (planned, (standing, rule)) in planned() {
            if !rule.holding {
                planned.live.gate.turn(Position::Open(rule.owner));
            }
            let heartbeat = matches!(standing.phase, Phase::Reading { percent } if percent > 0)
                .then(|| (planned.max_lag / 4).clamp(HEARTBEAT.0, HEARTBEAT.1));
            planned.live.heartbeat.send_if_modified(|current| {
                let is_changed = *current != heartbeat;
                *current = heartbeat;
                is_changed
            });
        }
        self.shared.set_applied(self.intents.generation);
        self.shared.report.notify_one();
    }

    fn stand(&self, name: &str) -> (Standing, Rule) {
        let intent = self.intents.capabilities.get(name).copied().unwrap_or_default();
        let sight = self.sights.get(name).copied().unwrap_or_default();
        let hold = intent.hold.map(|hold| Hold {
            since: hold.since,
            lease_over: self.lease_end(hold.lease).is_none_or(|end| end <= Instant::now()),
        });
        let rule = resolve(intent.owner, intent.epoch, hold, sight);
        (Standing { phase: intent.phase, owner: rule.owner, sight }, rule)
    }

    fn lease_end(&self, lease: Duration) -> Option<Instant> {
        self.heard_at.map(|heard_at| heard_at + lease)
    }

    fn next_lease_end(&self) -> Option<Instant> {
        let holds = self.intents.capabilities.values().filter_map(|intent| intent.hold);
        let ends = holds.filter_map(|hold| self.lease_end(hold.lease));
        ends.filter(|end| *end > Instant::now()).min()
    }
}

#[cfg(test)]
mod tests;
