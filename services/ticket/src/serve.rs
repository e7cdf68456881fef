//! `ticket serve`: puts the parts together and runs them until the token is cancelled.

use std::time::Duration;

use kit::health::Operations;
use kit::metrics::Metrics;
use kit::server::{ServeError, Server};
use kit::shutdown::grace_over;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::auto_close::AutoClose;
use crate::config::Config;
use crate::tickets::Tickets;
use crate::{grpc, rest};

/// Connections still in use belong to requests that were cut; the database undoes what they did.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Serving that did not start or did not end as asked.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The database URL is not usable.
    #[error("read TICKET_DATABASE_URL")]
    Database(#[source] sqlx::Error),
    /// A figure could not be registered.
    #[error("register metrics")]
    Metrics(#[from] prometheus::Error),
    /// A server failed.
    #[error("serve")]
    Serve(#[from] ServeError),
}

/// Serves REST and gRPC on the given listeners and runs the job, until `shutdown` is cancelled and
/// what is in flight is finished.
///
/// # Errors
/// See [`RunError`].
pub async fn run(
    config: Config,
    http: TcpListener,
    grpc: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let pool = kit::database::pool(&config.database, "ticket", config.pool_max)
        .map_err(RunError::Database)?;
    let job_pool = kit::database::pool(&config.database, "ticket-auto-close", 1)
        .map_err(RunError::Database)?;
    let metrics = Metrics::new("ticket")?;
    let auto_close = AutoClose::new(job_pool, config.auto_close_every, &metrics)?;
    let tickets = Tickets::new(pool.clone());
    let server = Server {
        http,
        grpc,
        routes: rest::router(tickets.clone(), config.verifier.clone()),
        services: grpc::services(tickets, config.verifier),
        operations: Operations { pool: pool.clone(), metrics, shutdown: shutdown.clone() },
        grace: config.shutdown_grace,
    };
    let job = async {
        tokio::select! {
            () = auto_close.run(shutdown.clone()) => {}
            () = grace_over(shutdown.clone(), config.shutdown_grace) => {}
        }
    };
    let (served, ()) = tokio::join!(server.serve(), job);
    if timeout(CLOSE_TIMEOUT, pool.close()).await.is_err() {
        tracing::warn!("database connections cut while in use");
    }
    Ok(served?)
}
