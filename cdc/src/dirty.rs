//! The keys that were touched since the last clean verification of a capability: what a check under
//! the fence has to look at again. Bounded; an overflow asks for a full pass.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, PoisonError},
};

use crate::change::Key;

/// Beyond this many keys a check under the fence would take too long anyway.
pub(crate) const KEYS_MAX: usize = 200_000;

/// Touched keys of one capability, by table, in the order of the forward stream's key.
#[derive(Debug, Default)]
pub(crate) struct DirtyKeys {
    state: Mutex<State>,
}

/// A set of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeySet {
    pub(crate) tables: BTreeMap<usize, HashSet<Key>>,
    pub(crate) count: usize,
    /// Keys were left out.
    pub(crate) overflow: bool,
}

#[derive(Debug, Default)]
struct State {
    since_clean: KeySet,
    /// Only while a pass runs.
    since_pass_began: Option<KeySet>,
}

impl DirtyKeys {
    /// Takes note of a touched key, before the change is applied.
    pub(crate) fn touch(&self, table: usize, key: &Key) {
        let mut state = self.lock();
        state.since_clean.add(table, key);
        if let Some(keys) = &mut state.since_pass_began {
            keys.add(table, key);
        }
    }

    /// Whether every further key would be left out.
    pub(crate) fn is_full(&self) -> bool {
        let state = self.lock();
        state.since_clean.overflow
            && state.since_pass_began.as_ref().is_none_or(|keys| keys.overflow)
    }

    /// Takes note of a change whose keys are not known.
    pub(crate) fn touch_all(&self) {
        let mut state = self.lock();
        state.since_clean.overflow = true;
        if let Some(keys) = &mut state.since_pass_began {
            keys.overflow = true;
        }
    }

    /// A pass begins; answers the keys touched since the last clean one.
    pub(crate) fn begin_pass(&self) -> KeySet {
        let mut state = self.lock();
        state.since_pass_began = Some(KeySet::default());
        state.since_clean.clone()
    }

    /// The pass ended: after a clean one only what was touched since it began is dirty.
    pub(crate) fn end_pass(&self, is_clean: bool) {
        let mut state = self.lock();
        let touched = state.since_pass_began.take();
        if let (true, Some(touched)) = (is_clean, touched) {
            state.since_clean = touched;
        }
    }

    /// How many keys, and whether some were left out.
    pub(crate) fn size(&self) -> (usize, bool) {
        let state = self.lock();
        (state.since_clean.count, state.since_clean.overflow)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeySet {
    fn add(&mut self, table: usize, key: &Key) {
        if self.overflow {
            return;
        }
        if self.count >= KEYS_MAX {
            self.overflow = true;
            return;
        }
        let keys = self.tables.entry(table).or_default();
        if !keys.contains(key) {
            // A key of its own: a slice would keep the whole receive buffer alive.
            let own = key.0.iter().map(|value| bytes::Bytes::copy_from_slice(value)).collect();
            keys.insert(Key(own));
            self.count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(value: &'static str) -> Key {
        Key(vec![value.into()])
    }

    #[test]
    fn a_clean_pass_leaves_only_the_keys_touched_while_it_ran() {
        let dirty = DirtyKeys::default();
        dirty.touch(0, &key("1"));
        assert_eq!(dirty.begin_pass().count, 1);
        dirty.touch(0, &key("2"));
        dirty.touch(0, &key("2"));
        dirty.end_pass(true);
        assert_eq!(dirty.size(), (1, false));
        assert!(dirty.begin_pass().tables[&0].contains(&key("2")));
    }

    #[test]
    fn a_pass_that_found_differences_forgets_nothing() {
        let dirty = DirtyKeys::default();
        dirty.touch(0, &key("1"));
        dirty.begin_pass();
        dirty.touch(1, &key("2"));
        dirty.end_pass(false);
        assert_eq!(dirty.size(), (2, false));
    }

    #[test]
    fn too_many_keys_are_reported_and_only_a_full_pass_helps() {
        let dirty = DirtyKeys::default();
        for number in 0..=KEYS_MAX {
            dirty.touch(0, &Key(vec![number.to_string().into()]));
        }
        assert_eq!(dirty.size(), (KEYS_MAX, true));
        dirty.begin_pass();
        dirty.end_pass(true);
        assert_eq!(dirty.size(), (0, false));
    }
}
