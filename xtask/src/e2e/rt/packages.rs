//! Request Tracker 5 and Chromium from Debian's packages: found, or installed where that is allowed.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use nix::unistd::Uid;
use testkit::PackageManager;

use crate::setup::{Unavailable, install_with};
use crate::steps::output;

/// `dbconfig-no-thanks` keeps the database dialogue away, `msmtp-mta` a mail server.
const PACKAGES: [&str; 7] = [
    "request-tracker5",
    "rt5-db-postgresql",
    "rt5-standalone",
    "dbconfig-no-thanks",
    "msmtp-mta",
    "starman",
    "chromium-headless-shell",
];

/// Browsers without a screen, the smaller one first.
const BROWSERS: [&str; 2] = ["/usr/bin/chromium-headless-shell", "/usr/bin/chromium"];

/// What is run of them.
pub(super) const WEB_SERVER: &str = "/usr/share/request-tracker5/libexec/rt-server";
pub(super) const SETUP_DATABASE: &str = "/usr/sbin/rt-setup-database-5";
pub(super) const SETUP_INDEX: &str = "/usr/sbin/rt-setup-fulltext-index-5";
pub(super) const INDEXER: &str = "/usr/sbin/rt-fulltext-indexer-5";
pub(super) const CLEAN_SESSIONS: &str = "/usr/sbin/rt-clean-sessions-5";
pub(super) const CRONTOOL: &str = "/usr/bin/rt-crontool-5";

/// The browser that is installed.
pub(super) fn chromium() -> Option<&'static Path> {
    BROWSERS.iter().map(Path::new).find(|program| program.is_file())
}

/// Finds the programs, or installs them when `install` allows it.
///
/// # Errors
/// [`Unavailable`] with the line to type.
pub(super) fn ensure(install: bool) -> anyhow::Result<()> {
    if are_installed() {
        return Ok(());
    }
    let apt = PackageManager::detect().filter(|found| *found == PackageManager::Apt);
    let apt = apt.context(Unavailable::new(
        "Request Tracker 5 and Chromium come as Debian's packages, and there is no apt-get here",
    ))?;
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(PACKAGES);
    if install {
        install_with(apt, &arguments)?;
    }
    if are_installed() {
        return Ok(());
    }
    let sudo = if Uid::effective().is_root() { "" } else { "sudo " };
    Err(Unavailable::new(format!(
        "Request Tracker 5 or Chromium is not installed; type\n{sudo}apt-get update && \
         {sudo}env DEBIAN_FRONTEND=noninteractive apt-get {}",
        arguments.join(" ")
    ))
    .into())
}

fn are_installed() -> bool {
    let programs = [WEB_SERVER, SETUP_DATABASE, SETUP_INDEX, INDEXER, CLEAN_SESSIONS, CRONTOOL];
    let modules = ["-MStarman", "-MDBD::Pg", "-MApache::Session::Postgres", "-e", "1"];
    programs.iter().all(|program| Path::new(program).is_file())
        && chromium().is_some()
        && output(Command::new("perl").args(modules)).is_ok()
}
