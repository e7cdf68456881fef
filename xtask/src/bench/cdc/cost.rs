//! What a measured stretch cost: time, and CPU of each part apart.

use anyhow::Context;
use testkit::Cluster;
use tokio::time::Instant;

use super::pair::Pair;
use crate::bench::machine::{self, cpu_seconds, ended_children_cpu_seconds};

/// Names and values, as they are kept of a turn.
pub(super) type Figures = Vec<(&'static str, f64)>;

/// A stretch that has begun.
#[derive(Debug)]
pub(super) struct Meter<'a> {
    pair: &'a Pair,
    /// The processes of the replicator, if it has any.
    processes: Vec<i32>,
    begun: Instant,
    before: Reading,
}

/// CPU seconds so far.
#[derive(Clone, Copy, Debug)]
struct Reading {
    source: f64,
    target: f64,
    replicator: f64,
    machine: f64,
}

/// A stretch that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) seconds: f64,
    source: f64,
    target: f64,
    replicator: f64,
    /// Cores that were busy with something else, on average; this program is a part of it.
    others: f64,
}

impl<'a> Meter<'a> {
    /// `processes` run from the begin to the end; what ends in between and was this program's child counts
    /// as the replicator, too.
    pub(super) fn begin(pair: &'a Pair, processes: Vec<i32>) -> anyhow::Result<Self> {
        let before = Reading::take(pair, &processes)?;
        Ok(Self { pair, processes, begun: Instant::now(), before })
    }

    pub(super) fn end(&self) -> anyhow::Result<Cost> {
        let seconds = self.begun.elapsed().as_secs_f64();
        let after = Reading::take(self.pair, &self.processes)?;
        let (source, target, replicator) = (
            after.source - self.before.source,
            after.target - self.before.target,
            after.replicator - self.before.replicator,
        );
        let busy = after.machine - self.before.machine;
        let others = ((busy - source - target - replicator) / seconds).max(0.0);
        Ok(Cost { seconds, source, target, replicator, others })
    }
}

impl Reading {
    fn take(pair: &Pair, processes: &[i32]) -> anyhow::Result<Self> {
        let mut replicator = ended_children_cpu_seconds()?;
        for pid in processes {
            replicator += cpu_seconds(*pid)?;
        }
        Ok(Self {
            source: cpu_seconds(postmaster(&pair.source)?)?,
            target: cpu_seconds(postmaster(&pair.target)?)?,
            replicator,
            machine: machine::busy_seconds()?,
        })
    }
}

impl Cost {
    /// Rates and CPU seconds for each million of rows.
    pub(super) fn figures(&self, rows: u32) -> Figures {
        let million = f64::from(rows) / 1e6;
        vec![
            ("seconds", self.seconds),
            ("rows_per_s", f64::from(rows) / self.seconds),
            ("source_cpu", self.source / million),
            ("replicator_cpu", self.replicator / million),
            ("target_cpu", self.target / million),
            ("cpu", (self.source + self.replicator + self.target) / million),
            ("others_cores", self.others),
        ]
    }
}

fn postmaster(cluster: &Cluster) -> anyhow::Result<i32> {
    let file = cluster.data_dir().join("postmaster.pid");
    let text =
        std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let pid = text.lines().next().context("an empty postmaster.pid")?.trim();
    pid.parse().context("read the server's process id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_told_for_each_million_of_rows_and_in_sum() {
        let cost = Cost { seconds: 2.0, source: 1.0, target: 3.0, replicator: 0.5, others: 0.0 };
        let figures = cost.figures(500_000);
        let of = |name| figures.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        assert_eq!(of("rows_per_s"), Some(250_000.0));
        assert_eq!(of("target_cpu"), Some(6.0));
        assert_eq!(of("cpu"), Some(9.0));
    }
}
