//! `cargo xtask property`: many cases of the replicator's property test, and which of them failed.

use clap::Args;
use serde_json::Value;

use crate::steps::cargo;

/// Random schemas, types and operations between two databases: both sides must be equal at the end.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask property --cases 1000
  cargo xtask property --cases 1 --seed 4711    run seed 4711 again")]
pub(crate) struct Property {
    /// Cases to run.
    #[arg(long, default_value_t = 1000)]
    cases: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print one JSON object on standard output at the end (always on; for symmetry with demo).
    #[arg(long)]
    json: bool,
}

impl Property {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        crate::setup::Setup::unattended(false).run()?;
        let dir = tempfile::tempdir()?;
        let report = dir.path().join("report.json");
        let mut command = cargo(&["test", "--package", "cdc", "--test", "property"]);
        command
            .args(["random_tables_are_equal_after_random_operations", "--", "--exact"])
            .env("FICUS_PROPERTY_CASES", self.cases.to_string())
            .env("FICUS_PROPERTY_SEED", self.seed.to_string())
            .env("FICUS_PROPERTY_REPORT", &report)
            // standard output is for the result alone; a failure is told in full on standard error
            .stdout(std::io::stderr());
        let status = command.status()?;
        let text = std::fs::read_to_string(&report);
        let text =
            text.map_err(|_| anyhow::anyhow!("the property test ended before its report"))?;
        let report: Value = serde_json::from_str(&text)?;
        println!("{report}");
        anyhow::ensure!(status.success(), "the property test failed");
        Ok(())
    }
}
