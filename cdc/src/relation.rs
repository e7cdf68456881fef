//! Binds the tables as the log describes them to the plans, and turns tuples into rows.

use std::{collections::HashMap, sync::Arc};

use pg::pgoutput::{Delete, Insert, OldTupleKind, Relation, RelationOid, Truncate, Tuple, Update};

use crate::{
    StreamError,
    change::{Change, Row},
    mapping::{Strictness, TablePlan},
};

/// What is known of the tables in the log.
#[derive(Debug)]
pub(crate) struct Relations {
    plans: Arc<[TablePlan]>,
    bound: HashMap<RelationOid, Option<Binding>>,
}

#[derive(Debug)]
struct Binding {
    table: usize,
    /// How many values a tuple has.
    width: usize,
    /// For each of the plan's columns its place in a tuple, where anything needs it.
    sources: Vec<Option<usize>>,
    /// The same for the columns of the key alone.
    key_sources: Vec<Option<usize>>,
}

impl Relations {
    pub(crate) fn new(plans: Arc<[TablePlan]>) -> Self {
        Self { plans, bound: HashMap::new() }
    }

    /// Takes note of a table's shape.
    ///
    /// # Errors
    /// When the shape is not the one the mapping was resolved for: nothing may be applied then.
    pub(crate) fn describe(&mut self, relation: &Relation) -> Result<(), StreamError> {
        let name = relation.table_name();
        let found = self.plans.iter().position(|plan| plan.read == name);
        let binding = match found.and_then(|table| self.plans.get(table).map(|plan| (table, plan)))
        {
            Some((table, plan)) => Some(Binding::new(table, plan, &bind(plan, relation)?)),
            None => None,
        };
        self.bound.insert(relation.oid, binding);
        Ok(())
    }

    /// Takes note of a shape that the table had before the mapping was resolved: what it has not is not
    /// known, what it has beyond the mapping is gone.
    pub(crate) fn describe_earlier(&mut self, relation: &Relation, table: usize) {
        let Some(plan) = self.plans.get(table) else { return };
        let needed = plan.needed();
        let place = |name: &String| {
            let found = plan.columns.iter().position(|known| known.name == *name);
            found.filter(|index| needed.contains(index))
        };
        let columns: Vec<Option<usize>> =
            relation.columns.iter().map(|column| place(&column.name)).collect();
        self.bound.insert(relation.oid, Some(Binding::new(table, plan, &columns)));
    }

    /// The change, or `None` for a table that is not in the mapping.
    ///
    /// # Errors
    /// When the message does not fit the table's description.
    pub(crate) fn insert(&self, message: Insert) -> Result<Option<Change>, StreamError> {
        let Some(binding) = self.binding(message.relation)? else { return Ok(None) };
        let new = self.row(binding, message.new, &binding.sources)?;
        self.check_key(binding, &new)?;
        Ok(Some(Change::Insert { table: binding.table, new }))
    }

    /// As [`Relations::insert`].
    pub(crate) fn update(&self, message: Update) -> Result<Option<Change>, StreamError> {
        let Some(binding) = self.binding(message.relation)? else { return Ok(None) };
        let mut new = self.row(binding, message.new, &binding.sources)?;
        let mut old = None;
        if let Some(before) = message.old {
            if before.kind == OldTupleKind::Full {
                new.complete_from(&self.row(binding, before.tuple.clone(), &binding.sources)?);
            }
            let before = self.row(binding, before.tuple, &binding.key_sources)?;
            self.check_key(binding, &before)?;
            let plan = self.plan(binding)?;
            old = (before.raw_key(plan) != new.raw_key(plan)).then_some(before);
        }
        self.check_key(binding, &new)?;
        Ok(Some(Change::Update { table: binding.table, old, new }))
    }

    /// As [`Relations::insert`].
    pub(crate) fn delete(&self, message: Delete) -> Result<Option<Change>, StreamError> {
        let Some(binding) = self.binding(message.relation)? else { return Ok(None) };
        let old = self.row(binding, message.old.tuple, &binding.key_sources)?;
        self.check_key(binding, &old)?;
        Ok(Some(Change::Delete { table: binding.table, old }))
    }

