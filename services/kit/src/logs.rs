//! JSON logs on standard error, one object for each event, filtered by `RUST_LOG` (default `info`).

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// Installs the process-wide subscriber.
///
/// # Errors
/// When one is installed already.
pub fn start() -> Result<(), TryInitError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .finish()
        .try_init()
}
