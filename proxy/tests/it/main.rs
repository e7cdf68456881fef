//! The proxy as a whole: real sockets, real upstreams and gRPC servers in this process, every port
//! chosen by the system, every wait bounded.

mod answers;
mod attack_rules;
mod attacks;
mod bodies;
mod causal;
mod control;
mod edge;
mod explain;
mod handover;
mod lifecycle;
mod observe;
mod plain;
mod policed;
mod policies;
mod pressure;
mod protocols;
mod replicator;
mod routing;
mod shadow;
mod shared_limits;
mod strict;
mod tls;
mod tokens;
mod transfer;
mod upstream;
mod upstream_tls;
mod upstreams;
mod wire;
mod world;
