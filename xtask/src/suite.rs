//! `cargo xtask test`: the whole way from a fresh checkout to a verdict.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;

use crate::check::check_all;
use crate::setup::Setup;
use crate::steps::{cargo, shown};

/// Tests that take minutes run only when this variable is set to 1.
const SLOW: &str = "FICUS_SLOW";

const EXAMPLES: &str = "\
Examples:
  cargo xtask test                        what continuous integration runs
  cargo xtask test --slow                 the long simulations and crash tests too
  cargo xtask test --no-check -p cutover  the tests of one crate
  cargo xtask test --no-check -- gate     the tests with `gate` in their name";

/// Install what is missing, run all checks, run all tests.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Suite {
    /// Leave the checks out.
    #[arg(long)]
    no_check: bool,
    /// Run the slow tests too (sets FICUS_SLOW=1).
    #[arg(long)]
    slow: bool,
    /// Install nothing; fail when something is missing.
    #[arg(long)]
    no_install: bool,
    /// Only the tests of this package (may be repeated).
    #[arg(short, long = "package", value_name = "PACKAGE")]
    packages: Vec<String>,
    /// Arguments for the test binaries.
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

/// What the test binaries said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    binaries: usize,
    passed: usize,
    failed: usize,
}

impl Suite {
    /// Runs setup, checks and tests.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        Setup::unattended(self.no_install).run()?;
        let checks = if self.no_check {
            "checks left out".to_owned()
        } else {
            format!("{} checks passed", check_all()?)
        };
        let tally = self.test()?;
        println!(
            "test: all good: {checks}, {} tests in {} binaries passed, {} in all",
            tally.passed,
            tally.binaries,
            minutes(began.elapsed())
        );
        Ok(())
    }

    fn test(&self) -> anyhow::Result<Tally> {
        println!("── tests");
        let mut command = cargo(&["test", "--no-fail-fast"]);
        if self.packages.is_empty() {
            command.arg("--workspace");
        }
        for package in &self.packages {
            command.args(["--package", package]);
        }
        command.arg("--").args(&self.arguments);
        if self.slow {
            command.env(SLOW, "1");
        }
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", shown(&command)))?;
        let output = child.stdout.take().expect("standard output is a pipe");
        let mut tally = Tally::default();
        for line in BufReader::new(output).split(b'\n') {
            let line = line.context("read what the tests say")?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            tally.add(&line);
        }
        let status = child.wait().context("wait for the tests")?;
        anyhow::ensure!(
            status.success(),
            "{} tests failed, {} passed ({} ended with {status})",
            tally.failed,
            tally.passed,
            shown(&command)
        );
        anyhow::ensure!(tally.passed > 0, "no test ran: the filter matches nothing");
        Ok(tally)
    }
}

impl Tally {
    /// Counts a line such as `test result: ok. 3 passed; 0 failed; 0 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        self.binaries += 1;
        self.passed += number_before(result, " passed");
        self.failed += number_before(result, " failed");
    }
}

fn number_before(text: &str, word: &str) -> usize {
    text.split_once(word)
        .and_then(|(before, _)| before.rsplit(' ').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

fn minutes(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{} min {:02} s", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_all_binaries_are_added_up() {
        let mut tally = Tally::default();
        for line in [
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; finished in 0.1s",
            "test a_test ... ok",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; finished in 0.1s",
        ] {
            tally.add(line);
        }
        assert_eq!(tally, Tally { binaries: 2, passed: 15, failed: 2 });
    }
}
