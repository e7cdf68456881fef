//! The control plane: remembers how far each capability has moved, tells the proxies, and carries
//! transfers out. Holds no truth about who may write: that is in the guard rows of the databases, and
//! everything here can be lost without losing a write.
//!
//! ```text
//! operator ─ JSON API ─> commands ─> coordinator ─> guards (source, target), replicator
//!                            │            │
//!                          store        board ─ gRPC Watch ─> proxies
//! ```

pub mod api;

mod align;
mod autoshift;
mod blockers;
mod board;
mod clock;
mod commands;
mod connect_check;
mod coordinator;
mod core;
mod dashboard;
mod failpoint;
mod http;
mod leader;
mod metrics;
mod mismatches;
mod preflight;
mod problem;
mod proxies;
mod replicator;
mod run;
mod sides;
mod status;
mod steps;
mod store;
mod tally;
mod verdict;
mod watch;

pub use connect_check::{CheckFinding, Severity, check_connect};
pub use failpoint::{Failpoint, ParseFailpointError, VARIABLE as FAILPOINT_VARIABLE};
pub use run::{Options, run, run_with_failpoint};
