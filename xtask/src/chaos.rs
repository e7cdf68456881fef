//! `cargo xtask chaos`: kills the replicator, its walsender and both servers, and cuts and stalls the network
//! between them, while a load is written. At the end, without any help, both sides must be equal and hold every
//! acknowledged write.

mod fault;
mod load;
mod relay;
mod rig;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use rand::{SeedableRng, rngs::StdRng};
use serde::Serialize;

use crate::chaos::fault::{Phase, Plan};
use crate::chaos::rig::{Ended, Rig};
use crate::operator::talk;
use crate::world::Programs;

/// Disturb a stream again and again, and compare at the end.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask chaos --seeds 200
  cargo xtask chaos --seeds 1 --seed 17    run seed 17 again")]
pub(crate) struct Chaos {
    /// Runs.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A `ficus` to test in place of a freshly built one.
    #[arg(long, value_name = "PROGRAM")]
    ficus: Option<PathBuf>,
    /// Print one JSON object on standard output at the end (always on; for symmetry with demo).
    #[arg(long)]
    json: bool,
}

/// The last object of `cargo xtask chaos`.
#[derive(Clone, Debug, Default, Serialize)]
struct Report {
    runs: u64,
    /// By kind.
    kills: BTreeMap<&'static str, u64>,
    /// What the stream was doing when they struck.
    phases: BTreeMap<&'static str, u64>,
    rows: u64,
    writes_acked: u64,
    /// Rows that were not the same on both sides at the end of a run.
    different_rows: u64,
    /// Acknowledged writes missing on a side.
    lost: u64,
    /// Runs in which both sides did not become equal by themselves.
    stuck: u64,
    /// Nobody ever helped; a run that needs help counts as stuck.
    manual_steps: u64,
    seeds_failed: Vec<u64>,
}

impl Chaos {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        crate::setup::Setup::unattended(false).run()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let report = runtime.block_on(self.drive())?;
        println!("{}", serde_json::to_string(&report)?);
        anyhow::ensure!(report.seeds_failed.is_empty(), "the promise was broken");
        Ok(())
    }

    async fn drive(&self) -> anyhow::Result<Report> {
        let ficus = match &self.ficus {
            Some(ficus) => ficus.canonicalize().context("find the given ficus")?,
            None => Programs::build().await?.ficus,
        };
        let mut rig = Rig::start(ficus).await?;
        let mut report = Report::default();
        for phase in [Phase::Copy, Phase::Stream, Phase::Verify] {
            report.phases.insert(phase.as_str(), 0);
        }
        for seed in self.seed..self.seed.saturating_add(self.seeds) {
            let plan = Plan::of(&mut StdRng::seed_from_u64(seed), seed);
            let ended = Box::pin(rig.run(seed, &plan)).await;
            report.add(seed, &plan, ended, &mut rig);
            Box::pin(rig.clear()).await.with_context(|| format!("clear up after seed {seed}"))?;
        }
        Ok(report)
    }
}

impl Report {
    fn add(&mut self, seed: u64, plan: &Plan, ended: anyhow::Result<Ended>, rig: &mut Rig) {
        self.runs += 1;
        for (fault, phase) in rig.struck() {
            *self.kills.entry(fault.as_str()).or_default() += 1;
            *self.phases.entry(phase.as_str()).or_default() += 1;
        }
        let what = match ended {
            Ok(ended) => {
                self.rows += ended.rows;
                self.writes_acked += ended.acked;
                self.different_rows += ended.different;
                self.lost += ended.lost;
                let broken = ended.different + ended.lost;
                (broken > 0).then(|| format!("{ended:?}"))
            }
            Err(error) => {
                self.stuck += 1;
                Some(format!("stuck: {error:#}"))
            }
        };
        match what {
            None => talk(&format!("seed {seed}: {plan}: equal")),
            Some(what) => {
                self.seeds_failed.push(seed);
                let kept = rig.keep();
                talk(&format!(
                    "seed {seed}: {plan}: {what}\nthe logs are in {}; again: cargo xtask chaos --seeds 1 --seed {seed}",
                    kept.display()
                ));
            }
        }
    }
}
