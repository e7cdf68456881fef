//! Two databases in which one case runs after the other, and the replicator between them.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Context;
use cdc::{Options, Replicator};
use cutover::{Side, StreamKind};
use guard::Install;
use pg::TableName;
use routes::Config;
use rpc::v1::{self, replicator_client::ReplicatorClient};
use testkit::{Cluster, tokio_postgres::Client, wait_until};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::{
    case::{Case, Done},
    kinds::OF_EXTENSIONS,
    script::{Script, Step},
};

/// Long enough for a busy machine with two cores, short enough to fail.
const BOUND: Duration = Duration::from_secs(60);

/// One server for all: logical decoding spills and streams early, and transactions can be prepared.
pub(crate) async fn cluster() -> anyhow::Result<Arc<Cluster>> {
    let cluster = Cluster::builder()
        .setting("logical_decoding_work_mem = '64kB'")
        .setting("max_prepared_transactions = 50")
        .setting("autovacuum_naptime = '5s'")
        .start()
        .await?;
    Ok(Arc::new(cluster))
}

/// Where cases run.
#[derive(Debug)]
pub(crate) struct Lane {
    cluster: Arc<Cluster>,
    /// Of the capability, and of the databases.
    name: String,
    extensions: Vec<String>,
}

/// A replicator inside this process.
struct Running {
    task: JoinHandle<Result<(), cdc::RunError>>,
    stop: CancellationToken,
    client: ReplicatorClient<Channel>,
}

/// A case that is under way.
struct Run<'a> {
    lane: &'a Lane,
    config: Arc<Config>,
    running: Option<Running>,
    start: Option<JoinHandle<Result<(), tonic::Status>>>,
    done: Done,
}

impl Lane {
    pub(crate) async fn open(cluster: Arc<Cluster>, name: &str) -> anyhow::Result<Self> {
        let mut lane = Self { cluster, name: name.to_owned(), extensions: Vec::new() };
        for side in [Side::Source, Side::Target] {
            lane.cluster.create_database(&lane.database(side)).await?;
            let client = lane.connect(side).await?;
            for (extension, _) in OF_EXTENSIONS {
                let made = client.batch_execute(&format!("CREATE EXTENSION {extension}")).await;
                if made.is_ok() && side == Side::Source {
                    lane.extensions.push((*extension).to_owned());
                }
            }
        }
        Ok(lane)
    }

    pub(crate) fn extensions(&self) -> &[String] {
        &self.extensions
    }

    /// Runs a case.
    ///
    /// # Errors
    /// When the stream stops, or both sides are not equal at the end.
    pub(crate) async fn run(&self, case: &Case) -> anyhow::Result<Done> {
        let result = match self.prepare(case).await {
            Ok(()) => self.play(case).await,
            Err(error) => Err(error),
        };
        self.clear(case).await.context("clear away a case")?;
        result
    }

    fn database(&self, side: Side) -> String {
        format!("{}_{side}", self.name)
    }

    async fn connect(&self, side: Side) -> anyhow::Result<Client> {
        self.cluster.connect(&self.database(side)).await
    }

    async fn prepare(&self, case: &Case) -> anyhow::Result<()> {
        for side in [Side::Source, Side::Target] {
            let mut client = self.connect(side).await?;
            let ddl = case.schema.ddl(side == Side::Source);
            client.batch_execute(&ddl).await.with_context(|| format!("lay out: {ddl}"))?;
            let tables = case.schema.tables.iter().map(|table| match side {
                Side::Source => table.source.parse::<TableName>(),
                Side::Target => table.target.parse::<TableName>(),
            });
            let install = Install {
                capability: self.name.clone(),
                side,
                tables: tables.collect::<Result<_, _>>()?,
                references: Vec::new(),
                sequences: Vec::new(),
            };
            guard::install(&mut client, &install).await?;
        }
        Ok(())
    }

    async fn play(&self, case: &Case) -> anyhow::Result<Done> {
        let config = Arc::new(self.config(case)?);
        let mut run = Run { lane: self, config, running: None, start: None, done: Done::default() };
        let result = run.play(case).await;
        if let Some(running) = run.running {
            running.stop.cancel();
            let stopped = tokio::time::timeout(BOUND, running.task).await;
            if result.is_ok() {
                stopped.context("the replicator does not stop")???;
            }
        }
        result.map(|()| run.done)
    }

