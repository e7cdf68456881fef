//! Ficus alone, and in a row with nginx and HAProxy; one recording upstream behind all of them.
//!
//! ```text
//! ficus -> upstream      nginx -> ficus -> upstream      ficus -> nginx -> upstream      and HAProxy
//! ```
//! In front the others are told to be as lenient as they can be.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use testkit::http::Recorder;
use testkit::{ChildSpec, RunningChild, free_port};

use crate::bench::{install, program};
use crate::operator::talk;

const READY_WITHIN: Duration = Duration::from_secs(30);

/// Limits that show within seconds.
const LIMITS: &str = r#"[proxy.limits]
head = "2s"
idle = "3s"
body_idle = "2s"
write = "3s"
max_body = "300MiB"
connections_per_client = 200
"#;

/// Servers in a row.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    pub(super) entry: SocketAddr,
    /// Ficus is the first and decides alone.
    pub(super) is_strict: bool,
}

/// Everything that runs.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) recorder: Recorder,
    /// The first is Ficus alone.
    pub(super) chains: Vec<Chain>,
    /// That Ficus.
    pub(super) ficus: RunningChild,
    others: Vec<RunningChild>,
}

/// Starts one after the other.
struct Starter<'a> {
    ficus: &'a Path,
    dir: &'a Path,
}

impl Servers {
    pub(super) async fn start(ficus: &Path, dir: &Path) -> anyhow::Result<Self> {
        install(&[("nginx", "nginx-light"), ("haproxy", "haproxy")]);
        let recorder = Recorder::start().await?;
        let starter = Starter { ficus, dir };
        let (direct, child) = starter.ficus("ficus", recorder.address()).await?;
        let chain = |name, entry, is_strict| Chain { name, entry, is_strict };
        let (mut chains, mut others) = (vec![chain("ficus", direct, true)], Vec::new());
        if let Some(nginx) = found("nginx") {
            let (front, first) = starter.nginx(&nginx, "nginx-front", direct).await?;
            let (behind, second) = starter.nginx(&nginx, "nginx", recorder.address()).await?;
            let (entry, third) = starter.ficus("ficus-nginx", behind).await?;
            chains.push(chain("nginx>ficus", front, false));
            chains.push(chain("ficus>nginx", entry, true));
            others.extend([first, third, second]);
        }
        if let Some(haproxy) = found("haproxy") {
            let (front, first) = starter.haproxy(&haproxy, "haproxy-front", direct).await?;
            let (behind, second) = starter.haproxy(&haproxy, "haproxy", recorder.address()).await?;
            let (entry, third) = starter.ficus("ficus-haproxy", behind).await?;
            chains.push(chain("haproxy>ficus", front, false));
            chains.push(chain("ficus>haproxy", entry, true));
            others.extend([first, third, second]);
        }
        // what asked whether they are ready
        drop(recorder.take());
        Ok(Self { recorder, chains, ficus: child, others })
    }

    /// Where Ficus alone listens.
    pub(super) fn direct(&self) -> SocketAddr {
        let unspecified = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        self.chains.first().map_or(unspecified, |chain| chain.entry)
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        for child in self.others {
            child.terminate().await?;
        }
        self.ficus.terminate().await?;
        Ok(())
    }
}

impl Starter<'_> {
    async fn ficus(
        &self,
        name: &str,
        upstream: SocketAddr,
    ) -> anyhow::Result<(SocketAddr, RunningChild)> {
        start_ficus(self.ficus, self.dir, name, upstream, "").await
    }

    async fn nginx(
        &self,
        nginx: &Path,
        name: &str,
        upstream: SocketAddr,
    ) -> anyhow::Result<(SocketAddr, RunningChild)> {
        let address = free_address()?;
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir)?;
        let text = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr warn;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; client_body_temp_path body; proxy_temp_path proxy;\n\
             client_max_body_size 0; large_client_header_buffers 8 64k; merge_slashes off;\n\
             ignore_invalid_headers off; underscores_in_headers on; keepalive_timeout 1s;\n\
             client_header_timeout 2s; client_body_timeout 2s;\n\
             upstream one {{ server {upstream}; keepalive 16; }}\n\
             server {{ listen {address}; location / {{ proxy_pass http://one; proxy_http_version 1.1;\n\
             proxy_request_buffering off; proxy_set_header Connection ''; proxy_set_header Host $http_host; }} }} }}\n"
        );
        let config = dir.join("nginx.conf");
        std::fs::write(&config, text)?;
        let spec = self.spec(name, nginx).arg("-e").arg("stderr").arg("-p").arg(&dir);
        started(name, spec.arg("-c").arg(&config), address).await
    }

    async fn haproxy(
        &self,
        haproxy: &Path,
        name: &str,
        upstream: SocketAddr,
    ) -> anyhow::Result<(SocketAddr, RunningChild)> {
        let address = free_address()?;
        let text = format!(
            "global\n nbthread 1\n maxconn 1000\n\
             defaults\n mode http\n option http-keep-alive\n http-reuse always\n \
             option accept-invalid-http-request\n timeout connect 5s\n timeout client 3s\n \
             timeout server 10s\n timeout http-request 2s\n timeout http-keep-alive 1s\n\
             frontend in\n bind {address}\n default_backend out\n\
             backend out\n server one {upstream}\n"
        );
        let config = self.dir.join(format!("{name}.cfg"));
        std::fs::write(&config, text)?;
        started(name, self.spec(name, haproxy).arg("-db").arg("-f").arg(&config), address).await
    }

    fn spec(&self, name: &str, program: &Path) -> ChildSpec {
        ChildSpec::new(name, program, self.dir.join(format!("{name}.log")))
    }
}

/// Starts Ficus before an upstream, with further sections in its file; all requests have the policy of their
/// route.
pub(super) async fn start_ficus(
    ficus: &Path,
    dir: &Path,
    name: &str,
    upstream: SocketAddr,
    sections: &str,
) -> anyhow::Result<(SocketAddr, RunningChild)> {
    let (address, admin) = (free_address()?, free_address()?);
    let text = format!(
        "version = 1\n[proxy]\nlisten = [\"{address}\"]\nadmin = \"{admin}\"\n{LIMITS}\
         [upstreams.monolith]\npeers = [\"{upstream}\"]\n{sections}"
    );
    let config = dir.join(format!("{name}.toml"));
    std::fs::write(&config, text)?;
    let spec = ChildSpec::new(name, ficus, dir.join(format!("{name}.log")));
    let spec = spec.arg("--config").arg(&config).arg("proxy");
    started(name, spec.env("FICUS_LOG", "info,access=off"), address).await
}

/// Resident memory of a process now.
pub(super) fn resident_mb(pid: i32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .context("read the memory of the proxy (Linux only)")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok());
    let kilobytes: f64 = kilobytes.context("no VmRSS")?;
    Ok(kilobytes / 1024.0)
}

async fn started(
    name: &str,
    spec: ChildSpec,
    address: SocketAddr,
) -> anyhow::Result<(SocketAddr, RunningChild)> {
    let mut child = spec.spawn().with_context(|| format!("start {name}"))?;
    child.wait_ready(address, "/", READY_WITHIN).await?;
    Ok((address, child))
}

fn found(name: &str) -> Option<PathBuf> {
    let found = program(name);
    if found.is_none() {
        talk(&format!("e2e: {name} is not installed and is left out"));
    }
    found
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)))
}
