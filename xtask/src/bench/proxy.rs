//! `cargo xtask bench proxy`: what it costs to forward a small answer, beside nginx and HAProxy.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::load::{Generator, Run};
use super::machine::{self, cpu_seconds};
use super::peers::{self, Peer, Pinning, Ring};
use super::{Samples, ficus_binary};

/// Seconds of load before each measurement, so that connections, pools and branches are warm.
const WARM_UP: u64 = 1;

/// The name of what a request costs; absent where it cannot be told.
const COST: &str = "cpu_us_per_request";

/// Forward a 150-byte answer: CPU per request, throughput and latency at saturation.
#[derive(Debug, Args)]
pub(super) struct ProxyBench {
    /// Seconds of load for each contestant in each round.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Rounds, in each of which every contestant has its turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Connections of the closed loop; one result for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [32])]
    connections: Vec<usize>,
    /// Everybody writes an access log to a file.
    #[arg(long)]
    access_log: bool,
    /// Install nothing; measure those that are there.
    #[arg(long)]
    no_install: bool,
    /// Measure this `ficus` instead of building one.
    #[arg(long)]
    ficus: Option<PathBuf>,
}

impl ProxyBench {
    /// One result for each number of connections.
    pub(super) async fn drive(&self) -> anyhow::Result<Vec<Value>> {
        if !self.no_install {
            peers::provide();
        }
        let ficus = ficus_binary(self.ficus.as_deref()).await?;
        let machine = machine::look();
        let wrk = machine::program("wrk");
        let pinning = Pinning::find(wrk.is_some());
        let generator = Generator { wrk, pinning: pinning.clone() };
        let dir = tempfile::Builder::new().prefix("ficus-bench-").tempdir()?;
        let ring = Ring { dir: dir.path(), pinning, access_log: self.access_log };
        let peers = ring.start(&ficus).await?;
        let mut samples: BTreeMap<usize, Samples> = BTreeMap::new();
        for round in 1..=self.rounds {
            for &connections in &self.connections {
                for peer in &peers {
                    let figures = self.turn(peer, &generator, connections).await?;
                    let turn = format!("round {round}, {connections} connections");
                    samples.entry(connections).or_default().add(peer.name, &turn, &figures);
                }
            }
        }
        let versions: Map<String, Value> =
            peers.iter().map(|peer| (peer.name.to_owned(), json!(peer.version))).collect();
        let setting = json!({
            "seconds": self.seconds, "rounds": self.rounds, "access_log": self.access_log,
            "pinned": ring.pinning.is_on(), "load": generator.version(), "versions": versions,
            "machine": machine,
        });
        let result = |(connections, samples): (&usize, &Samples)| {
            let mut result = Map::from_iter([("connections".to_owned(), json!(connections))]);
            result.extend(samples.objects());
            for peer in ["nginx", "haproxy"] {
                let ratio = samples.ratio(COST, "ficus", peer);
                result.extend(ratio.map(|ratio| (format!("ratio_to_{peer}"), json!(ratio))));
            }
            result.extend(setting.as_object().cloned().unwrap_or_default());
            Value::Object(result)
        };
        Ok(samples.iter().map(result).collect())
    }

    async fn turn(
        &self,
        peer: &Peer,
        generator: &Generator,
        connections: usize,
    ) -> anyhow::Result<Vec<(&'static str, f64)>> {
        generator.run(peer.address, connections, WARM_UP).await?;
        let cpu = || peer.child.as_ref().map(|child| cpu_seconds(child.pid())).transpose();
        let before = cpu()?;
        let run = generator.run(peer.address, connections, self.seconds).await?;
        let spent = cpu()?.zip(before).map(|(after, before)| after - before);
        let Run { requests, rps, p50_ms, p99_ms } = run;
        let mut figures = vec![("rps", rps), ("p50_ms", p50_ms), ("p99_ms", p99_ms)];
        figures.extend(spent.map(|seconds| (COST, seconds * 1e6 / requests)));
        Ok(figures)
    }
}
