//! Values that the log left out (large ones an update did not touch) and that an expression or a
//! filter needs together with others: read from the database the stream reads. What is read may be
//! newer than the change; the changes in between are on their way.

use std::{borrow::Cow, collections::HashMap};

use pg::pgoutput::{Tuple, TupleValue};

use crate::{
    StreamError,
    apply::{Applier, session::RawValue},
    change::{Key, Row},
    mapping::{Format, TablePlan},
};

impl Applier {
    /// The rows, completed where the source still has them.
    pub(super) async fn filled<'a>(
        &mut self,
        table: usize,
        plan: &TablePlan,
        mut rows: Vec<Cow<'a, Row>>,
    ) -> Result<Vec<Cow<'a, Row>>, StreamError> {
        let tables = self.tables.clone();
        let incomplete: Vec<Key> = rows
            .iter()
            .filter(|row| !tables.is_complete(table, row))
            .filter_map(|row| row.key(plan))
            .collect();
        if incomplete.is_empty() {
            return Ok(rows);
        }
        let current = self.current_rows(plan, &plan.needed(), &incomplete).await?;
        for row in rows.iter_mut().filter(|row| !tables.is_complete(table, row)) {
            if let Some(now) = row.key(plan).and_then(|key| current.get(&key)) {
                row.to_mut().complete_from(now);
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
        let (sql, format) = (select_by_keys(plan, needed, self.format), self.format);
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
            let value = |column: usize| {
                let Some(place) = needed.iter().position(|needed| *needed == column) else {
                    return TupleValue::UnchangedToast;
                };
                match (row.get::<_, RawValue<'_>>(place + 1).0, format) {
                    (None, _) => TupleValue::Null,
                    (Some(bytes), Format::Text) => TupleValue::Text(bytes),
                    (Some(bytes), Format::Binary) => TupleValue::Binary(bytes),
                }
            };
            // The key's own text may differ from the log's: a cast strips the blanks of char(n).
            let place = usize::try_from(row.get::<_, i64>(0) - 1).unwrap_or(usize::MAX);
            if let Some(key) = keys.get(place) {
                let values = (0..plan.columns.len()).map(value);
                rows.insert(key.clone(), Row(Tuple::from_values(values)));
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

/// Query results come in binary form; the text form is asked for as text.
fn select_by_keys(plan: &TablePlan, needed: &[usize], format: Format) -> String {
    let cast = match format {
        Format::Text => "::text",
        Format::Binary => "",
    };
    let values: Vec<String> =
        needed.iter().map(|column| format!("t.{}{cast}", plan.name_of(*column))).collect();
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
        "SELECT r.place, {} FROM {} AS t JOIN unnest({}) WITH ORDINALITY AS r({}, place) ON {}",
        values.join(", "),
        plan.read.quoted(),
        arrays.join(", "),
        names.join(", "),
        pairs.join(" AND ")
    )
}
