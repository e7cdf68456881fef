//! The ticket service: answers the monolith's ticket routes from its own schema, with the same
//! shapes, rules and side effects, over REST and gRPC.
//!
//! Ficus replicates the monolith's tickets into this database until they are handed over; before
//! that a fence in the database refuses every write of this service.
//!
//! ```text
//! rest ─┐
//!       ├─> tickets (one transaction for each request) ─> PostgreSQL <─ auto_close (while owner)
//! grpc ─┘      └ access (who may)
//! ```

pub mod access;
pub mod auto_close;
pub mod config;
pub mod grpc;
pub mod migrate;
pub mod rest;
pub mod serve;
pub mod tickets;

/// The name of what this service owns, as the guard table knows it.
pub const CAPABILITY: &str = "tickets";
