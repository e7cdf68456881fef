//! `table` and `changes`: one table that waits, while the others of its stream go on.

use std::sync::Arc;

use rpc::v1;

use super::no_transfer;
use crate::{
    api::{ChangedTable, TableAnswer},
    core::Core,
    problem::Problem,
};

/// What is wanted of which table.
#[derive(Clone, Debug)]
pub(crate) struct TableWanted {
    /// retry, skip, resync, accept
    pub(crate) action: String,
    /// As the monolith calls it.
    pub(crate) table: String,
    /// Empty: where it waits.
    pub(crate) stream: String,
}

/// Puts a table right that waits, or copies it again. A transfer that runs needs all tables as they are.
pub(crate) async fn table(
    core: &Arc<Core>,
    name: &str,
    wanted: TableWanted,
) -> Result<TableAnswer, Problem> {
    no_transfer(core, name)?;
    let TableWanted { action, table, stream } = wanted;
    let request = v1::TableRequest { capability: name.to_owned(), kind: stream, table, action };
    let v1::TableReply { kind, table, state } = core.replicator.table(request).await?;
    // What is shown next shall show it.
    drop(core.replicator.ask().await);
    Ok(TableAnswer { stream: kind, table, state })
}

/// The tables whose shape changed, of one capability or of all.
pub(crate) async fn changes(
    core: &Arc<Core>,
    name: Option<&str>,
) -> Result<Vec<ChangedTable>, Problem> {
    let tables = core.replicator.changes(name.unwrap_or_default()).await?;
    let changed = |table: v1::ChangedTable| ChangedTable {
        stream: table.kind,
        source: table.source,
        target: table.target,
        reason: table.reason,
        changes: table.changes,
        remedies: table.remedies,
        problems: table.problems,
        needs_resync: table.needs_resync,
    };
    Ok(tables.into_iter().map(changed).collect())
}
