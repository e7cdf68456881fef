//! Creates the schema as its owner and lets the application's role use it, but not own it.

use sqlx::migrate::MigrateError as SqlxMigrateError;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// What the application reads and writes. Named one by one, as the schema may hold tables of others.
const TABLES: [&str; 17] = [
    "article",
    "article_data_mime",
    "group_user",
    "groups",
    "queue",
    "sessions",
    "ticket",
    "ticket_flag",
    "ticket_history",
    "ticket_history_type",
    "ticket_lock_type",
    "ticket_number_counter",
    "ticket_priority",
    "ticket_state",
    "ticket_state_type",
    "ticket_type",
    "users",
];

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// No connection, or a statement failed.
    #[error("could not connect or grant; check the database URL and its role's rights")]
    Database(#[from] sqlx::Error),
    /// A migration failed or was changed after it ran.
    #[error("could not run the migrations; the database URL must be that of the owner")]
    Migration(#[from] SqlxMigrateError),
    /// The role that is to use the tables does not exist.
    #[error("there is no role {0}; create it first: CREATE ROLE {0} LOGIN")]
    NoSuchRole(String),
}

/// Brings the schema and the reference data up to date as the owner that `owner_url` names, and grants `app_role`
/// what the application needs.
///
/// # Errors
/// See [`MigrateError`].
pub async fn migrate(owner_url: &str, app_role: Option<&str>) -> Result<(), MigrateError> {
    let mut owner = PgConnection::connect(owner_url).await?;
    sqlx::migrate!("./migrations").run(&mut owner).await?;
    tracing::info!("schema is up to date");
    if let Some(role) = app_role {
        grant(&mut owner, role).await?;
        tracing::info!(role, "granted");
    }
    owner.close().await?;
    Ok(())
}

async fn grant(owner: &mut PgConnection, role: &str) -> Result<(), MigrateError> {
    let quoted: Option<String> =
        sqlx::query_scalar("SELECT quote_ident(rolname) FROM pg_roles WHERE rolname = $1")
            .bind(role)
            .fetch_optional(&mut *owner)
            .await?;
    let quoted = quoted.ok_or_else(|| MigrateError::NoSuchRole(role.to_owned()))?;
    let sequences: Vec<String> = sqlx::query_scalar(
        "SELECT pg_get_serial_sequence(format('%I.%I', table_schema, table_name), column_name)
         FROM information_schema.columns
         WHERE table_schema = 'public' AND table_name = ANY($1) AND column_name = 'id'",
    )
    .bind(TABLES)
    .fetch_all(&mut *owner)
    .await?;
    let tables = TABLES.map(|table| format!("public.{table}")).join(", ");
    let sequences = sequences.join(", ");
    for statement in [
        format!("GRANT USAGE ON SCHEMA public TO {quoted}"),
        format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {quoted}"),
        format!("GRANT USAGE, SELECT ON SEQUENCE {sequences} TO {quoted}"),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *owner).await?;
    }
    Ok(())
}
