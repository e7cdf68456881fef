//! `routes.toml`: read, validate, explain, match. Every decision about a request's upstream is made
//! here from values the caller passes in. Refuses to do any IO: no files, no clock, no network.

mod check;
mod compile;
mod config;
mod decide;
mod expand;
mod field;
mod mapping;
mod matcher;
mod page;
mod parse;
mod plan;
mod problem;
mod reader;
mod scalar;
mod schema;
mod shape;
mod suggest;

pub use config::{
    Abort, AccessLog, AnswerCache, ApiVersions, AttackRules, Balance, Breaker, Capability,
    CdcConfig, Certificate, ClientAuth, ClientCertificate, Config, ControlConfig, CopyMode, Cors,
    Effect, Ejection, Fence, GatewayConfig, HeaderRules, Health, Hygiene, Identity, Introspection,
    Issuer, JsonChanges, LastResort, Limit, Limits, MONOLITH, OnFailure, Operations, OverBudget,
    PathRule, Policy, Protocol, ProxyConfig, Resilience, Retry, Reverse, Route, RouteId, RuleMode,
    Secret, SessionCheck, Shadow, SharedLimits, Shed, Shift, SubjectSource, TableMapping, Timeouts,
    TlsListen, TokenAlgorithm, TokenKeys, TokenRule, UnclearVersion, Upstream, UpstreamLimits,
    UpstreamTls, Verify,
};
pub use decide::{BUCKETS, Bucket, Verdict, decide};
pub use matcher::{Found, Matched, RouteTable};
pub use page::markdown;
pub use plan::{Apply, Change, plan};
pub use problem::Problem;
pub use schema::schema;
