//! Logs and figures the same way in every process of Ficus: JSON lines on standard error, one
//! Prometheus registry, and an admin server for health, readiness and metrics. Decides nothing.

mod admin;
mod chain;
mod logs;

pub use admin::{Readiness, serve_admin};
pub use chain::Chain;
pub use logs::init_logs;
