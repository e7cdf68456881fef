//! Turns a run of changes into few statements: net changes per key, table by table. Where the order
//! of single changes matters (changed keys, truncation) the run is cut there.

use std::collections::{BTreeMap, HashMap};

use crate::{
    change::{Change, Key, Row},
    mapping::TablePlan,
};

/// One thing to do; steps are done in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The net changes of one table.
    Rows { table: usize, net: NetRows },
    /// A row gets another key.
    Rekey { table: usize, old_key: Key, new: Row },
    /// Tables are emptied.
    Truncate { tables: Vec<usize> },
}

/// Net changes of one table: deletes are done first, then updates, then inserts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NetRows {
    pub(crate) deletes: Vec<Key>,
    /// Rows by the columns that are known of them.
    pub(crate) updates: BTreeMap<Vec<usize>, Vec<Row>>,
    pub(crate) inserts: Vec<Row>,
}

#[derive(Debug)]
enum Net {
    Insert(Row),
    Update(Row),
    /// Deleted and inserted again: what the written table has beyond the mapping starts anew.
    Replace(Row),
    Delete,
}

/// Changes by table and key, in the order in which the keys came first.
#[derive(Debug, Default)]
struct Run {
    places: HashMap<(usize, Key), usize>,
    /// `None`: the row came and went.
    changes: Vec<(usize, Key, Option<Net>)>,
}

/// The steps of a run, merged.
pub(crate) fn merged(changes: &[Change], plans: &[TablePlan]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut run = Run::default();
    for change in changes {
        if !run.add(change) {
            run.flush(plans, &mut steps);
            match single(change) {
                Some(step) => steps.push(step),
                None => drop(run.add(change)),
            }
        }
    }
    run.flush(plans, &mut steps);
    steps
}

/// The steps of a run, one for each change.
pub(crate) fn ordered(changes: &[Change], plans: &[TablePlan]) -> Vec<Step> {
    let mut steps = Vec::new();
    for change in changes {
        match single(change) {
            Some(step) => steps.push(step),
            None => {
                let mut run = Run::default();
                run.add(change);
                run.flush(plans, &mut steps);
            }
        }
    }
    steps
}

/// The step of a change that can not be merged with others.
fn single(change: &Change) -> Option<Step> {
    match change {
        Change::Update { table, old_key: Some(old_key), new, .. } => {
            Some(Step::Rekey { table: *table, old_key: old_key.clone(), new: new.clone() })
        }
        Change::Truncate { tables } => Some(Step::Truncate { tables: tables.clone() }),
        Change::Insert { .. } | Change::Update { old_key: None, .. } | Change::Delete { .. } => {
            None
        }
    }
}

impl Run {
    /// Merges the change into the run; `false` when it has to stand alone or does not follow from what
    /// the run holds (the database will say what is wrong).
    fn add(&mut self, change: &Change) -> bool {
        let (table, key) = match change {
            Change::Insert { table, key, .. }
            | Change::Update { table, key, old_key: None, .. }
            | Change::Delete { table, key } => (*table, key),
            Change::Update { old_key: Some(_), .. } | Change::Truncate { .. } => return false,
        };
        let place = *self.places.entry((table, key.clone())).or_insert(self.changes.len());
        if place == self.changes.len() {
            let net = match change {
                Change::Insert { new, .. } => Net::Insert(new.clone()),
                Change::Update { new, .. } => Net::Update(new.clone()),
                Change::Delete { .. } | Change::Truncate { .. } => Net::Delete,
            };
            self.changes.push((table, key.clone(), Some(net)));
            return true;
        }
        let Some((_, _, net)) = self.changes.get_mut(place) else { return false };
        let Some(next) = follow(net.as_ref(), change) else { return false };
        *net = next;
        true
    }

    fn flush(&mut self, plans: &[TablePlan], steps: &mut Vec<Step>) {
        let mut tables: BTreeMap<usize, NetRows> = BTreeMap::new();
        for (table, key, net) in self.changes.drain(..) {
            let Some(net) = net else { continue };
            let rows = tables.entry(table).or_default();
            match net {
                Net::Insert(row) => rows.inserts.push(row),
                Net::Update(row) => {
                    let known = plans.get(table).map(|plan| known(plan, &row)).unwrap_or_default();
                    rows.updates.entry(known).or_default().push(row);
                }
                Net::Replace(row) => {
                    rows.deletes.push(key);
                    rows.inserts.push(row);
                }
                Net::Delete => rows.deletes.push(key),
            }
        }
        self.places.clear();
        steps.extend(tables.into_iter().map(|(table, net)| Step::Rows { table, net }));
    }
}

/// The net of what was and what comes; `None` when the one can not follow the other.
#[expect(clippy::option_option, reason = "the inner one is a row that came and went")]
fn follow(net: Option<&Net>, change: &Change) -> Option<Option<Net>> {
    let completed = |new: &Row, earlier: &Row| {
        let mut new = new.clone();
        new.complete_from(earlier);
        new
    };
    match (net, change) {
        (None, Change::Insert { new, .. }) => Some(Some(Net::Insert(new.clone()))),
        (Some(Net::Delete), Change::Insert { new, .. }) => Some(Some(Net::Replace(new.clone()))),
        (Some(Net::Insert(row)), Change::Update { new, .. }) => {
            Some(Some(Net::Insert(completed(new, row))))
        }
        (Some(Net::Update(row)), Change::Update { new, .. }) => {
            Some(Some(Net::Update(completed(new, row))))
        }
        (Some(Net::Replace(row)), Change::Update { new, .. }) => {
            Some(Some(Net::Replace(completed(new, row))))
        }
        (Some(Net::Insert(_)), Change::Delete { .. }) => Some(None),
        (Some(Net::Update(_) | Net::Replace(_)), Change::Delete { .. }) => Some(Some(Net::Delete)),
        (None | Some(Net::Delete), Change::Update { .. } | Change::Delete { .. })
        | (Some(Net::Insert(_) | Net::Update(_) | Net::Replace(_)), Change::Insert { .. })
        | (_, Change::Truncate { .. }) => None,
    }
}

/// The needed columns that are known of a row.
pub(crate) fn known(plan: &TablePlan, row: &Row) -> Vec<usize> {
    plan.needed().into_iter().filter(|column| row.is_known(*column)).collect()
}
