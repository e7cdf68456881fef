//! From a signal of the operating system to a cancelled token.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancels `token` at the first SIGTERM or SIGINT. Returns when it did, or when somebody else
/// cancelled the token.
///
/// # Errors
/// When signal handlers cannot be installed.
pub async fn cancel_on_signal(token: CancellationToken) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        () = token.cancelled() => return Ok(()),
    };
    tracing::info!(signal = name, "shutdown requested");
    token.cancel();
    Ok(())
}

/// Ends when `grace` has passed since `token` was cancelled: whatever is not finished then is cut.
pub async fn grace_over(token: CancellationToken, grace: Duration) {
    token.cancelled().await;
    tokio::time::sleep(grace).await;
}
