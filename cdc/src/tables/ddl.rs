//! Tables whose shape changed: noticing it, keeping the shape the mapping fitted, and explaining what
//! to do.

use pg::pgoutput::Relation;
use rpc::v1;

use super::{Shape, ShapeChange, TableRow, TableState, shape::is_current, store};
use crate::{
    StreamError, catalog,
    mapping::TablePlan,
    session,
    spec::{StreamSpec, StreamTable},
};
use cutover::Side;

/// A parked description has to be explained by the table as it is: an older one lacks columns that came
/// later or has some that went, which does no harm. A plan for another shape than the table has now
/// would.
///
/// # Errors
/// [`StreamError::Changed`] when the table changed after the mapping was resolved.
pub(crate) async fn check_description(
    spec: &StreamSpec,
    plan: &TablePlan,
    relation: &Relation,
) -> Result<(), StreamError> {
    let fits = relation.columns.len() == plan.columns.len()
        && relation.columns.iter().all(|column| {
            let known = plan.columns.iter().find(|known| known.name == column.name);
            known.is_some_and(|known| known.type_oid == column.type_oid)
        });
    if fits {
        return Ok(());
    }
    let reader = session::open_for_catalogs(spec.read_url(), spec.reads()).await?;
    let table = catalog::read_table(&reader, &plan.read)
        .await
        .map_err(StreamError::database("read the catalog", spec.reads()))?;
    if table.is_some_and(|table| is_current(plan, &table)) {
        return Ok(());
    }
    Err(StreamError::Changed {
        table: plan.source.to_string(),
        what: "its columns changed again".to_owned(),
    })
}

/// Keeps the shape of every table that is ready, for the day it changes.
///
/// # Errors
/// What the database said.
pub(crate) async fn note_shapes(
    client: &tokio_postgres::Client,
    spec: &StreamSpec,
    ready: &[(String, &Shape)],
) -> Result<(), StreamError> {
    for (source, shape) in ready {
        client
            .execute(
                "UPDATE ficus.copy SET shape = $3 WHERE stream = $1 AND source = $2
                     AND state IN ('ready', 'replaying')",
                &[&spec.key(), source, &shape.to_text()],
            )
            .await
            .map_err(StreamError::database("keep the shapes of tables", spec.writes()))?;
    }
    Ok(())
}

/// The tables of a stream that wait because their shape changed: what changed, what to do, and what
/// still does not fit.
///
/// # Errors
/// When one of the databases cannot be read.
pub(crate) async fn changed_tables(
    spec: &StreamSpec,
) -> Result<Vec<v1::ChangedTable>, StreamError> {
    let writer = session::open(spec.write_url(), spec.writes(), "ficus-cdc-table").await?;
    let rows = match store::read(&writer, spec).await {
        Ok(rows) => rows,
        // Nothing was installed yet.
        Err(StreamError::Operator(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    if !rows.values().any(|row| row.state == TableState::Changed) {
        return Ok(Vec::new());
    }
    let tables = spec.tables().await?;
    let mut changed = Vec::new();
    for (mapping, table) in spec.mappings.iter().zip(&tables) {
        let Some(row) = rows.get(&mapping.source.to_string()) else { continue };
        if row.state == TableState::Changed {
            changed.push(explain(spec, mapping, table, row));
        }
    }
    Ok(changed)
}

fn explain(
    spec: &StreamSpec,
    mapping: &routes::TableMapping,
    table: &StreamTable,
    row: &TableRow,
) -> v1::ChangedTable {
    let before = row.shape.as_deref().and_then(Shape::parse);
    let changes = match (&before, &table.shape) {
        (Some(before), Some(now)) => before.changes_to(now),
        (None, _) | (_, None) => Vec::new(),
    };
    let written = match spec.writes() {
        Side::Target => &mapping.target,
        Side::Source => &mapping.source,
    };
    let name_there = |column: &str| match spec.writes() {
        Side::Target => mapping.columns.get(column).map_or(column, String::as_str).to_owned(),
        Side::Source => {
            let renamed = mapping.columns.iter().find(|(_, to)| *to == column);
            renamed.map_or(column, |(from, _)| from.as_str()).to_owned()
        }
    };
    let remedies = |change: &ShapeChange| change.remedy(&written.quoted(), name_there);
    let problems = match &table.plan {
        Ok(_) => Vec::new(),
        Err(error) => error.problems.iter().map(ToString::to_string).collect(),
    };
    v1::ChangedTable {
        kind: spec.kind.as_str().to_owned(),
        source: mapping.source.to_string(),
        target: mapping.target.to_string(),
        reason: row.reason.clone(),
        changes: changes.iter().map(ToString::to_string).collect(),
        remedies: changes.iter().flat_map(remedies).collect(),
        problems,
        needs_resync: row.missed,
    }
}
