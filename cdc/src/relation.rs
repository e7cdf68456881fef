//! Binds the tables as the log describes them to the plans, and turns tuples into rows.

use std::{collections::HashMap, sync::Arc};

use pg::pgoutput::{
    Delete, Insert, OldTupleKind, Relation, RelationOid, Truncate, Tuple, TupleValue, Update,
};

use crate::{
    StreamError,
    change::{Change, Datum, Key, Row},
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
    /// For each value of a tuple the plan's column, where anything needs it.
    columns: Vec<Option<usize>>,
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
            Some((table, plan)) => Some(Binding { table, columns: bind(plan, relation)? }),
            None => None,
        };
        self.bound.insert(relation.oid, binding);
        Ok(())
    }

    /// The change, or `None` for a table that is not in the mapping.
    ///
    /// # Errors
    /// When the message does not fit the table's description.
    pub(crate) fn insert(&self, message: &Insert) -> Result<Option<Change>, StreamError> {
        let Some(binding) = self.binding(message.relation)? else { return Ok(None) };
        let (new, key) = self.row_with_key(binding, &message.new)?;
        Ok(Some(Change::Insert { table: binding.table, key, new }))
    }

    /// As [`Relations::insert`].
    pub(crate) fn update(&self, message: &Update) -> Result<Option<Change>, StreamError> {
        let Some(binding) = self.binding(message.relation)? else { return Ok(None) };
        let mut new = self.row(binding, &message.new)?;
        let old = match &message.old {
            Some(old) => {
                let row = self.row(binding, &old.tuple)?;
                if old.kind == OldTupleKind::Full {
                    new.complete_from(&row);
                }
                Some(self.key(binding, &row)?)
            }
            None => None,
        };
        let key = self.key(binding, &new)?;
        let old_key = old.filter(|old| *old != key);
        Ok(Some(Change::Update { table: binding.table, key, old_key, new }))
    }

    /// As [`Relations::insert`].
    pub(crate) fn delete(&self, message: &Delete) -> Result<Option<Change>, StreamError> {
        let Some(binding) = self.binding(message.relation)? else { return Ok(None) };
        let (_, key) = self.row_with_key(binding, &message.old.tuple)?;
        Ok(Some(Change::Delete { table: binding.table, key }))
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

    fn row_with_key(&self, binding: &Binding, tuple: &Tuple) -> Result<(Row, Key), StreamError> {
        let row = self.row(binding, tuple)?;
        let key = self.key(binding, &row)?;
        Ok((row, key))
    }

    fn key(&self, binding: &Binding, row: &Row) -> Result<Key, StreamError> {
        let plan = self.plan(binding)?;
        row.key(plan).ok_or_else(|| {
            StreamError::Operator(format!("the log changes a row of {} without its key", plan.read))
        })
    }

    fn row(&self, binding: &Binding, tuple: &Tuple) -> Result<Row, StreamError> {
        let plan = self.plan(binding)?;
        if tuple.values.len() != binding.columns.len() {
            let message = format!("a row of {} has not the described columns", plan.read);
            return Err(StreamError::Operator(message));
        }
        let mut row = vec![Datum::Missing; plan.columns.len()];
        for (value, column) in tuple.values.iter().zip(&binding.columns) {
            let Some(place) = column.and_then(|column| row.get_mut(column)) else { continue };
            *place = match value {
                TupleValue::Null => Datum::Null,
                TupleValue::UnchangedToast => Datum::Missing,
                TupleValue::Text(bytes) => Datum::Text(bytes.clone()),
                TupleValue::Binary(_) => {
                    let message = format!("a row of {} came in binary form", plan.read);
                    return Err(StreamError::Operator(message));
                }
            };
        }
        Ok(Row(row))
    }

    fn plan(&self, binding: &Binding) -> Result<&TablePlan, StreamError> {
        self.plans.get(binding.table).ok_or(StreamError::Worker)
    }
}

/// For each column of the relation the plan's column. A relation from before an omitted column was
/// added still fits, and so does any unknown column of a projection; anything else does not.
fn bind(plan: &TablePlan, relation: &Relation) -> Result<Vec<Option<usize>>, StreamError> {
    let changed = |column: &str, what: &str| {
        StreamError::Operator(format!(
            "{}.{column} {what} since the mapping was resolved: bring the target table and \
             routes.toml up to date, then resume",
            plan.read
        ))
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
