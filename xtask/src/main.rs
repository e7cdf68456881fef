//! `cargo xtask`: everything a developer does to this repository, one verb each.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks")]

mod bench;
mod chaos;
mod check;
mod crash;
mod demo;
mod e2e;
mod fuzz;
mod ledger;
mod operator;
mod property;
mod setup;
mod sim;
mod steps;
mod suite;
mod tidy;
mod workload;
mod world;

use std::process::ExitCode;

use clap::Parser;

use crate::bench::Bench;
use crate::chaos::Chaos;
use crate::check::Check;
use crate::crash::Crash;
use crate::demo::Demo;
use crate::e2e::E2e;
use crate::fuzz::Fuzz;
use crate::property::Property;
use crate::setup::{Setup, Unavailable};
use crate::sim::Sim;
use crate::suite::Suite;

/// The exit code for "something this needs is not there" (`EX_UNAVAILABLE` of sysexits).
const EXIT_UNAVAILABLE: u8 = 69;

const EXAMPLES: &str = "\
Examples:
  cargo xtask demo                    move a capability of a running monolith, live
  cargo xtask e2e rt                  replicate a real monolith under real traffic
  cargo xtask crash --seeds 20        kill -9 in the middle of transfers, then count
  cargo xtask test                    everything continuous integration runs
  cargo xtask test --no-check -p pg   the tests of one crate
  cargo xtask check                   formatting, lints, repository rules, documentation
  cargo xtask setup --no-install      what is missing on this machine, and how to get it";

/// Development tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
enum Verb {
    Setup(Setup),
    Check(Check),
    Test(Suite),
    Demo(Demo),
    Crash(Crash),
    Chaos(Chaos),
    Property(Property),
    Sim(Sim),
    Fuzz(Fuzz),
    Bench(Bench),
    E2e(E2e),
    /// Check the repository's own rules: who depends on whom, sizes, names, headers.
    Tidy,
}

fn main() -> ExitCode {
    let outcome = match Verb::parse() {
        Verb::Setup(setup) => setup.run(),
        Verb::Check(check) => check.run(),
        Verb::Test(suite) => suite.run(),
        Verb::Demo(demo) => demo.run(),
        Verb::Crash(crash) => crash.run(),
        Verb::Chaos(chaos) => chaos.run(),
        Verb::Property(property) => property.run(),
        Verb::Sim(sim) => sim.run(),
        Verb::Fuzz(fuzz) => fuzz.run(),
        Verb::Bench(bench) => bench.run(),
        Verb::E2e(e2e) => e2e.run(),
        Verb::Tidy => tidy::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if error.is::<Unavailable>() {
                ExitCode::from(EXIT_UNAVAILABLE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}
