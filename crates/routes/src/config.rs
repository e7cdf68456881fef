//! The validated configuration: what the rest of Ficus sees of `routes.toml`. No `Option` stands for
//! a default here; defaults were filled in when the file was compiled.

mod answers;
mod attack_rules;
mod edge;
mod operations;
mod policies;
mod resilience;
mod upstream_tls;
pub(crate) mod versions;
mod view;

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use pg::TableName;
use serde::Serialize;

pub use answers::{AnswerCache, JsonChanges, OnFailure, SharedLimits};
pub use attack_rules::{AttackRules, OverBudget, RuleMode};
pub use edge::{Certificate, ClientAuth, Limits, TlsListen};
pub use operations::{AccessLog, Operations, Shed};
pub use policies::{
    Cors, GatewayConfig, HeaderRules, Hygiene, Identity, Introspection, Issuer, Limit, PathRule,
    Policy, SessionCheck, TokenAlgorithm, TokenKeys, TokenRule,
};
pub use resilience::{Balance, Breaker, Ejection, Resilience, Retry, UpstreamLimits};
pub use upstream_tls::{ClientCertificate, Protocol, UpstreamTls, Verify};
pub use versions::{ApiVersions, UnclearVersion};

/// Name of the upstream that gets everything no capability claims.
pub const MONOLITH: &str = "monolith";

/// A compiled `routes.toml`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// The data plane.
    pub proxy: ProxyConfig,
    /// Absent: a plain proxy without migration state; every capability stays with the monolith.
    pub control: Option<ControlConfig>,
    /// The replicator.
    pub cdc: CdcConfig,
    /// By name; `monolith` is always there.
    pub upstreams: BTreeMap<String, Upstream>,
    /// By name.
    pub capabilities: BTreeMap<String, Capability>,
    /// Policies, and what they are made of.
    pub gateway: GatewayConfig,
    /// Hash of the file's meaning (hex), to tell whether two processes read the same.
    pub digest: String,
}

/// `[proxy]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProxyConfig {
    /// Where downstreams connect. Default `127.0.0.1:8080`.
    pub listen: Vec<SocketAddr>,
    /// Health, readiness, metrics. Default `127.0.0.1:9901`.
    pub admin: SocketAddr,
    /// Where the subject of a request is taken from, first match wins. Default `ip`.
    pub subject: Vec<SubjectSource>,
    /// File that keeps the last route table over a restart without control. Default none.
    pub state_file: Option<PathBuf>,
    /// More addresses, with TLS. Default none.
    pub tls: Vec<TlsListen>,
    /// Networks of proxies in front that are believed. Default none.
    pub trusted_proxies: Vec<IpNet>,
    /// What one downstream may take.
    pub limits: Limits,
    /// How the process stops, hands over, and refuses work.
    #[serde(flatten)]
    pub operations: Operations,
}

/// One place a subject can be taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectSource {
    /// `jwt:sub`: this claim of the bearer token or token cookie, not verified: it is used for stickiness only.
    JwtClaim(String),
    /// `cookie:session_id`
    Cookie(String),
    /// `header:x-api-key`, lower case.
    Header(String),
    /// `ip`: the peer address.
    Ip,
}

/// `[control]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ControlConfig {
    /// Where intent, journal and history are kept.
    pub database: Secret,
    /// JSON API and dashboard. Default `127.0.0.1:9900`.
    pub listen: SocketAddr,
    /// gRPC for proxies. Default `127.0.0.1:9902`.
    pub grpc: SocketAddr,
}

/// `[cdc]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CdcConfig {
    /// gRPC for control and proxies. Default `127.0.0.1:9903`.
    pub grpc: SocketAddr,
    /// Health, readiness, metrics. Default `127.0.0.1:9904`.
    pub admin: SocketAddr,
    /// Parallel copy workers. Default 2.
    pub copy_workers: u16,
    /// Log, in bytes, that a database may keep for one stream. Default 10 GiB.
    pub wal_budget: u64,
    /// What is done when that is exhausted. Default `drop_slot`.
    pub wal_last_resort: LastResort,
    /// Make slots that survive a failover, where the server can. Default true.
    pub failover_slots: bool,
    /// From the end of one comparison in the background to the begin of the next; zero is never.
    /// Default 6 h.
    #[serde(serialize_with = "view::duration")]
    pub verify_every: Duration,
    /// Rows a second that a comparison in the background reads at most. Default 20 000.
    pub verify_rate: u32,
    /// How tables are copied first. Default `snapshot`.
    pub copy: CopyMode,
    /// Rows of one chunk, where a table is copied in chunks. Default 10000.
    pub chunk_rows: u32,
    /// Bytes of changes that one stream parks for tables that wait. Default 1 GiB.
    pub parked_max: u64,
}

