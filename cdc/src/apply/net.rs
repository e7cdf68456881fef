//! Turns a run of changes into few statements: net changes per key, table by table. Where the order
//! of single changes matters (changed keys, truncation) the run is cut there.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use pg::pgoutput::TupleValue;

use crate::{
    change::{Change, Row},
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
    pub(crate) updates: Vec<(Vec<usize>, Vec<Cow<'a, Row>>)>,
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

/// Changes that can be merged, as they came.
#[derive(Debug)]
struct Run<'a> {
    tables: &'a Tables,
    entries: Vec<Entry<'a>>,
}

/// A change with what it is sorted by: the rows of a statement come in the order of their keys, so that
/// neighbours in the index are met one after the other.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry<'a> {
    table: usize,
    key: Cow<'a, [u8]>,
    place: usize,
    change: ByPlace<'a>,
}

/// No order of its own: the place before it is never the same.
#[derive(Debug)]
struct ByPlace<'a>(&'a Change);

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
    pub(crate) fn known(&self, table: usize, row: &Row) -> impl Iterator<Item = usize> {
        let needed = self.needed.get(table).map(Vec::as_slice).unwrap_or_default();
        needed.iter().copied().filter(|column| row.is_known(*column))
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
        if let Some(step) = single(change) {
            run.flush(&mut steps);
            steps.push(step);
        } else {
            run.add(change);
        }
    }
    run.flush(&mut steps);
    steps
}

/// The steps of a run, one for each change.
pub(crate) fn ordered<'a>(changes: &'a [Change], tables: &'a Tables) -> Vec<Step<'a>> {
    let step = |change| single(change).or_else(|| alone(change, tables));
    changes.iter().filter_map(step).collect()
}

/// The step of a change that can not be merged with others.
fn single(change: &Change) -> Option<Step<'_>> {
    match change {
        Change::Update { table, old: Some(old), new } => {
            Some(Step::Rekey { table: *table, old, new })
        }
        Change::Truncate { tables } => Some(Step::Truncate { tables }),
        Change::Insert { .. }
        | Change::Update { old: None, .. }
        | Change::Delete { .. }
        | Change::Parked(_) => None,
    }
}

/// The step of a change that is not merged although it could be.
fn alone<'a>(change: &'a Change, tables: &Tables) -> Option<Step<'a>> {
    let table = change.table()?;
    let mut net = NetRows::default();
    net.add(first(change)?, table, tables);
    Some(Step::Rows { table, net })
}

impl<'a> Run<'a> {
    fn new(tables: &'a Tables) -> Self {
        Self { tables, entries: Vec::new() }
    }

    fn add(&mut self, change: &'a Change) {
        let (Change::Insert { table, new: row }
        | Change::Update { table, new: row, .. }
        | Change::Delete { table, old: row }) = change
        else {
            return;
        };
        let key = self.tables.plan(*table).and_then(|plan| row.raw_key(plan)).unwrap_or_default();
        let place = self.entries.len();
        self.entries.push(Entry { table: *table, key, place, change: ByPlace(change) });
    }

    fn flush(&mut self, steps: &mut Vec<Step<'a>>) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.sort_unstable();
        let mut tables: BTreeMap<usize, NetRows<'a>> = BTreeMap::new();
        for of_row in entries.chunk_by(|a, b| a.table == b.table && a.key == b.key) {
            let Some(Entry { table, .. }) = of_row.first() else { continue };
            let net = of_row.iter().try_fold(None, |net, entry| follow(net, entry.change.0));
            match net {
                Some(Some(net)) => tables.entry(*table).or_default().add(net, *table, self.tables),
                Some(None) => {}
                None => {
                    // One does not follow from the other: the database will say what is wrong.
                    entries.sort_unstable_by_key(|entry| entry.place);
                    let step = |entry: &Entry<'a>| alone(entry.change.0, self.tables);
                    return steps.extend(entries.iter().filter_map(step));
                }
            }
        }
        steps.extend(tables.into_iter().map(|(table, net)| Step::Rows { table, net }));
    }
}

impl<'a> NetRows<'a> {
    fn add(&mut self, net: Net<'a>, table: usize, tables: &Tables) {
        match net {
            Net::Insert(row) => self.inserts.push(row),
            Net::Update(row) => {
                let is_same = |(known, _): &&mut (Vec<usize>, _)| {
                    tables.known(table, &row).eq(known.iter().copied())
                };
                match self.updates.iter_mut().find(is_same) {
                    Some((_, rows)) => rows.push(row),
                    None => {
                        let known = tables.known(table, &row).collect();
                        self.updates.push((known, vec![row]));
                    }
                }
            }
            Net::Replace(row) => {
                self.deletes.push(row.clone());
                self.inserts.push(row);
            }
            Net::Delete(old) => self.deletes.push(Cow::Borrowed(old)),
        }
    }
}

impl PartialEq for ByPlace<'_> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for ByPlace<'_> {}

impl PartialOrd for ByPlace<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByPlace<'_> {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// The net of a first change; `None` for one that can not be merged.
fn first(change: &Change) -> Option<Net<'_>> {
    match change {
        Change::Insert { new, .. } => Some(Net::Insert(Cow::Borrowed(new))),
        Change::Update { old: None, new, .. } => Some(Net::Update(Cow::Borrowed(new))),
        Change::Delete { old, .. } => Some(Net::Delete(old)),
        Change::Update { old: Some(_), .. } | Change::Truncate { .. } | Change::Parked(_) => None,
    }
}

/// The net of what was and what comes; `None` when the one can not follow the other.
#[expect(clippy::option_option, reason = "the inner one is a row that came and went")]
fn follow<'a>(net: Option<Net<'a>>, change: &'a Change) -> Option<Option<Net<'a>>> {
    let Some(net) = net else { return first(change).map(Some) };
    let completed = |new: &'a Row, earlier: &Row| {
        let mut new = Cow::Borrowed(new);
        if new.0.values().any(|value| value == TupleValue::UnchangedToast) {
            new.to_mut().complete_from(earlier);
        }
        new
    };
    let next = match (net, change) {
        (Net::Delete(_), Change::Insert { new, .. }) => Net::Replace(Cow::Borrowed(new)),
        (Net::Insert(row), Change::Update { new, .. }) => Net::Insert(completed(new, &row)),
        (Net::Update(row), Change::Update { new, .. }) => Net::Update(completed(new, &row)),
        (Net::Replace(row), Change::Update { new, .. }) => Net::Replace(completed(new, &row)),
        (Net::Insert(_), Change::Delete { .. }) => return Some(None),
        (Net::Update(_) | Net::Replace(_), Change::Delete { old, .. }) => Net::Delete(old),
        (Net::Delete(_), Change::Update { .. } | Change::Delete { .. })
        | (Net::Insert(_) | Net::Update(_) | Net::Replace(_), Change::Insert { .. })
        | (_, Change::Truncate { .. } | Change::Parked(_)) => return None,
    };
    Some(Some(next))
}
