//! Two databases with a small ticket system and the service it moves to, and a replicator between them.

#[path = "world/config.rs"]
mod config;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use cdc::{Options, Replicator};
use cutover::{Epoch, Side, StreamKind};
use guard::{GuardClient, Install, SequenceColumn};
use pg::TableName;
use routes::{Abort, Capability, Config, Fence, Reverse, Shift, TableMapping};
use rpc::v1::{self, replicator_client::ReplicatorClient};
use testkit::{Cluster, tokio_postgres::Client, wait_until};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use config::config;

/// Long enough for a busy machine with two cores, short enough to fail.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// Between two transactions of a writer.
const PACE: Duration = Duration::from_millis(4);

const SOURCE_SQL: &str = "
    CREATE TABLE ticket (
        id bigserial PRIMARY KEY, tn varchar(50) NOT NULL UNIQUE, title varchar(255),
        body text, price numeric(10,2), queue_id integer NOT NULL DEFAULT 1,
        create_time timestamp NOT NULL DEFAULT '2026-01-01 10:00:00',
        needs_index smallint NOT NULL DEFAULT 1, legacy text NOT NULL DEFAULT 'old');
    ALTER TABLE ticket ALTER body SET STORAGE EXTERNAL;
    CREATE TABLE article (
        id bigserial PRIMARY KEY, ticket_id bigint NOT NULL, subject text, flags bytea);
    CREATE TABLE flag (
        ticket_id bigint NOT NULL, name varchar(50) NOT NULL, value text,
        UNIQUE (ticket_id, name));
    ALTER TABLE flag REPLICA IDENTITY USING INDEX flag_ticket_id_name_key;
    CREATE TABLE queue (id integer PRIMARY KEY, name varchar(200) NOT NULL, comments text);";

const TARGET_SQL: &str = "
    CREATE TABLE tickets (
        id bigserial PRIMARY KEY, number varchar(50) NOT NULL UNIQUE, title varchar(255),
        body text, price numeric(10,2), queue_id integer NOT NULL,
        created_at timestamptz NOT NULL, title_and_body text, extra text DEFAULT 'mine');
    ALTER TABLE tickets ALTER body SET STORAGE EXTERNAL;
    CREATE TABLE articles (
        id bigserial PRIMARY KEY, ticket_id bigint NOT NULL, subject text, flags bytea);
    CREATE TABLE flags (
        ticket_id bigint NOT NULL, key varchar(50) NOT NULL, value text,
        PRIMARY KEY (ticket_id, key));
    CREATE TABLE queues (id bigint PRIMARY KEY, name varchar(200) NOT NULL);";

/// Who the replicator is.
#[derive(Clone, Copy)]
pub(crate) struct Roles {
    /// Of the tables.
    pub(crate) owner: &'static str,
    /// What the replicator and control log in as.
    pub(crate) applier: &'static str,
}

/// One superuser for everything.
const SUPERUSER: Roles = Roles { owner: "postgres", applier: "postgres" };

/// The fixture.
pub(crate) struct World {
    pub(crate) cluster: &'static Cluster,
    roles: Roles,
    pub(crate) name: String,
    pub(crate) config: Arc<Config>,
    pub(crate) source: Client,
    pub(crate) target: Client,
    running: Option<Running>,
}

/// Statements that are written one after the other.
pub(crate) struct Writer {
    task: JoinHandle<anyhow::Result<i64>>,
    stop: CancellationToken,
    /// How many were acknowledged.
    pub(crate) acknowledged: watch::Receiver<i64>,
}

impl Writer {
    /// Stops writing; answers how many were acknowledged.
    pub(crate) async fn finish(self) -> anyhow::Result<i64> {
        self.stop.cancel();
        tokio::time::timeout(BOUND, self.task).await??
    }
}

struct Running {
    task: JoinHandle<Result<(), cdc::RunError>>,
    stop: CancellationToken,
    pub(crate) client: ReplicatorClient<Channel>,
}

impl World {
    /// Databases with tables and guards, and no replicator yet.
    pub(crate) async fn new() -> anyhow::Result<Self> {
        Self::with(|_| {}).await
    }

    /// As `new`, with a changed capability.
    pub(crate) async fn with(change: impl FnOnce(&mut Capability)) -> anyhow::Result<Self> {
        Self::made(Cluster::shared().await?, SUPERUSER, ("", ""), change).await
    }

