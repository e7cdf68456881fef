//! The two replicators of `bench cdc`: Ficus, driven with the commands an operator types, and a native
//! subscription.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use testkit::{ChildSpec, Cluster, RunningChild, free_port, wait_until};
use tokio::process::Command;

use super::pair::{Pair, until};
use crate::bench::machine::peak_rss_mb;
use crate::operator::last_object;

/// Longest a process may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Follows one database of a [`Pair`].
#[derive(Debug)]
pub(super) enum Replicator {
    Native(Native),
    Ficus(Box<Ficus>),
}

/// A subscription as fast as this version of the server allows.
#[derive(Debug)]
pub(super) struct Native {
    database: String,
    /// Its `synchronous_commit`.
    commit: &'static str,
}

/// `ficus control` and `ficus cdc` with a capability of one table, named like the database.
#[derive(Debug)]
pub(super) struct Ficus {
    program: PathBuf,
    config: PathBuf,
    database: String,
    control: RunningChild,
    cdc: RunningChild,
}

/// How `ficus` is started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start<'a> {
    pub(super) program: &'a Path,
    /// For configuration and logs.
    pub(super) dir: &'a Path,
    pub(super) streams: u16,
}

impl Replicator {
    /// Its processes; a subscription's belong to the servers.
    pub(super) fn processes(&self) -> Vec<i32> {
        match self {
            Self::Native(_) => Vec::new(),
            Self::Ficus(ficus) => vec![ficus.cdc.pid(), ficus.control.pid()],
        }
    }

    /// Begins to follow, and waits until the table is copied and in step.
    pub(super) async fn start(&self, pair: &Pair) -> anyhow::Result<()> {
        match self {
            Self::Native(native) => native.start(pair).await,
            Self::Ficus(ficus) => ficus.start(pair).await,
        }
    }

    /// Lets go of the source until it is resumed.
    pub(super) async fn pause(&self, pair: &Pair) -> anyhow::Result<()> {
        let database = match self {
            Self::Native(native) => {
                let disable = format!("ALTER SUBSCRIPTION {0} DISABLE", native.database);
                pair.target.execute(&native.database, &disable).await?;
                &native.database
            }
            Self::Ficus(ficus) => {
                ficus.type_in(&["pause", &ficus.database]).await?;
                &ficus.database
            }
        };
        pair.until_no_slot_is_active(database).await
    }

    pub(super) async fn resume(&self, pair: &Pair) -> anyhow::Result<()> {
        match self {
            Self::Native(native) => {
                let enable = format!("ALTER SUBSCRIPTION {0} ENABLE", native.database);
                pair.target.execute(&native.database, &enable).await
            }
            Self::Ficus(ficus) => {
                ficus.type_in(&["resume", &ficus.database]).await?;
                Ok(())
            }
        }
    }

    /// Lets go of the source for good; answers the most memory that its main process ever held, in MB.
    pub(super) async fn stop(self, pair: &Pair) -> anyhow::Result<Option<f64>> {
        match self {
            Self::Native(native) => {
                let drop = format!("DROP SUBSCRIPTION {}", native.database);
                pair.target.execute(&native.database, &drop).await?;
                Ok(None)
            }
            Self::Ficus(ficus) => {
                let peak = peak_rss_mb(ficus.cdc.pid())?;
                ficus.cdc.terminate().await?;
                ficus.control.terminate().await?;
                let drop = format!("DROP DATABASE control_{} WITH (FORCE)", ficus.database);
                pair.target.execute("postgres", &drop).await?;
                Ok(Some(peak))
            }
        }
    }
}

impl Native {
    pub(super) fn new(database: &str, commit: &'static str) -> Self {
        Self { database: database.to_owned(), commit }
    }

    async fn start(&self, pair: &Pair) -> anyhow::Result<()> {
        let Self { database, commit } = self;
        pair.source.execute(database, "CREATE PUBLICATION native FOR TABLE bench").await?;
        let target = pair.target.connect(database).await?;
        let create = format!(
            "CREATE SUBSCRIPTION {database} CONNECTION '{}' PUBLICATION native \
             WITH (binary = true, streaming = on, synchronous_commit = {commit})",
            pair.source.url(database)
        );
        target.batch_execute(&create).await.context("create the subscription")?;
        let left = "SELECT count(*) FROM pg_subscription_rel r JOIN pg_subscription s \
                    ON s.oid = r.srsubid WHERE s.subname = $1 AND r.srsubstate <> 'r'";
        until("the subscription did not copy the table", || async {
            let left: i64 = target.query_one(left, &[&database]).await?.get(0);
            Ok(left == 0)
        })
        .await
    }
}

