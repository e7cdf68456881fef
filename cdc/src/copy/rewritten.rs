//! Truncation and rewriting take rows away from snapshots that should still see them: a copy that
//! meets them is not what the snapshot says, and the changes that follow would not fit it.

use cutover::Side;
use pg::quote_literal;

use crate::{StreamError, mapping::TablePlan, wire::Session};

/// Fails when the table, or a partition of it, got another file since the transaction's snapshot was
/// taken. To be asked after the rows were read, in the same transaction: its lock keeps others from
/// truncating afterwards.
///
/// # Errors
/// [`StreamError::Rewritten`]; or what the database said.
pub(super) async fn refuse_rewritten(
    reader: &mut Session,
    plan: &TablePlan,
    side: Side,
) -> Result<(), StreamError> {
    // The catalog is read as of the snapshot; the function looks at what is there now.
    let table = quote_literal(&plan.read.quoted());
    let moved = reader
        .query(&format!(
            "SELECT 1 FROM pg_class c
             WHERE (c.oid = {table}::regclass
                     OR c.oid IN (SELECT relid FROM pg_partition_tree({table}::regclass)))
                 AND c.relkind = 'r' AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid)
             LIMIT 1"
        ))
        .await
        .map_err(StreamError::copy("look whether the table was truncated", side))?;
    if moved.rows.is_empty() {
        return Ok(());
    }
    Err(StreamError::Rewritten { table: plan.read.to_string() })
}