    /// As [`Relations::insert`].
    pub(crate) fn truncate(&self, message: &Truncate) -> Result<Option<Change>, StreamError> {
        let mut tables = Vec::new();
        for oid in &message.relations {
            tables.extend(self.binding(*oid)?.map(|binding| binding.table));
        }
        Ok((!tables.is_empty()).then_some(Change::Truncate { tables }))
    }

    fn binding(&self, oid: RelationOid) -> Result<Option<&Binding>, StreamError> {
        let bound = self.bound.get(&oid);
        bound.map(Option::as_ref).ok_or_else(|| {
            StreamError::Operator(format!("the log changes table {oid} without describing it"))
        })
    }

    fn check_key(&self, binding: &Binding, row: &Row) -> Result<(), StreamError> {
        let plan = self.plan(binding)?;
        let is_given = |column: usize| row.value(column).bytes().is_some();
        if plan.key.iter().all(|key| is_given(key.read)) {
            return Ok(());
        }
        Err(StreamError::Operator(format!(
            "the log changes a row of {} without its key",
            plan.read
        )))
    }

    fn row(
        &self,
        binding: &Binding,
        tuple: Tuple,
        sources: &[Option<usize>],
    ) -> Result<Row, StreamError> {
        if tuple.len() != binding.width {
            let plan = self.plan(binding)?;
            let message = format!("a row of {} has not the described columns", plan.read);
            return Err(StreamError::Operator(message));
        }
        Ok(Row(tuple.rearranged(sources)))
    }

    fn plan(&self, binding: &Binding) -> Result<&TablePlan, StreamError> {
        self.plans.get(binding.table).ok_or(StreamError::Worker)
    }
}

impl Binding {
    /// `columns` are the plan's columns in the order of a tuple.
    fn new(table: usize, plan: &TablePlan, columns: &[Option<usize>]) -> Self {
        let place = |index: usize| columns.iter().position(|column| *column == Some(index));
        let sources: Vec<Option<usize>> = (0..plan.columns.len()).map(place).collect();
        let is_key = |index: usize| plan.key.iter().any(|key| key.read == index);
        let key_sources =
            (0..plan.columns.len()).map(|index| place(index).filter(|_| is_key(index))).collect();
        Self { table, width: columns.len(), sources, key_sources }
    }
}

/// For each column of the relation the plan's column. A relation from before an omitted column was
/// added still fits, and so does any unknown column of a projection; anything else does not.
fn bind(plan: &TablePlan, relation: &Relation) -> Result<Vec<Option<usize>>, StreamError> {
    let changed = |column: &str, what: &str| StreamError::Changed {
        table: plan.source.to_string(),
        what: format!("{}.{column} {what} since the mapping was resolved", plan.read),
    };
    let needed = plan.needed();
    let mut columns = Vec::with_capacity(relation.columns.len());
    for column in &relation.columns {
        let Some(index) = plan.columns.iter().position(|known| known.name == column.name) else {
            match plan.strictness {
                Strictness::EveryColumn => {
                    return Err(changed(&column.name, "was added or dropped"));
                }
                Strictness::Projection => columns.push(None),
            }
            continue;
        };
        let is_needed = needed.contains(&index);
        let same_type = plan.columns.get(index).is_some_and(|c| c.type_oid == column.type_oid);
        if is_needed && !same_type {
            return Err(changed(&column.name, "has another type"));
        }
        columns.push(is_needed.then_some(index));
    }
    if let Some(index) = needed.iter().find(|index| !columns.contains(&Some(**index))) {
        let name = plan.columns.get(*index).map_or("?", |column| column.name.as_str());
        return Err(changed(name, "is not in the log"));
    }
    let identifies = |name: &str| relation.columns.iter().any(|c| c.key && c.name == name);
    for key in &plan.key {
        let name = plan.columns.get(key.read).map_or("?", |column| column.name.as_str());
        if !identifies(name) {
            return Err(changed(name, "is no longer part of the replica identity"));
        }
    }
    Ok(columns)
}
