//! The side that faces downstreams.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::Serialize;

use super::view;

/// `[[proxy.tls]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlsListen {
    /// Where downstreams connect with TLS.
    pub listen: SocketAddr,
    /// At least one.
    pub certificates: Vec<Certificate>,
    /// File with the certificates (PEM) that sign those of clients.
    pub client_ca: Option<PathBuf>,
    /// Whether a client may come without a certificate when there is a `client_ca`.
    pub client_auth: ClientAuth,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// The chain (PEM), the server's own certificate first.
    pub cert: PathBuf,
    /// The private key (PEM).
    pub key: PathBuf,
}

/// Whether a client must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// No certificate, no connection.
    Required,
    /// One that is shown must be valid.
    Optional,
}

/// `[proxy.limits]`: what one downstream may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// From the first byte of a request to the end of its head. Default 10 s.
    #[serde(serialize_with = "view::duration")]
    pub head: Duration,
    /// How long a connection without a request is kept. Default 60 s.
    #[serde(serialize_with = "view::duration")]
    pub idle: Duration,
    /// Between two pieces of a request's body. Default 30 s.
    #[serde(serialize_with = "view::duration")]
    pub body_idle: Duration,
    /// Least bytes a second of a request's body; 0 is no limit. Default 256.
    pub body_rate: usize,
    /// How long a downstream may refuse to take a piece of an answer. Default 60 s.
    #[serde(serialize_with = "view::duration")]
    pub write: Duration,
    /// Longest body of a request, in bytes. Default 1 GiB.
    pub max_body: usize,
    /// Of one HTTP/1.1 connection. Default 10 000.
    pub requests_per_connection: u32,
    /// Open at the same time. Default 40 000.
    pub connections: u32,
    /// Open at the same time from one address. Default 10 000.
    pub connections_per_client: u32,
}
