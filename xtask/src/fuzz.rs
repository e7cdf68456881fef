//! `cargo xtask fuzz`: builds the targets of `fuzz/` with the coverage that libFuzzer wants, and runs
//! them. What `cargo fuzz run --sanitizer none` does, without another program to install; our own
//! code has no `unsafe` that a sanitizer could watch.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use clap::Args;

use crate::steps::{Steps, cargo, output, root, run};

/// Edge coverage, comparisons as hints, and the `cfg` that tells code it is being fuzzed.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

/// A single input takes microseconds; one that takes this long hangs.
const HANG_S: u64 = 20;
const MEMORY_MB_MAX: u64 = 1024;
const INPUT_BYTES_MAX: u64 = 4096;

/// Throw bytes at everything that reads bytes of a server, a client or a file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask fuzz                          every target, a minute each
  cargo xtask fuzz --seconds 600 pgoutput   one target, ten minutes
What was found to be interesting stays in fuzz/corpus, what broke something in fuzz/artifacts;
run an artifact again with: cargo xtask fuzz TARGET --input FILE")]
pub(crate) struct Fuzz {
    /// Targets, by the names of their files in fuzz/fuzz_targets; all when none is given.
    targets: Vec<String>,
    /// For each target.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Run this input only, once.
    #[arg(long)]
    input: Option<PathBuf>,
}

impl Fuzz {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let known = targets()?;
        let unknown = self.targets.iter().find(|name| !known.contains(name));
        if let Some(name) = unknown {
            anyhow::bail!("there is no target {name:?}, there are: {}", known.join(", "));
        }
        let chosen = if self.targets.is_empty() { &known } else { &self.targets };
        let host = host()?;
        build(chosen, &host)
            .context("build the targets (libFuzzer is C++: is a C++ compiler installed?)")?;
        let mut steps = Steps::default();
        for target in chosen {
            steps.run(target, || self.fuzz(target, &host));
        }
        steps.finish().map(drop)
    }

    fn fuzz(&self, target: &str, host: &str) -> anyhow::Result<()> {
        let folder = root().join("fuzz");
        let program = folder.join("target").join(host).join("release").join(target);
        let mut command = Command::new(program);
        if let Some(input) = &self.input {
            return run(command.arg(input));
        }
        let corpus = folder.join("corpus").join(target);
        let artifacts = folder.join("artifacts").join(target);
        for made in [&corpus, &artifacts] {
            fs::create_dir_all(made).with_context(|| format!("create {}", made.display()))?;
        }
        let seeds = folder.join("seeds").join(target);
        command
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg(format!("-max_total_time={}", self.seconds))
            .arg(format!("-timeout={HANG_S}"))
            .arg(format!("-rss_limit_mb={MEMORY_MB_MAX}"))
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            .arg("-print_final_stats=1")
            .arg(&corpus);
        if seeds.is_dir() {
            command.arg(seeds);
        }
        run(&mut command)
    }
}

/// The names of the targets, sorted.
fn targets() -> anyhow::Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.context("list the targets")?.path();
        found.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    found.sort();
    Ok(found)
}

/// Naming the machine we are on as the target keeps the flags away from build scripts.
fn build(targets: &[String], host: &str) -> anyhow::Result<()> {
    let mut command = cargo(&["build", "--release", "--target", host]);
    command.current_dir(root().join("fuzz")).env("RUSTFLAGS", FLAGS);
    for target in targets {
        command.args(["--bin", target]);
    }
    run(&mut command)
}

fn host() -> anyhow::Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = output(Command::new(rustc).arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say which machine it is for")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_a_program_of_the_fuzz_workspace() {
        let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).expect("the manifest");
        let targets = targets().expect("the folder of the targets");
        assert!(!targets.is_empty());
        for target in targets {
            let path = format!("path = \"fuzz_targets/{target}.rs\"");
            assert!(manifest.contains(&path), "{target}");
        }
    }
}
