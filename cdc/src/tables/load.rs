//! What a run of a stream starts from: a plan for each table, and how each table stands.

use std::{collections::HashMap, sync::Arc};

use cutover::Side;
use rpc::v1;
use tokio_postgres::Client;

use super::{
    NewState, ParkedSize, Shape, TableRow, TableState, abandon_resync, note_shapes, parked, store,
};
use crate::{
    StreamError, apply_row::Mode, create, mapping::TablePlan, session, spec::StreamSpec,
    status::StreamShared,
};

/// The tables of a stream, by number.
#[derive(Clone, Debug)]
pub(crate) struct LoadedTables {
    pub(crate) plans: Arc<[TablePlan]>,
    pub(crate) rows: Vec<TableRow>,
}

impl LoadedTables {
    /// Whether any table's changes are parked, as text, whatever the others could have.
    pub(crate) fn parks(&self) -> bool {
        self.rows.iter().any(|row| row.state.parks())
    }

    pub(crate) fn resyncing(&self) -> Vec<usize> {
        let resyncs = |(_, row): &(usize, &TableRow)| row.state == TableState::Resyncing;
        self.rows.iter().enumerate().filter(resyncs).map(|(table, _)| table).collect()
    }
}

/// Reads how the tables of a copied stream stand. One whose mapping does not fit any more waits from
/// now on; the others go on.
///
/// # Errors
/// When a database can not be read.
pub(crate) async fn load(shared: &StreamShared) -> Result<LoadedTables, StreamError> {
    let spec = &shared.spec;
    let tables = spec.tables().await?;
    let writer = session::open(spec.write_url(), spec.writes(), "ficus-cdc-table").await?;
    add_new(&writer, spec).await?;
    let mut rows = store::read(&writer, spec).await?;
    let sizes = parked::sizes(&writer, spec).await?;
    let is_stopped = is_stopped(&writer, spec).await?;
    let (mut plans, mut states, mut shapes) = (Vec::new(), Vec::new(), Vec::new());
    for (mapping, table) in spec.mappings.iter().zip(&tables) {
        let source = mapping.source.to_string();
        let mut row = rows.remove(&source).ok_or(StreamError::Gone)?;
        match &table.plan {
            Ok(plan) => {
                plans.push(plan.clone());
                if is_stopped && row.state == TableState::Changed && !sizes.contains_key(&source) {
                    // Nothing came since: the new plan is as good as the old one was.
                    fits_again(&writer, spec, &source, &mut row).await?;
                }
                if matches!(row.state, TableState::Ready | TableState::Replaying) {
                    shapes.extend(changed_shape(&row, table.shape.as_ref(), &source));
                }
            }
            Err(problems) => {
                misfit(shared, &writer, &source, &mut row, &problems.to_string()).await?;
                plans.push(unresolved(spec, mapping));
            }
        }
        states.push(row);
    }
    note_shapes(&writer, spec, &shapes).await?;
    show(shared, &states, &sizes);
    Ok(LoadedTables { plans: plans.into(), rows: states })
}

/// A table that is new in routes.toml starts with a copy of its own.
async fn add_new(writer: &Client, spec: &StreamSpec) -> Result<(), StreamError> {
    let state =
        if create::begins_with_copy(spec.kind) { TableState::Resyncing } else { TableState::Ready };
    let sources: Vec<String> = spec.mappings.iter().map(|m| m.source.to_string()).collect();
    let targets: Vec<String> = spec.mappings.iter().map(|m| m.target.to_string()).collect();
    writer
        .execute(
            "INSERT INTO ficus.copy (stream, source, target, state)
             SELECT $1, source, target, $4 FROM unnest($2::text[], $3::text[]) t(source, target)
             ON CONFLICT DO NOTHING",
            &[&spec.key(), &sources, &targets, &state.as_str()],
        )
        .await
        .map(drop)
        .map_err(|source| store::outdated(spec, source))
}

async fn is_stopped(writer: &Client, spec: &StreamSpec) -> Result<bool, StreamError> {
    let row = writer
        .query_opt("SELECT mode FROM ficus.apply WHERE stream = $1", &[&spec.key()])
        .await
        .map_err(StreamError::database("read the stream's row", spec.writes()))?
        .ok_or(StreamError::Gone)?;
    Ok(row.get::<_, &str>(0) == Mode::Stopped.as_str())
}

async fn fits_again(
    writer: &Client,
    spec: &StreamSpec,
    source: &str,
    row: &mut TableRow,
) -> Result<(), StreamError> {
    let new = NewState { state: TableState::Ready, reason: "", key: None, skips: false };
    store::set_state(writer, spec, source, new).await?;
    row.state = TableState::Ready;
    row.reason.clear();
    Ok(())
}

async fn misfit(
    shared: &StreamShared,
    writer: &Client,
    source: &str,
    row: &mut TableRow,
    reason: &str,
) -> Result<(), StreamError> {
    match row.state {
        TableState::Ready | TableState::Replaying => {
            let new = NewState { state: TableState::Changed, reason, key: None, skips: false };
            store::set_state(writer, &shared.spec, source, new).await?;
            tracing::warn!(
                stream = shared.spec.key(),
                table = source,
                reason,
                "table changed, the others go on"
            );
            row.state = TableState::Changed;
        }
        TableState::Resyncing => {
            abandon_resync(shared, source, reason).await?;
            row.state = TableState::Quarantined;
            row.missed = true;
        }
        TableState::Pending
        | TableState::Copying
        | TableState::Quarantined
        | TableState::Changed => return Ok(()),
    }
    reason.clone_into(&mut row.reason);
    Ok(())
}

fn changed_shape<'s>(
    row: &TableRow,
    now: Option<&'s Shape>,
    source: &str,
) -> Option<(String, &'s Shape)> {
    let known = row.shape.as_deref().and_then(Shape::parse);
    let now = now.filter(|now| known.as_ref() != Some(now))?;
    Some((source.to_owned(), now))
}

fn unresolved(spec: &StreamSpec, mapping: &routes::TableMapping) -> TablePlan {
    let (source, target) = (mapping.source.clone(), mapping.target.clone());
    match spec.writes() {
        Side::Target => TablePlan::unresolved(source.clone(), source, target),
        Side::Source => TablePlan::unresolved(source.clone(), target, source),
    }
}

fn show(shared: &StreamShared, rows: &[TableRow], sizes: &HashMap<String, ParkedSize>) {
    let status = |(mapping, row): (&routes::TableMapping, &TableRow)| {
        let size = sizes.get(&mapping.source.to_string()).copied().unwrap_or_default();
        let at = row.lsn.map(|lsn| format!(" (behind {lsn})")).unwrap_or_default();
        let reason =
            if row.reason.is_empty() { String::new() } else { format!("{}{at}", row.reason) };
        v1::TableStatus {
            source: mapping.source.to_string(),
            target: mapping.target.to_string(),
            state: row.state.as_str().to_owned(),
            rows_copied: row.rows_copied,
            reason,
            parked_rows: size.rows,
            parked_bytes: size.bytes,
            skipped: row.skipped,
            needs_resync: row.missed,
            ..v1::TableStatus::default()
        }
    };
    shared.set_tables(shared.spec.mappings.iter().zip(rows).map(status).collect());
    for mapping in &shared.spec.mappings {
        shared.unpark(&mapping.source.to_string(), ParkedSize::default());
    }
}
