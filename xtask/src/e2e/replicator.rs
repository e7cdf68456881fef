//! Ficus as an operator runs it: a `routes.toml` with one capability that copies tables under their own
//! names, `ficus control`, `ficus cdc` and where wanted `ficus proxy` as processes, and typed commands.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use testkit::{ChildSpec, Cluster, RunningChild, free_port, wait_until};
use tokio::process::Command;

use crate::operator::{last_object, number, talk};

/// Longest a process may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How long the proxy keeps an idle connection: less than the web server does, which is a second for Starman.
/// A write that meets the end of its connection is not sent again.
const KEPT_IDLE: Duration = Duration::from_millis(500);

/// How `ficus verify` ends when rows differ.
const EXIT_DIFFERENT: i32 = 4;

/// The roles of the documentation: one that reads and writes rows, one for control's own database.
const ROLES: &str = "CREATE ROLE ficus_applier LOGIN REPLICATION; CREATE ROLE ficus_control LOGIN";

/// Control's own database, on the target's server.
const CONTROL_DATABASE: &str = "CREATE DATABASE ficus_control OWNER ficus_control";

/// One database of the migration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) database: &'a str,
}

/// What is replicated.
#[derive(Clone, Debug)]
pub(super) struct Migration<'a> {
    /// Name of the capability.
    pub(super) capability: &'a str,
    pub(super) source: Side<'a>,
    pub(super) target: Side<'a>,
    /// Quoted names, the same on both sides.
    pub(super) tables: &'a [String],
    /// `METHOD /path` of each route.
    pub(super) routes: &'a [&'a str],
    /// Routes for reads that the service is asked as well once the capability is shadowing.
    pub(super) shadowed: &'a [&'a str],
    /// Where the monolith listens, and where the proxy shall; no proxy runs without.
    pub(super) proxy: Option<Proxied>,
}

/// Addresses of a monolith behind the proxy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proxied {
    /// Port of the monolith.
    pub(super) monolith: u16,
    /// Port of the proxy.
    pub(super) proxy: u16,
    /// Where the service listens; nothing needs to until it is shadowed.
    pub(super) service: SocketAddr,
}

/// How the reads of some routes were compared.
#[derive(Clone, Debug, Default)]
pub(super) struct Shadowed {
    /// Requests while the capability was shadowing.
    pub(super) requests: u64,
    /// Comparisons that ended, by how.
    pub(super) outcomes: BTreeMap<String, u64>,
}

/// Running processes and their configuration.
#[derive(Debug)]
pub(super) struct Replicator {
    program: PathBuf,
    config: PathBuf,
    capability: String,
    proxy_admin: u16,
    running: Vec<RunningChild>,
}

/// Creates the roles and control's database; the servers are both private and empty of them.
pub(super) async fn make_roles(source: &Cluster, target: &Cluster) -> anyhow::Result<()> {
    for cluster in [source, target] {
        cluster.execute("postgres", ROLES).await?;
        if std::ptr::eq(source, target) {
            break;
        }
    }
    target.execute("postgres", CONTROL_DATABASE).await
}

impl Replicator {
    /// Writes `dir/routes.toml`, runs the SQL that `ficus check --connect` names, and starts the processes.
    pub(super) async fn start(
        program: &Path,
        dir: &Path,
        migration: &Migration<'_>,
    ) -> anyhow::Result<Self> {
        let config = dir.join("routes.toml");
        let ports = Ports::free(migration.proxy)?;
        std::fs::write(&config, routes(migration, &ports)).context("write routes.toml")?;
        let mut replicator = Self {
            program: program.to_owned(),
            config,
            capability: migration.capability.to_owned(),
            proxy_admin: ports.proxy_admin,
            running: Vec::new(),
        };
        replicator.mend(migration).await?;
        let mut parts = vec![("control", ports.control), ("cdc", ports.cdc)];
        parts.extend(migration.proxy.map(|_| ("proxy", ports.proxy_admin)));
        for (part, port) in parts {
            let log = dir.join(format!("{part}.log"));
            let spec = ChildSpec::new(part, program, log).arg("--config").arg(&replicator.config);
            let mut child = spec.arg(part).spawn()?;
            child.wait_ready(([127, 0, 0, 1], port).into(), "/healthz", READY_WITHIN).await?;
            replicator.running.push(child);
        }
        wait_until(READY_WITHIN, || async {
            // a control that answers may still have to find out that it is alone
            let status = replicator.status().await?;
            let leads = status.get("leader").and_then(Value::as_bool);
            Ok(leads.unwrap_or(false).then_some(()))
        })
        .await
        .context("control does not lead")?;
        Ok(replicator)
    }

