//! `cargo xtask e2e rt`: Request Tracker 5 as Debian ships it, on a private PostgreSQL, used through its
//! web interface and REST2 while Ficus copies and streams all its tables, and in Chromium before a second
//! one of itself that each read is compared with; then every row is compared.

mod browse;
mod catalog;
mod chromium;
mod packages;
mod page;
mod rest;
mod screen;
mod tracker;
mod traffic;
mod transfer;
mod twin;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use testkit::{Cluster, free_port};

use self::browse::Browser;
use self::catalog::Tables;
use self::packages::CLEAN_SESSIONS;
use self::page::Session;
use self::tracker::{DATABASE, Tracker};
use self::traffic::Traffic;
use self::twin::{SHADOWED, Shadowed, Twin};
use super::compare::compare;
use super::replicator::{Migration, Proxied, Replicator, Side, make_roles};
use crate::operator::{number, talk};
use crate::setup::Setup;

/// Longest the traffic may take: a request takes seconds on a busy machine.
const TRAFFIC_WITHIN: Duration = Duration::from_secs(3_600);

/// What the traffic goes through, as an operator would claim it; everything else is the monolith's.
const ROUTES: [&str; 8] = [
    "* /Ticket/{*rest}",
    "* /Search/{*rest}",
    "* /Helpers/{*rest}",
    "* /NoAuth/{*rest}",
    "GET /NoAuth/Logout.html",
    "* /Admin/{*rest}",
    "* /REST/2.0/{*rest}",
    "POST /",
];

/// Replicate Request Tracker 5 while it is used.
#[derive(Debug, Args)]
pub(super) struct Rt {
    /// Requests to send in all.
    #[arg(long, default_value_t = 400)]
    requests: u64,
    /// Use this program in place of one built now.
    #[arg(long, value_name = "PROGRAM")]
    ficus: Option<PathBuf>,
    /// Keep a picture of the ticket as Chromium shows it (PNG).
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    /// Install nothing; fail with the line to type when Request Tracker is missing.
    #[arg(long)]
    no_install: bool,
}

/// The last line of standard output.
#[derive(Clone, Debug, Default, Serialize)]
struct Report {
    /// Tables that replicate.
    tables: usize,
    /// Tables that nothing identifies rows of.
    tables_left_out: Vec<String>,
    /// HTTP requests sent.
    requests: u64,
    /// Requests and jobs that went wrong for their user.
    failed: u64,
    /// Chromium's visits, and the comparisons of the two web servers.
    #[serde(flatten)]
    shadowed: Shadowed,
    /// Rows of the first copy.
    rows_copied: u64,
    /// Row changes applied from the stream.
    rows_applied: u64,
    /// Tables that Request Tracker wrote to in this run, of those that replicate.
    tables_written: u64,
    /// Rows compared by `ficus verify` while Request Tracker was used.
    verified_in_use: u64,
    /// Rows compared by `ficus verify` at the end.
    verified_rows: u64,
    /// Rows hashed by the independent comparison.
    compared_rows: u64,
    /// From the command to its end, in ms.
    cutover_ms: u64,
    rollback_ms: u64,
    /// Sequences that moved with the writes.
    sequences_moved: u64,
    /// Differences of all verifications, and tables whose hashes differ.
    different: u64,
}

impl Rt {
    /// Finds or installs what is needed.
    pub(super) fn prepare(&self) -> anyhow::Result<()> {
        Setup::unattended(self.no_install).run()?;
        packages::ensure(!self.no_install)
    }

    pub(super) async fn drive(&self) -> anyhow::Result<()> {
        let ficus = super::ficus(self.ficus.as_deref()).await?;
        let dir = super::folder("rt")?;
        // the web server's account has to get to its own part of it
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
        let outcome = self.run(&ficus, dir.path()).await;
        if outcome.is_err() {
            super::keep(dir);
        }
        let report = outcome?;
        println!("{}", serde_json::to_string(&report)?);
        ensure!(report.different == 0, "the two databases differ");
        twin::judge(&report.shadowed)?;
        ensure!(report.failed == 0, "{} requests or jobs failed", report.failed);
        ensure!(report.verified_rows > 0 && report.verified_in_use > 0, "nothing was verified");
        Ok(())
    }

