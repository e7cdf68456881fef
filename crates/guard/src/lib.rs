//! The database side of a transfer: installs the guard rows, triggers and functions of
//! `sql/ficus.sql`, and calls them. Every effect is one local transaction with its compare-and-set
//! inside the database; this crate decides nothing and keeps no state.

mod client;
mod connect;
mod error;
mod install;
mod sequence;

pub use client::{GuardClient, GuardRecord, Inbound};
pub use connect::{APPLIER_ROLE, connect};
pub use error::GuardError;
pub use install::{Install, install, uninstall};
pub use sequence::{SequenceColumn, sequence_columns};