/// What is done for a stream whose slot keeps more log than its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastResort {
    /// The stream is given up and its slot dropped: the database that is read lives on.
    DropSlot,
    /// Nothing but an alarm.
    Keep,
}

impl LastResort {
    /// As it is written in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DropSlot => "drop_slot",
            Self::Keep => "keep",
        }
    }
}

/// How a stream's tables are copied first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CopyMode {
    /// Everything that one snapshot sees, as fast as can be; starts over when it is interrupted.
    Snapshot,
    /// In chunks of the primary key, each with a snapshot of its own; goes on where it was interrupted.
    Chunks,
}

impl CopyMode {
    /// As it is written in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Chunks => "chunks",
        }
    }
}

/// `[upstreams.NAME]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Upstream {
    /// Key in the file.
    pub name: String,
    /// Addresses requests are sent to; at least one.
    pub peers: Vec<SocketAddr>,
    /// What Ficus logs in with: role `ficus_applier`, or a superuser that may become it.
    pub database: Option<Secret>,
    /// Role that owns the tables, used by `ficus start` to install guards; `database` when not given.
    pub owner_database: Option<Secret>,
    /// Per request.
    pub timeouts: Timeouts,
    /// Active health check; none when not given.
    pub health: Option<Health>,
    /// Spoken to without TLS when not given.
    pub tls: Option<UpstreamTls>,
    /// Which HTTP. Default HTTP/1.1.
    pub protocol: Protocol,
    /// Choosing peers, leaving them out, asking again.
    #[serde(flatten)]
    pub resilience: Resilience,
}

/// `timeouts = { connect = "500ms", tls = "2s", send = "30s", read = "30s", total = "0s", idle = "50s" }`
/// (the defaults)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Timeouts {
    /// TCP connect.
    #[serde(serialize_with = "view::duration")]
    pub connect: Duration,
    /// TLS handshake, after `connect`.
    #[serde(serialize_with = "view::duration")]
    pub tls: Duration,
    /// Between two writes of a request.
    #[serde(serialize_with = "view::duration")]
    pub send: Duration,
    /// Until the first byte of a response and between two reads of it.
    #[serde(serialize_with = "view::duration")]
    pub read: Duration,
    /// From the request's first attempt to the end of the response; zero: no limit.
    #[serde(serialize_with = "view::duration")]
    pub total: Duration,
    /// How long an idle connection is kept; less than the upstream keeps it, or a write may meet the end of
    /// its connection, and a write is never sent again.
    #[serde(serialize_with = "view::duration")]
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_millis(500),
            tls: Duration::from_secs(2),
            send: Duration::from_secs(30),
            read: Duration::from_secs(30),
            total: Duration::ZERO,
            idle: Duration::from_secs(50),
        }
    }
}

/// `health = { path = "/health", every = "2s", fall = 3, rise = 2 }`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Asked with GET; 2xx is healthy.
    pub path: String,
    /// Interval.
    #[serde(serialize_with = "view::duration")]
    pub every: Duration,
    /// Failures in a row until unhealthy.
    pub fall: u32,
    /// Successes in a row until healthy again.
    pub rise: u32,
}

/// `[capabilities.NAME]`: what moves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Capability {
    /// Key in the file: lower-case letters, digits, `_`; at most 30 bytes (it becomes part of slot names).
    pub name: String,
    /// The service that takes it.
    pub upstream: String,
    /// How reads are shifted.
    pub shift: Shift,
    /// When reads are taken back by themselves.
    pub abort: Abort,
    /// Limits of a transfer.
    pub fence: Fence,
    /// The way back.
    pub reverse: Reverse,
    /// In file order.
    pub routes: Vec<Route>,
    /// Tables whose writes move with the capability.
    pub tables: Vec<TableMapping>,
    /// Tables the monolith keeps owning and the service reads (`[[capabilities.NAME.references]]`).
    pub references: Vec<TableMapping>,
}

/// `shift = { steps = [1, 10, 50, 100], every = "10m" }`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shift {
    /// Growing percentages, ending with 100.
    pub steps: Vec<u8>,
    /// Time between automatic steps.
    #[serde(serialize_with = "view::duration")]
    pub every: Duration,
    /// From an automatic step back to the next automatic step. Default 15 min.
    #[serde(serialize_with = "view::duration")]
    pub cool_down: Duration,
    /// Steps back after which automatic steps begin again by themselves. Default 2.
    pub retries: u32,
}

