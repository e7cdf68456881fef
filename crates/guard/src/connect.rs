//! Connections that the fence lets pass.

use pg_connect::Settings;
use tokio_postgres::Client;

use crate::GuardError;

/// The session role that the fence triggers let pass.
pub const APPLIER_ROLE: &str = "ficus_applier";

/// Connects and makes sure the session's role is `ficus_applier`: either the URL logs in as it, or a
/// superuser becomes it. The connection is driven by a task of its own, which ends with the client.
///
/// # Errors
/// When the server can not be reached or the role may not be taken.
pub async fn connect(url: &str, application_name: &str) -> Result<Client, GuardError> {
    let mut settings: Settings = url.parse()?;
    settings.application_name(application_name);
    settings.set_connect_timeout(std::time::Duration::from_secs(5));
    let client = settings.connect().await?;
    let row = client.query_one("SELECT session_user::text", &[]).await?;
    let user: String = row.get(0);
    if user != APPLIER_ROLE {
        client.batch_execute(&format!("SET SESSION AUTHORIZATION {APPLIER_ROLE}")).await?;
    }
    Ok(client)
}
