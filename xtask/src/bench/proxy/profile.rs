//! The jobs that `bench proxy` gives to every contestant: what is asked, over what, and how the load is made.

use clap::ValueEnum;

/// One measurement. The names are those of `--profile`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Profile {
    /// An answer of 150 bytes, forwarded.
    Bare,
    /// An answer of 10 kB of JSON.
    #[value(name = "json-10k")]
    Json10k,
    /// A request with a body of 64 kB.
    #[value(name = "post-64k")]
    Post64k,
    /// The bare answer over TLS 1.3 and HTTP/2, 32 requests at a time on each connection.
    H2,
    /// A new TLS connection for every request.
    Handshakes,
    /// The bare answer; Ficus verifies a token, counts against a limit and finds one of 500 routes before.
    Gateway,
    /// The bare answer; Ficus asks the rules of `--rules` about each request before.
    Rules,
    /// Memory of 5,000 connections that are kept and do nothing.
    Idle,
    /// Latency of the bare answer at half of what Ficus can do at most, on a schedule that waits for nobody.
    Latency,
}

/// How the load is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// One request after the other on each connection.
    Closed,
    /// Requests side by side on each connection.
    Multiplexed,
    Idle,
    Scheduled,
}

impl Profile {
    /// What needs nothing that we do not have.
    pub(super) const ALL: [Self; 8] = [
        Self::Bare,
        Self::Json10k,
        Self::Post64k,
        Self::H2,
        Self::Handshakes,
        Self::Gateway,
        Self::Idle,
        Self::Latency,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Json10k => "json-10k",
            Self::Post64k => "post-64k",
            Self::H2 => "h2",
            Self::Handshakes => "handshakes",
            Self::Gateway => "gateway",
            Self::Rules => "rules",
            Self::Idle => "idle",
            Self::Latency => "latency",
        }
    }

    pub(super) const fn method(self) -> Method {
        match self {
            Self::Bare
            | Self::Json10k
            | Self::Post64k
            | Self::Handshakes
            | Self::Gateway
            | Self::Rules => Method::Closed,
            Self::H2 => Method::Multiplexed,
            Self::Idle => Method::Idle,
            Self::Latency => Method::Scheduled,
        }
    }

    /// What is asked of the upstream.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Json10k => "/json-10k",
            Self::Bare
            | Self::Post64k
            | Self::H2
            | Self::Handshakes
            | Self::Gateway
            | Self::Rules
            | Self::Idle
            | Self::Latency => "/",
        }
    }

    /// Bytes that are sent with each request.
    pub(super) const fn body_bytes(self) -> usize {
        match self {
            Self::Post64k => 64 * 1024,
            Self::Bare
            | Self::Json10k
            | Self::H2
            | Self::Handshakes
            | Self::Gateway
            | Self::Rules
            | Self::Idle
            | Self::Latency => 0,
        }
    }

    /// Whether downstreams come over TLS.
    pub(super) const fn is_encrypted(self) -> bool {
        matches!(self, Self::H2 | Self::Handshakes)
    }
}
