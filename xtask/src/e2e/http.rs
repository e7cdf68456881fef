//! `cargo xtask e2e http`: what the proxy lets pass as HTTP, case by case: bytes that two servers read in
//! two ways, sent to Ficus alone, behind and before nginx and HAProxy; frames that break HTTP/2; slow
//! downstreams, floods and large bodies; forged tokens. An upstream writes down what reaches it.

mod framing;
mod jwt;
mod report;
mod servers;
mod slow;
mod streams;

use std::path::{Path, PathBuf};

use clap::Args;

use report::Report;
use servers::Servers;

/// Send what attackers send, and count what reaches the upstream.
#[derive(Debug, Args)]
pub(super) struct Http {
    /// Only groups or cases whose name contains this text.
    #[arg(long)]
    only: Option<String>,
    /// Use this program in place of one built now.
    #[arg(long)]
    ficus: Option<PathBuf>,
}

impl Http {
    pub(super) async fn drive(&self) -> anyhow::Result<()> {
        let ficus = super::ficus(self.ficus.as_deref()).await?;
        let dir = super::folder("http")?;
        let outcome = self.run(&ficus, dir.path()).await;
        let has_failed = outcome.as_ref().map_or(true, |report| report.failed() > 0);
        if has_failed {
            super::keep(dir);
        }
        let report = outcome?;
        println!("{}", report.summary()?);
        anyhow::ensure!(report.failed() == 0, "{} cases failed", report.failed());
        Ok(())
    }

    async fn run(&self, ficus: &Path, dir: &Path) -> anyhow::Result<Report> {
        let mut report = Report::new(self.only.clone());
        let mut servers = Servers::start(ficus, dir).await?;
        framing::run(&servers, &mut report).await?;
        streams::run(&servers, &mut report).await?;
        slow::run(&mut servers, &mut report).await?;
        servers.stop().await?;
        jwt::run(ficus, dir, &mut report).await?;
        Ok(report)
    }
}
