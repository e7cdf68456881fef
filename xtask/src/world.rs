//! A whole migration on one machine: a private PostgreSQL for the monolith, one for the service and
//! for control (or a given server for all), and every process of Ficus as a child of its own, on free ports.

mod server;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use testkit::{ChildSpec, RunningChild, free_port};
use tokio::process::Command;

pub(crate) use server::{Given, Server};

/// Shared by the monolith and the services, as a real migration would share it.
const JWT_SECRET: &str = "a-demonstration-secret-of-more-than-32-characters";

/// Longest a process may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// The processes of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    Monolith,
    Ticket,
    Control,
    Cdc,
    Proxy,
}

impl Part {
    /// In the order they are started.
    pub(crate) const ALL: [Self; 5] =
        [Self::Monolith, Self::Ticket, Self::Control, Self::Cdc, Self::Proxy];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Monolith => "monolith",
            Self::Ticket => "ticket",
            Self::Control => "control",
            Self::Cdc => "cdc",
            Self::Proxy => "proxy",
        }
    }
}

/// Where everything listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub monolith: u16,
    pub ticket: u16,
    pub ticket_grpc: u16,
    pub proxy: u16,
    pub proxy_admin: u16,
    pub control: u16,
    pub control_grpc: u16,
    pub cdc_grpc: u16,
    pub cdc_admin: u16,
}

impl Ports {
    fn free() -> anyhow::Result<Self> {
        Ok(Self {
            monolith: free_port()?,
            ticket: free_port()?,
            ticket_grpc: free_port()?,
            proxy: free_port()?,
            proxy_admin: free_port()?,
            control: free_port()?,
            control_grpc: free_port()?,
            cdc_grpc: free_port()?,
            cdc_admin: free_port()?,
        })
    }

    fn of(&self, part: Part) -> u16 {
        match part {
            Part::Monolith => self.monolith,
            Part::Ticket => self.ticket,
            Part::Control => self.control,
            Part::Cdc => self.cdc_admin,
            Part::Proxy => self.proxy_admin,
        }
    }
}

/// The binaries a world is made of.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub ficus: PathBuf,
    pub monolith: PathBuf,
    pub ticket: PathBuf,
}

impl Programs {
    /// Builds them in the profile this very program was built in, so that nothing is compiled twice.
    pub(crate) async fn build() -> anyhow::Result<Self> {
        let release = !cfg!(debug_assertions);
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // The whole workspace, as the tests build it: the same features, so the same artifacts.
        cargo.args(["build", "--quiet", "--workspace", "--bins"]);
        if release {
            cargo.arg("--release");
        }
        let status = cargo.status().await.context("run cargo build")?;
        if !status.success() {
            bail!("cargo build failed: {status}");
        }
        let here = std::env::current_exe().context("find this program")?;
        let dir = here.parent().context("this program lies in no folder")?;
        Ok(Self {
            ficus: dir.join("ficus"),
            monolith: dir.join("monolith"),
            ticket: dir.join("ticket"),
        })
    }
}

/// A running migration.
#[derive(Debug)]
pub(crate) struct World {
    /// The monolith's server.
    pub(crate) source: Server,
    /// The service's server, which also keeps control's database.
    pub(crate) target: Server,
    pub ports: Ports,
    pub programs: Programs,
    pub dir: tempfile::TempDir,
    pub config: PathBuf,
    environment: BTreeMap<String, String>,
    running: BTreeMap<Part, RunningChild>,
}

impl World {
    /// Starts both servers, or takes the given one for both sides, and creates the three databases and
    /// their roles; no process runs yet.
    pub(crate) async fn create(
        programs: Programs,
        config: &Path,
        given: Option<&Given>,
    ) -> anyhow::Result<Self> {
        let (source, target) = match given {
            Some(given) => (Server::given(given).await?, Server::given(given).await?),
            None => (Server::private().await?, Server::private().await?),
        };
        for (server, name) in [(&source, "monolith"), (&target, "ticket")] {
            server.create_role(name, "").await?;
            server.execute("postgres", &format!("CREATE DATABASE {name}")).await?;
            server.create_role("ficus_applier", "REPLICATION").await?;
        }
        target.create_role("ficus_control", "").await?;
        target.execute("postgres", "CREATE DATABASE ficus_control OWNER ficus_control").await?;
        let ports = Ports::free()?;
        let environment = environment(&source, &target, &ports);
        let dir = tempfile::Builder::new().prefix("ficus-world-").tempdir()?;
        let config = config.canonicalize().context("find routes.toml")?;
        let running = BTreeMap::new();
        Ok(Self { source, target, ports, programs, dir, config, environment, running })
    }

    /// Lays down both schemas and fills the monolith with tickets.
    pub(crate) async fn fill(&self, tickets: u32, articles: u32) -> anyhow::Result<()> {
        let (monolith, ticket) = (self.source.url("monolith"), self.target.url("ticket"));
        let migrate = ["migrate", "--database", &monolith, "--app-role", "monolith"];
        self.run(&self.programs.monolith, &migrate).await?;
        let migrate = ["migrate", "--database", &ticket, "--app-role", "ticket"];
        self.run(&self.programs.ticket, &migrate).await?;
        let (tickets, articles) = (tickets.to_string(), articles.to_string());
        let generate =
            ["generate", "--database", &monolith, "--tickets", &tickets, "--articles", &articles];
        self.run(&self.programs.monolith, &generate).await?;
        Ok(())
    }

