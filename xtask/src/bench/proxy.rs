//! `cargo xtask bench proxy`: what it costs to forward requests, beside nginx, HAProxy and Caddy.

mod gateway;
mod idle;
mod profile;
mod scheduled;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};

use self::profile::{Method, Profile};
use super::load::{Asked, Generator, Run};
use super::machine::{self, cpu_seconds};
use super::peers::{self, Peer, Pinning, Ring};
use super::{Samples, ficus_binary};
use crate::operator::talk;

/// Seconds of load before each measurement, so that connections, pools and branches are warm.
const WARM_UP: u64 = 1;

/// The name of what a request costs; absent where it cannot be told.
const COST: &str = "cpu_us_per_request";

/// Peers that results are compared with.
const PEERS: [&str; 3] = ["nginx", "haproxy", "caddy"];

/// Forward requests: CPU for each, throughput and latency at saturation, memory of idle connections.
#[derive(Debug, Args)]
pub(super) struct ProxyBench {
    /// What is measured; everything when not given.
    #[arg(long, value_enum, value_delimiter = ',')]
    profile: Vec<Profile>,
    /// Seconds of load for each contestant in each round.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Rounds, in each of which every contestant has its turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Connections of the closed loop.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Everybody writes an access log to a file.
    #[arg(long)]
    access_log: bool,
    /// Rules in the language of ModSecurity, for `--profile rules`: a file with `SecRuleEngine On`.
    #[arg(long)]
    rules: Option<PathBuf>,
    /// Install nothing; measure those that are there.
    #[arg(long)]
    no_install: bool,
    /// Measure this `ficus` instead of building one.
    #[arg(long)]
    ficus: Option<PathBuf>,
}

