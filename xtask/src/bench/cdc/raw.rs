//! The raw copy: `psql` that reads piped into `psql` that writes.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context;
use testkit::{Binaries, Cluster};
use tokio::process::Command;
use tokio::task::JoinSet;

use super::pair::Pair;
use crate::bench::machine;

/// `psql` of the servers that are measured, or another one.
pub(super) fn psql() -> Option<PathBuf> {
    let of_server = Binaries::find().ok().map(|found| found.program("psql"));
    of_server.filter(|file| file.is_file()).or_else(|| machine::program("psql"))
}

/// Copies in binary over so many streams, each of which has a range of the table's blocks.
pub(super) async fn copy(pair: &Pair, database: &str, streams: u16) -> anyhow::Result<()> {
    let psql = psql().context("psql is not installed")?;
    let source = pair.source.connect(database).await?;
    let pages = "SELECT (pg_relation_size('bench') / 8192)::bigint";
    let pages: i64 = source.query_one(pages, &[]).await?.get(0);
    let command = |cluster: &Cluster, sql: &str| {
        let mut command = Command::new(&psql);
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql, "-d"]);
        command.arg(cluster.url(database)).kill_on_drop(true);
        command
    };
    let mut running = JoinSet::new();
    for stream in 0..i64::from(streams) {
        let bound = |stream: i64| pages * stream / i64::from(streams);
        // blocks beyond the last one are empty
        let (from, to) = (bound(stream), bound(stream + 1));
        let read = format!(
            "COPY (SELECT * FROM bench WHERE ctid >= '({from},0)' AND ctid < '({to},0)') \
             TO STDOUT (FORMAT binary)"
        );
        let mut reader = command(&pair.source, &read);
        let mut reader = reader.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let pipe: Stdio = reader.stdout.take().context("psql's output is a pipe")?.try_into()?;
        let mut writer = command(&pair.target, "COPY bench FROM STDIN (FORMAT binary)");
        let mut writer = writer.stdin(pipe).spawn()?;
        running.spawn(async move {
            let (read, written) = (reader.wait().await?, writer.wait().await?);
            anyhow::ensure!(read.success() && written.success(), "psql: {read}, {written}");
            Ok(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.context("a stream panicked")??;
    }
    Ok(())
}

/// Copies into the table without its secondary indexes, then creates them, all at once, and `ANALYZE`s.
pub(super) async fn copy_then_index(
    pair: &Pair,
    database: &str,
    streams: u16,
    indexes: &[&'static str],
) -> anyhow::Result<()> {
    copy(pair, database, streams).await?;
    let mut running = JoinSet::new();
    for &index in indexes {
        let target = pair.target.connect(database).await?;
        running.spawn(async move { target.batch_execute(index).await });
    }
    while let Some(ended) = running.join_next().await {
        ended.context("an index panicked")?.context("create an index")?;
    }
    pair.target.execute(database, "ANALYZE bench").await
}
