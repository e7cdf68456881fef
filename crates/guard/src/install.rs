//! Puts guard rows, triggers, publications and grants of one capability into one database.

use std::time::Duration;

use cutover::{Side, StreamKind};
use pg::{TableName, quote_ident, quote_literal};
use tokio_postgres::{Client, Transaction, error::SqlState};

use crate::{APPLIER_ROLE, GuardError};

/// Two installs on one server meet rarely; ten tries outlast any queue of them.
const ATTEMPTS_MAX: u64 = 10;

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

/// A column that may be fed by a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceColumn {
    /// The pair's name on both sides: the source's `schema.table.column`.
    pub name: String,
    /// This side's table.
    pub table: TableName,
    /// This side's column.
    pub column: String,
}

/// Installs, in one transaction, everything of a capability on one side. Run as the role that owns the
/// tables. Idempotent: guard rows that exist are left alone. Columns without a sequence are skipped.
///
/// # Errors
/// [`GuardError::Database`] with the server's message; nothing was changed then.
pub async fn install(owner: &mut Client, plan: &Install) -> Result<(), GuardError> {
    let mut attempt = 1;
    loop {
        match install_once(owner, plan).await {
            Err(error) if attempt < ATTEMPTS_MAX && is_race(&error) => {
                tokio::time::sleep(Duration::from_millis(20 * attempt)).await;
                attempt += 1;
            }
            done => return done,
        }
    }
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

async fn install_once(owner: &mut Client, plan: &Install) -> Result<(), GuardError> {
    let tx = owner.transaction().await?;
    // two installs at once would race on CREATE SCHEMA
    tx.batch_execute("SELECT pg_advisory_xact_lock(hashtext('ficus.install'))").await?;
    create_role(&tx).await?;
    tx.batch_execute(SCHEMA).await?;
    grant_schema(&tx).await?;
    let relations = with_partitions(&tx, &plan.tables).await?;
    for relation in &relations {
        guard_table(&tx, plan, relation).await?;
    }
    for table in plan.tables.iter().chain(&plan.references) {
        grant_table(&tx, table).await?;
    }
    // The first copy reads partitions one by one.
    for partition in with_partitions(&tx, &plan.references).await?.iter().chain(&relations) {
        tx.batch_execute(&format!("GRANT SELECT ON {partition} TO {APPLIER_ROLE}")).await?;
    }
    for sequence in &plan.sequences {
        register_sequence(&tx, &plan.capability, sequence).await?;
    }
    publish(&tx, StreamKind::Forward, &plan.capability, &plan.tables).await?;
    if plan.side == Side::Source && !plan.references.is_empty() {
        publish(&tx, StreamKind::Reference, &plan.capability, &plan.references).await?;
    }
    insert_guard(&tx, plan).await?;
    tx.commit().await?;
    Ok(())
}

/// Takes a capability's triggers, publications and rows out of a database again, for giving up before
/// the first cutover. The `ficus` schema stays while other capabilities use it.
///
/// # Errors
/// [`GuardError::Database`] with the server's message; nothing was changed then.
pub async fn uninstall(owner: &mut Client, capability: &str) -> Result<(), GuardError> {
    let tx = owner.transaction().await?;
    let rows = tx
        .query("SELECT relation FROM ficus.guard_table WHERE capability = $1", &[&capability])
        .await?;
    for row in &rows {
        let relation: String = row.try_get(0)?;
        tx.batch_execute(&format!("DROP TRIGGER IF EXISTS ficus_guard ON {relation}")).await?;
    }
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
    for table in ["guard_table", "guard_sequence", "apply", "guard"] {
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
         GRANT INSERT, UPDATE, DELETE ON ficus.apply, ficus.copy, ficus.parked, ficus.chunk
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
    tx: &Transaction<'_>,
    tables: &[TableName],
) -> Result<Vec<String>, GuardError> {
    let mut relations = Vec::new();
    for table in tables {
        let quoted = table.quoted();
        let rows = tx
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
    tx.batch_execute(&format!(
        "DROP TRIGGER IF EXISTS ficus_guard ON {relation};
         CREATE TRIGGER ficus_guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {relation}
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

async fn register_sequence(
    tx: &Transaction<'_>,
    capability: &str,
    sequence: &SequenceColumn,
) -> Result<(), GuardError> {
    tx.execute(
        "INSERT INTO ficus.guard_sequence
         SELECT $1, $2, s FROM pg_get_serial_sequence($3, $4) s WHERE s IS NOT NULL
         ON CONFLICT DO NOTHING",
        &[&capability, &sequence.name, &sequence.table.quoted(), &sequence.column],
    )
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
