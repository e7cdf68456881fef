//! Brings a stream into being and takes it away again: slot on the side that is read, progress row
//! on the side that is written. Each step finds and mends what an earlier attempt left behind.

use std::{sync::Arc, time::Duration};

use cutover::{Side, StreamKind};
use pg::Lsn;
use pg_connect::Settings;
use routes::CopyMode;
use tokio_postgres::{Client, types::PgLsn};

use crate::{
    StreamError,
    apply_row::{self, Mode},
    copy,
    mapping::TablePlan,
    session,
    spec::StreamSpec,
    tables::{self, TableState},
    wire::{ReplicationClient, SystemIdentity, WireError},
};

/// How long a slot may stay in use after whoever read from it was told to stop.
const SLOT_RELEASE_TRIES: u32 = 50;
const SLOT_RELEASE_EVERY: Duration = Duration::from_millis(100);

/// A stream that was just made. Its snapshot lives as long as `client` is left alone.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) client: ReplicationClient,
    /// To copy from, for streams that begin with a copy.
    pub(crate) snapshot: Option<String>,
    /// Where the stream begins: tells this creation from an earlier one.
    pub(crate) lsn: Lsn,
}

/// Makes the stream unless it is there; answers what is needed to copy when it was made now.
///
/// # Errors
/// [`StreamError::Operator`] with what is missing and how to mend it.
pub(crate) async fn create(spec: &Arc<StreamSpec>) -> Result<Option<Created>, StreamError> {
    let writer = session::open(spec.write_url(), spec.writes(), "ficus-cdc-start").await?;
    let row = apply_row::read(&writer, &spec.key())
        .await
        .map_err(StreamError::database("read the stream's row", spec.writes()))?;
    if row.is_some() {
        return Ok(None);
    }
    check_guards(spec, &writer).await?;
    let plans = spec.plans().await?;
    if begins_with_copy(spec.kind) {
        empty_targets(spec, &writer, &plans).await?;
    }
    make(spec, &writer).await.map(Some)
}

/// Makes a stream anew whose first copy was interrupted.
///
/// # Errors
/// As [`create`].
pub(crate) async fn recreate(
    spec: &Arc<StreamSpec>,
    plans: &[TablePlan],
) -> Result<Created, StreamError> {
    let writer = session::open(spec.write_url(), spec.writes(), "ficus-cdc-start").await?;
    check_guards(spec, &writer).await?;
    empty_targets(spec, &writer, plans).await?;
    let mut client = connect(spec.read_url(), spec.reads(), &spec.slot()).await?;
    // The row stays until a new position takes its place: without it nobody would know of the stream.
    drop_slot(&mut client, spec).await?;
    make(spec, &writer).await
}

/// Stops being a stream: drops slot, progress row and origin.
///
/// # Errors
/// When one of the databases can not be reached, or somebody else reads from the slot.
pub(crate) async fn remove(spec: &StreamSpec) -> Result<(), StreamError> {
    let mut client = connect(spec.read_url(), spec.reads(), &spec.slot()).await?;
    drop_slot(&mut client, spec).await?;
    let side = spec.writes();
    let writer = session::open(spec.write_url(), side, "ficus-cdc-drop").await?;
    // The list of copies stays: it tells a later start that the rows in the tables are ours.
    let removed = writer.execute("DELETE FROM ficus.apply WHERE stream = $1", &[&spec.key()]).await;
    match removed {
        Err(error) if error.code().is_some_and(|code| code.code() == "42P01") => {}
        removed => {
            removed.map_err(StreamError::database("delete the stream's row", side))?;
            tables::forget(&writer, spec).await?;
        }
    }
    let origins = vec![spec.slot(), spec.repair_origin(), spec.resync_origin()];
    let dropped = writer
        .execute(
            "SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin
             WHERE roname = ANY ($1)",
            &[&origins],
        )
        .await;
    if let Err(error) = dropped {
        // Without a stream an origin is only a name.
        tracing::warn!(stream = spec.key(), %error, "replication origin could not be dropped");
    }
    copy::give_back_indexes(spec).await;
    Ok(())
}

/// Notes why nobody shall try the stream again by itself, and drops its slot if it has to go. The slot
/// goes even when the reason cannot be noted.
///
/// # Errors
/// What could not be done.
pub(crate) async fn give_up(
    spec: &StreamSpec,
    reason: &str,
    drops_slot: bool,
) -> Result<(), StreamError> {
    let side = spec.writes();
    let note = async {
        let writer = session::open(spec.write_url(), side, "ficus-cdc-give-up").await?;
        writer
            .execute(
                "UPDATE ficus.apply SET gave_up = $2 WHERE stream = $1",
                &[&spec.key(), &reason],
            )
            .await
            .map_err(StreamError::database("note why the stream was given up", side))
    };
    let dropped = async {
        if !drops_slot {
            return Ok(());
        }
        let mut client = connect(spec.read_url(), spec.reads(), &spec.slot()).await?;
        drop_slot(&mut client, spec).await
    };
    let (noted, dropped) = tokio::join!(note, dropped);
    dropped.and_then(|()| noted.map(drop))
}

