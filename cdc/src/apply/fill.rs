//! Values that the log left out (large ones an update did not touch) and that an expression or a
//! filter needs together with others: read from the database the stream reads. What is read may be
//! newer than the change; the changes in between are on their way.

use std::collections::HashMap;

use crate::{
    StreamError,
    apply::{Applier, session::datum},
    change::{Key, Row},
    mapping::TablePlan,
};

impl Applier {
    /// The rows, completed where the source still has them.
    pub(super) async fn filled(
        &mut self,
        plan: &TablePlan,
        mut rows: Vec<Row>,
    ) -> Result<Vec<Row>, StreamError> {
        let needed = plan.needed();
        let is_complete = |row: &Row| needed.iter().all(|column| row.is_known(*column));
        let incomplete: Vec<Key> =
            rows.iter().filter(|row| !is_complete(row)).filter_map(|row| row.key(plan)).collect();
        if incomplete.is_empty() {
            return Ok(rows);
        }
        let current = self.current_rows(plan, &needed, &incomplete).await?;
        for row in rows.iter_mut().filter(|row| !is_complete(row)) {
            if let Some(now) = row.key(plan).and_then(|key| current.get(&key)) {
                row.complete_from(now);
            }
        }
        Ok(rows)
    }

    async fn current_rows(
        &mut self,
        plan: &TablePlan,
        needed: &[usize],
        keys: &[Key],
    ) -> Result<HashMap<Key, Row>, StreamError> {
        let side = self.spec.reads();
        let sql = select_by_keys(plan, needed);
        let columns: Vec<Vec<String>> = (0..plan.key.len())
            .map(|place| {
                let value =
                    |key: &Key| key.0.get(place).map(|v| String::from_utf8_lossy(v).into_owned());
                keys.iter().filter_map(value).collect()
            })
            .collect();
        let params: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = columns
            .iter()
            .map(|column| column as &(dyn tokio_postgres::types::ToSql + Sync))
            .collect();
        let found = self
            .reader()
            .await?
            .query(&sql, &params)
            .await
            .map_err(StreamError::database("read values the log left out", side))?;
        let mut rows = HashMap::new();
        for row in &found {
            let mut values = vec![crate::change::Datum::Missing; plan.columns.len()];
            for (place, column) in needed.iter().enumerate() {
                if let Some(value) = values.get_mut(*column) {
                    *value = datum(row.get(place));
                }
            }
            let row = Row(values);
            if let Some(key) = row.key(plan) {
                rows.insert(key, row);
            }
        }
        Ok(rows)
    }
}

impl TablePlan {
    /// Whether an expression depends on known and unknown columns alike.
    pub(super) fn is_partly_computable(&self, known: &[usize]) -> bool {
        self.assignments.iter().filter(|each| !each.insert_only).any(|assignment| {
            let uses = self.uses(assignment);
            let count = uses.iter().filter(|column| known.contains(column)).count();
            count > 0 && count < uses.len()
        })
    }
}

fn select_by_keys(plan: &TablePlan, needed: &[usize]) -> String {
    let values: Vec<String> =
        needed.iter().map(|column| format!("t.{}::text", plan.name_of(*column))).collect();
    let mut arrays = Vec::new();
    let mut names = Vec::new();
    let mut pairs = Vec::new();
    for (place, key) in plan.key.iter().enumerate() {
        let cast = plan.columns.get(key.read).map_or("text", |column| &column.cast);
        arrays.push(format!("${}::text[]", place + 1));
        names.push(format!("k{place}"));
        pairs.push(format!("t.{} = r.k{place}::{cast}", plan.name_of(key.read)));
    }
    format!(
        "SELECT {} FROM {} AS t JOIN unnest({}) AS r({}) ON {}",
        values.join(", "),
        plan.read.quoted(),
        arrays.join(", "),
        names.join(", "),
        pairs.join(" AND ")
    )
}
