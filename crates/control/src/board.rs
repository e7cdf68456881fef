//! What is published to the proxies: phase, owner and hold of every capability, with a generation that
//! only grows. Kept in memory by the leader; the store remembers the phases, the guards the owners.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cutover::{Epoch, Phase, Side};
use rpc::v1::{RouteState, RouteTable};
use tokio::sync::watch;

/// A proxy that hears nothing for so long stops holding: the database fence protects. Renewed by every
/// table it is sent.
pub(crate) const HOLD_LEASE: Duration = Duration::from_secs(3);
/// How often a table with a hold is sent again.
pub(crate) const RENEW_EVERY: Duration = Duration::from_millis(500);
/// Size of a block of generations in the store's sequence.
const BLOCK: u64 = 1_000_000;

/// One capability as published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) phase: Phase,
    pub(crate) owner: Side,
    pub(crate) epoch: Epoch,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    published: Published,
    hold: bool,
}

#[derive(Debug, Default)]
struct Inner {
    generation: u64,
    block_end: u64,
    entries: BTreeMap<String, Entry>,
}

/// Shared by the coordinator (writes) and the streams to the proxies (read).
#[derive(Debug, Default)]
pub(crate) struct Board {
    inner: Mutex<Inner>,
    table: watch::Sender<Arc<RouteTable>>,
}

/// Writes are held while this exists; dropping it, for whatever reason, ends the hold.
#[derive(Debug)]
pub(crate) struct Hold {
    board: Arc<Board>,
    capability: String,
    /// The generation that carries the hold.
    pub(crate) generation: u64,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // every change below is complete before the lock is released
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A leader's fresh start: nothing is held, generations continue above `first`.
    pub(crate) fn begin_term(&self, first: u64, entries: Vec<(String, Published)>) {
        let mut inner = self.lock();
        inner.generation = first;
        inner.block_end = first + BLOCK;
        inner.entries = entries
            .into_iter()
            .map(|(name, published)| (name, Entry { published, hold: false }))
            .collect();
        self.publish(&mut inner);
    }

    /// Whether the block of generations is nearly used up.
    pub(crate) fn needs_generations(&self) -> bool {
        let inner = self.lock();
        inner.block_end.saturating_sub(inner.generation) < BLOCK / 2
    }

    /// Continues in a fresh block.
    pub(crate) fn add_generations(&self, first: u64) {
        let mut inner = self.lock();
        inner.generation = first;
        inner.block_end = first + BLOCK;
    }

    pub(crate) fn generation(&self) -> u64 {
        self.lock().generation
    }

    pub(crate) fn get(&self, capability: &str) -> Option<Published> {
        self.lock().entries.get(capability).map(|entry| entry.published)
    }

    /// Publishes `now` unless somebody published something else than `before` meanwhile.
    pub(crate) fn replace(&self, capability: &str, before: Published, now: Published) -> bool {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get_mut(capability) else { return false };
        if entry.published != before {
            return false;
        }
        entry.published = now;
        self.publish(&mut inner);
        true
    }

    /// Publishes a new owner and the end of its hold in one generation: held writes go there.
    pub(crate) fn hand_over(&self, capability: &str, published: Published) {
        let mut inner = self.lock();
        inner.entries.insert(capability.to_owned(), Entry { published, hold: false });
        self.publish(&mut inner);
    }

    /// Publishes that writes are to be held.
    pub(crate) fn hold(self: &Arc<Self>, capability: &str) -> Hold {
        let mut inner = self.lock();
        if let Some(entry) = inner.entries.get_mut(capability) {
            entry.hold = true;
        }
        self.publish(&mut inner);
        let generation = inner.generation;
        Hold { board: Arc::clone(self), capability: capability.to_owned(), generation }
    }

    fn end_hold(&self, capability: &str) {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get_mut(capability) else { return };
        if std::mem::take(&mut entry.hold) {
            self.publish(&mut inner);
        }
    }

    /// The table as it is, and every later one.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<RouteTable>> {
        self.table.subscribe()
    }

    fn publish(&self, inner: &mut Inner) {
        inner.generation += 1;
        let lease = u64::try_from(HOLD_LEASE.as_millis()).unwrap_or(u64::MAX);
        let capabilities = inner
            .entries
            .iter()
            .map(|(name, entry)| RouteState {
                capability: name.clone(),
                phase: entry.published.phase.to_string(),
                owner: entry.published.owner.as_str().to_owned(),
                epoch: entry.published.epoch.0,
                hold: entry.hold,
                hold_lease_ms: lease,
            })
            .collect();
        let table = RouteTable { generation: inner.generation, capabilities };
        self.table.send_replace(Arc::new(table));
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.board.end_hold(&self.capability);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cutover::{Epoch, Phase, Side};

    use super::{Board, Published};

    const BEFORE: Published =
        Published { phase: Phase::Reading { percent: 5 }, owner: Side::Source, epoch: Epoch(1) };
    const AFTER: Published =
        Published { phase: Phase::Switched, owner: Side::Target, epoch: Epoch(2) };

    #[test]
    fn a_hold_ends_with_its_guard_and_every_change_has_a_higher_generation() {
        let board = Arc::new(Board::default());
        let seen = board.subscribe();
        board.begin_term(1_000_000, vec![("tickets".to_owned(), BEFORE)]);
        let first = seen.borrow().generation;
        let hold = board.hold("tickets");
        assert!(seen.borrow().capabilities[0].hold);
        assert!(hold.generation > first);
        drop(hold);
        assert!(!seen.borrow().capabilities[0].hold);
        assert!(seen.borrow().generation > first + 1);
    }

    #[test]
    fn the_new_owner_and_the_end_of_the_hold_are_one_generation() {
        let board = Arc::new(Board::default());
        board.begin_term(1_000_000, vec![("tickets".to_owned(), BEFORE)]);
        let hold = board.hold("tickets");
        let seen = board.subscribe();
        board.hand_over("tickets", AFTER);
        let generation = seen.borrow().generation;
        let state = seen.borrow().capabilities[0].clone();
        assert_eq!((state.owner.as_str(), state.hold), ("target", false));
        drop(hold);
        assert_eq!(seen.borrow().generation, generation, "nothing more to say");
    }

    #[test]
    fn an_old_observation_does_not_overwrite_a_new_owner() {
        let board = Arc::new(Board::default());
        board.begin_term(1_000_000, vec![("tickets".to_owned(), BEFORE)]);
        board.hand_over("tickets", AFTER);
        let generation = board.generation();
        let shadowing = Published { phase: Phase::Shadowing, ..BEFORE };
        assert!(!board.replace("tickets", BEFORE, shadowing));
        assert_eq!((board.get("tickets"), board.generation()), (Some(AFTER), generation));
        assert!(board.replace("tickets", AFTER, BEFORE));
    }
}
