//! What all parts of control share.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cutover::GuardPair;
use routes::{Capability, Config, ControlConfig};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    api::Transfer, board::Board, failpoint::Failpoint, proxies::Proxies, replicator::Replicator,
    sides::Sides, steps::Next, store::Store, verdict::Verdict,
};

/// One leadership, from winning the lock to losing it.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    /// Cancelled when it is over.
    pub(crate) over: CancellationToken,
}

/// A transfer under way; the record grows with every step and has `outcome = "running"` until its end.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) record: watch::Receiver<Transfer>,
}

/// Guard rows as the leader, or a standby asking for itself, last read them.
pub(crate) type GuardsSeen = BTreeMap<String, Result<GuardPair, String>>;

/// The last verdict on a capability's reads, and what follows from it.
pub(crate) type Judged = (Verdict, Next);

/// Shared by every task of control.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) control: ControlConfig,
    pub(crate) store: Store,
    pub(crate) board: Arc<Board>,
    pub(crate) proxies: Proxies,
    pub(crate) replicator: Replicator,
    pub(crate) failpoint: Option<Failpoint>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    sides: BTreeMap<String, Arc<Sides>>,
    term: watch::Sender<Option<Term>>,
    running: Mutex<BTreeMap<String, Option<Running>>>,
    guards: Mutex<GuardsSeen>,
    verdicts: Mutex<BTreeMap<String, Judged>>,
}

/// Nobody else may begin a transfer of this capability while this exists.
#[derive(Debug)]
pub(crate) struct Reservation {
    core: Arc<Core>,
    capability: String,
}

impl Core {
    pub(crate) fn new(
        config: Config,
        control: ControlConfig,
        store: Store,
        failpoint: Option<Failpoint>,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let sides = config
            .capabilities
            .values()
            .filter_map(|capability| {
                Some((capability.name.clone(), Arc::new(Sides::of(&config, capability)?)))
            })
            .collect();
        Ok(Self {
            replicator: Replicator::new(config.cdc.grpc)?,
            config,
            control,
            store,
            board: Arc::default(),
            proxies: Proxies::default(),
            failpoint,
            stop,
            tasks: TaskTracker::new(),
            sides,
            term: watch::Sender::new(None),
            running: Mutex::default(),
            guards: Mutex::default(),
            verdicts: Mutex::default(),
        })
    }

    /// The present leadership of this process; `None` while it stands by.
    pub(crate) fn term(&self) -> Option<Term> {
        self.term.borrow().clone().filter(|term| !term.over.is_cancelled())
    }

    pub(crate) fn set_term(&self, term: Option<Term>) {
        self.term.send_replace(term);
    }

    /// Words for who leads.
    pub(crate) async fn leader_hint(&self) -> String {
        match self.store.leader().await {
            Ok(Some(address)) => format!("ask the leader at http://{address}"),
            Ok(None) => "there is no leader yet".to_owned(),
            Err(_) => "the leader is not known, control's database does not answer".to_owned(),
        }
    }

    pub(crate) fn capability(&self, name: &str) -> Option<&Capability> {
        self.config.capabilities.get(name)
    }

    /// `None` when one of its upstreams has no database.
    pub(crate) fn sides(&self, capability: &str) -> Option<Arc<Sides>> {
        self.sides.get(capability).cloned()
    }

    fn running_now(&self) -> MutexGuard<'_, BTreeMap<String, Option<Running>>> {
        // every change below is complete before the lock is released
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` when a transfer of the capability is under way.
    pub(crate) fn reserve(self: &Arc<Self>, capability: &str) -> Option<Reservation> {
        let mut running = self.running_now();
        if running.contains_key(capability) {
            return None;
        }
        running.insert(capability.to_owned(), None);
        Some(Reservation { core: Arc::clone(self), capability: capability.to_owned() })
    }

    /// Whether a transfer, or its preflight, is under way.
    pub(crate) fn is_transferring(&self, capability: &str) -> bool {
        self.running_now().contains_key(capability)
    }

    pub(crate) fn is_transferring_any(&self) -> bool {
        !self.running_now().is_empty()
    }

    /// The transfer under way.
    pub(crate) fn running(&self, capability: &str) -> Option<Running> {
        self.running_now().get(capability).cloned().flatten()
    }

    /// Remembers the last verdict; `None` when the capability's reads are not being moved.
    pub(crate) fn saw_verdict(&self, capability: &str, judged: Option<Judged>) {
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        match judged {
            Some(judged) => verdicts.insert(capability.to_owned(), judged),
            None => verdicts.remove(capability),
        };
    }

    /// The last verdict, while reads are being moved.
    pub(crate) fn verdict(&self, capability: &str) -> Option<Judged> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner).get(capability).cloned()
    }

    fn guards_seen(&self) -> MutexGuard<'_, GuardsSeen> {
        self.guards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn saw_guards(&self, capability: &str, seen: Result<GuardPair, String>) {
        self.guards_seen().insert(capability.to_owned(), seen);
    }

    /// Both guard rows as last read; `None` before the first look or when they could not be read.
    pub(crate) fn guards(&self, capability: &str) -> Option<Result<GuardPair, String>> {
        self.guards_seen().get(capability).cloned()
    }
}

impl Reservation {
    /// Makes the transfer visible.
    pub(crate) fn publish(&self, running: Running) {
        self.core.running_now().insert(self.capability.clone(), Some(running));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.core.running_now().remove(&self.capability);
    }
}