/// `abort = { error_delta = "1%", p99_ratio = 1.5, mismatch = "0.1%", max_lag = "2s" }`
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Abort {
    /// Share of errors the service cohort may exceed the monolith cohort by, 0 to 1.
    #[serde(serialize_with = "view::percent")]
    pub error_delta: f64,
    /// p99 of the service cohort over that of the monolith cohort.
    pub p99_ratio: f64,
    /// Share of compared answers that may differ, 0 to 1.
    #[serde(serialize_with = "view::percent")]
    pub mismatch: f64,
    /// Share of the shadowed answers that must have been compared for a step on, 0 to 1.
    #[serde(serialize_with = "view::percent")]
    pub coverage: f64,
    /// Reads go back to the monolith above this lag; a cutover is refused above it.
    #[serde(serialize_with = "view::duration")]
    pub max_lag: Duration,
}

/// `fence = { hold = "10s", max_held = 2000, lock_timeout = "500ms" }`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fence {
    /// Longest a single write is held at the gate before 503; also the fence's deadline.
    #[serde(serialize_with = "view::duration")]
    pub hold: Duration,
    /// Held requests per proxy.
    pub max_held: usize,
    /// How long the fence waits for the table locks, per attempt.
    #[serde(serialize_with = "view::duration")]
    pub lock_timeout: Duration,
}

/// `reverse = { soak = "7d" }`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reverse {
    /// How long the reverse stream is kept at least before `complete` is allowed without `--force`.
    #[serde(serialize_with = "view::duration")]
    pub soak: Duration,
}

/// Index of a route in its compiled table; stable within one configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct RouteId(pub usize);

/// What a route does to the capability's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Changes nothing of the capability.
    Read,
    /// May change it.
    Write,
}

impl Effect {
    /// As it is written in the file and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// `[[capabilities.NAME.routes]]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Route {
    /// Position among all routes of the file.
    pub id: RouteId,
    /// Upper case; `*` matches every method.
    pub method: String,
    /// `/api/v1/tickets/{id}`; `{*rest}` matches the remaining path.
    pub path: String,
    /// Only requests that ask for this version of the API; then there are `api_versions`.
    pub version: Option<String>,
    /// Defaults by method: GET, HEAD, OPTIONS read, others write.
    pub effect: Effect,
    /// Reads only.
    pub shadow: Option<Shadow>,
    /// Longest body, in bytes; the proxy's limit when not given.
    pub max_body: Option<usize>,
    /// A key of `policies`; `proxy.policy` when not given.
    pub policy: Option<String>,
    /// Line in the file (1-based), for messages.
    pub line: usize,
}

impl Route {
    /// What it matches, for people: `GET /api/v1/tickets/{id}`, and the version if it is for one.
    #[must_use]
    pub fn name(&self) -> String {
        let Self { method, path, version, .. } = self;
        match version {
            None => format!("{method} {path}"),
            Some(version) => format!("{method} {path} version {version}"),
        }
    }
}

/// `shadow = { sample = 0.2, ignore = ["/data/change_time"], unordered = ["/data by /id"] }`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shadow {
    /// Share of the requests that are compared, 0 to 1.
    pub sample: f64,
    /// Share of the comparisons without a difference for which the monolith is asked twice more, 0 to 1.
    pub noise: f64,
    /// JSON pointers whose values are not compared; `*` matches every element of an array, `**` any
    /// number of parts.
    pub ignore: Vec<String>,
    /// Arrays whose order does not matter: (pointer of the array, pointer of the key within an element).
    #[serde(serialize_with = "view::unordered")]
    pub unordered: Vec<(String, String)>,
    /// Longer answers, in bytes, are not compared. Default 1 MiB.
    pub max_body: usize,
}

/// `[[capabilities.NAME.tables]]`: how a source table becomes a target table.
///
/// Forward, a source column goes where `columns` says, nowhere when `omit` names it, and else to the
/// target column of its own name; if there is no such column, it must have an entry in `reverse`,
/// because an expression of `set` carries its value. Back, a source column is computed by its entry in
/// `reverse`, or else taken from the target column it went to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableMapping {
    /// In the monolith's database.
    pub source: TableName,
    /// In the service's database.
    pub target: TableName,
    /// Source column → target column; the rest keep their names.
    pub columns: BTreeMap<String, String>,
    /// Source columns that have no counterpart.
    pub omit: Vec<String>,
    /// Rows to move: an SQL condition over the source row.
    #[serde(rename = "where")]
    pub filter: Option<String>,
    /// Target column → SQL expression over the source row.
    pub set: BTreeMap<String, String>,
    /// Source column → SQL expression over the target row, for the way back. For an omitted column it
    /// is used when the service inserted the row and left alone on updates.
    pub reverse: BTreeMap<String, String>,
    /// Line in the file (1-based), for messages.
    pub line: usize,
}

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl Secret {
    /// The value itself, for the one place that uses it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
pub(crate) mod sample;
