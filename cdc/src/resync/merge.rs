//! The end of a resync, in one transaction of the database that is written: what is left to replay
//! onto the stage, the table made equal to the stage, and the table's next state. Readers see the old
//! rows until it commits. Columns that the mapping does not write keep their values.

#[cfg(test)]
mod tests;

use pg::quote_ident;
use tokio_postgres::error::SqlState;

use super::table::TableResync;
use crate::{
    StreamError,
    mapping::TablePlan,
    replica,
    tables::{self, NewState, TableState},
};

/// The statements that make a table what its stage is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Merge {
    delete: String,
    update: Option<String>,
    insert: String,
    /// When values of a unique index change hands between rows.
    empty: String,
    refill: String,
}

impl TableResync {
    /// Replaces the table's rows by the staged ones.
    ///
    /// # Errors
    /// Nothing was changed then. [`StreamError::Stale`]: the table's state or the stream's mode is
    /// not what this was begun for.
    pub(super) async fn merge(mut self) -> Result<(), StreamError> {
        let spec = std::sync::Arc::clone(&self.shared.spec);
        self.write_sql(&format!("ANALYZE {}", self.stage.name)).await?;
        // Marked like the stream's own session: nothing of what it writes goes back.
        let (side, origin) = (spec.writes(), spec.resync_origin());
        let session = replica::open(spec.write_url(), side, &origin, &[&self.plan.write]).await?;
        self.writer = session.client;
        self.write_sql(&session.begin).await?;
        let position = self.stream_position();
        while !self.replay_step(Some(position)).await? {}
        if self.complete_lsn.is_none_or(|complete| complete > position) {
            // The last step read values newer than the position.
            return Err(StreamError::Stale);
        }
        self.shared.dirty.touch_all();
        self.make_equal().await?;
        self.finish().await?;
        self.write_sql("COMMIT").await?;
        tracing::info!(stream = spec.key(), table = self.source, %position, "table copied again");
        self.shared.update_table(&self.source, |table| {
            TableState::Replaying.as_str().clone_into(&mut table.state);
        });
        Ok(())
    }

    async fn make_equal(&self) -> Result<(), StreamError> {
        let merge = Merge::new(&self.plan, &self.stage.name);
        let statements = [Some(&merge.delete), merge.update.as_ref(), Some(&merge.insert)];
        self.write_sql("SAVEPOINT merge").await?;
        for statement in statements.into_iter().flatten() {
            match self.writer.execute(statement, &[]).await {
                Ok(_) => {}
                Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                    self.write_sql("ROLLBACK TO SAVEPOINT merge").await?;
                    return self.refill(&merge).await;
                }
                Err(error) => return Err(self.unusable(error)),
            }
        }
        Ok(())
    }

    async fn refill(&self, merge: &Merge) -> Result<(), StreamError> {
        for statement in [&merge.empty, &merge.refill] {
            self.writer.execute(statement, &[]).await.map_err(|error| self.unusable(error))?;
        }
        Ok(())
    }

    async fn finish(&self) -> Result<(), StreamError> {
        let spec = &self.shared.spec;
        let doing = |error| StreamError::database("end a resync", spec.writes())(error);
        self.write_sql(&format!("DROP TABLE {}", self.stage.name)).await?;
        self.writer
            .execute(
                "DELETE FROM ficus.chunk WHERE stream = $1 AND source = $2",
                &[&spec.key(), &self.source],
            )
            .await
            .map_err(doing)?;
        let mode: Option<String> = self
            .writer
            .query_opt(
                "SELECT a.mode FROM ficus.apply a JOIN ficus.copy c ON c.stream = a.stream
                 WHERE a.stream = $1 AND c.source = $2 AND c.state = 'resyncing' AND NOT c.missed
                 FOR UPDATE",
                &[&spec.key(), &self.source],
            )
            .await
            .map_err(doing)?
            .map(|row| row.get(0));
        if mode.as_deref() != Some("apply") {
            return Err(StreamError::Stale);
        }
        let new = NewState { state: TableState::Replaying, reason: "", key: None, skips: false };
        tables::set_state(&self.writer, spec, &self.source, new).await.map(drop)
    }

    /// The mapping's expressions or the table's constraints refuse real rows.
    fn unusable(&self, source: tokio_postgres::Error) -> StreamError {
        match source.as_db_error().map(|db| db.message().to_owned()) {
            Some(said) => StreamError::Conflict {
                table: self.plan.write.to_string(),
                what: format!("rows of {} do not fit: {said}", self.plan.read),
                source: Some(source),
            },
            None => StreamError::database("write copied rows", self.shared.spec.writes())(source),
        }
    }
}

impl Merge {
    fn new(plan: &TablePlan, stage: &str) -> Self {
        let table = plan.write.quoted();
        let filter = plan.filter.as_ref();
        let matching = filter.map(|filter| format!("({}) AND ", filter.text)).unwrap_or_default();
        let same_key: Vec<String> = plan
            .key
            .iter()
            .map(|key| {
                let value = format!("s.{}::{}", plan.name_of(key.read), key.write_type);
                format!("t.{} = {value}", quote_ident(&key.write))
            })
            .collect();
        let same_key = same_key.join(" AND ");
        let ours = plan.left_home.as_ref().map(|left| format!("({left})"));
        let ours = ours.unwrap_or_else(|| "true".to_owned());
        let insert = plan.insert_from(stage);
        let and = if filter.is_some() { " AND " } else { " WHERE " };
        Self {
            // The condition names the table's columns without a prefix: it gets the table alone.
            delete: format!(
                "DELETE FROM {table} AS t WHERE {ours} AND NOT EXISTS
                     (SELECT 1 FROM {stage} AS s WHERE {matching}{same_key})"
            ),
            update: update(plan, stage, &matching),
            insert: format!(
                "{insert}{and}NOT EXISTS (SELECT 1 FROM {table} AS t WHERE {same_key})"
            ),
            empty: format!("DELETE FROM {table} WHERE {ours}"),
            refill: insert,
        }
    }
}

/// Changes the rows that differ; values are compared as text, because not every type can be compared.
fn update(plan: &TablePlan, stage: &str, matching: &str) -> Option<String> {
    let is_key = |name: &str| plan.key.iter().any(|key| key.write == name);
    let changed: Vec<_> =
        plan.assignments.iter().filter(|each| !each.insert_only && !is_key(&each.column)).collect();
    if changed.is_empty() {
        return None;
    }
    let mut selected = Vec::new();
    let mut assigned = Vec::new();
    let mut differs = Vec::new();
    for (place, each) in changed.into_iter().enumerate() {
        let column = quote_ident(&each.column);
        selected.push(format!("{} AS a{place}", plan.value_sql(each)));
        assigned.push(format!("{column} = n.a{place}"));
        differs.push(format!(
            "t.{column}::text IS DISTINCT FROM n.a{place}::{}::text",
            each.write_type
        ));
    }
    let mut same_key = Vec::new();
    for (place, key) in plan.key.iter().enumerate() {
        selected.push(format!("s.{}::{} AS k{place}", plan.name_of(key.read), key.write_type));
        same_key.push(format!("t.{} = n.k{place}", quote_ident(&key.write)));
    }
    Some(format!(
        "UPDATE {} AS t SET {} FROM (SELECT {} FROM {stage} AS s WHERE {matching}true) AS n
         WHERE {} AND ({})",
        plan.write.quoted(),
        assigned.join(", "),
        selected.join(", "),
        same_key.join(" AND "),
        differs.join(" OR ")
    ))
}
