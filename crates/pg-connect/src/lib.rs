//! How a PostgreSQL server is reached: what its URL says about TLS, the handshake, and channel binding.
//!
//! `tokio-postgres` knows neither certificates nor `verify-full`; this crate reads those parameters of
//! the URL and hands it the rest. Both kinds of connection use it: SQL sessions through
//! [`Settings::connect`], the replication connection through [`Tls`].

mod error;
mod files;
mod parameters;
mod server_end_point;
mod session;
mod settings;
mod tls;
mod verifier;

pub use error::{ConnectError, SettingsError, TlsError};
pub use parameters::{Identity, Root, SslMode, TlsSettings, without_tls_parameters};
pub use settings::Settings;
pub use tls::{Tls, TlsStream};
