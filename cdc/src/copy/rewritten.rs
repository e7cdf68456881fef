//! Truncation and rewriting take rows away from snapshots that should still see them: a copy that
//! meets them is not what the snapshot says, and the changes that follow would not fit it.

use tokio_postgres::Client;

use crate::{StreamError, mapping::TablePlan};
use cutover::Side;

/// Fails when the table, or a partition of it, got another file since the transaction's snapshot was
/// taken. To be asked after the rows were read, in the same transaction: its lock keeps others from
/// truncating afterwards.
///
/// # Errors
/// [`StreamError::Rewritten`]; or what the database said.
pub(super) async fn refuse_rewritten(
    reader: &Client,
    plan: &TablePlan,
    side: Side,
) -> Result<(), StreamError> {
    // The catalog is read as of the snapshot; the function looks at what is there now.
    let moved = reader
        .query_opt(
            "SELECT 1 FROM pg_class c
             WHERE (c.oid = $1::text::regclass
                     OR c.oid IN (SELECT relid FROM pg_partition_tree($1::text::regclass)))
                 AND c.relkind = 'r' AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid)
             LIMIT 1",
            &[&plan.read.quoted()],
        )
        .await
        .map_err(StreamError::database("look whether the table was truncated", side))?;
    match moved {
        None => Ok(()),
        Some(_) => Err(StreamError::Rewritten { table: plan.read.to_string() }),
    }
}
