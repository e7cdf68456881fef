//! Which rows a later verification has to look at again.

use std::sync::Arc;

use cutover::StreamKind;

use crate::{change::Change, dirty::KeyShape, mapping::TablePlan, status::StreamShared};

/// Takes note of touched keys, in the words of the forward stream.
#[derive(Debug)]
pub(super) struct Touched {
    shared: Arc<StreamShared>,
    /// For each table, where the columns of the forward stream's key are in this stream's key.
    places: Vec<Option<Vec<usize>>>,
}

impl Touched {
    pub(super) fn new(shared: &Arc<StreamShared>, plans: &[TablePlan]) -> Self {
        let places: Vec<Option<Vec<usize>>> =
            plans.iter().map(|plan| forward_key(shared.spec.kind, plan)).collect();
        if shared.spec.kind != StreamKind::Reference {
            for (table, (plan, places)) in plans.iter().zip(&places).enumerate() {
                let order = places.as_deref().unwrap_or_default();
                shared.dirty.describe(table, KeyShape::of(plan, order));
            }
        }
        Self { shared: Arc::clone(shared), places }
    }

    /// Takes note of a change before it is applied.
    pub(super) fn note(&self, change: &Change, plans: &[TablePlan]) {
        if self.shared.spec.kind == StreamKind::Reference {
            return;
        }
        let mut touching = self.shared.dirty.touching();
        let (table, rows) = match change {
            Change::Insert { table, new } => (*table, [Some(new), None]),
            Change::Update { table, old, new } => (*table, [Some(new), old.as_ref()]),
            Change::Delete { table, old } => (*table, [Some(old), None]),
            Change::Truncate { tables } => {
                return tables.iter().for_each(|table| touching.table(*table));
            }
            // Its replay will tell.
            Change::Parked(_) => return,
        };
        if touching.is_whole(table) {
            return;
        }
        let (Some(plan), Some(Some(places))) = (plans.get(table), self.places.get(table)) else {
            return touching.table(table);
        };
        for row in rows.into_iter().flatten() {
            if let Some(number) = row.integer_key(plan)
                && touching.number(table, number)
            {
                continue;
            }
            match row.key(plan) {
                Some(key) => {
                    let value = |place: &usize| key.0.get(*place).map(|value| &**value);
                    touching.key(table, places.iter().filter_map(value));
                }
                None => touching.table(table),
            }
        }
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
