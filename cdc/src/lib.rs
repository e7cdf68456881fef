//! The replicator: copies a capability's tables into another database, follows the log from there,
//! applies exactly once, carries changes back after a transfer, compares both sides, and watches the
//! guards so that no transfer waits for a dead coordinator. It never decides a transfer.
//!
//! ```text
//! server ── keeper ──> create ──> copy ──> stream ──> apply ──> target
//!        │             (slot, row)          ^ wire
//!        ├─ probe (barriers, lag)     verify (both sides)
//!        └─ watch (guards, mending)
//! ```

mod apply;
mod apply_row;
mod catalog;
mod change;
mod clock;
mod copy;
mod create;
mod dirty;
mod error;
mod keeper;
mod lag;
mod mapping;
mod metrics;
mod probe;
mod relation;
mod replica;
mod resync;
mod run;
mod server;
mod session;
mod spec;
mod status;
mod stream;
mod tables;
mod verify;
mod wal;
mod watch;
pub mod wire;

pub use error::{ErrorClass, StreamError};
pub use mapping::MappingError;
pub use run::{Options, Replicator, RunError, run};