type Figures = Vec<(&'static str, f64)>;

impl ProxyBench {
    /// One result for each profile.
    pub(super) async fn drive(&self) -> anyhow::Result<Vec<Value>> {
        if !self.no_install {
            peers::provide();
        }
        idle::allow_files()?;
        let ficus = ficus_binary(self.ficus.as_deref()).await?;
        let machine = machine::look();
        let (wrk, h2load) = (machine::program("wrk"), machine::program("h2load"));
        let pinning = Pinning::find(wrk.is_some());
        let generator = Generator { wrk, h2load, pinning: pinning.clone() };
        let dir = tempfile::Builder::new().prefix("ficus-bench-").tempdir()?;
        let ring = Ring { dir: dir.path(), pinning, access_log: self.access_log };
        let mut results = Vec::new();
        for profile in self.profiles() {
            let mut samples = Samples::default();
            let mut versions = BTreeMap::new();
            let sections = self.sections(profile)?;
            for round in 1..=self.rounds {
                // new processes, so that no profile's memory is left for the next one
                let peers = ring.start(&ficus, &sections).await?;
                versions = peers.iter().map(|peer| (peer.name, peer.version.clone())).collect();
                let turn = format!("{}, round {round}", profile.name());
                self.round(profile, &generator, &peers, (&turn, &mut samples)).await?;
            }
            let setting = json!({
                "profile": profile.name(), "seconds": self.seconds, "rounds": self.rounds,
                "connections": self.connections, "access_log": self.access_log,
                "pinned": ring.pinning.is_on(), "load": generator.version(), "versions": versions,
                "machine": machine, "contestants": samples.spreads(),
            });
            let mut result = setting.as_object().cloned().unwrap_or_default();
            result.extend(ratios(&samples));
            results.push(Value::Object(result));
        }
        Ok(results)
    }

    /// What Ficus has in its file for this alone.
    fn sections(&self, profile: Profile) -> anyhow::Result<String> {
        match profile {
            Profile::Gateway => Ok(gateway::sections()),
            Profile::Rules => {
                let rules = self.rules.as_ref().context("this profile needs --rules FILE")?;
                Ok(gateway::asking_rules(&rules.canonicalize()?))
            }
            Profile::Bare
            | Profile::Json10k
            | Profile::Post64k
            | Profile::H2
            | Profile::Handshakes
            | Profile::Idle
            | Profile::Latency => Ok(String::new()),
        }
    }

    fn profiles(&self) -> Vec<Profile> {
        if self.profile.is_empty() { Profile::ALL.to_vec() } else { self.profile.clone() }
    }

    /// Every contestant's turn.
    async fn round(
        &self,
        profile: Profile,
        generator: &Generator,
        peers: &[Peer],
        (turn, samples): (&str, &mut Samples),
    ) -> anyhow::Result<()> {
        let mut per_second = 0.0;
        if profile.method() == Method::Scheduled
            && let Some(ficus) = peers.iter().find(|peer| peer.name == "ficus")
        {
            let asked = Asked { url: format!("http://{}/", ficus.address), ..Asked::default() };
            per_second = generator.run(&asked, self.connections, self.seconds).await?.rps / 2.0;
            talk(&format!("{turn}: {per_second:.0} requests a second for everybody"));
        }
        for peer in peers {
            let figures = match profile.method() {
                Method::Closed | Method::Multiplexed => self.load(profile, generator, peer).await?,
                Method::Idle => idle_figures(peer).await?,
                Method::Scheduled => self.scheduled(profile, peer, per_second).await?,
            };
            if let Some(figures) = figures {
                samples.add(peer.name, turn, &figures);
            }
        }
        Ok(())
    }

    /// As many requests as go through.
    async fn load(
        &self,
        profile: Profile,
        generator: &Generator,
        peer: &Peer,
    ) -> anyhow::Result<Option<Figures>> {
        let url = match (profile.is_encrypted(), peer.encrypted) {
            (false, _) => format!("http://{}{}", peer.address, profile.path()),
            (true, Some(address)) => format!("https://{address}{}", profile.path()),
            (true, None) => return Ok(None),
        };
        let script = tempfile::Builder::new().suffix(".lua").tempfile()?;
        let asked = Asked {
            url,
            script: wrk_script(profile, script.path())?,
            reconnects: profile == Profile::Handshakes,
        };
        let asked = &asked;
        let run = async |seconds: u64| match profile.method() {
            Method::Multiplexed => {
                generator.run_multiplexed(&asked.url, self.connections, seconds).await
            }
            Method::Closed | Method::Idle | Method::Scheduled => {
                generator.run(asked, self.connections, seconds).await
            }
        };
        run(WARM_UP).await?;
        let cpu = || peer.child.as_ref().map(|child| cpu_seconds(child.pid())).transpose();
        let before = cpu()?;
        let Run { requests, rps, p50_ms, p99_ms } = run(self.seconds).await?;
        let spent = cpu()?.zip(before).map(|(after, before)| after - before);
        let mut figures = vec![("rps", rps)];
        figures.extend(p50_ms.map(|ms| ("p50_ms", ms)));
        figures.extend(p99_ms.map(|ms| ("p99_ms", ms)));
        figures.extend(spent.map(|seconds| (COST, seconds * 1e6 / requests)));
        Ok(Some(figures))
    }

    async fn scheduled(
        &self,
        profile: Profile,
        peer: &Peer,
        per_second: f64,
    ) -> anyhow::Result<Option<Figures>> {
        let (address, seconds) = (peer.address, Duration::from_secs(self.seconds));
        let run = tokio::task::spawn_blocking(move || {
            // the schedule's threads inherit it: off the core of the contestant
            let all = stay_beside()?;
            let latency = scheduled::run(address, profile.path(), per_second, seconds);
            sched_setaffinity(Pid::from_raw(0), &all)?;
            latency
        });
        let latency = run.await??;
        Ok(Some(vec![("p50_ms", latency.p50_ms), ("p99_ms", latency.p99_ms)]))
    }
}

/// Keeps this thread, and those it starts, on the second core; answers where it was allowed before.
fn stay_beside() -> anyhow::Result<CpuSet> {
    let before = sched_getaffinity(Pid::from_raw(0))?;
    if machine::cores() >= 2 {
        let mut second = CpuSet::new();
        second.set(1)?;
        sched_setaffinity(Pid::from_raw(0), &second)?;
    }
    Ok(before)
}

async fn idle_figures(peer: &Peer) -> anyhow::Result<Option<Figures>> {
    let Some(child) = &peer.child else { return Ok(None) };
    let memory = idle::run(peer.address, child.pid()).await?;
    let connection = ("kb_per_connection", memory.kb_per_connection);
    Ok(Some(vec![("idle_rss_mb", memory.rss_kb / 1024.0), connection]))
}

/// The requests that wrk does not make by itself.
fn wrk_script(profile: Profile, path: &Path) -> anyhow::Result<Option<PathBuf>> {
    if profile == Profile::Gateway {
        gateway::script(path)?;
        return Ok(Some(path.to_owned()));
    }
    if profile.body_bytes() == 0 {
        return Ok(None);
    }
    let script =
        format!("wrk.method = 'POST'\nwrk.body = string.rep('x', {})\n", profile.body_bytes());
    std::fs::write(path, script)?;
    Ok(Some(path.to_owned()))
}

/// What Ficus needs by what others need: below 1 Ficus is better.
fn ratios(samples: &Samples) -> Map<String, Value> {
    let mut ratios = Map::new();
    for figure in [COST, "p99_ms", "kb_per_connection"] {
        for peer in PEERS {
            let ratio = samples.ratio(figure, "ficus", peer);
            ratios.extend(ratio.map(|ratio| (format!("{figure}_ratio_to_{peer}"), json!(ratio))));
        }
    }
    ratios
}