impl Ficus {
    /// Starts the processes and mends what `ficus check` finds; nothing is followed yet.
    pub(super) async fn prepare(
        pair: &Pair,
        database: &str,
        start: Start<'_>,
    ) -> anyhow::Result<Self> {
        let control_database = format!("control_{database}");
        pair.target.create_database(&control_database).await?;
        let owner = format!("ALTER DATABASE {control_database} OWNER TO ficus_control");
        pair.target.execute("postgres", &owner).await?;
        let config = start.dir.join("routes.toml");
        let (control, cdc) = (free_port()?, free_port()?);
        let text = routes(pair, database, start.streams, (control, cdc))?;
        std::fs::write(&config, text)?;
        mend(pair, database, start.program, &config).await?;
        let spawn = |name: &str| {
            ChildSpec::new(name, start.program, start.dir.join(format!("{name}.log")))
                .arg("--config")
                .arg(&config)
                .arg(name)
                .spawn()
        };
        let mut running = [spawn("control")?, spawn("cdc")?];
        for (child, port) in running.iter_mut().zip([control, cdc]) {
            child.wait_ready(([127, 0, 0, 1], port).into(), "/healthz", READY_WITHIN).await?;
        }
        let [control, cdc] = running;
        let (program, database) = (start.program.to_owned(), database.to_owned());
        let ficus = Self { program, config, database, control, cdc };
        wait_until(READY_WITHIN, || async {
            // a control that answers may still have to find out that it is alone
            let status = ficus.type_in(&["status"]).await?;
            let leads = status.get("leader").and_then(Value::as_bool);
            Ok(leads.unwrap_or(false).then_some(()))
        })
        .await
        .context("control does not lead")?;
        Ok(ficus)
    }

    /// Types `ficus start`. The command itself looks four times a second only, so the clock stops when the
    /// stream takes up the log, which it does when rows, indexes and statistics are there.
    async fn start(&self, pair: &Pair) -> anyhow::Result<()> {
        let source = pair.source.connect(&self.database).await?;
        let target = pair.target.connect(&self.database).await?;
        let typed = ["start", &self.database];
        let typed = self.type_in(&typed);
        let streams = until("the stream did not begin", || async {
            let known = target.query_one("SELECT to_regclass('ficus.apply') IS NOT NULL", &[]);
            if !known.await?.get::<_, bool>(0) {
                return Ok(false);
            }
            let copied = "SELECT count(*) FROM ficus.apply WHERE capability = $1 AND copied";
            let copied: i64 = target.query_one(copied, &[&self.database]).await?.get(0);
            // a slot is in use for a moment when it is created, too
            let active = "SELECT count(*) FROM pg_replication_slots WHERE database = $1 AND active";
            let active: i64 = source.query_one(active, &[&self.database]).await?.get(0);
            Ok(copied > 0 && active > 0)
        });
        tokio::pin!(typed, streams);
        tokio::select! {
            streams = &mut streams => return streams,
            ended = &mut typed => drop(ended?),
        }
        streams.await
    }

    async fn type_in(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut typed = command(&self.program, &self.config);
        let output = typed.args(arguments).arg("--json").output().await?;
        if !output.status.success() {
            bail!(
                "ficus {} ended with {}:\n{}\ncdc:\n{}\ncontrol:\n{}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr),
                self.cdc.log_tail(),
                self.control.log_tail()
            );
        }
        last_object(&output.stdout)
    }
}

fn command(program: &Path, config: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("--config").arg(config).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs the SQL that `ficus check --connect` names.
async fn mend(pair: &Pair, database: &str, program: &Path, config: &Path) -> anyhow::Result<()> {
    let check = ["check", "--connect", "--json"];
    let output = command(program, config).args(check).output().await?;
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    let found = last_object(&output.stdout).with_context(said)?;
    anyhow::ensure!(found.get("findings").is_some(), "ficus check: {}", said());
    let findings = found.get("findings").and_then(Value::as_array).into_iter().flatten();
    for finding in findings {
        let of = |key: &str| finding.get(key).and_then(Value::as_str).unwrap_or_default();
        if of("severity") == "error" {
            let cluster: &Cluster =
                if of("side") == "target" { &pair.target } else { &pair.source };
            cluster.execute(database, of("sql")).await?;
        }
    }
    let output = command(program, config).args(check).output().await?;
    anyhow::ensure!(output.status.success(), "ficus check still finds something: {}", said());
    Ok(())
}

/// A `routes.toml` with one table that keeps its name and columns. The peers are never asked.
fn routes(
    pair: &Pair,
    database: &str,
    streams: u16,
    (control, cdc): (u16, u16),
) -> anyhow::Result<String> {
    let upstream = |name: &str, cluster: &Cluster| {
        format!(
            "[upstreams.{name}]\npeers = [\"127.0.0.1:9\"]\ndatabase = \"{}\"\nowner_database = \"{}\"\n",
            cluster.url_as("ficus_applier", database),
            cluster.url(database)
        )
    };
    let control_url = pair.target.url_as("ficus_control", &format!("control_{database}"));
    Ok(format!(
        "version = 1\n[proxy]\nlisten = [\"127.0.0.1:{}\"]\nadmin = \"127.0.0.1:{}\"\n\
         [control]\ndatabase = \"{control_url}\"\nlisten = \"127.0.0.1:{control}\"\n\
         grpc = \"127.0.0.1:{}\"\n\
         [cdc]\ngrpc = \"127.0.0.1:{}\"\nadmin = \"127.0.0.1:{cdc}\"\ncopy_workers = {streams}\nverify_every = \"0s\"\n\
         {}{}\
         [capabilities.{database}]\nupstream = \"service\"\n\
         [[capabilities.{database}.routes]]\nmatch = \"GET /bench/{{id}}\"\n\
         [[capabilities.{database}.routes]]\nmatch = \"PUT /bench/{{id}}\"\n\
         [[capabilities.{database}.tables]]\nsource = \"public.bench\"\ntarget = \"public.bench\"\n",
        free_port()?,
        free_port()?,
        free_port()?,
        free_port()?,
        upstream("monolith", &pair.source),
        upstream("service", &pair.target),
    ))
}
