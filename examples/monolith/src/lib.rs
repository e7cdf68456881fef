//! A ticketing system in the manner of GOTRS: the monolith that Ficus is shown and tested on.
//!
//! It has the faults of a real one (no foreign keys, a table without a key, writers outside of HTTP, a session
//! write on every cookie request, database errors shown to users) and knows nothing of Ficus.
//!
//! [`migrate()`] makes the schema, [`generate()`] fills it, [`serve()`] answers HTTP and runs [`AutoClose`].

mod app;
mod articles;
mod auth;
mod auto_close;
mod database;
mod error;
mod generate;
mod health;
mod lookups;
mod migrate;
mod pages;
mod request;
mod serve;
mod tickets;
mod timestamp;
mod users;

pub use app::{App, router};
pub use auth::{Secret, WeakSecretError};
pub use auto_close::{AutoClose, AutoCloseCounts};
pub use database::{connect, connect_for_auto_close};
pub use generate::{Generated, Volume, generate};
pub use migrate::{MigrateError, migrate};
pub use serve::{ServeError, ServeOptions, serve};
