//! The writes of the whole monolith go over to the copy's database and come back, while nobody uses it:
//! nothing implements the service, but the databases must not know.

use anyhow::{Context, ensure};
use serde_json::Value;
use testkit::Cluster;

use super::tracker::{DATABASE, ROLE};
use crate::e2e::replicator::Replicator;
use crate::operator::number;

/// What both transfers took, and what moved with them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Transfers {
    /// From the command to its end, in ms.
    pub(super) cutover_ms: u64,
    pub(super) rollback_ms: u64,
    /// Sequences that stood behind the last id in use, on the target after the cutover.
    pub(super) sequences: u64,
}

/// A row a service would write: without an id of its own.
const WRITE: &str = "INSERT INTO links (base, target, type) VALUES ('e2e', 'e2e', 'RefersTo')";

/// Cutover, a write on the target, rollback; the write is on the source afterwards.
pub(super) async fn there_and_back(
    replicator: &Replicator,
    source: &Cluster,
    target: &Cluster,
) -> anyhow::Result<Transfers> {
    let mut transfers = Transfers {
        cutover_ms: total_ms(&replicator.act("cutover").await?),
        ..Transfers::default()
    };
    let (here, there) =
        (source.connect_as(ROLE, DATABASE).await?, target.connect_as(ROLE, DATABASE).await?);
    let refused = here.execute(WRITE, &[]).await.err().and_then(|error| error.code().cloned());
    let refused = refused.is_some_and(|code| code.code() == "FC001");
    ensure!(refused, "Request Tracker's own role may write on the source after the cutover");
    transfers.sequences = sequences_past_ids(target).await?;
    there.execute(WRITE, &[]).await.context("write on the target after the cutover")?;
    replicator.verify().await?;
    transfers.rollback_ms = total_ms(&replicator.act("rollback").await?);
    let found = "SELECT count(*) FROM links WHERE base = 'e2e'";
    let found: i64 = here.query_one(found, &[]).await?.try_get(0)?;
    ensure!(found == 1, "the row written on the target is {found} times on the source");
    here.execute("DELETE FROM links WHERE base = 'e2e'", &[])
        .await
        .context("write on the source after the rollback")?;
    Ok(transfers)
}

/// Every sequence that moved gives ids that are free; answers how many there are.
async fn sequences_past_ids(target: &Cluster) -> anyhow::Result<u64> {
    let client = target.connect(DATABASE).await?;
    let mut sequences = 0;
    for row in client.query("SELECT name, sequence FROM ficus.guard_sequence", &[]).await? {
        let (name, sequence): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let (table, column) = name.rsplit_once('.').context("a sequence's name has no column")?;
        let sql = format!(
            "SELECT (SELECT last_value FROM {sequence}) >= coalesce(max({column}), 0)::bigint \
             FROM {table}"
        );
        let is_past: bool = client.query_one(&sql, &[]).await?.try_get(0)?;
        ensure!(is_past, "{sequence} would give ids that {table} has already");
        sequences += 1;
    }
    Ok(sequences)
}

fn total_ms(answer: &Value) -> u64 {
    number(answer.get("transfer").unwrap_or(answer), "total_ms")
}