    /// Types `ficus VERB CAPABILITY` and answers the last object it prints.
    pub(super) async fn act(&self, verb: &str) -> anyhow::Result<Value> {
        talk(&format!("$ ficus {verb} {}", self.capability));
        self.type_in(&[verb, &self.capability]).await
    }

    /// Types `ficus verify`; differing rows are an answer, not a failure.
    pub(super) async fn verify(&self) -> anyhow::Result<Value> {
        self.act("verify").await
    }

    /// What `ficus status` says.
    pub(super) async fn status(&self) -> anyhow::Result<Value> {
        self.type_in(&["status"]).await
    }

    /// The forward stream's part of the status.
    pub(super) async fn forward(&self) -> anyhow::Result<Value> {
        let status = self.status().await?;
        let streams = status.pointer("/capabilities/0/streams").and_then(Value::as_array);
        let is_forward = |stream: &&Value| stream.get("kind").is_some_and(|kind| kind == "forward");
        let found = streams.into_iter().flatten().find(is_forward).cloned();
        found.context("the status shows no forward stream")
    }

    /// Types `ficus shift CAPABILITY TO`.
    pub(super) async fn shift(&self, to: &str) -> anyhow::Result<Value> {
        talk(&format!("$ ficus shift {} {to}", self.capability));
        self.type_in(&["shift", &self.capability, to]).await
    }

    /// The groups of `ficus mismatches`, a line for each: noise, then what is none.
    pub(super) async fn mismatches(&self) -> anyhow::Result<Vec<String>> {
        talk("$ ficus mismatches");
        let found = self.type_in(&["mismatches"]).await?;
        let groups = found.get("groups").and_then(Value::as_array);
        let line = |group: &Value| {
            let text = |key: &str| group.get(key).and_then(Value::as_str).unwrap_or_default();
            let is_noise = group.get("noisy") == Some(&Value::Bool(true));
            format!(
                "{}{}  {}  {}: {} differ, {} from itself",
                if is_noise { "noise  " } else { "" },
                text("route"),
                text("path"),
                text("kind"),
                number(group, "raw"),
                number(group, "noise"),
            )
        };
        let mut lines: Vec<String> = groups.into_iter().flatten().map(line).collect();
        lines.sort();
        Ok(lines)
    }

    /// What the proxy's metrics say about the comparisons of these routes.
    pub(super) async fn shadowed(&self, routes: &[&str]) -> anyhow::Result<Shadowed> {
        let url = format!("http://127.0.0.1:{}/metrics", self.proxy_admin);
        let metrics = reqwest::get(url).await?.error_for_status()?.text().await?;
        let mut shadowed = Shadowed::default();
        for line in metrics.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let label = |name: &str| {
                let (_, rest) = series.split_once(&format!("{name}=\""))?;
                rest.split_once('"').map(|(value, _)| value)
            };
            let is_asked = label("route").is_some_and(|route| routes.contains(&route));
            if series.starts_with("ficus_proxy_requests_total{")
                && is_asked
                && label("phase") == Some("shadowing")
            {
                shadowed.requests += value.parse::<u64>()?;
            } else if series.starts_with("ficus_proxy_shadow_total{") {
                let outcome = label("outcome").unwrap_or_default().to_owned();
                *shadowed.outcomes.entry(outcome).or_default() += value.parse::<u64>()?;
            }
        }
        Ok(shadowed)
    }

    /// Ends all processes politely, the last one first.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        while let Some(child) = self.running.pop() {
            child.terminate().await?;
        }
        Ok(())
    }

    async fn type_in(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let output = self.command(arguments).output().await?;
        let is_answer = output.status.success() || output.status.code() == Some(EXIT_DIFFERENT);
        if !is_answer {
            let mut said = String::new();
            for child in &self.running {
                said.push_str(&format!("\n{}:\n{}", child.name(), child.log_tail()));
            }
            bail!(
                "ficus {} ended with {}:\n{}{}{said}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr),
                String::from_utf8_lossy(&output.stdout),
            );
        }
        last_object(&output.stdout)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&self.config).args(arguments).arg("--json");
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Does what `ficus check --connect` says, until it has nothing left to say.
    async fn mend(&self, migration: &Migration<'_>) -> anyhow::Result<()> {
        for finding in self.wrong().await? {
            let of = |key: &str| finding.get(key).and_then(Value::as_str).unwrap_or_default();
            talk(&format!("check: {}\n  mended with: {}", of("evidence"), of("sql")));
            ensure!(!of("sql").is_empty(), "ficus check names no SQL for {finding}");
            let side = if of("side") == "target" { &migration.target } else { &migration.source };
            side.cluster.execute(side.database, of("sql")).await?;
        }
        let left = self.wrong().await?;
        ensure!(left.is_empty(), "ficus check still finds {left:?}");
        Ok(())
    }

    async fn wrong(&self) -> anyhow::Result<Vec<Value>> {
        let output = self.command(&["check", "--connect"]).output().await?;
        let said = || String::from_utf8_lossy(&output.stderr).into_owned();
        let found = last_object(&output.stdout).with_context(said)?;
        let findings = found.get("findings").and_then(Value::as_array).with_context(said)?;
        let is_error = |finding: &&Value| finding.get("severity").is_some_and(|it| it == "error");
        Ok(findings.iter().filter(is_error).cloned().collect())
    }
}