    /// The tickets that all of the workload's agents may read and write: those of the open queues.
    pub(crate) async fn common_tickets(&self) -> anyhow::Result<Vec<u64>> {
        let client = self.source.connect("monolith").await?;
        let rows = client.query("SELECT id FROM ticket WHERE queue_id <= 4", &[]).await?;
        rows.iter().map(|row| Ok(u64::try_from(row.try_get::<_, i64>(0)?)?)).collect()
    }

    /// Starts one part and waits until it answers.
    pub(crate) async fn start(&mut self, part: Part) -> anyhow::Result<()> {
        self.start_with(part, &[]).await
    }

    /// Starts one part with more environment, and waits until it answers.
    pub(crate) async fn start_with(
        &mut self,
        part: Part,
        env: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let mut child = self.spec(part, env).spawn()?;
        let path = match part {
            Part::Monolith | Part::Ticket => "/health",
            Part::Control => "/readyz",
            Part::Cdc | Part::Proxy => "/healthz",
        };
        child.wait_ready(self.address(self.ports.of(part)), path, READY_WITHIN).await?;
        self.running.insert(part, child);
        Ok(())
    }

    /// Kills one part without warning; it stays down until started again.
    pub(crate) async fn kill(&mut self, part: Part) -> anyhow::Result<()> {
        if let Some(child) = self.running.remove(&part) {
            child.kill().await?;
        }
        Ok(())
    }

    /// Whether the part runs; one that ended by itself counts as not running.
    pub(crate) fn is_running(&mut self, part: Part) -> bool {
        self.running.get_mut(&part).is_some_and(|child| matches!(child.exit_status(), Ok(None)))
    }

    /// Ends everything politely.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        for part in Part::ALL.into_iter().rev() {
            if let Some(child) = self.running.remove(&part) {
                child.terminate().await?;
            }
        }
        self.target.clear().await
    }

    /// `http://` address of the proxy's downstream side.
    pub(crate) fn proxy_url(&self) -> String {
        format!("http://{}", self.address(self.ports.proxy))
    }

    /// `http://` address of control's API and dashboard.
    pub(crate) fn control_url(&self) -> String {
        format!("http://{}", self.address(self.ports.control))
    }

    /// A `ficus` command line with this world's configuration.
    pub(crate) fn ficus(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.programs.ficus);
        command
            .arg("--config")
            .arg(&self.config)
            .args(arguments)
            .envs(&self.environment)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Keeps the folder with every process's log after the end, and answers its path.
    pub(crate) fn keep_logs(&mut self) -> PathBuf {
        self.dir.disable_cleanup(true);
        self.dir.path().to_owned()
    }

    const fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
    }

    fn spec(&self, part: Part, env: &[(&str, &str)]) -> ChildSpec {
        let log = self.dir.path().join(format!("{}.log", part.as_str()));
        let listen = |port: u16| self.address(port).to_string();
        let new = |program: &Path| {
            let spec = ChildSpec::new(part.as_str(), program, &log);
            self.environment.iter().fold(spec, |spec, (name, value)| spec.env(name, value))
        };
        let spec = match part {
            Part::Monolith => new(&self.programs.monolith).args([
                "serve",
                "--listen",
                &listen(self.ports.monolith),
            ]),
            Part::Ticket => new(&self.programs.ticket)
                .args(["serve", "--listen", &listen(self.ports.ticket)])
                .args(["--grpc", &listen(self.ports.ticket_grpc)])
                .env("TICKET_DATABASE_URL", self.target.url_as("ticket", "ticket")),
            Part::Control | Part::Cdc | Part::Proxy => {
                new(&self.programs.ficus).arg("--config").arg(&self.config).arg(part.as_str())
            }
        };
        env.iter().fold(spec, |spec, (name, value)| spec.env(name, value))
    }

    async fn run(&self, program: &Path, arguments: &[&str]) -> anyhow::Result<()> {
        let output = Command::new(program)
            .args(arguments)
            .envs(&self.environment)
            .stdin(Stdio::null())
            .output()
            .await
            .with_context(|| format!("run {}", program.display()))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!(
                "{} {} failed: {}\n{text}",
                program.display(),
                arguments.join(" "),
                output.status
            );
        }
        Ok(())
    }
}

fn environment(source: &Server, target: &Server, ports: &Ports) -> BTreeMap<String, String> {
    let local = |port: u16| format!("127.0.0.1:{port}");
    let pairs = [
        // the monolith's and the service's own
        ("DATABASE_URL", source.url_as("monolith", "monolith")),
        ("JWT_SECRET", JWT_SECRET.to_owned()),
        ("ACCESS_TOKEN_TTL", "4h".to_owned()),
        // what routes.toml asks for
        ("FICUS_CONTROL_URL", target.url_as("ficus_control", "ficus_control")),
        ("MONOLITH_DATABASE_URL", source.url_as("ficus_applier", "monolith")),
        ("MONOLITH_OWNER_DATABASE_URL", source.url("monolith")),
        ("TICKET_DATABASE_URL", target.url_as("ficus_applier", "ticket")),
        ("TICKET_OWNER_DATABASE_URL", target.url("ticket")),
        ("MONOLITH_PEER", local(ports.monolith)),
        ("TICKET_PEER", local(ports.ticket)),
        ("FICUS_LISTEN", local(ports.proxy)),
        ("FICUS_PROXY_ADMIN", local(ports.proxy_admin)),
        ("FICUS_CONTROL_LISTEN", local(ports.control)),
        ("FICUS_CONTROL_GRPC", local(ports.control_grpc)),
        ("FICUS_CDC_GRPC", local(ports.cdc_grpc)),
        ("FICUS_CDC_ADMIN", local(ports.cdc_admin)),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
