//! `ticket migrate`: brings the schema up to date as its owner, and lets the serving role work in it.

use kit::config::Secret;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// A migration that did not finish. What was done before it failed stays.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The owner could not connect.
    #[error("connect to the database as its owner")]
    Connect(#[source] sqlx::Error),
    /// A migration failed or was changed after it ran.
    #[error("run the migrations")]
    Migrate(#[source] MigrateError),
    /// The serving role does not exist.
    #[error("role {0} does not exist; create it first: CREATE ROLE {0} LOGIN")]
    NoRole(String),
    /// The owner may not grant.
    #[error("grant privileges to the serving role")]
    Grant(#[source] sqlx::Error),
}

/// Runs what has not run yet and grants `app_role` what serving needs: reading everything, writing
/// the tickets, never changing a table.
///
/// # Errors
/// See [`MigrationError`].
pub async fn migrate(owner: &Secret, app_role: &str) -> Result<(), MigrationError> {
    let mut connection =
        PgConnection::connect(owner.expose()).await.map_err(MigrationError::Connect)?;
    MIGRATIONS.run(&mut connection).await.map_err(MigrationError::Migrate)?;
    for grant in grants(&mut connection, app_role).await? {
        sqlx::query(AssertSqlSafe(grant))
            .execute(&mut connection)
            .await
            .map_err(MigrationError::Grant)?;
    }
    tracing::info!(role = app_role, "schema is up to date");
    Ok(())
}

/// The statements, with the role's name quoted by the database itself.
async fn grants(
    connection: &mut PgConnection,
    app_role: &str,
) -> Result<Vec<String>, MigrationError> {
    let quoted: Option<String> =
        sqlx::query_scalar("select quote_ident(rolname) from pg_roles where rolname = $1")
            .bind(app_role)
            .fetch_optional(connection)
            .await
            .map_err(MigrationError::Grant)?;
    let role = quoted.ok_or_else(|| MigrationError::NoRole(app_role.to_owned()))?;
    Ok(vec![
        format!("grant usage on schema public to {role}"),
        format!("grant select on all tables in schema public to {role}"),
        format!(
            "grant insert, update, delete on tickets, articles, article_bodies, ticket_events,
             number_counters, ticket_flags to {role}"
        ),
        format!("grant usage on all sequences in schema public to {role}"),
    ])
}