/// Where the processes listen.
#[derive(Clone, Copy, Debug)]
struct Ports {
    control: u16,
    control_grpc: u16,
    cdc: u16,
    cdc_grpc: u16,
    proxy: u16,
    proxy_admin: u16,
    monolith: u16,
    service: SocketAddr,
}

impl Ports {
    fn free(proxied: Option<Proxied>) -> anyhow::Result<Self> {
        Ok(Self {
            control: free_port()?,
            control_grpc: free_port()?,
            cdc: free_port()?,
            cdc_grpc: free_port()?,
            proxy: proxied.map_or_else(free_port, |proxied| Ok(proxied.proxy))?,
            proxy_admin: free_port()?,
            monolith: proxied.map_or_else(free_port, |proxied| Ok(proxied.monolith))?,
            service: proxied.map_or_else(nowhere, |proxied| proxied.service),
        })
    }
}

/// Where nobody listens: only the service's database takes part.
fn nowhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 9).into()
}

fn routes(migration: &Migration<'_>, ports: &Ports) -> String {
    let Migration { capability, source, target, .. } = migration;
    let upstream = |name: &str, peer: SocketAddr, side: &Side<'_>| {
        format!(
            "[upstreams.{name}]\npeers = [\"{peer}\"]\ndatabase = \"{}\"\n\
             owner_database = \"{}\"\ntimeouts = {{ read = \"60s\", idle = \"{}ms\" }}\n",
            side.cluster.url_as("ficus_applier", side.database),
            side.cluster.url(side.database),
            KEPT_IDLE.as_millis()
        )
    };
    let mut text = format!(
        "version = 1\n\
         [proxy]\nlisten = [\"127.0.0.1:{}\"]\nadmin = \"127.0.0.1:{}\"\n\
         [control]\ndatabase = \"{}\"\nlisten = \"127.0.0.1:{}\"\ngrpc = \"127.0.0.1:{}\"\n\
         [cdc]\ngrpc = \"127.0.0.1:{}\"\nadmin = \"127.0.0.1:{}\"\n{}{}\
         [capabilities.{capability}]\nupstream = \"service\"\n",
        ports.proxy,
        ports.proxy_admin,
        target.cluster.url_as("ficus_control", "ficus_control"),
        ports.control,
        ports.control_grpc,
        ports.cdc_grpc,
        ports.cdc,
        upstream("monolith", (Ipv4Addr::LOCALHOST, ports.monolith).into(), source),
        upstream("service", ports.service, target),
    );
    for route in migration.routes {
        text.push_str(&format!("[[capabilities.{capability}.routes]]\nmatch = \"{route}\"\n"));
    }
    for route in migration.shadowed {
        text.push_str(&format!(
            "[[capabilities.{capability}.routes]]\nmatch = \"{route}\"\n\
             shadow = {{ max_body = \"4MiB\" }}\n"
        ));
    }
    for table in migration.tables {
        text.push_str(&format!(
            "[[capabilities.{capability}.tables]]\nsource = {table:?}\ntarget = {table:?}\n"
        ));
    }
    text
}