/// Sets whether the stream is paused, and lets it try again what was given up; answers whether there is
/// such a stream.
///
/// # Errors
/// When the database can not be reached.
pub(crate) async fn set_paused(spec: &StreamSpec, paused: bool) -> Result<bool, StreamError> {
    let side = spec.writes();
    let writer = session::open(spec.write_url(), side, "ficus-cdc-pause").await?;
    let count = writer
        .execute(
            "UPDATE ficus.apply SET paused = $2, gave_up = CASE WHEN $2 THEN gave_up END
             WHERE stream = $1",
            &[&spec.key(), &paused],
        )
        .await
        .map_err(StreamError::database("pause or resume the stream", side))?;
    Ok(count == 1)
}

/// How far the log of the database that is read goes now.
///
/// # Errors
/// When the database can not be reached.
pub(crate) async fn current_position(spec: &StreamSpec) -> Result<Lsn, StreamError> {
    let side = spec.reads();
    let reader = session::open(spec.read_url(), side, "ficus-cdc-resume").await?;
    let row = reader
        .query_one("SELECT pg_current_wal_insert_lsn()", &[])
        .await
        .map_err(StreamError::database("read the position", side))?;
    Ok(Lsn::new(row.get::<_, PgLsn>(0).into()))
}

/// Whether the stream's tables are copied before it streams.
pub(crate) const fn begins_with_copy(kind: StreamKind) -> bool {
    match kind {
        StreamKind::Forward | StreamKind::Reference => true,
        StreamKind::Reverse => false,
    }
}

/// Whether the first copy reads one snapshot, that of the slot; else it is a resync of every table.
fn copies_a_snapshot(spec: &StreamSpec) -> bool {
    begins_with_copy(spec.kind) && spec.copy == CopyMode::Snapshot
}

/// A replication connection.
///
/// # Errors
/// When the server refuses it.
pub(crate) async fn connect(
    url: &str,
    side: Side,
    name: &str,
) -> Result<ReplicationClient, StreamError> {
    let mut settings: Settings =
        url.parse().map_err(|error| StreamError::Operator(format!("{side}: {error}")))?;
    settings.application_name(name);
    ReplicationClient::connect(&settings).await.map_err(StreamError::wire(side))
}

async fn make(spec: &Arc<StreamSpec>, writer: &Client) -> Result<Created, StreamError> {
    let side = spec.reads();
    let mut client = connect(spec.read_url(), side, &spec.slot()).await?;
    let lineage = client.identify_system().await.map_err(StreamError::wire(side))?;
    // A slot without a row is what an interrupted start or drop left behind.
    drop_slot(&mut client, spec).await?;
    let (name, export) = (spec.slot(), copies_a_snapshot(spec));
    let slot = if spec.failover_slot {
        client.create_failover_slot(&name, export).await
    } else {
        client.create_slot(&name, export).await
    };
    let slot = slot.map_err(StreamError::wire(side))?;
    tables::forget(writer, spec).await?;
    insert_rows(spec, writer, &lineage, slot.consistent_point).await?;
    tracing::info!(stream = spec.key(), lsn = %slot.consistent_point, "stream created");
    Ok(Created { client, snapshot: slot.snapshot_name, lsn: slot.consistent_point })
}

async fn insert_rows(
    spec: &StreamSpec,
    writer: &Client,
    lineage: &SystemIdentity,
    lsn: Lsn,
) -> Result<(), StreamError> {
    let copies = copies_a_snapshot(spec);
    let mode = if begins_with_copy(spec.kind) { Mode::Apply } else { Mode::Stopped };
    let timeline = i32::try_from(lineage.timeline).unwrap_or(i32::MAX);
    let (key, slot, kind) = (spec.key(), spec.slot(), spec.kind.as_str());
    let sources: Vec<String> = spec.mappings.iter().map(|m| m.source.to_string()).collect();
    let targets: Vec<String> = spec.mappings.iter().map(|m| m.target.to_string()).collect();
    let state = match (begins_with_copy(spec.kind), copies) {
        (true, true) => TableState::Pending,
        // From the first moment on changes are parked, and each chunk knows which of them it has.
        (true, false) => TableState::Resyncing,
        (false, _) => TableState::Ready,
    };
    // One statement, so that a copy is known to be unfinished from the moment the stream exists.
    writer
        .execute(
            "WITH stream AS (
                 INSERT INTO ficus.apply (stream, capability, kind, mode, lsn, slot,
                     peer_system_id, peer_timeline, copied)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
                 ON CONFLICT (stream) DO UPDATE SET mode = excluded.mode, lsn = excluded.lsn,
                     slot = excluded.slot, peer_system_id = excluded.peer_system_id,
                     peer_timeline = excluded.peer_timeline, copied = excluded.copied
                 WHERE NOT ficus.apply.copied)
             INSERT INTO ficus.copy (stream, source, target, state)
             SELECT $1, source, target, $12 FROM unnest($10::text[], $11::text[]) t(source, target)
             ON CONFLICT (stream, source) DO UPDATE SET target = excluded.target,
                 state = excluded.state, rows_copied = 0, reason = '', key = NULL, lsn = NULL,
                 missed = false, skips = false, skipped = 0, shape = NULL, complete_lsn = NULL",
            &[
                &key,
                &&*spec.capability,
                &kind,
                &mode.as_str(),
                &PgLsn::from(lsn.as_u64()),
                &slot,
                &lineage.system_id,
                &timeline,
                &!copies,
                &sources,
                &targets,
                &state.as_str(),
            ],
        )
        .await
        .map_err(StreamError::database("insert the stream's row", spec.writes()))?;
    Ok(())
}

