//! Which rows a later verification has to look at again.

use std::sync::Arc;

use cutover::StreamKind;

use crate::{
    change::{Change, Key},
    mapping::TablePlan,
    status::StreamShared,
};

/// Takes note of touched keys, in the words of the forward stream.
#[derive(Debug)]
pub(super) struct Touched {
    shared: Arc<StreamShared>,
    /// For each table, where the columns of the forward stream's key are in this stream's key.
    places: Vec<Option<Vec<usize>>>,
}

impl Touched {
    pub(super) fn new(shared: &Arc<StreamShared>, plans: &[TablePlan]) -> Self {
        let places = plans.iter().map(|plan| forward_key(shared.spec.kind, plan)).collect();
        Self { shared: Arc::clone(shared), places }
    }

    /// Takes note of a change before it is applied.
    pub(super) fn note(&self, change: &Change, plans: &[TablePlan]) {
        if self.shared.spec.kind == StreamKind::Reference || self.shared.dirty.is_full() {
            return;
        }
        let (table, rows) = match change {
            Change::Insert { table, new } => (*table, [Some(new), None]),
            Change::Update { table, old, new } => (*table, [Some(new), old.as_ref()]),
            Change::Delete { table, old } => (*table, [Some(old), None]),
            Change::Truncate { .. } => return self.shared.dirty.touch_all(),
            // Its replay will tell.
            Change::Parked(_) => return,
        };
        let (Some(plan), Some(Some(places))) = (plans.get(table), self.places.get(table)) else {
            return self.shared.dirty.touch_all();
        };
        for row in rows.into_iter().flatten() {
            match row.key(plan) {
                Some(key) => self.touch(table, &key, places),
                None => self.shared.dirty.touch_all(),
            }
        }
    }

    fn touch(&self, table: usize, key: &Key, places: &[usize]) {
        let values = places.iter().filter_map(|place| key.0.get(*place).cloned()).collect();
        self.shared.dirty.touch(table, &Key(values));
    }
}

/// The columns of the key in the order of their names on the target side, which both directions
/// know; `None` when the two directions identify rows by different columns.
fn forward_key(kind: StreamKind, plan: &TablePlan) -> Option<Vec<usize>> {
    let mut names: Vec<(usize, &str)> = match kind {
        StreamKind::Forward | StreamKind::Reference => {
            plan.key.iter().map(|key| key.write.as_str()).enumerate().collect()
        }
        StreamKind::Reverse => {
            let name = |read: usize| plan.columns.get(read).map(|column| column.name.as_str());
            let names: Option<Vec<&str>> = plan.key.iter().map(|key| name(key.read)).collect();
            names?.into_iter().enumerate().collect()
        }
    };
    names.sort_unstable_by_key(|(_, name)| *name);
    Some(names.into_iter().map(|(place, _)| place).collect())
}
