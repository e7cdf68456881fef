//! `cargo xtask sim`: runs the transfer machine through seeded simulations, each seed twice.

use anyhow::ensure;
use clap::Args;
use serde::Serialize;

/// Simulate transfers with crashes and delayed messages.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask sim --seeds 10000
  cargo xtask sim --seeds 1 --first 4711    run seed 4711 again")]
pub(crate) struct Sim {
    /// Runs.
    #[arg(long, default_value_t = 256)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Print one JSON object on standard output at the end (always on; for symmetry with demo).
    #[arg(long)]
    json: bool,
}

/// The last object of `cargo xtask sim`.
#[derive(Debug, Default, Serialize)]
struct Totals {
    seeds: u64,
    states: u64,
    violations: u64,
}

impl Sim {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let mut totals = Totals::default();
        for seed in self.first..self.first + self.seeds {
            let (report, again) = (cutover::simulate(seed), cutover::simulate(seed));
            ensure!(
                report.log_hash == again.log_hash,
                "seed {seed} ran differently the second time: the simulation is not deterministic"
            );
            totals.seeds += 1;
            totals.states += report.states;
            for violation in &report.violations {
                eprintln!("seed {seed}: {violation}");
                totals.violations += 1;
            }
        }
        println!("{}", serde_json::to_string(&totals)?);
        ensure!(totals.violations == 0, "{} violations", totals.violations);
        Ok(())
    }
}