    fn config(&self, case: &Case) -> anyhow::Result<Config> {
        let url = |side| self.cluster.url(&self.database(side));
        let tables = case.schema.tables.iter();
        let tables: String = tables
            .map(|table| format!("[[capabilities.{}.tables]]\n{}", self.name, table.mapping))
            .collect();
        let text = format!(
            "version = 1\n[proxy]\nlisten = [\"127.0.0.1:9\"]\nadmin = \"127.0.0.1:10\"\n\
             [cdc]\ngrpc = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\ncopy_workers = 2\n\
             [upstreams.monolith]\npeers = [\"127.0.0.1:9\"]\ndatabase = \"{}\"\n\
             [upstreams.service]\npeers = [\"127.0.0.1:9\"]\ndatabase = \"{}\"\n\
             [capabilities.{name}]\nupstream = \"service\"\n\
             [[capabilities.{name}.routes]]\nmatch = \"PUT /x/{{id}}\"\n{tables}",
            url(Side::Source),
            url(Side::Target),
            name = self.name,
        );
        let unread = |_: &std::path::Path| Err(std::io::Error::other("there are no files"));
        Config::parse("routes.toml", &text, &|_| None, &unread).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("{}\n{text}", problems.join("\n"))
        })
    }

    /// Takes everything away that a case, whole or failed, has left.
    async fn clear(&self, case: &Case) -> anyhow::Result<()> {
        let slot = StreamKind::Forward.slot(&self.name);
        let source = self.connect(Side::Source).await?;
        forget_prepared(&source).await?;
        wait_until(BOUND, || async {
            let sql = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
                WHERE slot_name = $1 AND active";
            Ok((source.execute(sql, &[&slot]).await? == 0).then_some(()))
        })
        .await?;
        let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
            WHERE slot_name = $1 AND NOT active";
        source.execute(drop, &[&slot]).await?;
        for side in [Side::Source, Side::Target] {
            let mut client = self.connect(side).await?;
            let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()
                    AND backend_type = 'client backend'";
            client.execute(others, &[]).await?;
            let installed =
                "SELECT 1 FROM pg_tables WHERE (schemaname, tablename) = ('ficus', 'copy')";
            if client.query_opt(installed, &[]).await?.is_some() {
                guard::uninstall(&mut client, &self.name).await?;
                client.batch_execute("DELETE FROM ficus.copy").await?;
            }
            client.batch_execute(&case.schema.drop()).await?;
        }
        let client = self.connect(Side::Target).await?;
        wait_until(BOUND, || async {
            let sql = "SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin
                WHERE roname = $1";
            match client.execute(sql, &[&slot]).await {
                Ok(_) => Ok(Some(())),
                // A session that was just ended still has it.
                Err(error) if error.as_db_error().is_some() => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }
}

async fn forget_prepared(client: &Client) -> anyhow::Result<()> {
    let sql = "SELECT 'ROLLBACK PREPARED ' || quote_literal(gid) FROM pg_prepared_xacts
        WHERE database = current_database()";
    for row in client.query(sql, &[]).await? {
        client.batch_execute(row.get(0)).await?;
    }
    Ok(())
}

impl Run<'_> {
    async fn play(&mut self, case: &Case) -> anyhow::Result<()> {
        self.running = Some(self.replicator().await?);
        self.script(&case.script).await?;
        if self.start.is_none() {
            self.begin();
        }
        let start = self.start.take().context("the stream was started")?;
        tokio::time::timeout(BOUND, start).await.context("the start takes too long")???;
        self.catch_up().await?;
        if case.tampers {
            let target = self.lane.connect(Side::Target).await?;
            // The fence lets nobody else pass.
            target.batch_execute("SET SESSION AUTHORIZATION ficus_applier").await?;
            for table in &case.schema.tables {
                let sql = format!("UPDATE {} SET \"only here\" = 'theirs'", table.target);
                target.batch_execute(&sql).await?;
            }
        }
        self.compare(case).await
    }

    async fn replicator(&self) -> anyhow::Result<Running> {
        let replicator = Replicator::bind(Options { config: Arc::clone(&self.config) }).await?;
        let address = replicator.grpc_address();
        let stop = CancellationToken::new();
        let task = tokio::spawn(replicator.run(stop.clone()));
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))?;
        let client = ReplicatorClient::new(endpoint.connect().await?);
        Ok(Running { task, stop, client })
    }

    async fn script(&mut self, script: &Script) -> anyhow::Result<()> {
        let mut sessions = Vec::new();
        for _ in 0..script.sessions {
            let session = self.lane.connect(Side::Source).await?;
            session.batch_execute("SET lock_timeout = '100ms'").await?;
            sessions.push(session);
        }
        for step in &script.steps {
            match step {
                Step::Sql { session, guarded, sql } => {
                    let client = sessions.get(*session).context("a session of the script")?;
                    self.done.statements += 1;
                    self.done.succeeded += u64::from(execute(client, sql, *guarded).await?);
                }
                Step::Start => self.begin(),
                Step::Crash => self.replace(true).await?,
                Step::Restart => self.replace(false).await?,
            }
        }
        for session in &sessions {
            session.batch_execute("ROLLBACK").await?;
        }
        forget_prepared(&self.lane.connect(Side::Source).await?).await
    }

    fn request(&self) -> v1::StreamRequest {
        v1::StreamRequest {
            capability: self.lane.name.clone(),
            kind: StreamKind::Forward.as_str().to_owned(),
        }
    }

    /// Starts the stream; operations go on meanwhile.
    fn begin(&mut self) {
        let request = self.request();
        let Some(mut client) = self.running.as_ref().map(|running| running.client.clone()) else {
            return;
        };
        let start = async move { client.start(request).await.map(|_| ()) };
        self.start = Some(tokio::spawn(start));
    }

    /// Another replicator takes the place of this one, unless the operator still waits for it.
    async fn replace(&mut self, dies: bool) -> anyhow::Result<()> {
        if self.start.as_ref().is_none_or(|start| !start.is_finished()) {
            return Ok(());
        }
        let running = self.running.take().context("a replicator runs")?;
        if dies {
            running.task.abort();
            anyhow::ensure!(running.task.await.is_err(), "the replicator ended by itself");
        } else {
            running.stop.cancel();
            tokio::time::timeout(BOUND, running.task).await???;
        }
        self.running = Some(self.replicator().await?);
        Ok(())
    }

    /// Waits until everything that was committed has been applied.
    async fn catch_up(&mut self) -> anyhow::Result<()> {
        let client = &self.running.as_ref().context("a replicator runs")?.client;
        let status = || async {
            let request = v1::StatusRequest { capability: self.lane.name.clone() };
            let reply = client.clone().status(request).await?.into_inner();
            Ok::<_, anyhow::Error>(reply.streams.into_iter().find(|each| each.kind == "forward"))
        };
        let streams = wait_until(BOUND, || async {
            let Some(status) = status().await? else { return Ok(None) };
            anyhow::ensure!(status.state != "failed", "the stream failed: {}", status.reason);
            Ok((status.state == "streaming").then_some(()))
        });
        if let Err(error) = streams.await {
            anyhow::bail!("{error:#}, last {:?}", status().await?);
        }
        let barrier = v1::BarrierRequest {
            capability: self.lane.name.clone(),
            kind: StreamKind::Forward.as_str().to_owned(),
            timeout_ms: 30_000,
        };
        let mut asking = client.clone();
        let waiting = async move { asking.barrier(barrier).await.map(|_| ()) };
        let failure = wait_until(BOUND, || async {
            let failed = status().await?.filter(|status| status.state == "failed");
            Ok(failed.map(|status| status.reason))
        });
        tokio::select! {
            passed = waiting => match passed {
                Ok(()) => Ok(()),
                Err(error) => Err(anyhow::anyhow!("{error}, last {:?}", status().await?)),
            },
            reason = failure => anyhow::bail!("the stream failed: {}", reason?),
        }
    }

    async fn compare(&mut self, case: &Case) -> anyhow::Result<()> {
        let (source, target) =
            (self.lane.connect(Side::Source).await?, self.lane.connect(Side::Target).await?);
        for table in &case.schema.tables {
            let [read, written] = &table.compare;
            let (read, written) = (rows(&source, read).await?, rows(&target, written).await?);
            self.done.rows += u64::try_from(read.len())?;
            if read == written {
                continue;
            }
            let (left, right): (BTreeSet<_>, BTreeSet<_>) =
                (read.iter().collect(), written.iter().collect());
            let missing: Vec<_> = left.difference(&right).take(3).collect();
            let extra: Vec<_> = right.difference(&left).take(3).collect();
            anyhow::bail!(
                "{} with {} rows and {} with {} differ: missing {missing:?}, extra {extra:?}",
                table.source,
                read.len(),
                table.target,
                written.len()
            );
        }
        Ok(())
    }
}

