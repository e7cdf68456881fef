//! Everything around one proxy: a monolith, a service, control and a replicator.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use http::HeaderMap;
use proxy::{Options, Proxy, ReloadHandle};
use reqwest::{Client, Response};
use routes::Config;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{control::ScriptedControl, replicator::ScriptedReplicator, upstream::Upstream};

/// Longest time anything may take.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

/// What differs between tests.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) has_control: bool,
    pub(crate) has_state_file: bool,
    /// Whether another proxy may take the sockets over.
    pub(crate) has_handover: bool,
    pub(crate) fence: &'static str,
    pub(crate) abort: &'static str,
    pub(crate) shadow: &'static str,
    /// How long the monolith may take to answer.
    pub(crate) monolith_read: &'static str,
    /// More lines of `[proxy]`.
    pub(crate) proxy: String,
    /// Policies and what they are made of; `standard` is the policy of every request.
    pub(crate) gateway: String,
}

/// A proxy and its world.
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) monolith: Arc<Upstream>,
    pub(crate) service: Arc<Upstream>,
    pub(crate) control: ScriptedControl,
    pub(crate) replicator: ScriptedReplicator,
    pub(crate) folder: TempDir,
    pub(crate) proxy: Running,
    pub(crate) client: Client,
}

/// A running proxy.
pub(crate) struct Running {
    pub(crate) listen: std::net::SocketAddr,
    /// The last address; the one with TLS where there is one.
    pub(crate) last: std::net::SocketAddr,
    pub(crate) admin: std::net::SocketAddr,
    pub(crate) reload: ReloadHandle,
    stop: CancellationToken,
    task: JoinHandle<Result<(), proxy::RunError>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            has_control: true,
            has_state_file: false,
            has_handover: false,
            fence: r#"{ hold = "10s", max_held = 2000 }"#,
            abort: r#"{ max_lag = "2s" }"#,
            shadow: "{ sample = 0 }",
            monolith_read: "15s",
            proxy: String::new(),
            gateway: String::new(),
        }
    }
}

