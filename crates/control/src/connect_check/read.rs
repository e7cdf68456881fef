//! The queries. Reads only: every session is read-only and gives up after a bounded time.

use std::{path::Path, time::Duration};

use pg::TableName;
use tokio_postgres::{Client, Error, Row};

use super::catalog::{
    Collation, Column, Deferrable, ForeignKey, OpenTransaction, Prepared, Rights, Role, Server,
    Session, Slot, Table, Trigger, Type, UniqueIndex,
};
use super::disk;

/// Managed servers give the right to replicate by a role, such as `rds_replication`.
const ROLE: &str = "SELECT rolname::text, rolsuper, rolcreaterole, rolcanlogin,
        rolreplication OR EXISTS (SELECT FROM pg_catalog.pg_roles r
            WHERE r.rolname LIKE '%\\_replication' AND pg_has_role(me.oid, r.oid, 'USAGE')
                AND NOT me.rolsuper),
        rolbypassrls
    FROM pg_catalog.pg_roles me WHERE rolname = ";

/// Columns with their types. A domain over an enum counts as the enum; a database's own collation is
/// not a column's.
const COLUMNS: &str = "SELECT a.attname::text, a.attnotnull,
         a.atthasdef OR a.attidentity <> '', a.attgenerated <> '',
         format_type(CASE WHEN b.typtype = 'e' THEN b.oid ELSE t.oid END, NULL), t.oid < 16384,
         ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = b.oid
             ORDER BY e.enumsortorder),
         l.collname::text, l.collisdeterministic, l.collversion,
         pg_collation_actual_version(l.oid)
     FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
     JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
     LEFT JOIN pg_collation l ON l.oid = a.attcollation AND l.collname <> 'default'
     WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
     ORDER BY a.attnum";

/// Columns of a unique index that checks at once, for all rows, over plain columns.
const UNIQUE: &str = "SELECT c.relname::text,
         ARRAY(SELECT a.attname::text FROM unnest(i.indkey::smallint[]) WITH ORDINALITY k(n, place)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n
             WHERE k.place <= i.indnkeyatts ORDER BY k.place),
         i.indisprimary, i.indisreplident
     FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
     WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate
         AND i.indpred IS NULL AND i.indexprs IS NULL
     ORDER BY i.indisprimary DESC, i.indexrelid";

/// Both ends of every foreign key of a table, without the copies that partitions have of it.
const FOREIGN_KEYS: &str = "SELECT o.conname::text, fn.nspname::text, f.relname::text,
         tn.nspname::text, t.relname::text,
         CASE WHEN 'c' IN (o.confdeltype, o.confupdtype) THEN 'CASCADE'
              WHEN 'n' IN (o.confdeltype, o.confupdtype) THEN 'SET NULL'
              WHEN 'd' IN (o.confdeltype, o.confupdtype) THEN 'SET DEFAULT' ELSE '' END
     FROM pg_constraint o
     JOIN pg_class f ON f.oid = o.conrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
     JOIN pg_class t ON t.oid = o.confrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace
     WHERE o.contype = 'f' AND o.conparentid = 0 AND $1 IN (o.conrelid, o.confrelid)
     ORDER BY o.conname";

