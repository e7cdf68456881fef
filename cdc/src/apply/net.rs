//! Turns a run of changes into few statements: net changes per key, table by table. Where the order
//! of single changes matters (changed keys, truncation) the run is cut there.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    change::{Change, RawKey, Row},
    mapping::TablePlan,
};

/// The tables of a stream, with what is asked of them for every row.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    plans: Arc<[TablePlan]>,
    /// [`TablePlan::needed`] of each.
    needed: Vec<Vec<usize>>,
}

/// One thing to do; steps are done in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// The net changes of one table.
    Rows { table: usize, net: NetRows<'a> },
    /// A row gets another key.
    Rekey { table: usize, old: &'a Row, new: &'a Row },
    /// Tables are emptied.
    Truncate { tables: &'a [usize] },
}

/// Net changes of one table: deletes are done first, then updates, then inserts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NetRows<'a> {
    /// Of these only the key counts.
    pub(crate) deletes: Vec<Cow<'a, Row>>,
    /// Rows by the needed columns that are known of them.
    pub(crate) updates: BTreeMap<Vec<usize>, Vec<Cow<'a, Row>>>,
    pub(crate) inserts: Vec<Cow<'a, Row>>,
}

#[derive(Debug)]
enum Net<'a> {
    Insert(Cow<'a, Row>),
    Update(Cow<'a, Row>),
    /// Deleted and inserted again: what the written table has beyond the mapping starts anew.
    Replace(Cow<'a, Row>),
    Delete(&'a Row),
}

/// Changes by table and key, in the order in which the keys came first.
#[derive(Debug)]
struct Run<'a> {
    tables: &'a Tables,
    places: HashMap<(usize, RawKey), usize>,
    /// `None`: the row came and went.
    changes: Vec<(usize, Option<Net<'a>>)>,
}

impl Tables {
    pub(crate) fn new(plans: Arc<[TablePlan]>) -> Self {
        let needed = plans.iter().map(TablePlan::needed).collect();
        Self { plans, needed }
    }

    pub(crate) fn plan(&self, table: usize) -> Option<&TablePlan> {
        self.plans.get(table)
    }

    pub(crate) fn plans(&self) -> Arc<[TablePlan]> {
        Arc::clone(&self.plans)
    }

    /// The needed columns that are known of a row.
    pub(crate) fn known(&self, table: usize, row: &Row) -> Vec<usize> {
        let needed = self.needed.get(table).map(Vec::as_slice).unwrap_or_default();
        needed.iter().copied().filter(|column| row.is_known(*column)).collect()
    }

    /// Whether every needed column is known of a row.
    pub(crate) fn is_complete(&self, table: usize, row: &Row) -> bool {
        let needed = self.needed.get(table).map(Vec::as_slice).unwrap_or_default();
        needed.iter().all(|column| row.is_known(*column))
    }
}

/// The steps of a run, merged.
pub(crate) fn merged<'a>(changes: &'a [Change], tables: &'a Tables) -> Vec<Step<'a>> {
    let mut steps = Vec::new();
    let mut run = Run::new(tables);
    for change in changes {
        if !run.add(change) {
            run.flush(&mut steps);
            match single(change) {
                Some(step) => steps.push(step),
                None => drop(run.add(change)),
            }
        }
    }
    run.flush(&mut steps);
    steps
}

/// The steps of a run, one for each change.
pub(crate) fn ordered<'a>(changes: &'a [Change], tables: &'a Tables) -> Vec<Step<'a>> {
    let mut steps = Vec::new();
    for change in changes {
        match single(change) {
            Some(step) => steps.push(step),
            None => {
                let mut run = Run::new(tables);
                run.add(change);
                run.flush(&mut steps);
            }
        }
    }
    steps
}

/// The step of a change that can not be merged with others.
fn single(change: &Change) -> Option<Step<'_>> {
    match change {
        Change::Update { table, old: Some(old), new } => {
            Some(Step::Rekey { table: *table, old, new })
        }
        Change::Truncate { tables } => Some(Step::Truncate { tables }),
        Change::Insert { .. } | Change::Update { old: None, .. } | Change::Delete { .. } => None,
    }
}

impl<'a> Run<'a> {
    fn new(tables: &'a Tables) -> Self {
        Self { tables, places: HashMap::new(), changes: Vec::new() }
    }

    /// Merges the change into the run; `false` when it has to stand alone or does not follow from what
    /// the run holds (the database will say what is wrong).
    fn add(&mut self, change: &'a Change) -> bool {
        let (table, row) = match change {
            Change::Insert { table, new: row }
            | Change::Update { table, old: None, new: row }
            | Change::Delete { table, old: row } => (*table, row),
            Change::Update { old: Some(_), .. } | Change::Truncate { .. } => return false,
        };
        let Some(key) = self.tables.plan(table).and_then(|plan| row.raw_key(plan)) else {
            return false;
        };
        let place = *self.places.entry((table, key)).or_insert(self.changes.len());
        if place == self.changes.len() {
            let net = match change {
                Change::Insert { new, .. } => Net::Insert(Cow::Borrowed(new)),
                Change::Update { new, .. } => Net::Update(Cow::Borrowed(new)),
                Change::Delete { .. } | Change::Truncate { .. } => Net::Delete(row),
            };
            self.changes.push((table, Some(net)));
            return true;
        }
        let Some((_, net)) = self.changes.get_mut(place) else { return false };
        let Some(next) = follow(net.as_ref(), change) else { return false };
        *net = next;
        true
    }

    fn flush(&mut self, steps: &mut Vec<Step<'a>>) {
        let mut tables: BTreeMap<usize, NetRows<'a>> = BTreeMap::new();
        for (table, net) in self.changes.drain(..) {
            let Some(net) = net else { continue };
            let rows = tables.entry(table).or_default();
            match net {
                Net::Insert(row) => rows.inserts.push(row),
                Net::Update(row) => {
                    let known = self.tables.known(table, &row);
                    rows.updates.entry(known).or_default().push(row);
                }
                Net::Replace(row) => {
                    rows.deletes.push(row.clone());
                    rows.inserts.push(row);
                }
                Net::Delete(old) => rows.deletes.push(Cow::Borrowed(old)),
            }
        }
        self.places.clear();
        steps.extend(tables.into_iter().map(|(table, net)| Step::Rows { table, net }));
    }
}

/// The net of what was and what comes; `None` when the one can not follow the other.
#[expect(clippy::option_option, reason = "the inner one is a row that came and went")]
fn follow<'a>(net: Option<&Net<'a>>, change: &'a Change) -> Option<Option<Net<'a>>> {
    let completed = |new: &'a Row, earlier: &Row| {
        let mut new = Cow::Borrowed(new);
        if new.0.values().any(|value| value == pg::pgoutput::TupleValue::UnchangedToast) {
            new.to_mut().complete_from(earlier);
        }
        new
    };
    match (net, change) {
        (None, Change::Insert { new, .. }) => Some(Some(Net::Insert(Cow::Borrowed(new)))),
        (Some(Net::Delete(_)), Change::Insert { new, .. }) => {
            Some(Some(Net::Replace(Cow::Borrowed(new))))
        }
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
        (Some(Net::Update(_) | Net::Replace(_)), Change::Delete { old, .. }) => {
            Some(Some(Net::Delete(old)))
        }
        (None | Some(Net::Delete(_)), Change::Update { .. } | Change::Delete { .. })
        | (Some(Net::Insert(_) | Net::Update(_) | Net::Replace(_)), Change::Insert { .. })
        | (_, Change::Truncate { .. }) => None,
    }
}
