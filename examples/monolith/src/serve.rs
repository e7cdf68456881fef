//! The server's life: connect, listen, answer until asked to stop, finish what is in flight.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::{App, router};
use crate::auth::Secret;
use crate::auto_close::{AutoClose, AutoCloseCounts};
use crate::database;

/// Requests that take longer than this after the signal are cut off.
const GRACE: Duration = Duration::from_secs(10);

/// How to serve.
#[derive(Debug)]
pub struct ServeOptions {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Database URL; the role need not own the tables.
    pub database: String,
    /// Key of the tokens.
    pub secret: Secret,
    /// Pause between two rounds of auto-close.
    pub auto_close_every: Duration,
    /// Most connections of the HTTP server.
    pub pool_size: u32,
}

/// Why the server did not start or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The database cannot be reached.
    #[error("could not connect to the database; check DATABASE_URL")]
    Database(#[from] sqlx::Error),
    /// The address is taken, or is not one of this machine.
    #[error("could not listen on {0}; choose another --listen")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The listener broke.
    #[error("could not accept connections")]
    Accept(#[source] std::io::Error),
    /// The auto-close job ended by a panic.
    #[error("the auto-close job ended before its time")]
    Job(#[from] tokio::task::JoinError),
}

/// Answers HTTP and closes due tickets until `stop` is ready; then finishes the requests it has, for ten seconds
/// at most. The log says `listening` with the bound `address`.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(
    options: ServeOptions,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let pool = database::connect(&options.database, options.pool_size).await?;
    let job_pool = database::connect_for_auto_close(&options.database).await?;
    let listener = TcpListener::bind(options.listen)
        .await
        .map_err(|error| ServeError::Listen(options.listen, error))?;
    let address = listener.local_addr().map_err(ServeError::Accept)?;

    let counts = Arc::new(AutoCloseCounts::default());
    let stopping = CancellationToken::new();
    let job = AutoClose::new(job_pool, Arc::clone(&counts));
    let job = tokio::spawn(job.run(options.auto_close_every, stopping.clone()));
    let app = App::new(pool.clone(), options.secret, counts);
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "could not switch off Nagle's algorithm");
        }
    });
    let server = axum::serve(listener, router(app))
        .with_graceful_shutdown(stopping.clone().cancelled_owned());
    tracing::info!(%address, "listening");

    let patience = async {
        stop.await;
        tracing::info!("stopping");
        stopping.cancel();
        tokio::time::sleep(GRACE).await;
    };
    let served = tokio::select! {
        served = server.into_future() => served.map_err(ServeError::Accept),
        () = patience => {
            tracing::warn!("requests were cut off");
            Ok(())
        }
    };
    stopping.cancel();
    job.await?;
    pool.close().await;
    tracing::info!("stopped");
    served
}