/// Runs a statement; answers whether it succeeded.
async fn execute(client: &Client, sql: &str, guarded: bool) -> anyhow::Result<bool> {
    let run = |sql: String| async move {
        match client.batch_execute(&sql).await {
            Ok(()) => Ok(true),
            Err(error) if error.as_db_error().is_some() => Ok(false),
            Err(error) => Err(error).with_context(|| format!("run {sql}")),
        }
    };
    let changes = ["INSERT", "UPDATE", "DELETE", "TRUNCATE"];
    if !guarded || !changes.iter().any(|verb| sql.starts_with(verb)) {
        return run(sql.to_owned()).await;
    }
    if !run("SAVEPOINT guard".to_owned()).await? {
        return Ok(false);
    }
    let succeeded = run(sql.to_owned()).await?;
    let after = if succeeded { "RELEASE SAVEPOINT guard" } else { "ROLLBACK TO SAVEPOINT guard" };
    run(after.to_owned()).await?;
    Ok(succeeded)
}

/// The rows, in one order on both sides.
async fn rows(client: &Client, sql: &str) -> anyhow::Result<Vec<Vec<Option<String>>>> {
    let rows = client.query(sql, &[]).await.with_context(|| format!("run {sql}"))?;
    let mut rows: Vec<Vec<Option<String>>> = rows.iter().map(|row| row.get(0)).collect();
    rows.sort();
    Ok(rows)
}
