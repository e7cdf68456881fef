//! Sets up the process-wide log subscriber.

use tracing_subscriber::EnvFilter;

/// JSON lines on standard error, filtered by `FICUS_LOG` (default `info`). Call once, first thing in
/// `main`; a second call does nothing.
pub fn init_logs() {
    let filter = EnvFilter::try_from_env("FICUS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let _already_set = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .try_init();
}
