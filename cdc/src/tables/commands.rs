//! Changes to how a table stands that come from outside of a running stream: a conflict that ended it,
//! or an operator. Each is one transaction, and makes every applier that did not know of it start again.

use cutover::Side;
use telemetry::Chain;
use tokio_postgres::Client;

use super::{NewState, TableCommand, TableRow, TableState, parked, store};
use crate::{
    StreamError, mapping::MappingError, resync::stage_name, session, spec::StreamSpec,
    status::StreamShared,
};

/// Does what an operator asks for; the stream must not run. Answers the state afterwards.
///
/// # Errors
/// [`StreamError::Operator`] or [`StreamError::Mapping`] with why it makes no sense now; nothing was
/// changed then.
pub(crate) async fn command(
    spec: &StreamSpec,
    source: &str,
    command: TableCommand,
) -> Result<TableState, StreamError> {
    match command {
        TableCommand::Accept | TableCommand::Resync => must_fit(spec, source).await?,
        TableCommand::Retry | TableCommand::Skip => {}
    }
    let mut writer = session::open(spec.write_url(), spec.writes(), "ficus-cdc-table").await?;
    let doing = StreamError::database("change the table's state", spec.writes());
    let transaction = writer.build_transaction().start().await.map_err(doing)?;
    let client = transaction.client();
    let row = row(client, spec, source).await?;
    let state = row.state.after(command, row.missed).map_err(|error| {
        StreamError::Operator(format!("{source} can not be put right this way: {error}"))
    })?;
    if command == TableCommand::Resync {
        forget_resync(client, spec, source).await?;
        if row.missed {
            parked::drop_all(client, spec, source).await?;
        }
    }
    let new = NewState {
        state,
        reason: if command == TableCommand::Resync { "" } else { &row.reason },
        key: row.key.as_deref(),
        skips: command == TableCommand::Skip,
    };
    store::set_state(client, spec, source, new).await?;
    let doing = StreamError::database("change the table's state", spec.writes());
    transaction.commit().await.map_err(doing)?;
    tracing::info!(stream = spec.key(), table = source, %command, %state, "table changed state");
    if let Err(error) = mark(spec).await {
        tracing::debug!(stream = spec.key(), error = %Chain(&error), "no mark was written");
    }
    Ok(state)
}

/// Writes a small transaction to the log that is read: where nothing else happens the stream would not
/// come past what stopped the table for a while.
async fn mark(spec: &StreamSpec) -> Result<(), StreamError> {
    let reader = session::open(spec.read_url(), spec.reads(), "ficus-cdc-table").await?;
    reader
        .query_one("SELECT pg_logical_emit_message(true, 'ficus.heartbeat', '')", &[])
        .await
        .map(drop)
        .map_err(StreamError::database("write a mark", spec.reads()))
}

/// Notes that a table waits from now on, because of what ended the stream. The others go on.
///
/// # Errors
/// When it could not be noted.
pub(crate) async fn quarantine(
    shared: &StreamShared,
    source: &str,
    new: NewState<'_>,
) -> Result<(), StreamError> {
    let spec = &shared.spec;
    let writer = session::open(spec.write_url(), spec.writes(), "ficus-cdc-table").await?;
    store::set_state(&writer, spec, source, new).await?;
    tracing::warn!(stream = spec.key(), table = source, state = %new.state, reason = new.reason, "table waits, the others go on");
    shared.update_table(source, |table| {
        new.state.as_str().clone_into(&mut table.state);
        new.reason.clone_into(&mut table.reason);
    });
    Ok(())
}

/// Notes that a resync cannot go on. Its parked changes went into the stage, so that only another
/// resync helps.
///
/// # Errors
/// When it could not be noted.
pub(crate) async fn abandon_resync(
    shared: &StreamShared,
    source: &str,
    reason: &str,
) -> Result<(), StreamError> {
    give_up(shared, source, |row| {
        let is_meant = row.state == TableState::Resyncing;
        is_meant.then(|| (TableState::Quarantined, reason.to_owned()))
    })
    .await
}

/// Drops what is parked for a table, because it is more than may be: from now on only a resync helps.
///
/// # Errors
/// When it could not be noted.
pub(crate) async fn park_no_more(shared: &StreamShared, source: &str) -> Result<(), StreamError> {
    let capability = &shared.spec.capability;
    give_up(shared, source, |row| {
        let state = match row.state {
            TableState::Changed => TableState::Changed,
            TableState::Quarantined | TableState::Resyncing | TableState::Replaying => {
                TableState::Quarantined
            }
            TableState::Pending | TableState::Copying | TableState::Ready => return None,
        };
        let before =
            if row.reason.is_empty() { String::new() } else { format!("{}; ", row.reason) };
        let reason = format!(
            "{before}its parked changes took more than cdc.parked_max and were dropped: \
             ficus table resync {capability} {source}"
        );
        Some((state, reason))
    })
    .await
}

