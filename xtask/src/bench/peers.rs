//! The contestants of `bench proxy`: one worker each, HTTP/1.1 to the upstream, kept connections on both
//! sides, no health checks; downstreams come plain on one port, with TLS and HTTP/2 on another. One that
//! is neither there nor can be installed is left out and named.

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
    /// With TLS, HTTP/2 by ALPN; `None` for the upstream itself.
    pub(super) encrypted: Option<SocketAddr>,
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
    install(&[
        ("nginx", nginx),
        ("haproxy", "haproxy"),
        ("caddy", "caddy"),
        ("wrk", "wrk"),
        ("h2load", "nghttp2-client"),
    ]);
}

/// Installs the packages of those programs that are missing, when we may.
pub(crate) fn install(wanted: &[(&str, &str)]) {
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
        talk(&format!("installing: {}", shown(&command)));
        if let Err(error) = output(&mut command) {
            talk(&format!("not installed: {error:#}"));
        }
    }
}

impl Ring<'_> {
    /// The upstream, called `direct`, and everybody in front of it; Ficus with further sections in its file.
    pub(super) async fn start(&self, ficus: &Path, sections: &str) -> anyhow::Result<Vec<Peer>> {
        self.certificate()?;
        let nginx = program("nginx");
        let direct = match &nginx {
            Some(nginx) => self.upstream(nginx).await?,
            None => in_process().await?,
        };
        let upstream = direct.address;
        let mut peers = vec![direct];
        match &nginx {
            Some(nginx) => peers.push(self.nginx(nginx, upstream).await?),
            None => talk("bench: nginx is not installed and is left out"),
        }
        match program("haproxy") {
            Some(haproxy) => peers.push(self.haproxy(&haproxy, upstream).await?),
            None => talk("bench: HAProxy is not installed and is left out"),
        }
        match program("caddy") {
            Some(caddy) => peers.push(self.caddy(&caddy, upstream).await?),
            None => talk("bench: Caddy is not installed and is left out"),
        }
        peers.push(self.ficus(ficus, upstream, sections).await?);
        Ok(peers)
    }

    /// A certificate for 127.0.0.1, as `cert.pem`, `key.pem` and both in `both.pem`.
    fn certificate(&self) -> anyhow::Result<()> {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        std::fs::write(self.dir.join("both.pem"), format!("{cert}{key}"))?;
        std::fs::write(self.dir.join("cert.pem"), cert)?;
        std::fs::write(self.dir.join("key.pem"), key)?;
        Ok(())
    }

    /// What everybody stands in front of: 150 bytes, whatever is sent, and 10 kB from a file.
    async fn upstream(&self, nginx: &Path) -> anyhow::Result<Peer> {
        let rows = vec![BODY; 10 * 1024 / BODY.len() + 1].join(",");
        std::fs::write(self.dir.join("json-10k"), format!("[{rows}]"))?;
        let address = free_address()?;
        let server = format!(
            "open_file_cache max=10; default_type application/json;\n\
             server {{ listen {address}; location /json-10k {{ root {}; }}\n\
             location / {{ return 200 '{BODY}'; }} }}",
            self.dir.display()
        );
        let spec = self.nginx_spec(nginx, ("direct", "1"), &server, false)?;
        peer("direct", version(nginx, "-v"), (address, None), spec).await
    }

    async fn nginx(&self, nginx: &Path, upstream: SocketAddr) -> anyhow::Result<Peer> {
        let (address, encrypted) = (free_address()?, free_address()?);
        let server = format!(
            "upstream one {{ server {upstream}; keepalive 512; keepalive_requests 1000000000; }}\n\
             server {{ listen {address}; listen {encrypted} ssl http2; ssl_protocols TLSv1.3;\n\
             ssl_certificate {0}/cert.pem; ssl_certificate_key {0}/key.pem;\n\
             location / {{ proxy_pass http://one; proxy_http_version 1.1; proxy_set_header Connection ''; }} }}",
            self.dir.display()
        );
        let spec = self.nginx_spec(nginx, ("nginx", "0"), &server, self.access_log)?;
        peer("nginx", version(nginx, "-v"), (address, Some(encrypted)), spec).await
    }

    /// One process is the worker: a master that is killed would leave its worker behind.
    fn nginx_spec(
        &self,
        nginx: &Path,
        (name, core): (&str, &str),
        server: &str,
        access_log: bool,
    ) -> anyhow::Result<ChildSpec> {
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir)?;
        let access_log = if access_log { "access.log" } else { "off" };
        let text = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr warn;\n\
             events {{ worker_connections 8192; }}\n\
             http {{ access_log {access_log}; client_max_body_size 1m; client_body_buffer_size 128k;\n\
             keepalive_requests 1000000000; keepalive_timeout 600s; {server} }}\n"
        );
        let config = dir.join("nginx.conf");
        std::fs::write(&config, text)?;
        let spec = self.spec(name, core, nginx).arg("-e").arg("stderr").arg("-p").arg(&dir);
        Ok(spec.arg("-c").arg(&config))
    }

    async fn haproxy(&self, haproxy: &Path, upstream: SocketAddr) -> anyhow::Result<Peer> {
        let (address, encrypted) = (free_address()?, free_address()?);
        let (log, option) = if self.access_log {
            ("log stdout format raw local0", "log global\n option httplog")
        } else {
            ("", "")
        };
        let text = format!(
            "global\n nbthread 1\n maxconn 7000\n {log}\n\
             defaults\n mode http\n option http-keep-alive\n http-reuse always\n {option}\n \
             timeout connect 5s\n timeout client 600s\n timeout server 60s\n\
             frontend in\n bind {address}\n \
             bind {encrypted} ssl crt {}/both.pem alpn h2,http/1.1 ssl-min-ver TLSv1.3\n \
             default_backend out\n\
             backend out\n server one {upstream}\n",
            self.dir.display()
        );
        let config = self.dir.join("haproxy.cfg");
        std::fs::write(&config, text)?;
        let spec = self.spec("haproxy", "0", haproxy).arg("-db").arg("-f").arg(&config);
        peer("haproxy", version(haproxy, "-v"), (address, Some(encrypted)), spec).await
    }

    async fn caddy(&self, caddy: &Path, upstream: SocketAddr) -> anyhow::Result<Peer> {
        let (address, encrypted) = (free_address()?, free_address()?);
        let log = if self.access_log { "log" } else { "" };
        let to = format!(
            "{log}\n reverse_proxy {upstream} {{\n  transport http {{\n   keepalive_idle_conns_per_host 512\n  }}\n }}"
        );
        let text = format!(
            "{{\n admin off\n auto_https off\n default_sni localhost\n}}\n\
             http://{address} {{\n {to}\n}}\n\
             https://{encrypted} {{\n tls {0}/cert.pem {0}/key.pem {{\n  protocols tls1.3\n }}\n {to}\n}}\n",
            self.dir.display()
        );
        let config = self.dir.join("Caddyfile");
        std::fs::write(&config, text)?;
        let spec = self.spec("caddy", "0", caddy).arg("run").arg("--adapter").arg("caddyfile");
        let spec = spec.arg("--config").arg(&config).env("GOMAXPROCS", "1").env("HOME", self.dir);
        peer("caddy", version(caddy, "version"), (address, Some(encrypted)), spec).await
    }

    async fn ficus(
        &self,
        ficus: &Path,
        upstream: SocketAddr,
        sections: &str,
    ) -> anyhow::Result<Peer> {
        let (address, encrypted, admin) = (free_address()?, free_address()?, free_address()?);
        let text = format!(
            "version = 1\n[proxy]\nlisten = [\"{address}\"]\nadmin = \"{admin}\"\n\
             [[proxy.tls]]\nlisten = \"{encrypted}\"\n\
             certificates = [{{ cert = \"{0}/cert.pem\", key = \"{0}/key.pem\" }}]\n\
             [proxy.limits]\nconnections_per_client = 8192\nconnections = 8192\n\
             [upstreams.monolith]\npeers = [\"{upstream}\"]\n{sections}",
            self.dir.display()
        );
        let config = self.dir.join("routes.toml");
        std::fs::write(&config, text)?;
        let log = if self.access_log { "info" } else { "info,access=off" };
        let spec = self.spec("ficus", "0", ficus).arg("--config").arg(&config).arg("proxy");
        let spec = spec.env("TOKIO_WORKER_THREADS", "1").env("FICUS_LOG", log);
        peer("ficus", version(ficus, "--version"), (address, Some(encrypted)), spec).await
    }

    fn spec(&self, name: &str, core: &str, program: &Path) -> ChildSpec {
        let (program, arguments) = self.pinning.on(core, program);
        ChildSpec::new(name, program, self.dir.join(format!("{name}.log"))).args(arguments)
    }
}

async fn peer(
    name: &'static str,
    version: String,
    (address, encrypted): (SocketAddr, Option<SocketAddr>),
    spec: ChildSpec,
) -> anyhow::Result<Peer> {
    let mut child = spec.spawn().with_context(|| format!("start {name}"))?;
    child.wait_ready(address, "/", READY_WITHIN).await?;
    Ok(Peer { name, version, address, encrypted, child: Some(child) })
}

async fn in_process() -> anyhow::Result<Peer> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(load::serve(listener, BODY));
    let version = "this program".to_owned();
    Ok(Peer { name: "direct", version, address, encrypted: None, child: None })
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
