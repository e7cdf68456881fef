//! Puts guard rows, triggers, publications and grants of one capability into one database.

use std::time::Duration;

use cutover::{Side, StreamKind};
use pg::{TableName, quote_ident, quote_literal};
use tokio::time::Instant;
use tokio_postgres::{Client, GenericClient, Transaction, error::SqlState};

use crate::{APPLIER_ROLE, GuardError, SequenceColumn, sequence};

/// Two installs on one server meet rarely; ten tries outlast any queue of them.
const RACES_MAX: u64 = 10;

/// Writers of a table wait behind an install that waits for the table: no longer than these ms in the first,
/// second and every further try. The last is longer than a second, after which autovacuum gives way.
const LOCK_TIMEOUTS_MS: [u32; 3] = [300, 600, 1_500];

/// Between two tries to lock a table its writers have this long for themselves.
const LET_PASS: Duration = Duration::from_millis(200);

/// A table whose lock is not granted for so long has a writer that an operator should look at.
const LOCKED_WITHIN: Duration = Duration::from_secs(60);

const SCHEMA: &str = include_str!("../sql/ficus.sql");

/// What one side needs.
#[derive(Clone, Debug)]
pub struct Install {
    /// Name of the capability.
    pub capability: String,
    /// Which side this database is: the source starts OPEN(1), the target MOVED(0), closed from birth.
    pub side: Side,
    /// The capability's tables on this side.
    pub tables: Vec<TableName>,
    /// On the source: tables that are only copied. On the target: their copies.
    pub references: Vec<TableName>,
    /// Columns whose sequences move with the capability; `name` is the same on both sides.
    pub sequences: Vec<SequenceColumn>,
}

/// Installs everything of a capability on one side, while the side is in use. Run as the role that owns
/// the tables. Idempotent: what exists is left alone. Columns without a sequence are skipped.
///
/// Each table is locked by itself and only for a moment, so that no writer waits long and none meets a
/// deadlock. The guard row comes last: without it nothing can be fenced.
///
/// # Errors
/// [`GuardError::LockTimeout`] when a table stays locked for a minute, [`GuardError::Database`] with the
/// server's message; what was installed before does no harm, and the call may be repeated.
pub async fn install(owner: &mut Client, plan: &Install) -> Result<(), GuardError> {
    repeated(owner, Step::Prepare).await?;
    for relation in with_partitions(owner, &plan.tables).await? {
        repeated(owner, Step::Guard(plan, &relation)).await?;
    }
    repeated(owner, Step::Finish(plan)).await
}