    /// With these tables beside the others, and nothing but them in the capability.
    pub(crate) async fn of(
        source_sql: &str,
        target_sql: &str,
        tables: Vec<TableMapping>,
    ) -> anyhow::Result<Self> {
        let change = |capability: &mut Capability| {
            capability.tables = tables;
            capability.references.clear();
        };
        Self::made(Cluster::shared().await?, SUPERUSER, (source_sql, target_sql), change).await
    }

    /// As `with`, on a cluster of the test's own.
    pub(crate) async fn on(
        cluster: &'static Cluster,
        change: impl FnOnce(&mut Capability),
    ) -> anyhow::Result<Self> {
        Self::made(cluster, SUPERUSER, ("", ""), change).await
    }

    /// As `new`, on a cluster of the test's own that has these roles.
    pub(crate) async fn with_roles(
        cluster: &'static Cluster,
        roles: Roles,
    ) -> anyhow::Result<Self> {
        Self::made(cluster, roles, ("", ""), |_| {}).await
    }

    async fn made(
        cluster: &'static Cluster,
        roles: Roles,
        (source_sql, target_sql): (&str, &str),
        change: impl FnOnce(&mut Capability),
    ) -> anyhow::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("c{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        telemetry::init_logs();
        let (source_db, target_db) = (format!("{name}_source"), format!("{name}_target"));
        cluster.create_database(&source_db).await?;
        cluster.create_database(&target_db).await?;
        for (database, sql, more) in
            [(&source_db, SOURCE_SQL, source_sql), (&target_db, TARGET_SQL, target_sql)]
        {
            let owner = roles.owner;
            let grants = format!(
                "GRANT CREATE ON DATABASE {database} TO {owner}; GRANT ALL ON SCHEMA public TO {owner}"
            );
            cluster.execute(database, &grants).await?;
            let owner = cluster.connect_as(owner, database).await?;
            owner.batch_execute(sql).await?;
            owner.batch_execute(more).await?;
        }
        let mut capability = capability(&name);
        change(&mut capability);
        for (side, database) in [(Side::Source, &source_db), (Side::Target, &target_db)] {
            let mut owner = cluster.connect_as(roles.owner, database).await?;
            guard::install(&mut owner, &install(&capability, side)).await?;
        }
        let config = Arc::new(config(cluster, roles, capability, (&source_db, &target_db)));
        let source = cluster.connect(&source_db).await?;
        let target = cluster.connect(&target_db).await?;
        Ok(Self { cluster, roles, name, config, source, target, running: None })
    }

    /// Changes the configuration for the next replicator.
    pub(crate) fn configure(&mut self, change: impl FnOnce(&mut Config)) {
        change(Arc::make_mut(&mut self.config));
    }

    /// The same databases, for another replicator.
    pub(crate) async fn beside(&self) -> anyhow::Result<Self> {
        Ok(Self {
            cluster: self.cluster,
            roles: self.roles,
            name: self.name.clone(),
            config: Arc::clone(&self.config),
            source: self.connect_source().await?,
            target: self.connect_target().await?,
            running: None,
        })
    }

    pub(crate) async fn connect_source(&self) -> anyhow::Result<Client> {
        self.cluster.connect(&format!("{}_source", self.name)).await
    }

    pub(crate) async fn connect_target(&self) -> anyhow::Result<Client> {
        self.cluster.connect(&format!("{}_target", self.name)).await
    }

    /// Writes to the source until told to stop; any refusal is an error.
    pub(crate) async fn write_until_told(
        &self,
        sql: impl Fn(i64) -> String + Send + 'static,
    ) -> anyhow::Result<Writer> {
        Ok(write(self.connect_source().await?, sql, false))
    }

    /// Writes to a side until told to stop; while it is fenced the same write is tried again. A
    /// statement of several is one transaction.
    pub(crate) async fn write_while_allowed(
        &self,
        side: Side,
        sql: impl Fn(i64) -> String + Send + 'static,
    ) -> anyhow::Result<Writer> {
        let client = match side {
            Side::Source => self.connect_source().await?,
            Side::Target => self.connect_target().await?,
        };
        Ok(write(client, sql, true))
    }

