//! Control against real PostgreSQL, with a replicator and proxies that speak the real protocol and do
//! the least that is right: whole transfers, refusals, and deaths at every step.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this whole crate is tests and their helpers: what goes wrong here must fail the test"
)]

mod crash;
mod fake_proxy;
mod fake_replicator;
mod instance;
mod leaders;
mod moves;
mod refusals;
mod steps;
mod world;
