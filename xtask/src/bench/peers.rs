//! The contestants of `bench proxy`: one worker each, plain HTTP/1.1, kept connections on both sides, no
//! health checks, no TLS. One that is neither there nor can be installed is left out and named.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use nix::unistd::Uid;
use testkit::{ChildSpec, PackageManager, RunningChild, free_port};
use tokio::net::TcpListener;

use super::load;
use super::machine::{cores, program, version};
use crate::operator::talk;
use crate::steps::{output, shown};

/// 150 bytes.
const BODY: &str = r#"{"success":true,"data":{"id":1842,"tn":"2026112310001842","title":"Printer on floor 3 does not stop","queue_id":4,"state_id":1,"priority_id":3,"n":0}}"#;

/// Longest a contestant may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Which core a process is kept on: the measured one alone on the first, everything else on the second.
#[derive(Clone, Debug)]
pub(super) struct Pinning(Option<PathBuf>);

/// A running contestant.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) version: String,
    pub(super) address: SocketAddr,
    /// `None` for an upstream within this very program, whose cost cannot be told from the generator's.
    pub(super) child: Option<RunningChild>,
}

/// What all contestants are started with.
#[derive(Debug)]
pub(super) struct Ring<'a> {
    pub(super) dir: &'a Path,
    pub(super) pinning: Pinning,
    pub(super) access_log: bool,
}

impl Pinning {
    /// None of it on one core, nor when the load comes from this program, which is not pinned.
    pub(super) fn find(has_wrk: bool) -> Self {
        Self(program("taskset").filter(|_| has_wrk && cores() >= 2))
    }

    pub(super) const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Program and first arguments that start `what` beside the measured process.
    pub(super) fn beside(&self, what: &Path) -> (PathBuf, Vec<PathBuf>) {
        self.on("1", what)
    }

    fn on(&self, core: &str, what: &Path) -> (PathBuf, Vec<PathBuf>) {
        match &self.0 {
            None => (what.to_owned(), Vec::new()),
            Some(taskset) => (taskset.clone(), vec!["-c".into(), core.into(), what.to_owned()]),
        }
    }
}

/// Installs what is missing, when we may.
pub(super) fn provide() {
    let is_apt = PackageManager::detect() == Some(PackageManager::Apt);
    let nginx = if is_apt { "nginx-light" } else { "nginx" };
    install(&[("nginx", nginx), ("haproxy", "haproxy"), ("wrk", "wrk")]);
}

/// Installs the packages of those programs that are missing, when we may.
pub(super) fn install(wanted: &[(&str, &str)]) {
    let Some(manager) = PackageManager::detect() else { return };
    if manager.wants_root() && !Uid::effective().is_root() {
        return;
    }
    let missing = wanted.iter().filter(|(name, _)| program(name).is_none());
    // one by one, because not every platform has all of them
    let mut lines: Vec<Vec<&str>> = missing
        .map(|(_, package)| [manager.install_arguments(&[]), vec![package]].concat())
        .collect();
    if let Some(refresh) = manager.refresh_arguments().filter(|_| !lines.is_empty()) {
        lines.insert(0, refresh.to_vec());
    }
    for arguments in lines {
        let mut command = Command::new(manager.program());
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        talk(&format!("bench: {}", shown(&command)));
        if let Err(error) = output(&mut command) {
            talk(&format!("bench: {error:#}"));
        }
    }
}