/// Gives the table another state, from which only a resync leads on.
async fn give_up(
    shared: &StreamShared,
    source: &str,
    next: impl FnOnce(&TableRow) -> Option<(TableState, String)>,
) -> Result<(), StreamError> {
    let spec = &shared.spec;
    let doing = |error| StreamError::database("drop parked changes", spec.writes())(error);
    let mut writer = session::open(spec.write_url(), spec.writes(), "ficus-cdc-table").await?;
    let transaction = writer.build_transaction().start().await.map_err(doing)?;
    let client = transaction.client();
    let row = row(client, spec, source).await?;
    let Some((state, reason)) = next(&row) else { return Ok(()) };
    miss(client, spec, source).await?;
    let new = NewState { state, reason: &reason, key: row.key.as_deref(), skips: false };
    store::set_state(client, spec, source, new).await?;
    transaction.commit().await.map_err(doing)?;
    tracing::error!(
        stream = spec.key(),
        table = source,
        reason,
        "only a resync helps the table now"
    );
    shared.update_table(source, |table| {
        state.as_str().clone_into(&mut table.state);
        table.reason.clone_from(&reason);
        table.needs_resync = true;
    });
    Ok(())
}

/// Drops what is parked for a table, and what a resync made of it, in the caller's transaction: from
/// now on only a resync helps.
///
/// # Errors
/// What the database said.
async fn miss(client: &Client, spec: &StreamSpec, source: &str) -> Result<(), StreamError> {
    parked::drop_all(client, spec, source).await?;
    forget_resync(client, spec, source).await?;
    client
        .execute(
            "UPDATE ficus.copy SET missed = true WHERE stream = $1 AND source = $2",
            &[&spec.key(), &source],
        )
        .await
        .map(drop)
        .map_err(StreamError::database("note dropped changes", spec.writes()))
}

/// Removes what streams keep beside their tables; for a stream that is dropped.
///
/// # Errors
/// What the database said.
pub(crate) async fn forget(client: &Client, spec: &StreamSpec) -> Result<(), StreamError> {
    for mapping in &spec.mappings {
        let source = mapping.source.to_string();
        parked::drop_all(client, spec, &source).await?;
        forget_resync(client, spec, &source).await?;
    }
    Ok(())
}

/// The table's row, locked behind the stream's. A stopped stream's tables stay as they are: the side
/// that it writes to owns the rows.
async fn row(client: &Client, spec: &StreamSpec, source: &str) -> Result<TableRow, StreamError> {
    let stream = client
        .query_opt("SELECT mode FROM ficus.apply WHERE stream = $1 FOR UPDATE", &[&spec.key()])
        .await
        .map_err(StreamError::database("lock the stream's row", spec.writes()))?
        .ok_or(StreamError::Gone)?;
    if stream.get::<_, &str>(0) != "apply" {
        return Err(StreamError::Operator(format!(
            "the {} stream is stopped, because the {} owns the rows: its tables stay as they are",
            spec.kind.as_str(),
            spec.writes()
        )));
    }
    let mut rows = store::read(client, spec).await?;
    rows.remove(source).ok_or_else(|| {
        let mut known: Vec<String> = rows.into_keys().collect();
        known.sort_unstable();
        StreamError::Operator(format!(
            "the {} stream of {} has no table {source}: one of {}",
            spec.kind.as_str(),
            spec.capability,
            known.join(", ")
        ))
    })
}

async fn forget_resync(
    client: &Client,
    spec: &StreamSpec,
    source: &str,
) -> Result<(), StreamError> {
    let doing = |error| StreamError::database("forget an earlier resync", spec.writes())(error);
    client
        .batch_execute(&format!("DROP TABLE IF EXISTS {}", stage_name(spec, source)))
        .await
        .map_err(doing)?;
    client
        .execute(
            "WITH chunk AS (DELETE FROM ficus.chunk WHERE stream = $1 AND source = $2)
             UPDATE ficus.copy SET rows_copied = 0, complete_lsn = NULL, missed = false
             WHERE stream = $1 AND source = $2",
            &[&spec.key(), &source],
        )
        .await
        .map(drop)
        .map_err(doing)
}

/// The mapping of the table must fit both databases as they are now.
async fn must_fit(spec: &StreamSpec, source: &str) -> Result<(), StreamError> {
    let place = spec.mappings.iter().position(|mapping| mapping.source.to_string() == source);
    let Some(place) = place else { return Ok(()) };
    let mut tables = spec.tables().await?;
    if place >= tables.len() {
        return Err(StreamError::Worker);
    }
    match tables.swap_remove(place).plan {
        Ok(_) => Ok(()),
        Err(MappingError { problems }) => Err(MappingError { problems }.into()),
    }
}

/// The table of a stream that a conflict names, as the monolith calls it.
pub(crate) fn table_of_conflict(spec: &StreamSpec, named: &str) -> Option<String> {
    let is_named = |mapping: &&routes::TableMapping| {
        let written = match spec.writes() {
            Side::Source => mapping.source.to_string(),
            Side::Target => mapping.target.to_string(),
        };
        named.strip_prefix(&written).is_some_and(|rest| rest.is_empty() || rest.starts_with('('))
    };
    spec.mappings.iter().find(is_named).map(|mapping| mapping.source.to_string())
}

/// The key of the row that a conflict names, where it does.
pub(crate) fn key_of_conflict(named: &str) -> Option<&str> {
    named.find('(').and_then(|place| named.get(place..))
}
