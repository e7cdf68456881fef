//! What every extracted service stands on: configuration, logs, servers, identity, errors, dry runs.
//!
//! A service is a binary with its own database. It must be indistinguishable from the monolith to a
//! client, and it must never write while the monolith owns the capability. The modules follow the
//! life of a process, then the life of a request:
//!
//! ```text
//! config -> logs -> database -> server ── request ──> auth -> work (one transaction) -> answer | error
//!                     shutdown ──┘           └ metrics, health          └ ownership
//! ```
//!
//! It refuses to know any capability: nothing here names a ticket.

pub mod auth;
pub mod config;
pub mod database;
pub mod error;
pub mod health;
pub mod logs;
pub mod metrics;
pub mod ownership;
pub mod request;
pub mod server;
pub mod shutdown;
pub mod time;
pub mod work;

pub use auth::{Caller, IdentityKeys, Verifier};
pub use error::ApiError;
pub use work::{Mode, Work};
