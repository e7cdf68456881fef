//! `routes.toml`: read, validate, explain, match. Every decision about a request's upstream is made
//! here from values the caller passes in. Refuses to do any IO: no files, no clock, no network.

mod config;

pub use config::{
    Abort, Capability, CdcConfig, Config, ControlConfig, Effect, Fence, Health, ProxyConfig, Reverse,
    Route, RouteId, Secret, Shadow, Shift, SubjectSource, TableMapping, Timeouts, Upstream,
};
