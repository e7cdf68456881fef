//! Two servers behind relays, the processes of Ficus between them, and one run after the other.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use nix::{sys::signal, unistd::Pid};
use testkit::tokio_postgres::{Client, NoTls};
use testkit::{ChildSpec, Cluster, RunningChild, Signal, free_port, wait_until};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::fault::{Fault, Phase, Plan, Side};
use super::load::{Load, TABLES, fill};
use super::relay::{Network, Relay};

/// Longest a process or a server may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Longest from the end of the last fault until both sides are equal: a dead connection is noticed within
/// half a minute, and a pause between attempts takes up to five seconds.
const EQUAL_WITHIN: Duration = Duration::from_secs(90);

/// Between two looks at whole tables.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// The capability, and the databases of both sides.
const NAME: &str = "chaos";

const CONTROL: &str = "chaos_control";
const SLOT: &str = "ficus_chaos_forward";

/// How a run came out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) rows: u64,
    pub(super) acked: u64,
    pub(super) different: u64,
    pub(super) lost: u64,
}

/// Kept from run to run.
#[derive(Debug)]
pub(super) struct Rig {
    ficus: PathBuf,
    source: Cluster,
    target: Cluster,
    to_source: Relay,
    to_target: Relay,
    dir: tempfile::TempDir,
    control: Option<RunningChild>,
    cdc: Option<RunningChild>,
    admin: [u16; 2],
    struck: Vec<(Fault, Phase)>,
}

/// A connection as superuser, past the relay.
pub(super) async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = testkit::tokio_postgres::connect(url, NoTls).await?;
    // The client's next call says what went wrong.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

impl Rig {
    pub(super) async fn start(ficus: PathBuf) -> anyhow::Result<Self> {
        let builder = Cluster::builder()
            .setting("logical_decoding_work_mem = '64kB'")
            .setting("wal_sender_timeout = '10s'");
        let (source, target) = (builder.clone().start().await?, builder.start().await?);
        let (to_source, to_target) =
            (Relay::to(source.port()).await?, Relay::to(target.port()).await?);
        let dir = directory()?;
        let admin = [free_port()?, free_port()?];
        let (control, cdc) = (None, None);
        let struck = Vec::new();
        Ok(Self { ficus, source, target, to_source, to_target, dir, control, cdc, admin, struck })
    }

    /// One run in fresh databases.
    ///
    /// # Errors
    /// When both sides do not become equal by themselves.
    pub(super) async fn run(&mut self, seed: u64, plan: &Plan) -> anyhow::Result<Ended> {
        for (cluster, url) in [(&self.source, "source"), (&self.target, "target")] {
            cluster.create_database(NAME).await.with_context(|| format!("on the {url}"))?;
            cluster.execute(NAME, TABLES).await?;
        }
        self.target.create_database(CONTROL).await?;
        self.source.execute(NAME, &fill()).await?;
        std::fs::write(self.config(), self.routes()?)?;
        self.control = Some(self.spawn("control", 0).await?);
        self.cdc = Some(self.spawn("cdc", 1).await?);
        let load = Load::start(&self.source.url(NAME), seed);
        let result = self.disturb(plan).await;
        self.to_source.set(Network::Whole);
        self.to_target.set(Network::Whole);
        let ledger = load.finish().await;
        result?;
        self.equal().await?;
        let mut lost = 0;
        for cluster in [&self.source, &self.target] {
            lost += ledger.lost_on(&cluster.connect(NAME).await?).await?;
        }
        let rows = "SELECT (SELECT count(*) FROM item) + (SELECT count(*) FROM entry)";
        let rows: i64 = self.target.connect(NAME).await?.query_one(rows, &[]).await?.get(0);
        let different = self.different().await?;
        Ok(Ended { rows: u64::try_from(rows)?, acked: ledger.acked, different, lost })
    }

    /// The faults since the last call, and what the stream was doing then.
    pub(super) fn struck(&mut self) -> Vec<(Fault, Phase)> {
        std::mem::take(&mut self.struck)
    }