/// A transaction of its own.
#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    /// The role and the schema.
    Prepare,
    /// The trigger of one relation.
    Guard(&'a Install, &'a str),
    /// What needs no lock that a writer could wait for.
    Finish(&'a Install),
    /// Takes the trigger of a relation away.
    Release(&'a str),
}

/// One transaction, again when it met another install or its lock was not granted in time.
async fn repeated(owner: &mut Client, step: Step<'_>) -> Result<(), GuardError> {
    let (mut races, until) = (0, Instant::now() + LOCKED_WITHIN);
    let [mut timeout, .., last] = LOCK_TIMEOUTS_MS;
    let mut longer = LOCK_TIMEOUTS_MS.into_iter().skip(1);
    loop {
        match once(owner, timeout, step).await {
            Err(error) if is_race(&error) && races < RACES_MAX => {
                races += 1;
                tokio::time::sleep(Duration::from_millis(20 * races)).await;
            }
            Err(GuardError::LockTimeout(_)) if Instant::now() < until => {
                tokio::time::sleep(LET_PASS).await;
                timeout = longer.next().unwrap_or(last);
            }
            done => return done,
        }
    }
}

async fn once(owner: &mut Client, timeout_ms: u32, step: Step<'_>) -> Result<(), GuardError> {
    let tx = owner.transaction().await?;
    tx.batch_execute(&format!("SET LOCAL lock_timeout = {timeout_ms}")).await?;
    match step {
        Step::Prepare => prepare(&tx).await?,
        Step::Guard(plan, relation) => guard_table(&tx, plan, relation).await?,
        Step::Finish(plan) => finish(&tx, plan).await?,
        Step::Release(relation) => {
            let drop = format!("DROP TRIGGER IF EXISTS ficus_guard ON {relation}");
            tx.batch_execute(&drop).await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

/// Roles and parameter grants belong to the whole server, and PostgreSQL answers two sessions that
/// change them at once with an error instead of making one wait.
fn is_race(error: &GuardError) -> bool {
    let GuardError::Database { source, .. } = error else { return false };
    source.code().is_some_and(|code| {
        *code == SqlState::UNIQUE_VIOLATION
            || *code == SqlState::DUPLICATE_OBJECT
            || *code == SqlState::INTERNAL_ERROR
    })
}

async fn prepare(tx: &Transaction<'_>) -> Result<(), GuardError> {
    one_at_a_time(tx).await?;
    create_role(tx).await?;
    tx.batch_execute(SCHEMA).await?;
    grant_schema(tx).await
}

async fn finish(tx: &Transaction<'_>, plan: &Install) -> Result<(), GuardError> {
    one_at_a_time(tx).await?;
    for table in plan.tables.iter().chain(&plan.references) {
        grant_table(tx, table).await?;
    }
    // The first copy reads partitions one by one.
    let tables: Vec<TableName> = plan.tables.iter().chain(&plan.references).cloned().collect();
    for partition in with_partitions(tx, &tables).await? {
        tx.batch_execute(&format!("GRANT SELECT ON {partition} TO {APPLIER_ROLE}")).await?;
    }
    for column in &plan.sequences {
        sequence::register(tx, &plan.capability, column).await?;
    }
    publish(tx, StreamKind::Forward, &plan.capability, &plan.tables).await?;
    if plan.side == Side::Source && !plan.references.is_empty() {
        publish(tx, StreamKind::Reference, &plan.capability, &plan.references).await?;
    }
    insert_guard(tx, plan).await
}

/// Two installs at once would race on CREATE SCHEMA.
async fn one_at_a_time(tx: &Transaction<'_>) -> Result<(), GuardError> {
    Ok(tx.batch_execute("SELECT pg_advisory_xact_lock(hashtext('ficus.install'))").await?)
}

/// Takes a capability's triggers, publications and rows out of a database again, for giving up before
/// the first cutover. The `ficus` schema stays while other capabilities use it.
///
/// # Errors
/// [`GuardError::Database`] with the server's message; nothing was changed then.
pub async fn uninstall(owner: &mut Client, capability: &str) -> Result<(), GuardError> {
    let rows = owner
        .query("SELECT relation FROM ficus.guard_table WHERE capability = $1", &[&capability])
        .await?;
    for row in &rows {
        let relation: String = row.try_get(0)?;
        repeated(owner, Step::Release(&relation)).await?;
    }
    let tx = owner.transaction().await?;
    for kind in [StreamKind::Forward, StreamKind::Reference] {
        let publication = quote_ident(&kind.publication(capability));
        tx.batch_execute(&format!("DROP PUBLICATION IF EXISTS {publication}")).await?;
    }
    for table in ["parked", "chunk"] {
        let sql = format!(
            "DELETE FROM ficus.{table} WHERE stream IN
                 (SELECT stream FROM ficus.apply WHERE capability = $1)"
        );
        tx.execute(&sql, &[&capability]).await?;
    }
    for table in ["guard_table", "guard_sequence", "apply", "verification", "guard"] {
        tx.execute(&format!("DELETE FROM ficus.{table} WHERE capability = $1"), &[&capability])
            .await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn create_role(tx: &Transaction<'_>) -> Result<(), GuardError> {
    let exists =
        tx.query_opt("SELECT 1 FROM pg_roles WHERE rolname = $1", &[&APPLIER_ROLE]).await?;
    if exists.is_none() {
        tx.batch_execute(&format!("CREATE ROLE {APPLIER_ROLE} LOGIN REPLICATION")).await?;
    }
    Ok(())
}

async fn grant_schema(tx: &Transaction<'_>) -> Result<(), GuardError> {
    tx.batch_execute(&format!(
        "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ficus FROM PUBLIC;
         GRANT USAGE ON SCHEMA ficus TO PUBLIC;
         GRANT EXECUTE ON FUNCTION ficus.refuse() TO PUBLIC;
         GRANT SELECT ON ficus.guard TO PUBLIC;
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA ficus TO {APPLIER_ROLE};
         REVOKE EXECUTE ON FUNCTION ficus.set_triggers(text, boolean), ficus.lock_guard(text),
             ficus.short_locks(integer) FROM {APPLIER_ROLE};
         GRANT SELECT ON ALL TABLES IN SCHEMA ficus TO {APPLIER_ROLE};
         GRANT INSERT, UPDATE, DELETE ON ficus.apply, ficus.copy, ficus.verification,
             ficus.parked, ficus.chunk
             TO {APPLIER_ROLE};
         GRANT USAGE, CREATE ON SCHEMA ficus_stage TO {APPLIER_ROLE};"
    ))
    .await?;
    // Only a superuser may grant these; a managed server's documented fallback grants them beforehand.
    let superuser: bool = tx
        .query_one("SELECT rolsuper FROM pg_roles WHERE rolname = current_user", &[])
        .await?
        .try_get(0)?;
    if superuser {
        tx.batch_execute(&format!(
            "GRANT SET ON PARAMETER session_replication_role TO {APPLIER_ROLE};
             GRANT EXECUTE ON FUNCTION pg_replication_origin_create(text),
                 pg_replication_origin_drop(text), pg_replication_origin_oid(text),
                 pg_replication_origin_session_setup(text), pg_replication_origin_session_reset(),
                 pg_replication_origin_session_is_setup(),
                 pg_replication_origin_xact_setup(pg_lsn, timestamptz),
                 pg_replication_origin_session_progress(boolean),
                 pg_replication_origin_progress(text, boolean) TO {APPLIER_ROLE};
             GRANT pg_read_all_stats TO {APPLIER_ROLE};"
        ))
        .await?;
    }
    Ok(())
}

/// The tables themselves and every partition below them, as quoted names.
async fn with_partitions(
    owner: &impl GenericClient,
    tables: &[TableName],
) -> Result<Vec<String>, GuardError> {
    let mut relations = Vec::new();
    for table in tables {
        let quoted = table.quoted();
        let rows = owner
            .query(
                "SELECT format('%I.%I', n.nspname, c.relname)
                 FROM pg_partition_tree($1::text::regclass) t
                 JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace",
                &[&quoted],
            )
            .await?;
        if rows.is_empty() {
            relations.push(quoted);
        }
        for row in &rows {
            relations.push(row.try_get(0)?);
        }
    }
    Ok(relations)
}

/// The trigger of one relation, and that the fence knows it, in one transaction: a relation the guard
/// lists has its trigger.
async fn guard_table(
    tx: &Transaction<'_>,
    plan: &Install,
    relation: &str,
) -> Result<(), GuardError> {
    let inserted = tx
        .execute(
            "INSERT INTO ficus.guard_table VALUES ($1, $2) ON CONFLICT DO NOTHING",
            &[&plan.capability, &relation],
        )
        .await?;
    if inserted == 0 {
        return Ok(());
    }
    let state = match plan.side {
        Side::Source => "DISABLE TRIGGER",
        Side::Target => "ENABLE ALWAYS TRIGGER",
    };
    // OR REPLACE in place of a DROP, which would keep readers out
    tx.batch_execute(&format!(
        "CREATE OR REPLACE TRIGGER ficus_guard
             BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {relation}
             FOR EACH STATEMENT WHEN (session_user <> '{APPLIER_ROLE}')
             EXECUTE FUNCTION ficus.refuse();
         ALTER TABLE {relation} {state} ficus_guard;"
    ))
    .await?;
    Ok(())
}

async fn grant_table(tx: &Transaction<'_>, table: &TableName) -> Result<(), GuardError> {
    let (schema, relation) = (quote_ident(&table.schema), table.quoted());
    tx.batch_execute(&format!(
        "GRANT USAGE ON SCHEMA {schema} TO {APPLIER_ROLE};
         GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {relation} TO {APPLIER_ROLE};"
    ))
    .await?;
    Ok(())
}

async fn publish(
    tx: &Transaction<'_>,
    kind: StreamKind,
    capability: &str,
    tables: &[TableName],
) -> Result<(), GuardError> {
    let publication = kind.publication(capability);
    let exists =
        tx.query_opt("SELECT 1 FROM pg_publication WHERE pubname = $1", &[&publication]).await?;
    if exists.is_some() || tables.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = tables.iter().map(TableName::quoted).collect();
    tx.batch_execute(&format!(
        "CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true)",
        quote_ident(&publication),
        list.join(", ")
    ))
    .await?;
    Ok(())
}

async fn insert_guard(tx: &Transaction<'_>, plan: &Install) -> Result<(), GuardError> {
    let (state, epoch) = match plan.side {
        Side::Source => ("OPEN", 1),
        Side::Target => ("MOVED", 0),
    };
    tx.batch_execute(&format!(
        "INSERT INTO ficus.guard (capability, state, epoch, system_id, timeline)
         SELECT {}, '{state}', {epoch}, system_identifier::text, timeline_id
         FROM pg_control_system(), pg_control_checkpoint() ON CONFLICT DO NOTHING",
        quote_literal(&plan.capability)
    ))
    .await?;
    Ok(())
}