/// Everything about the server that the checks look at.
///
/// # Errors
/// What the database said.
pub(super) async fn server(client: &Client) -> Result<Server, Error> {
    let row = client
        .query_one(
            "SELECT system_identifier::text, current_setting('server_version_num')::integer,
                 current_setting('wal_level'),
                 current_setting('max_replication_slots')::bigint,
                 current_setting('max_wal_senders')::bigint,
                 (SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size'),
                 (SELECT count(*) FROM pg_stat_replication),
                 pg_is_in_recovery(), current_setting('server_encoding'),
                 CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE')
                     THEN current_setting('data_directory') END,
                 current_database()::text
             FROM pg_control_system()",
            &[],
        )
        .await?;
    let system_id: String = row.get(0);
    let data_directory: Option<String> = row.get(9);
    let free_disk = data_directory.and_then(|path| disk::free(Path::new(&path), &system_id));
    Ok(Server {
        system_id,
        database: row.get(10),
        version: row.get(1),
        wal_level: row.get(2),
        slots_max: row.get(3),
        senders_max: row.get(4),
        slot_wal_keep_mb: row.get(5),
        senders: row.get(6),
        in_recovery: row.get(7),
        encoding: row.get(8),
        free_disk,
        collation_drift: collation_drift(client).await?,
        index_builds: index_builds(client).await?,
        slots: slots(client).await?,
        prepared: prepared(client).await?,
        transactions: transactions(client).await?,
        sessions: sessions(client).await?,
    })
}

/// Which server this session came to. Behind a load balancer the next one may come to another.
///
/// # Errors
/// What the database said.
pub(super) async fn system_id(client: &Client) -> Result<String, Error> {
    let sql = "SELECT system_identifier::text FROM pg_control_system()";
    Ok(client.query_one(sql, &[]).await?.get(0))
}

/// Servers older than 15 do not remember it, and are refused for their age.
async fn collation_drift(client: &Client) -> Result<Option<(String, String)>, Error> {
    let has_version = "SELECT FROM pg_attribute
        WHERE attrelid = 'pg_database'::regclass AND attname = 'datcollversion'";
    if client.query_opt(has_version, &[]).await?.is_none() {
        return Ok(None);
    }
    let row = client
        .query_one(
            "SELECT datcollversion, pg_database_collation_actual_version(oid)
             FROM pg_database WHERE datname = current_database()",
            &[],
        )
        .await?;
    Ok(drift(row.get(0), row.get(1)))
}

fn drift(made: Option<String>, now: Option<String>) -> Option<(String, String)> {
    made.zip(now).filter(|(made, now)| made != now)
}

async fn index_builds(client: &Client) -> Result<Vec<String>, Error> {
    let rows = client
        .query(
            "SELECT coalesce(relid::regclass::text, '') FROM pg_stat_progress_create_index
             WHERE datname = current_database() ORDER BY 1",
            &[],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn slots(client: &Client) -> Result<Vec<Slot>, Error> {
    let rows =
        client.query("SELECT slot_name::text, active FROM pg_replication_slots", &[]).await?;
    Ok(rows.iter().map(|row| Slot { name: row.get(0), active: row.get(1) }).collect())
}

async fn prepared(client: &Client) -> Result<Vec<Prepared>, Error> {
    let rows = client
        .query(
            "SELECT gid, database::text, extract(epoch FROM clock_timestamp() - prepared)::float8
             FROM pg_prepared_xacts ORDER BY prepared",
            &[],
        )
        .await?;
    let one = |row: &Row| Prepared { name: row.get(0), database: row.get(1), age: age(row.get(2)) };
    Ok(rows.iter().map(one).collect())
}

/// A slot waits for every transaction of the server that has written, a fence for those of its database.
async fn transactions(client: &Client) -> Result<Vec<OpenTransaction>, Error> {
    let rows = client
        .query(
            "SELECT pid, coalesce(usename::text, ''), coalesce(application_name, ''),
                 extract(epoch FROM clock_timestamp() - xact_start)::float8
             FROM pg_stat_activity
             WHERE pid <> pg_backend_pid() AND xact_start IS NOT NULL
                 AND backend_type = 'client backend'
                 AND (backend_xid IS NOT NULL OR datname = current_database())
             ORDER BY xact_start",
            &[],
        )
        .await?;
    let one = |row: &Row| OpenTransaction {
        pid: row.get(0),
        user: row.get(1),
        application: row.get(2),
        age: age(row.get(3)),
    };
    Ok(rows.iter().map(one).collect())
}

async fn sessions(client: &Client) -> Result<Vec<Session>, Error> {
    let rows = client
        .query(
            "SELECT r.rolname::text, r.rolsuper,
                 array_agg(DISTINCT coalesce(nullif(a.application_name, ''), 'unnamed'))
             FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
             WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
                 AND a.application_name NOT LIKE 'ficus%' AND r.rolname <> 'ficus_applier'
             GROUP BY 1, 2 ORDER BY 1",
            &[],
        )
        .await?;
    let one =
        |row: &Row| Session { user: row.get(0), superuser: row.get(1), applications: row.get(2) };
    Ok(rows.iter().map(one).collect())
}

fn age(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// The rights of the connected role and of `ficus_applier`.
///
/// # Errors
/// What the database said.
pub(super) async fn rights(client: &Client) -> Result<Rights, Error> {
    let row = client
        .query_one(
            "SELECT current_database()::text,
                 has_database_privilege(current_database(), 'CREATE')",
            &[],
        )
        .await?;
    let applier = client.query_opt(&format!("{ROLE} $1::text"), &[&guard::APPLIER_ROLE]).await?;
    let (skips_triggers, takes_origins, sees_sessions) = match &applier {
        Some(_) => may_apply(client).await?,
        None => (false, false, false),
    };
    Ok(Rights {
        database: row.get(0),
        owner: session_role(client).await?,
        applier: applier.as_ref().map(role),
        owner_may_create: row.get(1),
        skips_triggers,
        takes_origins,
        sees_sessions,
    })
}

/// Asked only when the role exists: the functions fail for an unknown one. Servers older than 15 have
/// no rights on parameters, and are refused for their age.
async fn may_apply(client: &Client) -> Result<(bool, bool, bool), Error> {
    let row = client
        .query_opt(
            "SELECT (SELECT bool_and(has_function_privilege('ficus_applier', name, 'EXECUTE'))
                     FROM unnest(ARRAY['pg_replication_origin_create(text)',
                         'pg_replication_origin_oid(text)',
                         'pg_replication_origin_session_setup(text)']) AS name),
                 pg_has_role('ficus_applier', 'pg_read_all_stats', 'USAGE')
             WHERE current_setting('server_version_num')::integer >= 150000",
            &[],
        )
        .await?;
    let Some(functions) = row else { return Ok((false, false, false)) };
    let parameter = client
        .query_one(
            "SELECT has_parameter_privilege('ficus_applier', 'session_replication_role', 'SET')",
            &[],
        )
        .await?;
    Ok((parameter.get(0), functions.get(0), functions.get(1)))
}

/// The role this session logged in as.
///
/// # Errors
/// What the database said.
pub(super) async fn session_role(client: &Client) -> Result<Role, Error> {
    Ok(role(&client.query_one(&format!("{ROLE} session_user"), &[]).await?))
}

fn role(row: &Row) -> Role {
    Role {
        name: row.get(0),
        superuser: row.get(1),
        creates_roles: row.get(2),
        logs_in: row.get(3),
        replicates: row.get(4),
        bypasses_rls: row.get(5),
    }
}

/// A table's description; `None` when nothing has that name.
///
/// # Errors
/// What the database said.
pub(super) async fn table(client: &Client, name: &TableName) -> Result<Option<Table>, Error> {
    let header = client
        .query_opt(
            "SELECT c.oid, c.relkind::text, c.relpersistence = 'u', c.relreplident::text,
                 c.relrowsecurity, r.rolname::text, pg_has_role(c.relowner, 'USAGE')
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_roles r ON r.oid = c.relowner
             WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'f', 'v', 'm')",
            &[&name.schema, &name.name],
        )
        .await?;
    let Some(header) = header else { return Ok(None) };
    let oid: u32 = header.get(0);
    Ok(Some(Table {
        name: name.clone(),
        kind: letter(&header, 1),
        unlogged: header.get(2),
        identity: letter(&header, 3),
        row_security: header.get(4),
        owner: header.get(5),
        is_ours: header.get(6),
        columns: columns(client, oid).await?,
        unique: unique(client, oid).await?,
        deferrable: deferrable(client, oid).await?,
        triggers: triggers(client, oid).await?,
        foreign_keys: foreign_keys(client, oid).await?,
        relatives: relatives(client, oid).await?,
        odd_partitions: odd_partitions(client, oid).await?,
        invalid_indexes: invalid_indexes(client, oid).await?,
    }))
}

fn letter(row: &Row, index: usize) -> char {
    row.get::<_, String>(index).chars().next().unwrap_or(' ')
}

async fn columns(client: &Client, oid: u32) -> Result<Vec<Column>, Error> {
    let rows = client.query(COLUMNS, &[&oid]).await?;
    let one = |row: &Row| Column {
        name: row.get(0),
        not_null: row.get(1),
        has_default: row.get(2),
        generated: row.get(3),
        kind: Type { name: row.get(4), builtin: row.get(5), labels: row.get(6) },
        collation: row.get::<_, Option<String>>(7).map(|name| Collation {
            name,
            deterministic: row.get::<_, Option<bool>>(8).unwrap_or(true),
            drift: drift(row.get(9), row.get(10)),
        }),
    };
    Ok(rows.iter().map(one).collect())
}

async fn unique(client: &Client, oid: u32) -> Result<Vec<UniqueIndex>, Error> {
    let rows = client.query(UNIQUE, &[&oid]).await?;
    let one = |row: &Row| UniqueIndex {
        name: row.get(0),
        columns: row.get(1),
        primary: row.get(2),
        is_replica_identity: row.get(3),
    };
    Ok(rows.iter().map(one).collect())
}

async fn deferrable(client: &Client, oid: u32) -> Result<Vec<Deferrable>, Error> {
    let rows = client
        .query(
            "SELECT o.conname::text, pg_get_constraintdef(o.oid),
                 ARRAY(SELECT a.attname::text FROM unnest(o.conkey) k(n)
                     JOIN pg_attribute a ON a.attrelid = o.conrelid AND a.attnum = k.n)
             FROM pg_constraint o
             WHERE o.conrelid = $1 AND o.contype IN ('p', 'u') AND o.condeferrable ORDER BY 1",
            &[&oid],
        )
        .await?;
    let one =
        |row: &Row| Deferrable { name: row.get(0), definition: row.get(1), columns: row.get(2) };
    Ok(rows.iter().map(one).collect())
}

async fn triggers(client: &Client, oid: u32) -> Result<Vec<Trigger>, Error> {
    let rows = client
        .query(
            "SELECT tgname::text, tgenabled::text,
                 pg_get_triggerdef(oid) ILIKE '%session_user <> ''ficus_applier''%'
             FROM pg_trigger
             WHERE tgrelid = $1 AND NOT tgisinternal AND tgname <> 'ficus_guard' ORDER BY 1",
            &[&oid],
        )
        .await?;
    let one = |row: &Row| Trigger {
        name: row.get(0),
        enabled: letter(row, 1),
        spares_applier: row.get(2),
    };
    Ok(rows.iter().map(one).collect())
}

async fn foreign_keys(client: &Client, oid: u32) -> Result<Vec<ForeignKey>, Error> {
    let rows = client.query(FOREIGN_KEYS, &[&oid]).await?;
    let name = |row: &Row, at: usize| {
        TableName::new(row.get::<_, String>(at), row.get::<_, String>(at + 1))
    };
    let one = |row: &Row| ForeignKey {
        name: row.get(0),
        from: name(row, 1),
        to: name(row, 3),
        action: row.get(5),
    };
    Ok(rows.iter().map(one).collect())
}

async fn relatives(client: &Client, oid: u32) -> Result<Vec<String>, Error> {
    let rows = client
        .query(
            "SELECT format('%s', CASE WHEN i.inhparent = $1 THEN i.inhrelid ELSE i.inhparent END::regclass)
             FROM pg_inherits i JOIN pg_class parent ON parent.oid = i.inhparent
             WHERE $1 IN (i.inhparent, i.inhrelid) AND parent.relkind <> 'p' ORDER BY 1",
            &[&oid],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// All the way down: partitions of partitions count.
async fn odd_partitions(client: &Client, oid: u32) -> Result<Vec<String>, Error> {
    let rows = client
        .query(
            "SELECT c.oid::regclass::text FROM pg_partition_tree($1::oid::regclass) p
             JOIN pg_class c ON c.oid = p.relid
             WHERE c.oid <> $1::oid AND (c.relkind = 'f' OR c.relpersistence = 'u') ORDER BY 1",
            &[&oid],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn invalid_indexes(client: &Client, oid: u32) -> Result<Vec<String>, Error> {
    let rows = client
        .query(
            "SELECT indexrelid::regclass::text FROM pg_index
             WHERE indrelid = $1 AND NOT (indisvalid AND indisready) ORDER BY 1",
            &[&oid],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Whether these columns could be a primary key now: what stands in the way, or nothing. Reads the
/// whole table, so it may be cut short by the statement timeout.
///
/// # Errors
/// What the database said.
pub(super) async fn not_a_key(
    client: &Client,
    table: &TableName,
    columns: &[String],
) -> Result<Option<String>, Error> {
    let relation = table.quoted();
    let quoted: Vec<String> = columns.iter().map(|name| pg::quote_ident(name)).collect();
    let (list, nulls) = (quoted.join(", "), quoted.join(" IS NULL OR "));
    let row = client
        .query_one(
            &format!(
                "SELECT EXISTS (SELECT FROM {relation} WHERE {nulls} IS NULL),
                     EXISTS (SELECT FROM {relation} GROUP BY {list} HAVING count(*) > 1)"
            ),
            &[],
        )
        .await?;
    Ok(match (row.get(0), row.get(1)) {
        (false, false) => None,
        (true, _) => Some("some of its rows have NULL there".to_owned()),
        (false, true) => Some("some of its rows share these values".to_owned()),
    })
}