    /// Starts the replicator.
    pub(crate) async fn run(&mut self) -> anyhow::Result<()> {
        let options = Options { config: Arc::clone(&self.config) };
        let replicator = Replicator::bind(options).await?;
        let address = replicator.grpc_address();
        let stop = CancellationToken::new();
        let task = tokio::spawn(replicator.run(stop.clone()));
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))?;
        let client = ReplicatorClient::new(endpoint.connect().await?);
        self.running = Some(Running { task, stop, client });
        Ok(())
    }

    /// Ends the replicator as a crash would.
    pub(crate) async fn crash(&mut self) -> anyhow::Result<()> {
        let running = self.running.take().context("the replicator runs")?;
        running.task.abort();
        anyhow::ensure!(running.task.await.is_err(), "it did not end by itself");
        Ok(())
    }

    /// Stops the replicator in order.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        let running = self.running.take().context("the replicator runs")?;
        running.stop.cancel();
        Ok(tokio::time::timeout(BOUND, running.task).await???)
    }

    /// Stops the replicator and gives back what it took of the cluster that all tests share.
    pub(crate) async fn end(&mut self) -> anyhow::Result<()> {
        self.stop().await?;
        let streams = [StreamKind::Forward, StreamKind::Reverse, StreamKind::Reference];
        let repair = format!("ficus_{}_repair", self.name);
        for name in streams.map(|kind| kind.slot(&self.name)).into_iter().chain([repair]) {
            wait_until(BOUND, || async {
                let sql = "SELECT active FROM pg_replication_slots WHERE slot_name = $1";
                let row = self.source.query_opt(sql, &[&name]).await?;
                Ok(row.is_none_or(|row| !row.get::<_, bool>(0)).then_some(()))
            })
            .await?;
            // A slot belongs to its database, and only one of the two has it.
            for client in [&self.source, &self.target] {
                let sql = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
                    WHERE slot_name = $1 AND database = current_database()";
                client.execute(sql, &[&name]).await?;
            }
            wait_until(BOUND, || async {
                let sql = "SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin
                    WHERE roname IN ($1, $1 || '_resync')";
                Ok(self.source.execute(sql, &[&name]).await.ok().map(drop))
            })
            .await?;
        }
        Ok(())
    }

    /// Spoils a side's rows behind everybody's back: no fence, no trigger and no stream notices.
    pub(crate) async fn damage(&self, side: Side, sql: &str) -> anyhow::Result<()> {
        let client = match side {
            Side::Source => self.connect_source().await?,
            Side::Target => self.connect_target().await?,
        };
        let origin = StreamKind::Reference.slot(&self.name);
        let sql = format!(
            "SET session_replication_role = replica; SET SESSION AUTHORIZATION ficus_applier; BEGIN;
             SELECT pg_logical_emit_message(true, 'ficus.origin', '{origin}'); {sql}; COMMIT"
        );
        Ok(client.batch_execute(&sql).await?)
    }

    /// What the replicator says about comparisons.
    pub(crate) async fn verification(&self) -> anyhow::Result<Option<v1::Verification>> {
        let request = v1::StatusRequest { capability: self.name.clone() };
        Ok(self.client().status(request).await?.into_inner().verifications.into_iter().next())
    }

    pub(crate) fn client(&self) -> ReplicatorClient<Channel> {
        self.running.as_ref().expect("the replicator runs").client.clone()
    }

    pub(crate) fn stream(&self, kind: StreamKind) -> v1::StreamRequest {
        v1::StreamRequest { capability: self.name.clone(), kind: kind.as_str().to_owned() }
    }

    /// Starts a stream and waits until it reads the log.
    pub(crate) async fn start(&self, kind: StreamKind) -> anyhow::Result<()> {
        self.client().start(self.stream(kind)).await?;
        let wanted = if kind == StreamKind::Reverse { "stopped" } else { "streaming" };
        self.wait_for_state(kind, wanted).await.map(drop)
    }

    pub(crate) async fn status(
        &self,
        kind: StreamKind,
    ) -> anyhow::Result<Option<v1::StreamStatus>> {
        let request = v1::StatusRequest { capability: self.name.clone() };
        let reply = self.client().status(request).await?.into_inner();
        Ok(reply.streams.into_iter().find(|stream| stream.kind == kind.as_str()))
    }

    pub(crate) async fn wait_for_state(
        &self,
        kind: StreamKind,
        state: &str,
    ) -> anyhow::Result<v1::StreamStatus> {
        let mut last = None;
        let found = wait_until(BOUND, || async {
            let status = self.status(kind).await?;
            if let Some(status) = &status
                && status.state == "failed"
                && state != "failed"
            {
                anyhow::bail!("the stream failed: {}", status.reason);
            }
            Ok(status.filter(|status| status.state == state))
        })
        .await;
        if found.is_err() {
            last = self.status(kind).await?;
        }
        found.with_context(|| format!("wait for state {state}, last {last:?}"))
    }

    /// Waits until everything committed before now has been applied.
    pub(crate) async fn barrier(&self, kind: StreamKind) -> anyhow::Result<()> {
        let request = v1::BarrierRequest {
            capability: self.name.clone(),
            kind: kind.as_str().to_owned(),
            timeout_ms: 30_000,
        };
        self.client().barrier(request).await?;
        Ok(())
    }

    /// A guard client for one side.
    pub(crate) async fn guard(&self, side: Side) -> anyhow::Result<GuardClient> {
        Ok(GuardClient::connect(&self.url(side), "test").await?)
    }

    pub(crate) fn url(&self, side: Side) -> String {
        self.cluster.url_as(self.roles.applier, &format!("{}_{side}", self.name))
    }

    /// The whole cutover by hand: fence, drain, prepare, decide, open.
    pub(crate) async fn cut_over(&self, epoch: u64) -> anyhow::Result<()> {
        self.transfer(Side::Source, StreamKind::Forward, epoch).await
    }

    /// The way back.
    pub(crate) async fn roll_back(&self, epoch: u64) -> anyhow::Result<()> {
        self.transfer(Side::Target, StreamKind::Reverse, epoch).await
    }

    async fn transfer(&self, old: Side, kind: StreamKind, epoch: u64) -> anyhow::Result<()> {
        let (name, expected, epoch) = (self.name.as_str(), Epoch(epoch - 1), Epoch(epoch));
        let old_owner = self.guard(old).await?;
        let new_owner = self.guard(old.other()).await?;
        let (ttl, lock) = (Duration::from_secs(30), Duration::from_secs(5));
        old_owner.fence(name, expected, ttl, lock).await?;
        self.wait_for_barrier(kind, epoch.0).await?;
        new_owner.prepare(name, epoch, 1000).await?;
        old_owner.decide(name, epoch, epoch, Duration::from_millis(500)).await?;
        new_owner.open(name, epoch, epoch).await?;
        Ok(())
    }

    pub(crate) async fn wait_for_barrier(
        &self,
        kind: StreamKind,
        epoch: u64,
    ) -> anyhow::Result<()> {
        let client = match kind.applies_to() {
            Side::Source => &self.source,
            Side::Target => &self.target,
        };
        let key = kind.key(&self.name);
        let seen = wait_until(BOUND, || async {
            let sql = "SELECT barrier_seen FROM ficus.apply WHERE stream = $1";
            let seen: i64 = client.query_one(sql, &[&key]).await?.get(0);
            Ok((seen == i64::try_from(epoch)?).then_some(()))
        });
        seen.await.with_context(|| format!("barrier {epoch}"))
    }

    /// Both sides through the mapping, as text: equal when the two are.
    pub(crate) async fn rows(&self) -> anyhow::Result<(Vec<String>, Vec<String>)> {
        let source = "SELECT 't', id::text, tn, title, md5(body), price::text, queue_id::text,
                (create_time AT TIME ZONE 'UTC')::text, coalesce(title, '') || md5(coalesce(body, ''))
                FROM ticket
            UNION ALL SELECT 'a', id::text, ticket_id::text, subject, encode(flags, 'hex'), '', '', '', '' FROM article
            UNION ALL SELECT 'f', ticket_id::text, name, value, '', '', '', '', '' FROM flag WHERE name <> 'private'";
        let target = "SELECT 't', id::text, number, title, md5(body), price::text, queue_id::text,
                created_at::text, title_and_body FROM tickets
            UNION ALL SELECT 'a', id::text, ticket_id::text, subject, encode(flags, 'hex'), '', '', '', '' FROM articles
            UNION ALL SELECT 'f', ticket_id::text, key, value, '', '', '', '', '' FROM flags";
        Ok((texts(&self.source, source).await?, texts(&self.target, target).await?))
    }

    /// Fails unless both sides are equal.
    pub(crate) async fn assert_equal(&self) -> anyhow::Result<usize> {
        let (source, target) = self.rows().await?;
        if source != target {
            let (left, right): (BTreeSet<_>, BTreeSet<_>) =
                (source.iter().collect(), target.iter().collect());
            let missing: Vec<_> = left.difference(&right).take(3).collect();
            let extra: Vec<_> = right.difference(&left).take(3).collect();
            anyhow::bail!("missing {missing:?}, extra {extra:?}");
        }
        Ok(source.len())
    }
}