/// The service's side must be closed: what is copied there, or carried back from there, is complete
/// only while nobody writes.
async fn check_guards(spec: &StreamSpec, writer: &Client) -> Result<(), StreamError> {
    if spec.kind == StreamKind::Reference {
        return guard_state(spec, writer, spec.writes()).await.map(drop);
    }
    let state = match spec.writes() {
        Side::Target => guard_state(spec, writer, Side::Target).await?,
        Side::Source => {
            guard_state(spec, writer, Side::Source).await?;
            let reader = session::open(spec.read_url(), Side::Target, "ficus-cdc-start").await?;
            guard_state(spec, &reader, Side::Target).await?
        }
    };
    if state == "MOVED" {
        return Ok(());
    }
    Err(StreamError::Operator(format!(
        "the {} stream of {} can not start while the service's side is {state}: its changes from \
         before the start would be missing",
        spec.kind.as_str(),
        spec.capability
    )))
}

async fn guard_state(
    spec: &StreamSpec,
    client: &Client,
    side: Side,
) -> Result<String, StreamError> {
    let missing = || {
        StreamError::Operator(format!(
            "capability {} has no guard in the {side} database: run `ficus start {}`",
            spec.capability, spec.capability
        ))
    };
    let row = client
        .query_opt("SELECT state FROM ficus.guard WHERE capability = $1", &[&&*spec.capability])
        .await;
    match row {
        Ok(row) => row.map(|row| row.get(0)).ok_or_else(missing),
        Err(error) if error.code().is_some_and(|c| matches!(c.code(), "42P01" | "3F000")) => {
            Err(missing())
        }
        Err(error) => Err(StreamError::database("read the guard", side)(error)),
    }
}

/// Empties the tables to copy into, when their rows came from an earlier copy of ours.
async fn empty_targets(
    spec: &StreamSpec,
    writer: &Client,
    plans: &[TablePlan],
) -> Result<(), StreamError> {
    let side = spec.writes();
    let ours: Vec<String> = writer
        .query("SELECT source FROM ficus.copy WHERE stream = $1", &[&spec.key()])
        .await
        .map_err(StreamError::database("read the copied tables", side))?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let mut to_empty = Vec::new();
    let mut strangers = Vec::new();
    for plan in plans {
        let name = plan.write.quoted();
        let row = writer
            .query_one(&format!("SELECT EXISTS (SELECT 1 FROM {name})"), &[])
            .await
            .map_err(StreamError::database("look for rows in the target table", side))?;
        match (row.get::<_, bool>(0), ours.contains(&plan.source.to_string())) {
            // Also one that looks empty: a copy that is being given up may still hold rows of it.
            (_, true) => to_empty.push(name),
            (true, false) => strangers.push(name),
            (false, false) => {}
        }
    }
    if !strangers.is_empty() {
        return Err(StreamError::Operator(format!(
            "the copy needs empty tables and these have rows: TRUNCATE {}",
            strangers.join(", ")
        )));
    }
    if !to_empty.is_empty() {
        tracing::info!(
            stream = spec.key(),
            tables = to_empty.len(),
            "emptied tables to copy again"
        );
        writer
            .batch_execute(&format!("TRUNCATE {}", to_empty.join(", ")))
            .await
            .map_err(StreamError::database("empty the tables to copy into", side))?;
    }
    Ok(())
}

/// Drops the slot; waits for whoever was just told to stop reading from it.
async fn drop_slot(client: &mut ReplicationClient, spec: &StreamSpec) -> Result<(), StreamError> {
    let slot = spec.slot();
    for _ in 1..SLOT_RELEASE_TRIES {
        match client.drop_slot(&slot).await {
            Err(error) if error.is_slot_in_use() => tokio::time::sleep(SLOT_RELEASE_EVERY).await,
            result => return slot_dropped(result, spec),
        }
    }
    slot_dropped(client.drop_slot(&slot).await, spec)
}

fn slot_dropped(result: Result<(), WireError>, spec: &StreamSpec) -> Result<(), StreamError> {
    match result {
        Err(error) if error.is_slot_missing() => Ok(()),
        result => result.map_err(StreamError::wire(spec.reads())),
    }
}