impl World {
    pub(crate) async fn start(setup: Setup) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let monolith = Upstream::start("monolith").await?;
        let service = Upstream::start("service").await?;
        let control = ScriptedControl::start().await?;
        let replicator = ScriptedReplicator::start().await?;
        let text = routes(
            &setup,
            &folder,
            [monolith.address, service.address],
            [control.address, replicator.address],
        );
        std::fs::write(folder.path().join("routes.toml"), text)?;
        let proxy = Running::start(folder.path().join("routes.toml")).await?;
        let client = Client::builder().timeout(BOUND).build()?;
        let world = Self { setup, monolith, service, control, replicator, folder, proxy, client };
        world.wait_ready().await?;
        Ok(world)
    }

    /// The text of `routes.toml` with these upstreams.
    pub(crate) fn text(&self) -> String {
        let upstreams = [self.monolith.address, self.service.address];
        let parts = [self.control.address, self.replicator.address];
        routes(&self.setup, &self.folder, upstreams, parts)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("routes.toml")
    }

    /// Stops the proxy and starts another one from the same file.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await?;
        self.proxy = Running::start(self.path()).await?;
        self.wait_ready().await
    }

    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        self.proxy.stop.cancel();
        tokio::time::timeout(BOUND, &mut self.proxy.task).await.context("not stopped")???;
        Ok(())
    }

    /// Tells the proxy to stop, without waiting.
    pub(crate) fn begin_stop(&self) {
        self.proxy.stop.cancel();
    }

    async fn wait_ready(&self) -> anyhow::Result<()> {
        let look = || async {
            let answer = self.client.get(self.admin_url("/readyz")).send().await;
            Ok(answer.is_ok_and(|answer| answer.status().is_success()).then_some(()))
        };
        testkit::wait_until(BOUND, look).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.proxy.listen)
    }

    pub(crate) fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.proxy.admin)
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Response> {
        Ok(self.client.get(self.url(path)).send().await?)
    }

    /// A read of a ticket by a subject.
    pub(crate) async fn read_as(&self, subject: &str) -> anyhow::Result<Response> {
        let request = self.client.get(self.url("/api/v1/tickets/7"));
        Ok(request.header("x-api-key", subject).send().await?)
    }

    /// A write by a subject.
    pub(crate) async fn write_as(&self, subject: &str) -> anyhow::Result<Response> {
        let request = self.client.post(self.url("/api/v1/tickets")).body("{}");
        Ok(request.header("x-api-key", subject).send().await?)
    }

    /// A figure of the proxy's registry, summed over all series whose text contains `labels`.
    pub(crate) async fn figure(&self, name: &str, labels: &str) -> anyhow::Result<f64> {
        let text = self.client.get(self.admin_url("/metrics")).send().await?.text().await?;
        let series = text.lines().filter(|line| line.starts_with(name) && line.contains(labels));
        Ok(series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Waits until a condition holds.
    pub(crate) async fn wait(&self, mut condition: impl FnMut() -> bool) -> anyhow::Result<()> {
        let look = || std::future::ready(Ok(condition().then_some(())));
        testkit::wait_until(BOUND, look).await
    }
}

impl Running {
    pub(crate) async fn start(path: PathBuf) -> anyhow::Result<Self> {
        Self::start_with(path, false).await
    }

    /// Starts a proxy that takes the sockets over from the one that runs.
    pub(crate) async fn take_over(path: PathBuf) -> anyhow::Result<Self> {
        Self::start_with(path, true).await
    }

    async fn start_with(path: PathBuf, take_over: bool) -> anyhow::Result<Self> {
        let config = parse(&std::fs::read_to_string(&path)?)?;
        let options = Options {
            take_over,
            lame_duck: Duration::from_millis(200),
            drain: Duration::from_secs(5),
            ..Options::new(path, config)
        };
        let proxy = Proxy::bind(options).await?;
        let listen = *proxy.listen().first().context("one address")?;
        let last = *proxy.listen().last().context("one address")?;
        let (admin, reload) = (proxy.admin(), proxy.reload_handle());
        let stop = CancellationToken::new();
        let task = tokio::spawn(proxy.run(stop.clone()));
        Ok(Self { listen, last, admin, reload, stop, task })
    }
}

impl Running {
    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<()> {
        tokio::time::timeout(BOUND, &mut self.task).await.context("it still runs")???;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Who answered.
pub(crate) fn by(response: &Response) -> &str {
    header(response.headers(), "x-by")
}

pub(crate) fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).map_or("", |value| value.to_str().expect("text"))
}

pub(crate) fn parse(text: &str) -> anyhow::Result<Config> {
    Config::parse_for_proxy("routes.toml", text, &|_| None, &|file| std::fs::read_to_string(file))
        .map_err(|problems| anyhow::anyhow!("{problems:#?}"))
}

fn routes(
    setup: &Setup,
    folder: &TempDir,
    [monolith, service]: [std::net::SocketAddr; 2],
    [control, cdc]: [std::net::SocketAddr; 2],
) -> String {
    let Setup { fence, abort, shadow, monolith_read, proxy, gateway, .. } = setup;
    let policy = if gateway.is_empty() { "" } else { "policy = \"standard\"" };
    let state_file = match setup.has_state_file {
        true => format!("state_file = {:?}", folder.path().join("state.json")),
        false => String::new(),
    };
    let handover = match setup.has_handover {
        true => format!("handover = {:?}", folder.path().join("handover.sock")),
        false => String::new(),
    };
    let control = match setup.has_control {
        true => format!("[control]\ndatabase = \"postgres://control\"\ngrpc = \"{control}\""),
        false => String::new(),
    };
    format!(
        r#"version = 1
[proxy]
listen = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
subject = ["header:x-api-key", "ip"]
{state_file}
{policy}
{handover}
{proxy}
{control}
[cdc]
grpc = "{cdc}"
[upstreams.monolith]
peers = ["{monolith}"]
database = "postgres://monolith"
timeouts = {{ read = "{monolith_read}" }}
[upstreams.ticket]
peers = ["{service}"]
database = "postgres://ticket"
[capabilities.tickets]
upstream = "ticket"
fence = {fence}
abort = {abort}
routes = [
  {{ match = "GET /api/v1/tickets" }},
  {{ match = "POST /api/v1/tickets" }},
  {{ match = "GET /api/v1/tickets/{{id}}", shadow = {shadow} }},
  {{ match = "PUT /api/v1/tickets/{{id}}" }},
]
tables = [{{ source = "public.ticket", target = "public.tickets" }}]
{gateway}
"#
    )
}
