//! `cargo xtask e2e reload`: one proxy under load whose file changes all the time, which is replaced by a
//! new process again and again, and whose shadow target is dead. No client may notice.

mod clients;

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use testkit::wait_until;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::bench::serve;
use crate::operator::talk;
use clients::Clients;

/// Longest time one process may take to be ready.
const START_MAX: Duration = Duration::from_secs(30);

/// What every request is answered with.
const BODY: &str = r#"{"data":[{"id":7}]}"#;

/// Change the file every 100 ms, replace the process every 10 s, under load, beside a dead shadow target.
#[derive(Debug, Args)]
pub(super) struct Reload {
    /// Requests that must be answered; the run goes on until they are.
    #[arg(long, default_value_t = 100_000)]
    requests: u64,
    /// Shortest run.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Clients, each with one connection.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Pause between two changes of the file, in milliseconds.
    #[arg(long, default_value_t = 100)]
    reload_ms: u64,
    /// Pause between two processes, in seconds.
    #[arg(long, default_value_t = 10)]
    upgrade_s: u64,
    /// The program; built when not given.
    #[arg(long)]
    ficus: Option<PathBuf>,
}

/// The last line of standard output.
#[derive(Clone, Debug, Default, Serialize)]
struct Report {
    requests: u64,
    failed: u64,
    /// What failed first.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_failure: Option<String>,
    connections: u64,
    seconds: f64,
    /// Files that were in force, by the figures of the processes that were asked before their end.
    reloads_applied: u64,
    reloads_written: u64,
    upgrades: u64,
    /// Shadows that found nobody.
    shadows_unreachable: u64,
}

/// Everything around the proxy.
struct Rig {
    dir: PathBuf,
    listen: u16,
    admin: u16,
    monolith: u16,
    /// Nobody listens there.
    dead: u16,
    notified: UnixDatagram,
}

impl Reload {
    pub(super) async fn drive(&self) -> anyhow::Result<()> {
        let ficus = super::ficus(self.ficus.as_deref()).await?;
        let dir = super::folder("reload")?;
        let outcome = self.run(&ficus, dir.path()).await;
        if !matches!(&outcome, Ok(report) if report.verdict(self).is_ok()) {
            super::keep(dir);
        }
        let report = outcome?;
        println!("{}", serde_json::to_string(&report)?);
        report.verdict(self)
    }

    async fn run(&self, ficus: &Path, dir: &Path) -> anyhow::Result<Report> {
        let rig = Rig::new(dir).await?;
        let mut pid = rig.start(ficus).await?;
        let clients = Clients::start(self.clients, rig.listen);
        let begun = Instant::now();
        let mut report = Report::default();
        let mut reload = interval(Duration::from_millis(self.reload_ms));
        reload.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut upgrade = interval(Duration::from_secs(self.upgrade_s));
        upgrade.tick().await;
        let least = Duration::from_secs(self.seconds);
        while begun.elapsed() < least || clients.answered() < self.requests {
            ensure!(clients.failed() == 0 || begun.elapsed() < least * 10, "it does not end");
            tokio::select! {
                _ = reload.tick() => {
                    report.reloads_written += 1;
                    rig.write_file(report.reloads_written)?;
                    kill(pid, Signal::SIGHUP).context("the proxy is gone")?;
                }
                _ = upgrade.tick() => {
                    rig.add_figures(&mut report).await?;
                    kill(pid, Signal::SIGUSR2).context("the proxy is gone")?;
                    pid = rig.next_main().await?;
                    report.upgrades += 1;
                    talk(&format!("{} answered, process {pid}", clients.answered()));
                }
            }
        }
        rig.add_figures(&mut report).await?;
        let told = clients.finish().await;
        kill(pid, Signal::SIGTERM).context("the proxy is gone")?;
        report.seconds = begun.elapsed().as_secs_f64();
        (report.requests, report.connections) = (told.answered, told.connections);
        (report.failed, report.first_failure) = (told.failed, told.first_failure);
        Ok(report)
    }
}

impl Report {
    fn verdict(&self, asked: &Reload) -> anyhow::Result<()> {
        ensure!(self.failed == 0, "{} requests failed", self.failed);
        ensure!(self.requests >= asked.requests, "only {} requests were answered", self.requests);
        ensure!(self.upgrades >= asked.seconds / asked.upgrade_s.max(1) / 2, "too few upgrades");
        ensure!(self.reloads_applied > 0, "no file was ever in force");
        ensure!(self.shadows_unreachable > 0, "the dead shadow target was never asked");
        Ok(())
    }
}

