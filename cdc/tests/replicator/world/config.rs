//! The configuration of a [`World`](super::World), as `routes.toml` would give it.

use std::time::Duration;

use routes::{
    Capability, CdcConfig, Config, CopyMode, LastResort, MONOLITH, ProxyConfig, Secret, Timeouts,
    Upstream,
};
use testkit::Cluster;

use super::Roles;

pub(super) fn config(
    cluster: &Cluster,
    roles: Roles,
    capability: Capability,
    (source_db, target_db): (&str, &str),
) -> Config {
    let any_port = "127.0.0.1:0".parse().expect("it is an address");
    let upstream = |name: &str, database: &str| Upstream {
        name: name.to_owned(),
        peers: vec![any_port],
        database: Some(Secret(cluster.url_as(roles.applier, database))),
        owner_database: Some(Secret(cluster.url_as(roles.owner, database))),
        timeouts: Timeouts {
            connect: Duration::from_secs(1),
            read: Duration::from_secs(1),
            idle: Duration::from_secs(1),
            ..Timeouts::default()
        },
        health: None,
        tls: None,
        protocol: routes::Protocol::Http1,
        resilience: routes::Resilience::default(),
    };
    Config {
        proxy: proxy(),
        control: None,
        cdc: CdcConfig {
            grpc: any_port,
            admin: any_port,
            copy_workers: 2,
            wal_budget: 10 << 30,
            wal_last_resort: LastResort::DropSlot,
            failover_slots: true,
            verify_every: Duration::ZERO,
            verify_rate: 20_000,
            copy: CopyMode::Snapshot,
            chunk_rows: 10_000,
            parked_max: 1 << 30,
        },
        upstreams: [(MONOLITH, source_db), ("ticket", target_db)]
            .map(|(name, database)| (name.to_owned(), upstream(name, database)))
            .into(),
        capabilities: [(capability.name.clone(), capability)].into(),
        gateway: routes::GatewayConfig::default(),
        digest: String::new(),
    }
}

/// Not used here, so the defaults of the format do.
fn proxy() -> ProxyConfig {
    let text = "version = 1\n[upstreams.monolith]\npeers = [\"127.0.0.1:1\"]\n";
    let config = Config::parse_without_secrets("routes.toml", text, &|_| None);
    config.expect("a minimal file is good").proxy
}