    /// Ends the processes and drops what a run made.
    pub(super) async fn clear(&mut self) -> anyhow::Result<()> {
        for child in [self.cdc.take(), self.control.take()].into_iter().flatten() {
            child.kill().await?;
        }
        for relay in [&self.to_source, &self.to_target] {
            relay.set(Network::Cut);
            relay.set(Network::Whole);
        }
        let source = self.source.connect("postgres").await?;
        wait_until(READY_WITHIN, || async {
            let free =
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active";
            Ok((source.execute(free, &[]).await? == 0).then_some(()))
        })
        .await?;
        let slots = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots";
        source.execute(slots, &[]).await?;
        source.batch_execute(&format!("DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")).await?;
        let target = self.target.connect("postgres").await?;
        for database in [NAME, CONTROL] {
            let drop = format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)");
            target.batch_execute(&drop).await?;
        }
        wait_until(READY_WITHIN, || async {
            let drop = "SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin";
            Ok(target.execute(drop, &[]).await.ok().map(|_| ()))
        })
        .await
    }

    /// Keeps the logs of the run before; later runs get another directory.
    pub(super) fn keep(&mut self) -> PathBuf {
        self.dir.disable_cleanup(true);
        let kept = self.dir.path().to_owned();
        if let Ok(dir) = directory() {
            self.dir = dir;
        }
        kept
    }

    async fn disturb(&mut self, plan: &Plan) -> anyhow::Result<()> {
        // The operator types this once. It may fail; the stream goes on without it.
        let mut starting = self.command(&["start", NAME])?.spawn()?;
        self.exists().await?;
        let mut verifying = None;
        match plan.phase {
            Phase::Copy => {}
            Phase::Stream | Phase::Verify => {
                let ended = tokio::time::timeout(EQUAL_WITHIN, starting.wait()).await;
                anyhow::ensure!(
                    ended.context("ficus start does not end")??.success(),
                    "ficus start failed"
                );
            }
        }
        for (fault, [pause, lasting]) in &plan.faults {
            // A copy of these tables takes less than a second.
            sleep(if plan.phase == Phase::Copy { *pause / 4 } else { *pause }).await;
            let is_over = |verifying: &mut Child| matches!(verifying.try_wait(), Ok(Some(_)));
            if plan.phase == Phase::Verify && verifying.as_mut().is_none_or(is_over) {
                verifying = Some(self.command(&["verify", NAME])?.spawn()?);
                sleep(*pause / 4).await;
            }
            let compares = verifying.as_mut().is_some_and(|verifying| !is_over(verifying));
            let phase = match (compares, self.has_copied().await) {
                (true, _) => Phase::Verify,
                (false, true) => Phase::Stream,
                (false, false) => Phase::Copy,
            };
            if self.fault(*fault, *lasting).await.with_context(|| fault.as_str())? {
                self.struck.push((*fault, phase));
            }
        }
        drop((starting, verifying));
        Ok(())
    }

    async fn has_copied(&self) -> bool {
        let copied = async {
            let target = self.target.connect(NAME).await?;
            let sql = "SELECT FROM ficus.apply WHERE stream = 'chaos:forward' AND copied";
            anyhow::Ok(target.query_opt(sql, &[]).await?.is_some())
        };
        copied.await.unwrap_or(false)
    }

    /// Waits until the stream has been made: from here on nobody has to ask for it again.
    async fn exists(&self) -> anyhow::Result<()> {
        let target = self.target.connect(NAME).await?;
        wait_until(READY_WITHIN, || async {
            let sql = "SELECT 1 FROM ficus.apply WHERE stream = 'chaos:forward'";
            Ok(target.query_opt(sql, &[]).await.ok().flatten().map(|_| ()))
        })
        .await
        .context("the stream was not made")
    }

    /// Lets something go wrong; answers whether there was anything it could strike.
    async fn fault(&mut self, fault: Fault, lasting: Duration) -> anyhow::Result<bool> {
        let relay = |side| match side {
            Side::Source => &self.to_source,
            Side::Target => &self.to_target,
        };
        match fault {
            Fault::Replicator => {
                if let Some(cdc) = self.cdc.take() {
                    cdc.kill().await?;
                }
                sleep(lasting).await;
                self.cdc = Some(self.spawn("cdc", 1).await?);
            }
            Fault::WalsenderKilled => return self.kill_walsender().await,
            Fault::WalsenderTerminated => {
                let end = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active";
                let ended = self.source.connect("postgres").await?.execute(end, &[]).await?;
                return Ok(ended > 0);
            }
            Fault::Target => bounce(&self.target, lasting).await?,
            Fault::Source => bounce(&self.source, lasting).await?,
            Fault::Cut(side) => pass_through(relay(side), Network::Cut, lasting).await,
            Fault::Stall(side) => pass_through(relay(side), Network::Stalled, lasting).await,
            Fault::HalfOpen(side) => pass_through(relay(side), Network::HalfOpen, lasting).await,
        }
        Ok(true)
    }

    /// Kills it and waits for the end of the server's recovery. The server takes connections until it
    /// has noticed; that a session from before is gone says that it has.
    async fn kill_walsender(&self) -> anyhow::Result<bool> {
        let sql = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1 AND active";
        let before = self.source.connect("postgres").await?;
        let found = before.query_opt(sql, &[&SLOT]).await?;
        let Some(pid) = found.map(|row| row.get::<_, i32>(0)) else { return Ok(false) };
        signal::kill(Pid::from_raw(pid), Signal::SIGKILL).context("kill the walsender")?;
        wait_until(READY_WITHIN, || async { Ok(before.is_closed().then_some(())) })
            .await
            .context("the source did not notice that its walsender was killed")?;
        wait_until(READY_WITHIN, || async { Ok(self.source.connect("postgres").await.ok()) })
            .await
            .map(|_| true)
            .context("the source did not come back")
    }

    /// Waits for equality. The writers are at rest.
    async fn equal(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + EQUAL_WITHIN;
        let mut different = None;
        while Instant::now() < deadline {
            if let Some(cdc) = &mut self.cdc
                && let Some(status) = cdc.exit_status()?
            {
                anyhow::bail!("the replicator ended by itself: {status}");
            }
            different = Some(self.different().await?);
            if different == Some(0) {
                return Ok(());
            }
            sleep(LOOK_EVERY).await;
        }
        let status = self.command(&["status", "--json"])?.stdout(Stdio::piped()).output().await?;
        anyhow::bail!(
            "{} rows differ after {EQUAL_WITHIN:?}: {}",
            different.unwrap_or_default(),
            String::from_utf8_lossy(&status.stdout)
        )
    }

    /// Rows that one side has and the other one has not.
    async fn different(&self) -> anyhow::Result<u64> {
        let mut sides = Vec::new();
        for cluster in [&self.source, &self.target] {
            let rows = "SELECT hashtextextended(t::text, 0) FROM item t
                UNION ALL SELECT hashtextextended(t::text, 1) FROM entry t ORDER BY 1";
            let client = cluster.connect(NAME).await?;
            let rows = client.query(rows, &[]).await?;
            sides.push(rows.iter().map(|row| row.get(0)).collect::<Vec<i64>>());
        }
        let [source, target] = sides.as_slice() else { anyhow::bail!("there are two sides") };
        let missing = source.iter().filter(|row| target.binary_search(row).is_err()).count();
        let extra = target.iter().filter(|row| source.binary_search(row).is_err()).count();
        let more = source.len().abs_diff(target.len());
        Ok(u64::try_from((missing + extra).max(more))?)
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("routes.toml")
    }

    fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.path().join("ficus.log"))?;
        let mut command = Command::new(&self.ficus);
        command
            .arg("--config")
            .arg(self.config())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log))
            .kill_on_drop(true);
        Ok(command)
    }

    async fn spawn(&self, part: &str, place: usize) -> anyhow::Result<RunningChild> {
        let log = self.dir.path().join(format!("{part}.log"));
        let spec =
            ChildSpec::new(part, &self.ficus, log).arg("--config").arg(self.config()).arg(part);
        let mut child = spec.spawn()?;
        let port = self.admin.get(place).copied().unwrap_or_default();
        let path = if part == "control" { "/readyz" } else { "/healthz" };
        child.wait_ready(([127, 0, 0, 1], port).into(), path, READY_WITHIN).await?;
        Ok(child)
    }

    fn routes(&self) -> anyhow::Result<String> {
        let [control, cdc] = self.admin;
        let url = |port: u16| format!("postgres://postgres@127.0.0.1:{port}/{NAME}");
        let (source, target) = (url(self.to_source.port), url(self.to_target.port));
        let mut text = format!(
            "version = 1\n[proxy]\nlisten = [\"127.0.0.1:{}\"]\nadmin = \"127.0.0.1:{}\"\n\
             [control]\ndatabase = \"{}\"\nlisten = \"127.0.0.1:{control}\"\ngrpc = \"127.0.0.1:{}\"\n\
             [cdc]\ngrpc = \"127.0.0.1:{}\"\nadmin = \"127.0.0.1:{cdc}\"\ncopy_workers = 2\n",
            free_port()?,
            free_port()?,
            self.target.url(CONTROL),
            free_port()?,
            free_port()?,
        );
        for (upstream, database) in [("monolith", source), ("service", target)] {
            text.push_str(&format!(
                "[upstreams.{upstream}]\npeers = [\"127.0.0.1:9\"]\ndatabase = \"{database}\"\n"
            ));
        }
        text.push_str(&format!("[capabilities.{NAME}]\nupstream = \"service\"\n"));
        text.push_str(&format!("[[capabilities.{NAME}.routes]]\nmatch = \"PUT /item/{{id}}\"\n"));
        for table in ["item", "entry"] {
            text.push_str(&format!(
                "[[capabilities.{NAME}.tables]]\nsource = \"public.{table}\"\ntarget = \"public.{table}\"\n"
            ));
        }
        Ok(text)
    }
}

fn directory() -> anyhow::Result<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix("ficus-chaos-").tempdir_in(Path::new("/tmp"))?)
}

async fn pass_through(relay: &Relay, network: Network, lasting: Duration) {
    relay.set(network);
    sleep(lasting).await;
    relay.set(Network::Whole);
}

async fn bounce(cluster: &Cluster, away: Duration) -> anyhow::Result<()> {
    cluster.stop_immediate().await?;
    sleep(away).await;
    cluster.restart().await
}