fn write(
    client: Client,
    sql: impl Fn(i64) -> String + Send + 'static,
    tries_again_when_fenced: bool,
) -> Writer {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let (count, acknowledged) = watch::channel(0);
    let task = tokio::spawn(async move {
        let mut number = 0;
        // As fast as a busy application, not as fast as the machine can.
        let mut pace = tokio::time::interval(PACE);
        while !stopped.is_cancelled() {
            pace.tick().await;
            match client.batch_execute(&sql(number + 1)).await {
                Ok(()) => {
                    number += 1;
                    count.send_replace(number);
                }
                Err(error)
                    if tries_again_when_fenced
                        && error.code().is_some_and(|code| code.code() == "FC001") => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(number)
    });
    Writer { task, stop, acknowledged }
}

/// The rows of a query as text, in an order of their own.
pub(crate) async fn texts(client: &Client, sql: &str) -> anyhow::Result<Vec<String>> {
    let sql = format!("SELECT r::text FROM ({sql}) r ORDER BY 1");
    Ok(client.query(&sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

fn capability(name: &str) -> Capability {
    let seconds = Duration::from_secs;
    Capability {
        name: name.to_owned(),
        upstream: "ticket".to_owned(),
        shift: Shift { steps: vec![100], every: seconds(600), cool_down: seconds(900), retries: 2 },
        abort: Abort {
            error_delta: 0.01,
            p99_ratio: 2.0,
            mismatch: 0.01,
            coverage: 0.8,
            max_lag: seconds(2),
        },
        fence: Fence { hold: seconds(10), max_held: 100, lock_timeout: seconds(1) },
        reverse: Reverse { soak: seconds(60) },
        routes: Vec::new(),
        tables: vec![
            TableMapping {
                columns: map(&[("tn", "number")]),
                omit: vec!["needs_index".to_owned(), "legacy".to_owned()],
                set: map(&[
                    ("created_at", "create_time AT TIME ZONE 'UTC'"),
                    ("title_and_body", "coalesce(title, '') || md5(coalesce(body, ''))"),
                ]),
                reverse: map(&[
                    ("create_time", "created_at AT TIME ZONE 'UTC'"),
                    ("legacy", "'born in the service'"),
                ]),
                ..mapping("ticket", "tickets")
            },
            mapping("article", "articles"),
            TableMapping {
                columns: map(&[("name", "key")]),
                filter: Some("name <> 'private'".to_owned()),
                ..mapping("flag", "flags")
            },
        ],
        references: vec![mapping("queue", "queues")],
    }
}

pub(crate) fn mapping(source: &str, target: &str) -> TableMapping {
    TableMapping {
        source: TableName::new("public", source),
        target: TableName::new("public", target),
        columns: BTreeMap::new(),
        omit: Vec::new(),
        filter: None,
        set: BTreeMap::new(),
        reverse: BTreeMap::new(),
        line: 1,
    }
}

pub(crate) fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
}

fn install(capability: &Capability, side: Side) -> Install {
    let of = |mappings: &[TableMapping]| -> Vec<TableName> {
        let name = |mapping: &TableMapping| match side {
            Side::Source => mapping.source.clone(),
            Side::Target => mapping.target.clone(),
        };
        mappings.iter().map(name).collect()
    };
    let table = match side {
        Side::Source => TableName::new("public", "ticket"),
        Side::Target => TableName::new("public", "tickets"),
    };
    Install {
        capability: capability.name.clone(),
        side,
        tables: of(&capability.tables),
        references: of(&capability.references),
        sequences: vec![SequenceColumn {
            name: "public.ticket.id".to_owned(),
            table,
            column: "id".to_owned(),
        }],
    }
}
