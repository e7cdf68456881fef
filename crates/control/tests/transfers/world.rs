//! Two databases with one table each, a store, a replicator: everything but control and proxies.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use cutover::{GuardPair, GuardRow, Side};
use guard::GuardClient;
use routes::Config;
use testkit::{Cluster, free_port, wait_until};
use tokio::sync::OnceCell;

use crate::fake_replicator::FakeReplicator;

pub(crate) const WITHIN: Duration = Duration::from_secs(30);
/// The application's login on both sides; it does not own the tables.
const APPLICATION: &str = "application";

static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct World {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) capability: String,
    pub(crate) replicator: FakeReplicator,
    replicator_address: SocketAddr,
}

async fn server() -> Arc<Cluster> {
    let builder = Cluster::builder().setting("max_replication_slots = 400");
    let cluster = builder.setting("max_connections = 400").start().await.unwrap();
    cluster.execute("postgres", "CREATE ROLE ficus_applier LOGIN REPLICATION").await.unwrap();
    cluster.create_role(APPLICATION).await.unwrap();
    Arc::new(cluster)
}

/// One server for nearly all tests, with room for the slots of all of them.
async fn shared() -> Arc<Cluster> {
    static SHARED: OnceCell<Arc<Cluster>> = OnceCell::const_new();
    Arc::clone(SHARED.get_or_init(server).await)
}

pub(crate) fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()))
}

impl World {
    /// Everything fresh; the capability's name is unique, because slots belong to the whole server.
    pub(crate) async fn new() -> Self {
        Self::on(shared().await).await
    }

    /// On a server of its own, for tests with long transactions: making a slot waits for all of them.
    pub(crate) async fn alone() -> Self {
        Self::on(server().await).await
    }

    async fn on(cluster: Arc<Cluster>) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let capability = format!("cap{number}");
        for database in ["source", "target", "store"] {
            cluster.create_database(&format!("{capability}_{database}")).await.unwrap();
        }
        for side in ["source", "target"] {
            let sql = format!(
                "CREATE TABLE item (id bigserial PRIMARY KEY, name text NOT NULL);
                 GRANT SELECT, INSERT, UPDATE, DELETE ON item TO {APPLICATION};
                 GRANT USAGE ON SEQUENCE item_id_seq TO {APPLICATION};"
            );
            cluster.execute(&format!("{capability}_{side}"), &sql).await.unwrap();
        }
        let replicator_address = free_address();
        let urls =
            [Side::Source, Side::Target].map(|side| cluster.url(&format!("{capability}_{side}")));
        let replicator = FakeReplicator::start(replicator_address, &capability, urls).await;
        Self { cluster, capability, replicator, replicator_address }
    }

    pub(crate) fn database(&self, side: Side) -> String {
        format!("{}_{side}", self.capability)
    }

    pub(crate) fn config(&self, http: SocketAddr, grpc: SocketAddr) -> Config {
        let name = &self.capability;
        let url = |database: &str| self.cluster.url(&format!("{name}_{database}"));
        let text = format!(
            r#"version = 1
[control]
database = "{store}"
listen = "{http}"
grpc = "{grpc}"
[cdc]
grpc = "{cdc}"
[upstreams.monolith]
peers = ["127.0.0.1:3000"]
database = "{source}"
[upstreams.service]
peers = ["127.0.0.1:3001"]
database = "{target}"
[capabilities.{name}]
upstream = "service"
shift = {{ steps = [5, 50, 100], every = "500ms", cool_down = "300ms", retries = 1 }}
[[capabilities.{name}.routes]]
match = "GET /items/{{id}}"
[[capabilities.{name}.routes]]
match = "POST /items"
[[capabilities.{name}.tables]]
source = "public.item"
target = "public.item"
"#,
            store = url("store"),
            cdc = self.replicator_address,
            source = url("source"),
            target = url("target"),
        );
        let read = |path: &Path| std::fs::read_to_string(path);
        Config::parse("routes.toml", &text, &|_| None, &read)
            .unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    pub(crate) async fn guard_client(&self, side: Side) -> GuardClient {
        let url = self.cluster.url(&self.database(side));
        GuardClient::connect(&url, "test").await.unwrap()
    }

    pub(crate) async fn guard(&self, side: Side) -> GuardRow {
        let client = self.guard_client(side).await;
        let records = client.view().await.unwrap();
        records.into_iter().find(|record| record.capability == self.capability).unwrap().row
    }

    pub(crate) async fn guards(&self) -> GuardPair {
        GuardPair { source: self.guard(Side::Source).await, target: self.guard(Side::Target).await }
    }

    /// The application writes; the error is its SQLSTATE.
    pub(crate) async fn write(&self, side: Side, name: &str) -> Result<i64, String> {
        let client = self.cluster.connect_as(APPLICATION, &self.database(side)).await.unwrap();
        client
            .query_one("INSERT INTO item (name) VALUES ($1) RETURNING id", &[&name])
            .await
            .map(|row| row.get(0))
            .map_err(|error| error.code().map(|code| code.code().to_owned()).unwrap_or_default())
    }

    pub(crate) async fn names(&self, side: Side) -> Vec<String> {
        let client = self.cluster.connect(&self.database(side)).await.unwrap();
        let rows = client.query("SELECT name FROM item ORDER BY id", &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Waits until exactly one side is open.
    pub(crate) async fn settled(&self) -> Side {
        wait_until(WITHIN, || async {
            Ok(match self.guards().await.ownership() {
                cutover::Ownership::Owned { by, .. } => Some(by),
                cutover::Ownership::InTransition { .. } => None,
                cutover::Ownership::Split => anyhow::bail!("both sides are open"),
            })
        })
        .await
        .unwrap()
    }
}
