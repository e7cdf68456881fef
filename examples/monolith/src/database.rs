//! Connections: whoever watches the database can tell the server from the job by `application_name`.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

/// A request that waits longer for a connection than this is answered with 503.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects the HTTP server, with at most `size` connections.
///
/// # Errors
/// When the URL is malformed or the database cannot be reached.
pub async fn connect(url: &str, size: u32) -> Result<PgPool, sqlx::Error> {
    open(url, "monolith", size).await
}

/// Connects the auto-close job, which needs one connection.
///
/// # Errors
/// As [`connect`].
pub async fn connect_for_auto_close(url: &str) -> Result<PgPool, sqlx::Error> {
    open(url, "monolith-auto-close", 1).await
}

async fn open(url: &str, application_name: &str, size: u32) -> Result<PgPool, sqlx::Error> {
    let options: PgConnectOptions = url.parse()?;
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options.application_name(application_name))
        .await
}