impl Rig {
    async fn new(dir: &Path) -> anyhow::Result<Self> {
        let upstream = TcpListener::bind("127.0.0.1:0").await?;
        let monolith = upstream.local_addr()?.port();
        tokio::spawn(serve(upstream, BODY));
        let mut free = Vec::new();
        for _ in 0..3 {
            free.push(TcpListener::bind("127.0.0.1:0").await?);
        }
        let mut ports = free.iter().filter_map(|listener| listener.local_addr().ok());
        let mut port = || ports.next().map(|address| address.port()).context("a free port");
        let (listen, admin, dead) = (port()?, port()?, port()?);
        let notified = UnixDatagram::bind(dir.join("notify.sock"))?;
        notified.set_read_timeout(Some(START_MAX))?;
        let rig = Self { dir: dir.to_owned(), listen, admin, monolith, dead, notified };
        // the last word of a control that is away: reads are answered by the monolith and compared
        let state = r#"{"generation":1,"capabilities":{"tickets":{"phase":{"name":"shadowing"},"owner":"source","epoch":1}}}"#;
        std::fs::write(dir.join("state.json"), state)?;
        rig.write_file(0)?;
        Ok(rig)
    }

    /// Another file each time, put in place at once.
    fn write_file(&self, number: u64) -> anyhow::Result<()> {
        let Self { dir, listen, admin, monolith, dead, .. } = self;
        let text = format!(
            r#"version = 1
[proxy]
listen = ["127.0.0.1:{listen}"]
admin = "127.0.0.1:{admin}"
handover = {handover:?}
state_file = {state:?}
lame_duck = "1s"
[control]
database = "postgres://away"
grpc = "127.0.0.1:{dead}"
[upstreams.monolith]
peers = ["127.0.0.1:{monolith}"]
database = "postgres://away"
timeouts = {{ read = "{read}s" }}
[upstreams.ticket]
peers = ["127.0.0.1:{dead}"]
database = "postgres://away"
[capabilities.tickets]
upstream = "ticket"
routes = [
  {{ match = "GET /api/v1/tickets", shadow = {{ sample = 0.1 }} }},
  {{ match = "POST /api/v1/tickets" }},
]
tables = [{{ source = "public.ticket", target = "public.tickets" }}]
"#,
            handover = dir.join("handover.sock"),
            state = dir.join("state.json"),
            read = 20 + number % 7,
        );
        let new = dir.join("routes.toml.new");
        std::fs::write(&new, text)?;
        Ok(std::fs::rename(new, self.dir.join("routes.toml"))?)
    }

    /// Starts the first process, and returns when it says that it is ready.
    async fn start(&self, ficus: &Path) -> anyhow::Result<Pid> {
        let log = std::fs::File::create(self.dir.join("proxy.log"))?;
        let mut child = Command::new(ficus)
            .arg("--config")
            .arg(self.dir.join("routes.toml"))
            .arg("proxy")
            .env("NOTIFY_SOCKET", self.dir.join("notify.sock"))
            .env("FICUS_LOG", "warn,access=off,cli=info,ficus=info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", ficus.display()))?;
        tokio::spawn(async move { child.wait().await });
        self.next_main().await
    }

    /// The process that says next that it is the main one.
    async fn next_main(&self) -> anyhow::Result<Pid> {
        let notified = self.notified.try_clone()?;
        let heard = tokio::task::spawn_blocking(move || {
            let mut buffer = [0; 256];
            let length = notified.recv(&mut buffer)?;
            Ok::<_, std::io::Error>(
                String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned(),
            )
        });
        let text = heard.await?.context("no process was ready in time")?;
        let pid = text.lines().find_map(|line| line.strip_prefix("MAINPID=")?.parse().ok());
        pid.map(Pid::from_raw).with_context(|| format!("no process number in {text:?}"))
    }

    /// Adds what the process that serves now has counted since its start.
    async fn add_figures(&self, report: &mut Report) -> anyhow::Result<()> {
        let url = format!("http://127.0.0.1:{}/metrics", self.admin);
        let text = wait_until(START_MAX, || async {
            let answer = reqwest::get(&url).await;
            Ok(match answer {
                Ok(answer) => answer.text().await.ok(),
                Err(_) => None,
            })
        })
        .await?;
        let sum = |name: &str, label: &str| -> u64 {
            let series = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
            series.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
        };
        report.reloads_applied += sum("ficus_proxy_config_reload_total", "\"applied\"");
        report.shadows_unreachable += sum("ficus_proxy_shadow_total", "\"skipped_unreachable\"");
        Ok(())
    }
}
