//! `cargo xtask e2e`: whole scenarios on this machine with software nobody here wrote, or for as long as
//! an operator would watch. Each starts what it needs, judges itself, and leaves nothing.

mod compare;
mod http;
mod idle;
mod reload;
mod replicator;
mod rt;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use tempfile::TempDir;

use crate::operator::talk;
use crate::world::Programs;

/// Replicate a real monolith; watch an idle one; attack the proxy; change it under load.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask e2e rt                    Request Tracker 5 under real traffic, replicated and compared
  cargo xtask e2e rt --requests 200     a quick look
  cargo xtask e2e idle --minutes 10     an idle source beside a busy database: how much WAL is kept
  cargo xtask e2e http                  requests that two servers read in two ways, floods, slow clients
  cargo xtask e2e reload                a proxy whose file and process change all the time, under load")]
pub(crate) struct E2e {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    Rt(rt::Rt),
    Idle(idle::Idle),
    Http(http::Http),
    Reload(reload::Reload),
}

impl E2e {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        match &self.scenario {
            Scenario::Rt(rt) => {
                rt.prepare()?;
                runtime.block_on(rt.drive())
            }
            Scenario::Reload(reload) => runtime.block_on(reload.drive()),
            Scenario::Idle(idle) => runtime.block_on(idle.drive()),
            Scenario::Http(http) => runtime.block_on(http.drive()),
        }
    }
}

/// The given program, or one built now.
async fn ficus(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(program) = given {
        return Ok(program.to_owned());
    }
    talk("building ficus");
    Ok(Programs::build().await?.ficus)
}

/// The folder of a scenario's processes.
fn folder(scenario: &str) -> anyhow::Result<TempDir> {
    Ok(tempfile::Builder::new().prefix(&format!("ficus-{scenario}-")).tempdir()?)
}

/// Leaves the folder behind and says where it is: somebody has to find out what went wrong.
fn keep(mut folder: TempDir) {
    folder.disable_cleanup(true);
    talk(&format!("the processes' logs are in {}", folder.path().display()));
}
