//! The copy of pgcopydb as the distribution packages it.

use std::path::Path;
use std::process::Stdio;

use anyhow::Context;
use tokio::process::Command;

use super::pair::Pair;
use crate::bench::machine;

pub(super) const PROGRAM: &str = "pgcopydb";

/// Clones the source's database into an empty one, over so many jobs, the one table cut among them.
/// `pgcopydb` creates the table itself, and its indexes after the data.
pub(super) async fn clone(
    pair: &Pair,
    database: &str,
    jobs: u16,
    dir: &Path,
) -> anyhow::Result<()> {
    let program = machine::program(PROGRAM).context("pgcopydb is not installed")?;
    let source = pair.source.connect(database).await?;
    let bytes = "SELECT pg_table_size('bench')";
    let bytes: i64 = source.query_one(bytes, &[]).await?.get(0);
    let part = (bytes / i64::from(jobs.max(1))).max(8192);
    let jobs = jobs.to_string();
    let log = std::fs::File::create(dir.join("pgcopydb.log"))?;
    let status = Command::new(program)
        .arg("clone")
        .args(["--source", &pair.source.url(database), "--target", &pair.target.url(database)])
        .args(["--table-jobs", &jobs, "--index-jobs", &jobs, "--no-owner", "--no-acl"])
        .args(["--split-tables-larger-than", &part.to_string()])
        .arg("--dir")
        .arg(dir.join("work"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .status()
        .await?;
    let told = || std::fs::read_to_string(dir.join("pgcopydb.log")).unwrap_or_default();
    anyhow::ensure!(status.success(), "pgcopydb ended with {status}:\n{}", told());
    Ok(())
}
