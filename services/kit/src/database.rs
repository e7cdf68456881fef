//! The connection pool of a service.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::config::Secret;

/// A request that waits longer for a connection is better refused: the proxy has its own timeout.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A pool that connects when it is first used, so that a service starts (and says that it is not
/// ready) while its database is away. `application_name` is what `pg_stat_activity` shows.
///
/// # Errors
/// When `url` is not a PostgreSQL URL.
pub fn pool(url: &Secret, application_name: &str, max: u32) -> Result<PgPool, sqlx::Error> {
    let options = PgConnectOptions::from_str(url.expose())?.application_name(application_name);
    Ok(PgPoolOptions::new()
        .max_connections(max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(options))
}