impl Ring<'_> {
    /// The upstream, called `direct`, and everybody in front of it.
    pub(super) async fn start(&self, ficus: &Path) -> anyhow::Result<Vec<Peer>> {
        let nginx = program("nginx");
        let direct = match &nginx {
            Some(nginx) => self.nginx(nginx, None).await?,
            None => in_process().await?,
        };
        let upstream = direct.address;
        let mut peers = vec![direct];
        match &nginx {
            Some(nginx) => peers.push(self.nginx(nginx, Some(upstream)).await?),
            None => talk("bench: nginx is not installed and is left out"),
        }
        match program("haproxy") {
            Some(haproxy) => peers.push(self.haproxy(&haproxy, upstream).await?),
            None => talk("bench: HAProxy is not installed and is left out"),
        }
        peers.push(self.ficus(ficus, upstream).await?);
        Ok(peers)
    }

    /// In front of an upstream, or the upstream itself. One process is the worker: a master that is killed
    /// would leave its worker behind.
    async fn nginx(&self, nginx: &Path, upstream: Option<SocketAddr>) -> anyhow::Result<Peer> {
        let (name, core) = if upstream.is_some() { ("nginx", "0") } else { ("direct", "1") };
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir)?;
        let access_log = if self.access_log && upstream.is_some() { "access.log" } else { "off" };
        let (pool, place) = match upstream {
            None => (String::new(), format!("default_type application/json; return 200 '{BODY}';")),
            Some(upstream) => (
                format!(
                    "upstream one {{ server {upstream}; keepalive 512; keepalive_requests 1000000000; }}"
                ),
                "proxy_pass http://one; proxy_http_version 1.1; proxy_set_header Connection '';"
                    .to_owned(),
            ),
        };
        let address = free_address()?;
        let text = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr warn;\n\
             events {{ worker_connections 8192; }}\n\
             http {{ access_log {access_log}; keepalive_requests 1000000000; {pool}\n\
             server {{ listen {address}; location / {{ {place} }} }} }}\n"
        );
        let config = dir.join("nginx.conf");
        std::fs::write(&config, text)?;
        let spec = self.spec(name, core, nginx).arg("-e").arg("stderr").arg("-p").arg(&dir);
        peer(name, version(nginx, "-v"), address, spec.arg("-c").arg(&config)).await
    }

    async fn haproxy(&self, haproxy: &Path, upstream: SocketAddr) -> anyhow::Result<Peer> {
        let address = free_address()?;
        let (log, option) = if self.access_log {
            ("log stdout format raw local0", "log global\n option httplog")
        } else {
            ("", "")
        };
        let text = format!(
            "global\n nbthread 1\n maxconn 8192\n {log}\n\
             defaults\n mode http\n option http-keep-alive\n http-reuse always\n {option}\n \
             timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
             frontend in\n bind {address}\n default_backend out\n\
             backend out\n server one {upstream}\n"
        );
        let config = self.dir.join("haproxy.cfg");
        std::fs::write(&config, text)?;
        let spec = self.spec("haproxy", "0", haproxy).arg("-db").arg("-f").arg(&config);
        peer("haproxy", version(haproxy, "-v"), address, spec).await
    }

    async fn ficus(&self, ficus: &Path, upstream: SocketAddr) -> anyhow::Result<Peer> {
        let (address, admin) = (free_address()?, free_address()?);
        let text = format!(
            "version = 1\n[proxy]\nlisten = [\"{address}\"]\nadmin = \"{admin}\"\n\
             [upstreams.monolith]\npeers = [\"{upstream}\"]\n"
        );
        let config = self.dir.join("routes.toml");
        std::fs::write(&config, text)?;
        let log = if self.access_log { "info" } else { "info,access=off" };
        let spec = self.spec("ficus", "0", ficus).arg("--config").arg(&config).arg("proxy");
        let spec = spec.env("TOKIO_WORKER_THREADS", "1").env("FICUS_LOG", log);
        peer("ficus", version(ficus, "--version"), address, spec).await
    }

    fn spec(&self, name: &str, core: &str, program: &Path) -> ChildSpec {
        let (program, arguments) = self.pinning.on(core, program);
        ChildSpec::new(name, program, self.dir.join(format!("{name}.log"))).args(arguments)
    }
}

async fn peer(
    name: &'static str,
    version: String,
    address: SocketAddr,
    spec: ChildSpec,
) -> anyhow::Result<Peer> {
    let mut child = spec.spawn().with_context(|| format!("start {name}"))?;
    child.wait_ready(address, "/", READY_WITHIN).await?;
    Ok(Peer { name, version, address, child: Some(child) })
}

async fn in_process() -> anyhow::Result<Peer> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(load::serve(listener, BODY));
    Ok(Peer { name: "direct", version: "this program".to_owned(), address, child: None })
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_answer_is_as_long_as_the_documentation_says() {
        assert_eq!(super::BODY.len(), 150);
    }
}