    async fn run(&self, ficus: &Path, dir: &Path) -> anyhow::Result<Report> {
        let (source, target) = (Cluster::start().await?, Cluster::start().await?);
        make_roles(&source, &target).await?;
        let monolith = free_port()?;
        let service = (twin::ADDRESS, monolith).into();
        let ports = Proxied { monolith, proxy: free_port()?, service };
        talk("laying down Request Tracker's database");
        let mut tracker = Tracker::install(&dir.join("rt"), &source, &target, ports.proxy).await?;
        tracker.serve(([127, 0, 0, 1], ports.monolith).into()).await?;
        let monolith = source.connect(DATABASE).await?;
        let tables = catalog::tables(&monolith).await?;
        talk(&format!(
            "{} tables have an identity; left out: {}",
            tables.identified.len(),
            tables.left_out.join(", ")
        ));
        let migration = Migration {
            capability: "rt",
            source: Side { cluster: &source, database: DATABASE },
            target: Side { cluster: &target, database: DATABASE },
            tables: &tables.identified,
            routes: &ROUTES,
            shadowed: &SHADOWED,
            proxy: Some(ports),
        };
        let replicator = Replicator::start(ficus, dir, &migration).await?;
        let url = format!("http://127.0.0.1:{}", ports.proxy);
        monolith.batch_execute("SELECT pg_stat_reset()").await.context("begin the statistics")?;
        let tracker = Arc::new(tracker);
        let mut report = self.use_it(&url, &tracker, &replicator).await?;
        let mut tracker = Arc::try_unwrap(tracker).ok().context("the traffic still runs")?;
        let twin = Twin {
            url: &url,
            chromium: packages::chromium().context("Chromium is gone")?,
            dir: dir.join("chromium"),
            picture: self.picture.as_deref(),
            replicator: &replicator,
        };
        report.shadowed = twin.compare(&mut tracker, ports.monolith).await?;
        tracker.run(CLEAN_SESSIONS, &[]).await?;

        talk("traffic ended; comparing everything");
        let verified = replicator.verify().await?;
        report.verified_rows = number(&verified, "rows");
        report.different += number(&verified, "differences");
        let forward = replicator.forward().await?;
        report.rows_applied = number(&forward, "rows_applied");
        report.rows_copied = copied(&forward);
        self.compare(&monolith, &target, tables, &mut report).await?;
        let transfers = transfer::there_and_back(&replicator, &source, &target).await?;
        report.cutover_ms = transfers.cutover_ms;
        report.rollback_ms = transfers.rollback_ms;
        report.sequences_moved = transfers.sequences;
        let mut browser = Browser::new(Session::new(url.as_str().into(), Arc::default(), 99)?);
        browser.log_in().await.context("use Request Tracker after the rollback")?;
        browser.act().await.context("use Request Tracker after the rollback")?;
        report.different += number(&replicator.verify().await?, "differences");
        replicator.stop().await?;
        tracker.stop().await?;
        Ok(report)
    }

    /// Traffic from before the copy until after a verification.
    async fn use_it(
        &self,
        url: &str,
        tracker: &Arc<Tracker>,
        replicator: &Replicator,
    ) -> anyhow::Result<Report> {
        let mut report = Report::default();
        let traffic = Traffic::start(url, Arc::clone(tracker), self.requests)?;
        traffic.reached(25, TRAFFIC_WITHIN).await?;
        talk(&format!("{} requests so far; starting", traffic.counts.requests()));
        replicator.act("start").await?;
        traffic.reached(65, TRAFFIC_WITHIN).await?;
        talk(&format!("{} requests so far; verifying while it is used", traffic.counts.requests()));
        let verified = replicator.verify().await?;
        let sent = traffic.counts.requests();
        ensure!(sent < self.requests, "the verification outlasted the traffic: --requests more");
        report.verified_in_use = number(&verified, "rows");
        report.different = number(&verified, "differences");
        traffic.reached(100, TRAFFIC_WITHIN).await?;
        let counts = traffic.finish().await;
        report.requests = counts.requests();
        report.failed = counts.failed();
        for failure in counts.failures() {
            talk(&format!("failed: {failure}"));
        }
        Ok(report)
    }

    async fn compare(
        &self,
        monolith: &testkit::tokio_postgres::Client,
        target: &Cluster,
        tables: Tables,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let copy = target.connect(DATABASE).await?;
        let compared = compare(monolith, &copy, &tables.identified).await?;
        for table in &compared.different {
            talk(&format!("different: {table}"));
        }
        report.compared_rows = compared.rows;
        report.different += u64::try_from(compared.different.len())?;
        report.tables_written = catalog::written(monolith, &tables.identified).await?;
        report.tables = tables.identified.len();
        report.tables_left_out = tables.left_out;
        Ok(())
    }
}

/// Rows of the first copy, over all tables.
fn copied(forward: &Value) -> u64 {
    let tables = forward.get("tables").and_then(Value::as_array);
    tables.into_iter().flatten().map(|table| number(table, "rows_copied")).sum()
}
